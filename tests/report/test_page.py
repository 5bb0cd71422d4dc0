"""Pages about outputs: what they promise whatever they show."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from sciSR.cli.main import main
from sciSR.errors import GeometryError, UsageError
from sciSR.report import write_page
from sciSR.report.page import LIMIT, default_page
from sciSR.workflow.run import upscale_file

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A piece of sky and its result; small."""
    from astropy.io import fits

    folder = tmp_path_factory.mktemp("pair")
    generator = np.random.default_rng(1)
    y, x = np.mgrid[:60, :72]
    sky = generator.normal(5, 1, y.shape)
    for row, column in generator.uniform(5, 55, (12, 2)):
        sky += 90 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 3)
    fits.PrimaryHDU(sky.astype("f4"), fits.Header({"BUNIT": "MJy/sr", "OBJECT": "M 51"})).writeto(
        folder / "m51.fits"
    )
    upscale_file(folder / "m51.fits", model="cubic")
    return folder / "m51.fits", folder / "m51_x2.fits"


class Checker(HTMLParser):
    """Elements that are closed in order, identifiers that occur once, nothing that could act."""

    VOID = frozenset({"meta", "img", "input", "br", "link", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert not [name for name in given if name.startswith("on") or name == "style"], tag
        self.addresses += [
            given[name] or "" for name in ("src", "href", "srcset", "action", "xlink:href") if name in given
        ]
        if "id" in given:
            self.ids.append(given["id"] or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


def checked(page: Path) -> Checker:
    text = page.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert all(a.startswith(("data:image/png;base64,", "#", "./")) for a in checker.addresses)
    assert len(text.encode()) < LIMIT
    return checker


def words(page: Path) -> str:
    """Text without marks, scripts and pictures."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


def test_a_page_is_well_formed_and_asks_nobody(pair: tuple[Path, Path]) -> None:
    page = write_page(*pair)
    assert page == pair[0].with_name("m51_x2.html")
    checked(page)
    text = page.read_text(encoding="utf-8")
    assert "default-src &#39;none&#39;" in text
    assert "unsafe" not in text.split("</head>")[0].split("<style>")[0]
    told = words(page)
    for expected in (
        "Agrees with the measurement to",
        "Research use only, not for diagnosis",
        "m51.fits",
        "BibTeX",
    ):
        assert expected in told


def test_the_same_files_give_the_same_bytes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first = write_page(*pair, tmp_path / "a.html").read_bytes()
    assert write_page(*pair, tmp_path / "b.html").read_bytes() == first


def test_a_page_is_not_overwritten_unasked(pair: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_page(*pair, target)
    assert target.read_text() == "mine"
    write_page(*pair, target, overwrite=True)
    assert target.read_text().startswith("<!DOCTYPE html>")


def test_without_the_input_the_page_says_so(pair: tuple[Path, Path], tmp_path: Path) -> None:
    page = write_page(None, pair[1], tmp_path / "alone.html")
    checked(page)
    assert "The input was not found" in words(page)
    assert "Agrees with the measurement to" in words(page)  # as the record says


def test_files_that_do_not_belong_together_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="not made of it"):
        write_page(pair[1], pair[0], tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_a_truth_gives_an_error_map_and_a_ring_correlation(pair: tuple[Path, Path], tmp_path: Path) -> None:
    truth = tmp_path / "truth.fits"
    shutil.copy(pair[1], truth)
    page = write_page(*pair, tmp_path / "page.html", truth=truth)
    told = words(page)
    assert "Result less truth" in told
    assert "ring correlation of the result with the truth" in told
    with pytest.raises(GeometryError, match="no truth"):
        write_page(*pair, tmp_path / "other.html", truth=pair[0])


def test_pages_of_volumes_and_of_colour_pictures(tmp_path: Path) -> None:
    from PIL import Image

    colours = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "picture.png")
    shutil.copy(SAMPLES / "phantom.nii.gz", tmp_path)
    for name, model in (("picture.png", "cubic"), ("phantom.nii.gz", "fourier")):
        outcome = upscale_file(tmp_path / name, model=model)
        page = write_page(tmp_path / name, outcome.output)
        checked(page)
        pixels = json.loads(re.search(r'id="pixels">(.*?)</script>', page.read_text(), re.DOTALL).group(1))
        assert len(pixels["planes"]) == (3 if "nii" in name else 1)
        if "png" in name:
            assert all(len(b["data"]) == 3 for b in pixels["blocks"] if b["layer"] == "after")


def test_a_dicom_page_names_no_patient(tmp_path: Path) -> None:
    import pydicom

    folder = tmp_path / "DOE^JANE"
    shutil.copytree(SAMPLES / "phantom_dicom", folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.PatientName, header.PatientID, header.PatientBirthDate = "DOE^JANE", "HOSP-4711", "19610203"
        header.PatientIdentityRemoved = "NO"
        header.save_as(path)
    code = main(["upscale", str(folder), "-o", str(tmp_path / "out"), "-m", "fourier", "--report", "-q"])
    assert code == 0
    page = tmp_path / "out.html"
    checked(page)
    text = page.read_text(encoding="utf-8")
    for secret in ("DOE", "JANE", "4711", "19610203", str(tmp_path)):
        assert secret not in re.sub(r'"data":\["[^"]*"\]|"data":"[^"]*"|base64,[^"]*', "", text)
    assert "series-" in text
    assert main(["report", str(folder), str(tmp_path / "out"), "-o", str(tmp_path / "later.html"), "-q"]) == 0
    assert "fourier" in words(tmp_path / "later.html")  # the record stands in the header's words alone


def test_folders_of_series_are_outputs_each(tmp_path: Path) -> None:
    from sciSR.workflow.reporting import is_folder_of_outputs

    shutil.copytree(SAMPLES / "phantom_dicom", tmp_path / "out" / "one")
    assert not is_folder_of_outputs(tmp_path / "out" / "one")
    shutil.copytree(SAMPLES / "phantom_dicom", tmp_path / "out" / "two")
    assert is_folder_of_outputs(tmp_path / "out")


def test_a_report_that_fails_leaves_the_output(
    pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import sciSR.report.page_sections as sections

    def fails(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(sections, "lead", fails)
    output = tmp_path / "out.fits"
    code = main(["upscale", str(pair[0]), "-o", str(output), "-m", "cubic", "--report", "--json"])
    said = capsys.readouterr()
    assert code == 4
    assert output.is_file()
    assert not output.with_suffix(".html").exists()
    assert "is finished, but the page about it could not be made" in said.err
    assert "report" not in json.loads(said.out)["results"][0]


def test_an_existing_page_is_told_before_any_work(pair: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out.fits"
    output.with_suffix(".html").write_text("mine")
    assert main(["upscale", str(pair[0]), "-o", str(output), "-m", "cubic", "--report", "-q"]) == 2
    assert not output.exists()


def test_the_command_is_shown_as_typed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    given = tmp_path / "my image.fits"
    shutil.copy(pair[0], given)
    assert main(["upscale", str(given), "--model=cubic", "--report", "-q"]) == 0
    told = words(tmp_path / "my image_x2.html")
    assert "scisr upscale &#39;my image.fits&#39; --model=cubic --report -q" in told
    assert str(tmp_path) not in told


@pytest.fixture(scope="module")
def batch(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two outputs, one of them damaged by hand; one whose input is gone; something else."""
    from astropy.io import fits

    folder = tmp_path_factory.mktemp("batch")
    (folder / "raw").mkdir()
    (folder / "out").mkdir()
    for name in ("good", "bad", "gone"):
        shutil.copy(pair[0], folder / "raw" / f"{name}.fits")
        if name != "good":  # each has a hash of its own
            fits.setval(folder / "raw" / f"{name}.fits", "OBJECT", value=name)
        upscale_file(folder / "raw" / f"{name}.fits", folder / "out" / f"{name}_x2.fits", model="cubic")
    with fits.open(folder / "out" / "bad_x2.fits", mode="update") as file:
        file[0].data[20:24, 20:24] += 50
    (folder / "raw" / "gone.fits").unlink()
    (folder / "out" / "notes.txt").write_text("none of these")
    return folder


def test_an_index_finds_inputs_by_their_hash(batch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["report", str(batch / "out"), "--inputs", str(batch / "raw"), "--json"])
    assert code == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in document["outputs"]}
    assert list(rows) == ["bad_x2.fits", "gone_x2.fits", "good_x2.fits"]
    assert rows["good_x2.fits"]["mood"] == "good"
    assert rows["bad_x2.fits"]["mood"] == "bad"
    assert rows["bad_x2.fits"]["failed"] >= 1
    assert "not found" in rows["gone_x2.fits"]["about"]
    index = checked(batch / "out" / "summary.html")
    for name in rows:
        link = f"./{name.replace('.fits', '.html')}"
        assert link in index.addresses
        checked(batch / "out" / link)
    assert main(["report", str(batch / "out"), "-q"]) == 2  # the index is there


def test_a_deviation_is_no_output_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import nibabel as nib

    values = np.random.default_rng(0).normal(100, 9, (20, 24, 4)).astype("f4")
    nib.Nifti1Image(values, np.diag([2.0, 2.0, 4.0, 1.0])).to_filename(tmp_path / "t1.nii")
    assert main(["upscale", str(tmp_path / "t1.nii"), "--model", "linear", "--uncertainty", "-q"]) == 0
    assert (tmp_path / "t1_x2_std.nii").exists()
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "all.html"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["outputs"]
    assert [row["name"] for row in rows] == ["t1_x2.nii"]
    assert not (tmp_path / "t1_x2_std.html").exists()


def test_what_makes_no_sense_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    given, output = map(str, pair)
    for wrong in (
        [given, output, output],
        [str(tmp_path)],
        [str(tmp_path), "--truth", given],
        [given, output, "--inputs", str(tmp_path)],
    ):
        assert main(["report", *wrong, "-o", str(tmp_path / "page.html"), "-q"]) == 2
    assert not (tmp_path / "page.html").exists()
    assert main(["report", str(tmp_path / "nothing.fits"), "-q"]) == 3


def test_the_name_of_a_page() -> None:
    assert default_page(Path("/data/T1w_x2.nii.gz")).name == "T1w_x2.html"
    assert default_page(Path("/data/m51_x2.fits")).name == "m51_x2.html"


def _odd(name: str, path: Path) -> Path:
    """An image that is unlike most."""
    import nibabel as nib
    from astropy.io import fits

    generator = np.random.default_rng(0)
    sky = generator.normal(5, 1, (40, 44)).astype("f4")
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    made = {
        "nothing": lambda: fits.PrimaryHDU(np.full_like(sky, np.nan)),
        "constant": lambda: fits.PrimaryHDU(np.ones_like(sky)),
        "cube": lambda: fits.PrimaryHDU(generator.normal(5, 1, (5, 40, 44)).astype("f4")),
        "several": lambda: fits.HDUList(
            [fits.PrimaryHDU(), *(fits.ImageHDU(sky, name="SCI", ver=k) for k in (1, 2))]
        ),
        "series": lambda: nib.Nifti1Image(generator.normal(100, 9, (20, 24, 6, 3)).astype("f4"), affine),
        "labels": lambda: nib.Nifti1Image(generator.integers(0, 4, (20, 24, 6)).astype("i2"), affine),
    }[name]()
    if hasattr(made, "writeto"):
        made.writeto(path.with_suffix(".fits"))
        return path.with_suffix(".fits")
    made.to_filename(path.with_suffix(".nii"))
    return path.with_suffix(".nii")


@pytest.mark.parametrize("name", ["nothing", "constant", "cube", "several", "series", "labels"])
def test_odd_images_have_pages_too(name: str, tmp_path: Path) -> None:
    given = _odd(name, tmp_path / name)
    outcome = upscale_file(given, model="cubic" if given.suffix == ".fits" else "auto")
    chosen = {"several": {"part": "SCI,2"}, "series": {"volume": 2}}.get(name, {})
    checked(write_page(given, outcome.output, **chosen))


@pytest.mark.parametrize("scale", ["3/2", "2,1", "4"])
def test_pages_of_other_scales(pair: tuple[Path, Path], tmp_path: Path, scale: str) -> None:
    outcome = upscale_file(pair[0], tmp_path / "out.fits", model="cubic", scale=scale)
    checked(write_page(pair[0], outcome.output))


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["astro/check/msx_gc_e.fits", "mri/check/sct_t1w_cervical_1mm.nii.gz"])
def test_real_files_have_good_pages(shared_data: Path, tmp_path: Path, name: str) -> None:
    suffix = ".nii.gz" if name.endswith(".gz") else ".fits"
    outcome = upscale_file(shared_data / name, tmp_path / f"out{suffix}")
    page = write_page(shared_data / name, outcome.output)
    checked(page)
    told = words(page)
    assert "could not be made" not in told
    assert "not checked" not in told
    assert "checks passed" in told
