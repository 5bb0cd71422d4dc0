"""Every real file beside the checkout is upscaled onto the right grid, or refused in one clear line."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_samples import corners, fine_points, nifti_tool, raw_header

from sciSR.errors import SciSRError, SciSRWarning
from sciSR.testing import Subject, refine_nearest, write_images
from scisr_medical.nifti_adapter import adapter

pytestmark = pytest.mark.realdata

REFUSED = {
    "odd/dtype_rgb24.nii.gz": "RGB24",
    "odd/empty.nii.gz": "0 bytes",
    "odd/header_only.nii": "truncated",
    "odd/lfs_pointer.nii.gz": "Git LFS pointer",
    "odd/not_nifti.nii.gz": "is not NIfTI",
    "odd/truncated.nii": "truncated",
    "odd/truncated_gz.nii.gz": "damaged gzip",
    "series4d/sct_warp_5d_vector.nii.gz": "a vector per voxel",
}
ELSEWHERE = {  # test_analyze.py, test_kinds_files.py, test_mgh.py
    "odd/analyze.hdr", "odd/dtype_complex64.nii.gz", "odd/vol.mgz",
}  # fmt: skip
WARNED = {
    "odd/no_qform_no_sform.nii.gz": "neither qform nor sform",
    "odd/pixdim_zero.nii": r"pixdim[1] is 0",
    "odd/qfac_bad.nii": "qfac",
    "odd/qform_sform_disagree.nii.gz": "disagree",
}
IMAGES = [
    *(f"check/{name}.nii.gz" for name in (
        "fnndsc_eun_uchar8", "openms_long_p19_study1_FLAIR", "openms_long_p19_study2_T1W",
        "phantom_GE_13_Ax_T2_FLAIR_FS_DL_High", "sct_t1w_cervical_1mm", "sct_t2_cervical_0p8",
        "sct_t2_cervical_1mm", "sct_t2s_0p5x7p5",
    )),
    *(f"odd/{name}" for name in (
        "allzero.nii.gz", "axes_permuted.nii.gz", "big_endian.nii.gz", "constant.nii.gz", "double_oblique.nii.gz",
        "dtype_float64.nii.gz", "dtype_int32.nii.gz", "dtype_int64.nii.gz", "dtype_int8.nii.gz",
        "dtype_uint16.nii.gz", "dtype_uint32.nii.gz", "dtype_uint8.nii.gz", "extensions.nii.gz", "labels.nii.gz",
        "left_handed_LAS.nii.gz", "nan_inf.nii.gz", "neg_slope.nii", "nifti2.nii.gz", "no_qform_no_sform.nii.gz",
        "odd_size.nii.gz", "pair.hdr", "pixdim_zero.nii", "qfac_bad.nii", "qform_only.nii.gz",
        "qform_sform_disagree.nii.gz", "sform_only.nii.gz", "sheared_sform.nii.gz", "single_slice.nii.gz",
        "singleton4d.nii.gz", "sliceinfo.nii.gz", "slope_nan.nii", "slope_zero.nii", "tiny_5x5x3.nii.gz",
        "two_d.nii.gz", "units_metre.nii.gz", "units_unknown.nii.gz",
    )),
    *(f"series4d/{name}.nii.gz" for name in (
        "d2n_ge_dti_001_ground_truth", "d2n_philips_dti_001_ground_truth", "sct_dmri", "sct_fmri",
        "sct_fmri_r_float64", "sct_venc", "torchio_dmri_8mm",
    )),
]  # fmt: skip


def test_the_lists_name_every_file(shared_data: Path) -> None:
    suffixes = (".nii", ".nii.gz", ".hdr", ".mgz")
    folder = shared_data / "mri"
    found = {
        str(path.relative_to(folder))
        for part in ("check", "odd", "series4d")
        for path in (folder / part).iterdir()
        if path.name.endswith(suffixes)
    }
    assert found == set(IMAGES) | set(REFUSED) | ELSEWHERE


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_that_names_the_file(shared_data: Path, name: str) -> None:
    path = shared_data / "mri" / name
    with pytest.raises(SciSRError) as caught:
        adapter.read(path)
    text = str(caught.value)
    assert path.name in text
    assert REFUSED[name] in text
    assert "\n" not in text


@pytest.mark.parametrize("name", IMAGES)
def test_upscaled_onto_the_right_grid(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / "mri" / name
    subject = Subject(adapter, source)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SciSRWarning)
        (image,) = adapter.read(source)
    texts = " ".join(str(w.message) for w in caught if w.category is SciSRWarning)
    assert (WARNED[name] in texts) if name in WARNED else not texts
    result = refine_nearest(image, 2)
    target = write_images(subject, [result], tmp_path / "out.nii")

    before, after = nib.load(source), nib.load(target)
    factors = result.grid.factors
    points = corners(before.shape)
    moved = nib.affines.apply_affine(after.affine, fine_points(points, factors)) - nib.affines.apply_affine(
        before.affine, points
    )
    assert np.abs(moved).max() < 1e-3 * image.grid.spacing.min()
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    old, new = raw_header(source), raw_header(target)
    for field in ("qform_code", "sform_code", "xyzt_units", "intent_code", "dim_info"):
        assert old[field] == new[field]
    every = tuple(slice(None, None, int(f)) for f in factors)
    assert np.array_equal(
        np.asanyarray(after.dataobj[every], dtype=np.float32), before.get_fdata(dtype=np.float64).astype(np.float32),
        equal_nan=True,
    )  # fmt: skip
    if name not in ("odd/nifti2.nii.gz",):  # nifti_tool checks NIfTI-1 only
        assert "header IS GOOD" in nifti_tool(target)
