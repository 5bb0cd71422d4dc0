"""`scisr fuse` on the sample frames: what it writes, what it prints, what it refuses before any work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from sciSR.cli.fuse import parse_reference, parse_share
from sciSR.cli.main import main
from sciSR.errors import UsageError
from sciSR.workflow.fusing import plan_outputs, read_psf

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
FRAMES = [str(path) for path in sorted((SAMPLES / "frames").glob("*.fits"))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """One run with everything, and its JSON."""
    folder = tmp_path_factory.mktemp("fused")
    words = [sys.executable, "-m", "sciSR", "fuse", *FRAMES, "-o", str(folder / "out.fits")]
    words += ["--reference", "0", "--report", "--context", "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_product_contact_sheet_and_report_are_written(made: tuple[Path, dict]) -> None:
    folder, document = made
    assert sorted(p.name for p in folder.iterdir()) == ["out.fits", "out.html", "out.json", "out.png"]
    names = ["output", "contact_sheet", "report", "report_json"]
    assert [Path(document[n]).name for n in names] == ["out.fits", "out.png", "out.html", "out.json"]
    assert document["used"] == document["frames"] == 6
    assert document["shape_out"] == [176, 192]
    with fits.open(folder / "out.fits") as hdus:
        assert [h.name for h in hdus[:6]] == ["PRIMARY", "SCI", "ERR", "WHT", "COV", "CTX"]
    done = subprocess.run(["fitsverify", "-q", folder / "out.fits"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_header_combines_the_frames(made: tuple[Path, dict]) -> None:
    header = fits.getheader(made[0] / "out.fits")
    assert (header["EXPTIME"], header["NCOMBINE"], header["FILTER"]) == (360.0, 6, "r")
    assert header["DATE-BEG"] == "2026-01-01T00:00:00.000"
    assert header["DATE-END"] == "2026-01-01T00:11:00.000"
    science = fits.getheader(made[0] / "out.fits", "SCI")
    assert science["EXPREF"] == 60.0
    assert science["EFFGAIN"] == pytest.approx(12.0, rel=0.05)


def test_the_result_is_closer_to_the_truth_than_any_frame(made: tuple[Path, dict]) -> None:
    sys.path.insert(0, str(SAMPLES))
    try:
        import sequence
    finally:
        sys.path.remove(str(SAMPLES))
    truth = sequence.make_sequence().fine / sequence.GAIN
    inner = (slice(12, -12), slice(12, -12))

    def error(image: np.ndarray) -> float:
        difference = (image - truth)[inner]
        difference = difference[np.isfinite(difference)]
        assert difference.size > 0.99 * truth[inner].size
        difference = difference - np.median(difference)
        return float(np.sqrt(np.mean(np.clip(difference, -2000, 2000) ** 2)))

    from scipy.ndimage import zoom

    first = fits.getdata(FRAMES[0]).astype(float)
    single = zoom(first, 2, order=3, grid_mode=True, mode="nearest") / 4
    assert error(fits.getdata(made[0] / "out.fits", "SCI")) < 0.5 * error(single)


def test_the_table_names_every_frame(made: tuple[Path, dict]) -> None:
    table = fits.getdata(made[0] / "out.fits", "FRAMES")
    assert list(table["NAME"]) == [Path(name).name for name in FRAMES]
    assert all(table["USED"])
    assert list(table["EXPOSURE"]) == [60.0] * 6


def test_a_damaged_frame_is_left_out_and_with_strict_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in FRAMES:
        shutil.copy(path, tmp_path)
    (tmp_path / "frame_2.fits").write_bytes(b"SIMPLE  =                    T")
    words = ["fuse", str(tmp_path / "*.fits"), "-o", str(tmp_path / "out.fit"), "--method", "mean"]
    assert main([*words, "--strict"]) == 3
    assert "frame_2.fits" in capsys.readouterr().err
    assert not (tmp_path / "out.fit").exists()
    assert main([*words, "--no-contact-sheet"]) == 0
    said = capsys.readouterr()
    assert "5 of 6 frames" in said.out
    assert "left out: frame_2.fits" in said.err
    table = fits.getdata(tmp_path / "out.fit", "FRAMES")
    [name] = [row["NAME"] for row in table if not row["USED"]]
    assert name.startswith("frame_2.fits")
    assert not (tmp_path / "out.png").exists()


def test_a_damaged_frame_is_named_to_those_who_asked_for_quiet_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in FRAMES:
        shutil.copy(path, tmp_path)
    (tmp_path / "frame_2.fits").write_bytes(b"SIMPLE  =                    T")
    words = ["fuse", str(tmp_path / "*.fits"), "-o", str(tmp_path / "out.fit"), "--method", "mean"]
    assert main([*words, "--no-contact-sheet", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("left out: frame_2.fits") == 1


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["fuse", *words]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.err.count("\n") == 1, said.err
    return said.err


@pytest.mark.parametrize("taken", ["out.fits", "out.png", "out.html", "out.json"])
def test_an_output_that_exists_is_refused_before_any_work(
    tmp_path: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / taken).write_text("mine")
    text = refused([*FRAMES, "-o", str(tmp_path / "out.fits"), "--report"], capsys)
    assert taken in text
    assert "--overwrite" in text
    assert [p.name for p in tmp_path.iterdir()] == [taken]


def test_an_output_that_is_a_frame_is_refused_even_to_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(shutil.copy(FRAMES[0], tmp_path / "a.fits"))
    assert "one of the frames" in refused([*FRAMES[1:], target, "-o", target, "--overwrite"], capsys)


def test_a_report_that_swallowed_a_frame_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """``--report a.fits`` would take the first frame for the page's name."""
    text = refused(["-o", str(tmp_path / "o.fits"), "--report", *FRAMES], capsys)
    assert "a report is an .html file" in text
    assert Path(FRAMES[0]).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "map", "--pixfrac", "0.6"], "--pixfrac means nothing to --method map"),
        (["--method", "drizzle", "--prior", "tv"], "--prior means nothing to --method drizzle"),
        (["--keep-best", "half"], "percentage"),
        (["--keep-best", "0%"], "percentage"),
        (["--psf", "psf.fits"], "--deconvolve"),
        (["--method", "magic"], "--method"),
        (["--scale", "0.5"], "scale"),
        (["--dtype", "keep"], "--dtype"),
        (["--device", "banana"], "unknown device"),
        (["--device", "cuda:99"], "CUDA device"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused([*FRAMES, "-o", str(tmp_path / "o.fits"), *words], capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_format_without_fused_products_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ".fits" in refused([*FRAMES, "-o", str(tmp_path / "o.nii.gz")], capsys)


def test_one_output_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--output" in refused(FRAMES, capsys)


@pytest.mark.parametrize(
    ("text", "share"),
    [("30%", 0.3), ("0.3", 0.3), (" 12.5 % ", 0.125), ("100%", 1.0), (".5", 0.5), (None, None)],
)
def test_shares_are_percentages_or_fractions(text: str | None, share: float | None) -> None:
    assert parse_share(text) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize("text", ["", "0", "101%", "2", "-5%", "30 frames", "nan"])
def test_shares_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_share(text)


def test_a_reference_is_a_number_or_a_name() -> None:
    assert parse_reference("auto") == "auto"
    assert parse_reference("3") == 3
    assert parse_reference("a_3.fits") == "a_3.fits"


@pytest.mark.parametrize(
    ("name", "stem"),
    [("m13.fits", "m13"), ("m13.fits.gz", "m13"), ("m13.v2.fit", "m13.v2"), ("m13.FTS", "m13")],
)
def test_files_beside_the_product_share_its_name(name: str, stem: str) -> None:
    outputs = plan_outputs(Path("x") / name, report=True)
    assert [p.name for p in outputs.all()] == [name, f"{stem}.png", f"{stem}.html", f"{stem}.json"]
    assert plan_outputs(Path(name), contact_sheet=False).all() == [Path(name)]


def test_a_psf_is_a_plane_with_a_positive_sum(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.ones((5, 7), np.float32)).writeto(tmp_path / "psf.fits")
    with pytest.warns(UserWarning, match="no unit"):
        assert read_psf(tmp_path / "psf.fits").shape == (5, 7)
    for wrong in (np.ones(5), np.ones((2, 2)), np.zeros((5, 5)), np.full((5, 5), np.nan)):
        with pytest.raises(UsageError, match="PSF"):
            read_psf(wrong)
