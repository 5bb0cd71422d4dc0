"""Batches, outputs and exit codes: nothing overwritten, nothing lost, never 0 after a failure."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sciSR.cli.main import main
from sciSR.errors import UsageError
from sciSR.workflow.run import Failure, Outcome, upscale_batch, upscale_file

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
FAST = ["--model", "linear", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SAMPLES / "phantom.nii.gz", tmp_path / "good.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes((SAMPLES / "phantom.nii.gz").read_bytes()[:20000])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def upscale(*words: object) -> int:
    return main(["upscale", *map(str, words), *FAST])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_bad_file_does_not_stop_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("good.nii.gz", "other.nii.gz")
    assert upscale("good.nii.gz", "bad.nii.gz", "missing.fits", "other.nii.gz", "--json") == 4
    said = capsys.readouterr()
    results = json.loads(said.out)["results"]
    assert [result["ok"] for result in results] == [True, False, False, True]
    assert [result.get("exit_code") for result in results] == [None, 3, 3, None]
    assert [line for line in said.err.splitlines() if line.startswith("error: ")] == [
        f"error: {result['error']}" for result in results if not result["ok"]
    ]
    assert names(folder) == {
        "good.nii.gz", "bad.nii.gz", "other.nii.gz", "good_x2.nii.gz", "other_x2.nii.gz"
    }  # fmt: skip


@pytest.mark.parametrize(("name", "code"), [("bad.nii.gz", 3), ("missing.fits", 3)])
def test_a_single_failure_has_its_own_code(name: str, code: int, folder: Path) -> None:
    before = names(folder)
    assert upscale(name) == code
    assert names(folder) == before


def test_all_of_several_failed_is_4(folder: Path) -> None:
    assert upscale("bad.nii.gz", "missing.fits") == 4


def test_nothing_is_overwritten_without_being_asked(folder: Path) -> None:
    (folder / "good_x2.nii.gz").write_bytes(b"precious")
    assert upscale("good.nii.gz") == 2
    assert (folder / "good_x2.nii.gz").read_bytes() == b"precious"
    assert upscale("good.nii.gz", "--overwrite") == 0
    assert (folder / "good_x2.nii.gz").read_bytes() != b"precious"


@pytest.mark.parametrize(
    "words",
    [
        ["good.nii.gz", "-o", "good.nii.gz", "--overwrite"],
        ["good.nii.gz", "-o", "./good.nii.gz", "--overwrite"],
        ["good.nii.gz", "bad.nii.gz", "-o", "one.nii.gz"],
        ["good.nii.gz", "good.nii.gz"],
        ["good.nii.gz", "sub/good.nii.gz", "--out-dir", "hr"],
        ["good.nii.gz", "-o", "a.nii.gz", "--out-dir", "hr"],
        ["good.nii.gz", "-o", "a.fits"],
        ["good.nii.gz", "-o", "a.jpg"],
        ["good.nii.gz", "-o", "sub"],
        ["good.nii.gz", "-o", "no/such/folder/a.nii.gz"],
        ["good.nii.gz", "--hdu", "SCI"],
        ["series", "-o", "series/out", "--overwrite"],
        ["series", "-o", "series", "--overwrite"],
    ],
)
def test_requests_that_make_no_sense_are_refused_before_any_work(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sub").mkdir()
    shutil.copy("good.nii.gz", "sub/good.nii.gz")
    shutil.copytree(SAMPLES / "phantom_dicom", folder / "series")
    before = sorted(path for path in folder.rglob("*"))
    assert upscale(*words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(path for path in folder.rglob("*")) == before


def test_an_output_that_is_another_input_is_refused(folder: Path) -> None:
    shutil.copy("good.nii.gz", "good_x2.nii.gz")
    before = (folder / "good_x2.nii.gz").read_bytes()
    assert upscale("good.nii.gz", "good_x2.nii.gz", "--overwrite") == 2
    assert (folder / "good_x2.nii.gz").read_bytes() == before


def test_quiet_says_nothing_when_all_is_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upscale("good.nii.gz", "-q") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ""


def test_results_go_to_stdout_and_the_rest_to_stderr(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upscale("good.nii.gz", "-v") == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1
    assert said.out.startswith("good.nii.gz -> good_x2.nii.gz")
    assert "--scale = 2 (default)" in said.err
    assert "--model = linear (given)" in said.err


def test_an_unwritable_folder_is_named(folder: Path) -> None:
    (folder / "file").write_text("not a folder")
    assert upscale("good.nii.gz", "--out-dir", "file/hr") == 2


def test_python_batch_gives_records(folder: Path) -> None:
    good, bad = upscale_batch(["good.nii.gz", "bad.nii.gz"], model="linear")
    assert isinstance(good, Outcome)
    assert isinstance(bad, Failure)
    json.dumps([good.as_dict(), bad.as_dict()], allow_nan=False)
    assert good.parts[0].shape_out == (192, 192, 24)


def test_progress_runs_from_start_to_end(folder: Path) -> None:
    seen: list[float] = []
    upscale_file("good.nii.gz", model="linear", progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_python_refusals_are_errors_with_a_remedy(folder: Path) -> None:
    with pytest.raises(UsageError, match="nifti input can't become a fits output"):
        upscale_file("good.nii.gz", "x.fits")


def test_the_folder_one_stands_in_is_an_input_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SAMPLES / "phantom_dicom", tmp_path / "series")
    monkeypatch.chdir(tmp_path / "series")
    assert upscale(".") == 0
    assert len(list((tmp_path / "series_x2").iterdir())) == 12


def test_a_full_disk_is_code_5_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        for name, output in (
            ("phantom.nii.gz", "a.nii.gz"),
            ("star_field.fits", "a.fits"),
            ("phantom_dicom", "a"),
        ):
            assert upscale(SAMPLES / name, "-o", small / output) == 5
            assert list(small.iterdir()) == []
            assert "free some space" in capsys.readouterr().err
    finally:
        subprocess.run(["umount", str(small)], check=True)
