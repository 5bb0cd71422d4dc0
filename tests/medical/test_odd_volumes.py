"""Odd and broken volumes through the command line: each gets the right result, or one line that says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nifti_samples import make, read, voxels

from sciSR.cli.main import main

OK, USAGE, REFUSED = 0, 2, 3

# In the plane: exit code, and words of the warning or the error.
IN_PLANE: dict[str, tuple[int, str]] = {
    "analyze.hdr": (OK, "ANALYZE 7.5, which says nothing of orientation"),
    "dtype_rgb24.nii.gz": (REFUSED, "RGB24 colour voxels"),
    "empty.nii.gz": (REFUSED, "the file is empty"),
    "header_only.nii": (REFUSED, "truncated: 348 bytes"),
    "lfs_pointer.nii.gz": (REFUSED, "run 'git lfs pull'"),
    "no_qform_no_sform.nii.gz": (OK, "neither qform nor sform"),
    "not_nifti.nii.gz": (REFUSED, "no adapter recognises it"),
    "pixdim_zero.nii": (OK, "pixdim[1] is 0"),
    "qfac_bad.nii": (OK, "(qfac) is -3"),
    "qform_sform_disagree.nii.gz": (OK, "qform and sform disagree"),
    "truncated.nii": (REFUSED, "truncated"),
    "truncated_gz.nii.gz": (REFUSED, "damaged gzip data"),
} | dict.fromkeys(
    (
        *(f"{name}.nii.gz" for name in (
            "allzero", "axes_permuted", "big_endian", "constant", "double_oblique", "dtype_complex64", "dtype_float64",
            "dtype_int32", "dtype_int64", "dtype_int8", "dtype_uint16", "dtype_uint32", "dtype_uint8", "extensions",
            "labels", "left_handed_LAS", "nan_inf", "nifti2", "odd_size", "qform_only", "sform_only", "sheared_sform",
            "single_slice", "singleton4d", "sliceinfo", "tiny_5x5x3", "two_d", "units_metre", "units_unknown",
        )),
        "neg_slope.nii", "pair.hdr", "slope_nan.nii", "slope_zero.nii", "vol.mgz",
    ),
    (OK, ""),
)  # fmt: skip

# Isotropic: all but these are refused as in the plane, or isotropic already.
ISOTROPIC: dict[str, tuple[int, str]] = {
    "double_oblique.nii.gz": (OK, "slice thickness unknown: taken as the spacing"),
    "sheared_sform.nii.gz": (
        OK,
        "slice thickness unknown",
    ),  # sheared within its slices, not from one to the next
    "single_slice.nii.gz": (REFUSED, "holds one slice"),
    "two_d.nii.gz": (REFUSED, "is no volume of parallel slices"),
}


def run(capsys: pytest.CaptureFixture, *words: Any) -> tuple[int, str]:
    """Exit code, and everything that was said."""
    with warnings.catch_warnings():
        code = main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return int(code or 0), said.out + said.err


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error:")]


@pytest.mark.realdata
def test_the_table_names_every_file(shared_data: Path) -> None:
    found = {path.name for path in (shared_data / "mri/odd").iterdir() if path.suffix != ".img"}
    assert found == set(IN_PLANE)


@pytest.mark.realdata
@pytest.mark.parametrize("name", IN_PLANE)
def test_in_the_plane(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    expected, words = IN_PLANE[name]
    source, target = shared_data / "mri/odd" / name, tmp_path / "out.nii"
    code, said = run(capsys, "upscale", source, "-o", target, "--model", "nearest")
    assert code == expected
    assert words in said
    if code != OK:
        assert len(errors(said)) == 1
        assert list(tmp_path.iterdir()) == []
        return
    assert ("warning:" in said) == bool(words)
    before, after = read(source), nib.load(target)
    assert after.shape[2:] == before.shape[2:]
    assert after.shape[:2] == tuple(2 * n for n in before.shape[:2])
    coarse = np.asarray(after.dataobj)[::2, ::2]
    assert np.allclose(coarse, np.asarray(before), rtol=1e-6, equal_nan=True)


@pytest.mark.realdata
@pytest.mark.parametrize("name", IN_PLANE)
def test_isotropic(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    in_plane = IN_PLANE[name]
    nothing = (OK, "already isotropic") if in_plane[0] == OK else in_plane
    expected, words = ISOTROPIC.get(name, nothing)
    target = tmp_path / "out.nii"
    code, said = run(
        capsys, "upscale", shared_data / "mri/odd" / name, "-o", target, "--isotropic", "--model", "linear"
    )
    assert code == expected
    assert words in said
    assert len(errors(said)) == (code != OK)
    written = code == OK and "already isotropic" not in said
    assert target.exists() == written
    assert written or list(tmp_path.iterdir()) == []
    if written:
        zooms = np.array(nib.load(target).header.get_zooms()[:3])
        assert np.allclose(zooms, zooms.mean(), rtol=0.02)


# -- thick slices with something odd about them -----------------------------------------------------------------------


def thick(
    tmp_path: Path, slices: int = 5, record: dict | None = None, data: np.ndarray | None = None
) -> Path:
    data = voxels((14, 12, slices)) if data is None else data
    path = make(tmp_path / "in.nii", data=data.astype(np.float32), affine=np.diag([1.0, 1.0, 3.0, 1.0]))
    if record is not None:
        (tmp_path / "in.json").write_text(json.dumps(record))
    return path


def isotropic(capsys: pytest.CaptureFixture, path: Path, *more: Any) -> tuple[nib.Nifti1Image, str]:
    target = path.with_name("out.nii")
    code, said = run(capsys, "upscale", path, "-o", target, "--isotropic", "--model", "smoothest", *more)
    assert code == OK, said
    return nib.load(target), said


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (None, "slice thickness unknown"),
        ({"SliceThickness": 2.5}, "2.5"),
        ({"SliceThickness": 3.0}, "3"),
        ({"SliceThickness": 4.5}, "4.5"),
        ({"SliceThickness": 2.5, "SpacingBetweenSlices": 3.6}, "the header is used"),
        ({"SliceThickness": "thick"}, "no length; it is not used"),
    ],
)
def test_slice_thickness_missing_gapped_overlapping_or_nonsense(
    tmp_path: Path, capsys: pytest.CaptureFixture, record: dict | None, words: str
) -> None:
    result, said = isotropic(capsys, thick(tmp_path, record=record))
    assert words in said
    assert result.shape == (14, 12, 15)
    assert np.isfinite(result.get_fdata()).all()
    if record is not None:
        after = json.loads((tmp_path / "out.json").read_text())
        assert after["SliceThickness"] == after["SpacingBetweenSlices"] == 1.0
        assert after["SciSR"]["Original"] == record


@pytest.mark.parametrize(("step", "code"), [(0.0, OK), (0.01, OK), (0.05, REFUSED), (1.0, REFUSED)])
def test_slices_that_do_not_follow_each_other_along_their_normal_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, step: float, code: int
) -> None:
    affine = np.array([[1.0, 0, 0, 0], [0, 1, step, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    path = make(tmp_path / "in.nii", (14, 12, 5), affine=affine)
    target = tmp_path / "out.nii"
    found, said = run(capsys, "upscale", path, "-o", target, "--isotropic", "--model", "smoothest")
    assert found == code
    assert ("sheared" in said) == (code != OK)
    assert target.exists() == (code == OK)


@pytest.mark.parametrize("slices", [2, 3])
def test_two_slices_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture, slices: int) -> None:
    result, _ = isotropic(capsys, thick(tmp_path, slices))
    assert result.shape == (14, 12, 3 * slices)
    assert np.allclose(result.affine @ [0, 0, -0.5, 1], [0, 0, -1.5, 1])  # the field begins where it began


def test_a_constant_volume_stays_constant(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    result, _ = isotropic(capsys, thick(tmp_path, data=np.full((14, 12, 5), 7.25)))
    assert np.allclose(result.get_fdata(), 7.25, atol=1e-5)


def test_bad_voxels_stay_bad_and_spoil_no_others(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = voxels((14, 12, 5))
    data[4, 5, 2] = np.nan
    data[9, 2, 0] = np.inf
    result, _ = isotropic(capsys, thick(tmp_path, data=data))
    bad = ~np.isfinite(result.get_fdata())
    expected = np.zeros_like(bad)
    expected[4, 5, 6:9] = expected[9, 2, 0:3] = True
    assert np.array_equal(bad, expected)


# -- memory across slices ---------------------------------------------------------------------------------------------

PEAK = """
import sys
from functools import partial
from pathlib import Path
from sciSR.throughplane import plan_isotropic
from sciSR.workflow.outputs import plan_jobs
from sciSR.workflow.run import run_jobs
jobs = plan_jobs([sys.argv[1]], output=sys.argv[2], scale="iso")
[outcome] = run_jobs(jobs, make_plan=partial(plan_isotropic, model="smoothest"))
assert outcome.as_dict()["ok"], outcome
status = Path("/proc/self/status").read_text().splitlines()
[most] = [line.split()[1] for line in status if line.startswith("VmHWM")]
print(most)
"""
VOLUME = (96, 96, 12)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc to ask")
def test_memory_does_not_grow_with_the_number_of_volumes_across_slices(tmp_path: Path) -> None:
    peaks = []
    for volumes in (12, 72):
        path = make(
            tmp_path / f"in{volumes}.nii", (*VOLUME, volumes), dtype=np.int16, affine=np.diag([1.0, 1, 4, 1])
        )
        command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / f"out{volumes}.nii")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
        peaks.append(int(done.stdout) * 1024)
    more = 60 * 4 * 4 * int(np.prod(VOLUME))  # bytes of the further output volumes
    assert peaks[1] - peaks[0] < more / 3
