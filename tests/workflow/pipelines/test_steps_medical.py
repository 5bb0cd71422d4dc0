"""Steps on volumes: stacks, isotropic volumes, series of files, deviations beside, and names of patients nowhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pipeline_tasks import SAMPLES, assert_done, make_task, outputs_of, records, tree

import sciSR
from sciSR.provenance import file_sha256
from sciSR.workflow.pipelines.running import run_task

ISO = {"step": "isotropic", "model": "smoothest", "self_training": "0"}


def test_thick_slices_become_thin_and_are_held_against_themselves(tmp_path: Path) -> None:
    nodes = tree({"step": "read"}, ISO, {"step": "verify"}, {"step": "write"}, {"step": "report"})
    task = make_task(tmp_path, [SAMPLES / "phantom.nii.gz"], nodes)
    result = run_task(task)
    assert_done(result)
    assert set(outputs_of(task)) == {"item1_hr.nii.gz", "item1_hr.html"}
    made = Path(task.output) / "item1_hr.nii.gz"
    spacing = nibabel.load(made).header.get_zooms()
    assert max(spacing) < 1.05 * min(spacing)
    assert sciSR.verify_files(task.files[0], made).passed
    assert "Research use only" in (Path(task.output) / "item1_hr.html").read_text()


def test_what_is_isotropic_already_passes_on_unchanged(tmp_path: Path) -> None:
    volume = tmp_path / "thin.nii"
    data = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), volume)
    steps = ({"step": "read"}, ISO, {"step": "verify"}, {"step": "write"}, {"step": "report"})
    task = make_task(tmp_path, [volume], tree(*steps))
    result = run_task(task)
    assert_done(result)
    assert "skipped" in records(result)["isotropic"]
    assert "nothing was made of it" in records(result)["verify"]["skipped"]
    assert (Path(task.output) / "item1_hr.html").is_file()
    assert result.steps[1]["messages"]
    made = Path(task.output) / "item1_hr.nii"
    assert made.read_bytes() == volume.read_bytes()
    assert (
        made.stat().st_ino != Path(task.files[0]).stat().st_ino
    )  # a change of one changes nothing in the other


def test_the_deviation_goes_with_its_image_under_the_name_of_each_branch(tmp_path: Path) -> None:
    """One upscaling, two branches that write it: it is done once, and both have the image and its deviation."""
    nodes = tree(
        {"step": "read"},
        {"step": "upscale", "model": "linear", "uncertainty": True},
        {"branches": {"a": [{"step": "verify"}], "b": [{"step": "verify", "name": "again"}]}},
        {"step": "write"},
    )
    task = make_task(tmp_path, [SAMPLES / "phantom.nii.gz"], nodes, name="{item}_{branch}")
    result = run_task(task)
    assert_done(result)
    made = outputs_of(task)
    assert set(made) == {f"item1_{b}{s}.nii.gz" for b in "ab" for s in ("", "_std")}
    assert made["item1_a.nii.gz"] == made["item1_b.nii.gz"]
    assert [step["id"] for step in result.steps].count("02-upscale") == 1
    assert sciSR.verify_files(task.files[0], Path(task.output) / "item1_a.nii.gz").passed


def test_a_series_among_other_files_is_one_input_named_after_nobody(tmp_path: Path) -> None:
    """Slices that lie in a folder with others; the patient's name is in the files' and the folder's names."""
    folder = tmp_path / "in" / "DOE^JANE"
    folder.mkdir(parents=True)
    files = []
    for number, path in enumerate(sorted((SAMPLES / "phantom_dicom").iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientIdentityRemoved = "Doe^Jane", "NO"
        target = folder / f"Doe_Jane_{number:03d}.dcm"
        dataset.save_as(target)
        files.append(target)
    digest = file_sha256(folder)
    shutil.copy(SAMPLES / "phantom.nii.gz", folder / "other.nii.gz")
    nodes = tree(
        {"step": "read"},
        {"step": "upscale", "model": "linear"},
        {"step": "verify"},
        {"step": "write"},
        {"step": "report"},
    )
    task = make_task(tmp_path, files, nodes, key="series-1")
    result = run_task(task)
    assert_done(result)
    assert {output.path for output in result.outputs} == {"series-1_hr", "series-1_hr.html"}
    assert records(result)["upscale"]["input_sha256"] == digest
    made = Path(task.output) / "series-1_hr"
    assert len(list(made.iterdir())) == len(files)
    told = json.dumps(result.as_dict()) + (Path(task.output) / "series-1_hr.html").read_text()
    assert "Jane" not in told
    assert "DOE^" not in told


def test_a_broken_series_fails_without_its_patients_name(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "DOE^JANE"
    folder.mkdir(parents=True)
    bad = folder / "Doe_Jane.dcm"
    dataset = pydicom.dcmread(next((SAMPLES / "phantom_dicom").iterdir()))
    dataset.PatientName, dataset.PatientIdentityRemoved = "Doe^Jane", "NO"
    dataset.save_as(bad)
    bad.write_bytes(bad.read_bytes()[:-500])
    result = run_task(make_task(tmp_path, [bad], tree({"step": "read"}, {"step": "upscale"})))
    assert result.error is not None
    assert result.error["exit_code"] == 3
    assert "Jane" not in json.dumps(result.as_dict())
    assert "DOE^" not in json.dumps(result.as_dict())


def test_stacks_in_two_directions_become_one_volume(tmp_path: Path) -> None:
    stacks = two_stacks(tmp_path)
    nodes = tree(
        {"step": "read"},
        {"step": "register"},
        {"step": "fuse", "spacing": 3, "no_slice_motion": True},
        {"step": "verify"},
        {"step": "write"},
    )
    task = make_task(tmp_path, stacks, nodes, sequence=True)
    result = run_task(task)
    assert_done(result)
    told = records(result)
    assert told["register"] == {"registered": "within the fusion"}
    assert len(told["fuse"]["stacks"]) == 2
    assert "skipped" in told["verify"]
    made = {"item1_hr.nii.gz", "item1_hr_std.nii.gz", "item1_hr.json", "item1_hr.png"}
    assert set(outputs_of(task)) == made
    found = nibabel.load(Path(task.output) / "item1_hr.nii.gz")
    assert np.allclose(found.header.get_zooms(), 3, atol=0.2)


def two_stacks(folder: Path) -> list[Path]:
    """One smooth body in thick slices along two of its axes."""
    grid = np.stack(np.meshgrid(*(np.arange(24.0),) * 3, indexing="ij")) - 11.5
    body = (np.exp(-(grid**2).sum(0) / 60) * 1000 + 50 * (grid[0] > 0)).astype(np.float32)
    paths = []
    for axis in (2, 0):
        shape = [24, 24, 24]
        shape[axis] = 6
        thick = np.add.reduceat(body, np.arange(0, 24, 4), axis=axis) / 4
        affine = np.eye(4)
        affine[axis, axis] = 4
        affine[:3, 3] = -11.5
        affine[axis, 3] = -10
        path = folder / f"stack{axis}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(thick.astype(np.float32), affine), path)
        paths.append(path)
    return paths


@pytest.mark.parametrize("step", ["upscale", "degrade"])
def test_what_takes_one_image_refuses_a_sequence_by_name(tmp_path: Path, step: str) -> None:
    task = make_task(tmp_path, two_stacks(tmp_path), tree({"step": step}), sequence=True)
    result = run_task(task)
    assert result.error is not None
    assert result.error["exit_code"] == 2
    assert "step: fuse" in result.error["message"]
