"""There and back: a volume, upscaled and averaged over its own voxels, is the volume again; nib-diff is the judge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from sciSR.cli.main import main

RANGE_ROUNDING = 1e-6
"""Of the volume's range: float32 has 24 bits, and a mean of a few values loses little of them."""


def averaged(fine: Path, coarse: Path, target: Path) -> Path:
    """Block means of `fine` over the voxels of `coarse`, with a header that follows from that of `fine` alone."""
    image, like = nibabel.load(fine), nibabel.load(coarse)
    data = np.asarray(image.dataobj, np.float64)
    factors = [n // m for n, m in zip(data.shape[:3], like.shape[:3], strict=True)]
    x, y, z = like.shape[:3]
    blocks = data.reshape(x, factors[0], y, factors[1], z, factors[2], *data.shape[3:])
    header = like.header.copy()  # all but geometry and type, which come from the upscaled file
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    back = np.diag([*map(float, factors), 1.0])
    back[:3, 3] = [(f - 1) / 2 for f in factors]
    out = nibabel.Nifti1Image(blocks.mean((1, 3, 5)).astype(np.float32), None, header)
    out.set_sform(image.get_sform() @ back, int(image.header["sform_code"]))
    out.set_qform(image.get_qform() @ back, int(image.header["qform_code"]))
    out.to_filename(target)
    return target


def differences(one: Path, other: Path, most: float) -> str:
    """What nib-diff prints about data and geometry."""
    fields = "dim,pixdim,qform_code,sform_code,quatern_b,quatern_c,quatern_d,qoffset_x,qoffset_y,qoffset_z,"
    fields += "srow_x,srow_y,srow_z,xyzt_units,dim_info"
    command = [Path(sys.executable).with_name("nib-diff"), "-H", fields, "--ma", f"{most:g}", one, other]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def volume(path: Path, shape: tuple[int, ...], spacing: tuple[float, float, float]) -> Path:
    rng = np.random.default_rng(5)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-16, 8, 4)  # sums of powers of two: exact in float32
    image = nibabel.Nifti1Image(rng.normal(500, 90, shape).astype(np.float32), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.to_filename(path)
    return path


CASES = {
    "isotropic": (["--isotropic", "--slice-profile", "rect", "--model", "smoothest"], (20, 24, 7)),
    "isotropic by the network": (["--isotropic", "--slice-profile", "rect", "--self", "0"], (24, 24, 6)),
    "in the plane": (["--scale", "2", "--model", "cubic", "--consistency", "block"], (20, 24, 7)),
    "a time series": (["--isotropic", "--slice-profile", "rect", "--model", "smoothest"], (12, 10, 5, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_nib_diff_finds_nothing(case, tmp_path):
    options, shape = CASES[case]
    coarse = volume(tmp_path / "in.nii", shape, (1.0, 1.0, 4.0))
    fine = tmp_path / "fine.nii"
    assert main(["upscale", str(coarse), "-o", str(fine), *options]) == 0
    back = averaged(fine, coarse, tmp_path / "back.nii")
    spread = float(np.ptp(np.asarray(nibabel.load(coarse).dataobj)))
    assert differences(coarse, back, RANGE_ROUNDING * spread) == "These files are identical.\n"


def test_the_judge_sees_a_shifted_grid(tmp_path):
    coarse = volume(tmp_path / "in.nii", (20, 24, 7), (1.0, 1.0, 4.0))
    other = nibabel.load(coarse)
    affine = other.affine.copy()
    affine[2, 3] += 0.5
    other.set_sform(affine, 1)
    other.to_filename(tmp_path / "shifted.nii")
    assert "srow_z" in differences(coarse, tmp_path / "shifted.nii", 1.0)


def test_the_judge_sees_a_voxel_beyond_rounding(tmp_path):
    coarse = volume(tmp_path / "in.nii", (20, 24, 7), (1.0, 1.0, 4.0))
    other = nibabel.load(coarse)
    data = np.asarray(other.dataobj).copy()
    spread = float(np.ptp(data))
    data[3, 4, 5] += 3 * RANGE_ROUNDING * spread
    nibabel.Nifti1Image(data, None, other.header).to_filename(tmp_path / "touched.nii")
    assert "DATA" in differences(coarse, tmp_path / "touched.nii", RANGE_ROUNDING * spread)


REAL = {
    "sct_t2s_0p5x7p5": ["--isotropic", "--slice-profile", "rect", "--model", "smoothest"],
    "openms_long_p19_study2_T1W": ["--scale", "2", "--consistency", "block"],
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_nib_diff_finds_nothing_in_real_volumes(name, tmp_path, shared_data):
    source = nibabel.load(shared_data / f"mri/check/{name}.nii.gz")
    middle = source.slicer[100:160, 100:164]  # a window takes less time; values as floats, without a scale
    data = np.asarray(middle.dataobj, np.float32)
    coarse = nibabel.Nifti1Image(data, None, middle.header)
    coarse.set_data_dtype(np.float32)
    coarse.header.set_slope_inter(1, 0)
    coarse.to_filename(tmp_path / "in.nii")
    fine = tmp_path / "fine.nii"
    assert main(["upscale", str(tmp_path / "in.nii"), "-o", str(fine), *REAL[name]]) == 0
    back = averaged(fine, tmp_path / "in.nii", tmp_path / "back.nii")
    found = differences(tmp_path / "in.nii", back, RANGE_ROUNDING * float(np.ptp(data)))
    # Oblique geometry goes through float32 twice: the last digit may differ, nothing else.
    assert "DATA" not in found
    one, other = nibabel.load(tmp_path / "in.nii"), nibabel.load(back)
    np.testing.assert_allclose(other.affine, one.affine, atol=1e-4)
