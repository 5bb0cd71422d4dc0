"""`scisr register`: a table for people, JSON for programs, frames that can't be placed named."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from sciSR.cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
FRAMES = [str(path) for path in sorted((SAMPLES / "frames").glob("*.fits"))]


@pytest.fixture(scope="module")
def true_matrices() -> list[np.ndarray]:
    sys.path.insert(0, str(SAMPLES))
    try:
        import sequence
    finally:
        sys.path.remove(str(SAMPLES))
    return sequence.make_sequence().matrices


def test_json_gives_the_true_transforms_within_their_errors(
    capsys: pytest.CaptureFixture[str], true_matrices: list[np.ndarray]
) -> None:
    assert main(["register", *FRAMES, "--reference", "0", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reference"] == {"index": 0, "name": "frame_1.fits"}
    centre = np.array([43.5, 47.5, 1.0])
    for frame, truth in zip(document["frames"], true_matrices, strict=True):
        off = (np.array(frame["matrix"]) - truth) @ centre
        assert np.hypot(*off) < max(4 * frame["error_px"], 1e-9)


def test_the_table_has_a_line_for_each_frame(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["register", *FRAMES, "--reference", "frame_3.fits"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["frame", "model", "from"]
    assert [line.split()[0] for line in lines] == [f"frame_{k}.fits" for k in range(1, 7)]
    assert lines[2].split()[1] == "reference"


def foreign(path: Path) -> Path:
    """A frame of another field, with no world coordinates to tell."""
    from astropy.io import fits

    counts = np.random.default_rng(0).poisson(120, (88, 96)).astype(np.uint16)
    header = fits.getheader(FRAMES[0])
    for key in [
        k for k in header if k.startswith(("CTYPE", "CRVAL", "CRPIX", "CD", "CUNIT", "CHECKSUM", "DATASUM"))
    ]:
        del header[key]
    fits.PrimaryHDU(counts, header).writeto(path)
    return path


def test_a_frame_that_can_not_be_placed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = foreign(tmp_path / "other.fits")
    assert main(["register", *FRAMES[:3], str(other), "--reference", "0"]) == 0
    said = capsys.readouterr()
    assert "other.fits: not registered" in said.err
    assert "other.fits" not in said.out


def test_only_the_reference_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = foreign(tmp_path / "other.fits")
    assert main(["register", FRAMES[0], str(other), "--reference", "0"]) == 3
    assert "not registered" in capsys.readouterr().err


def test_strict_stops_at_a_frame_that_can_not_be_placed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = foreign(tmp_path / "other.fits")
    assert main(["register", *FRAMES[:2], str(other), "--reference", "0", "--strict"]) == 3
    assert "other.fits: can't be registered" in capsys.readouterr().err


def test_a_damaged_file_is_named_and_the_rest_registered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in FRAMES[:3]:
        shutil.copy(path, tmp_path)
    (tmp_path / "frame_2.fits").write_bytes(b"SIMPLE  =                    T")
    assert main(["register", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    [unread] = document["unread"]
    assert unread["name"].startswith("frame_2.fits")
    assert len(document["frames"]) == 2


@pytest.mark.parametrize("name", ["frame_9.fits", "99"])
def test_a_reference_that_is_not_there_is_a_usage_error(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["register", *FRAMES[:2], "--reference", name]) == 2
    assert "error:" in capsys.readouterr().err


def test_a_planets_frames_are_registered_by_its_surface(capsys):
    from pathlib import Path

    clip = Path(__file__).resolve().parents[2] / "data_samples" / "planet.ser"
    assert main(["register", str(clip), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {frame["model"] for frame in found["frames"] if frame["registered"]} >= {"local"}
