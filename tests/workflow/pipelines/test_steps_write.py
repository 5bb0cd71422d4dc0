"""The step write: names, compression, other formats, and what belongs to an image."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pipeline_tasks import SAMPLES, assert_done, make_task, outputs_of, tree

import sciSR
from sciSR.workflow.pipelines.running import run_task


@pytest.mark.parametrize(
    ("name", "first", "then"),
    [("star_field.fits", ".fits", ".fits.gz"), ("phantom.nii.gz", ".nii.gz", ".nii")],
)
def test_compressing_changes_no_byte_of_the_content(tmp_path: Path, name: str, first: str, then: str) -> None:
    upscale = {"step": "upscale", "model": "linear", "uncertainty": True}
    nodes = tree(upscale, {"step": "write", "output": "a"}, {"step": "write", "format": then, "output": "b"})
    task = make_task(tmp_path, [SAMPLES / name], nodes)
    assert_done(run_task(task))
    made = outputs_of(task)
    plain = {key: gzip.decompress(value) if key.endswith(".gz") else value for key, value in made.items()}
    for key in [key for key in made if key.startswith("a")]:
        other = "b" + key[1:].replace(first, then)
        assert plain[key] == plain[other]
    assert len(made) == (2 if name.endswith(".fits") else 4)
    assert sciSR.verify_files(task.files[0], Path(task.output) / f"b{then}").passed


def test_a_dicom_series_can_be_written_as_nifti(tmp_path: Path) -> None:
    nodes = tree(
        {"step": "upscale", "model": "linear"},
        {"step": "verify"},
        {"step": "write", "format": "nii.gz"},
        {"step": "report"},
    )
    task = make_task(tmp_path, [SAMPLES / "phantom_dicom"], nodes)
    result = run_task(task)
    assert_done(result)
    assert set(outputs_of(task)) == {"item1_hr.nii.gz", "item1_hr.html"}
    made = Path(task.output) / "item1_hr.nii.gz"
    alone = tmp_path / "alone.nii.gz"
    from sciSR.workflow.run import upscale_file

    upscale_file(task.files[0], alone, model="linear")
    one, other = nibabel.load(made), nibabel.load(alone)
    assert np.allclose(one.affine, other.affine)
    # Between the two stand the integers in which DICOM holds the values.
    assert np.abs(one.get_fdata() - other.get_fdata()).max() <= 1e-3 * np.ptp(other.get_fdata())


def test_a_format_that_cannot_hold_it_is_refused(tmp_path: Path) -> None:
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], tree({"step": "write", "format": ".nii"}))
    result = run_task(task)
    assert result.error is not None
    assert result.error["exit_code"] == 2
    assert outputs_of(task) == {}


def test_an_output_is_never_the_inputs_own_file(tmp_path: Path) -> None:
    """A pipeline that changes nothing still copies: a change of the output must not change the input."""
    task = make_task(
        tmp_path,
        [
            SAMPLES / "star_field.fits",
        ],
        tree({"step": "read"}, {"step": "write"}),
    )
    assert_done(run_task(task))
    made = Path(task.output) / "item1_hr.fits"
    assert made.read_bytes() == Path(task.files[0]).read_bytes()
    assert made.stat().st_ino != Path(task.files[0]).stat().st_ino
    assert made.stat().st_nlink == 1
