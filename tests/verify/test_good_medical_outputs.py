"""What the command line makes of real volumes and series holds every promise that can be verified."""

from __future__ import annotations

import json
import tarfile
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from volume_faults import failures_told

from sciSR.cli.main import main

pytestmark = pytest.mark.realdata

CHECK = [
    "fnndsc_eun_uchar8", "openms_long_p19_study1_FLAIR", "openms_long_p19_study2_T1W",
    "phantom_GE_13_Ax_T2_FLAIR_FS_DL_High", "sct_t1w_cervical_1mm", "sct_t2_cervical_0p8", "sct_t2_cervical_1mm",
    "sct_t2s_0p5x7p5",
]  # fmt: skip
ODD = [
    "axes_permuted.nii.gz", "big_endian.nii.gz", "constant.nii.gz", "double_oblique.nii.gz", "dtype_complex64.nii.gz",
    "dtype_uint16.nii.gz", "extensions.nii.gz", "labels.nii.gz", "left_handed_LAS.nii.gz", "nan_inf.nii.gz",
    "neg_slope.nii", "nifti2.nii.gz", "no_qform_no_sform.nii.gz", "pair.hdr", "pixdim_zero.nii", "qfac_bad.nii",
    "qform_only.nii.gz", "qform_sform_disagree.nii.gz", "sheared_sform.nii.gz", "single_slice.nii.gz",
    "singleton4d.nii.gz", "sliceinfo.nii.gz", "slope_zero.nii", "tiny_5x5x3.nii.gz", "two_d.nii.gz",
    "units_metre.nii.gz", "analyze.hdr", "vol.mgz",
]  # fmt: skip
SERIES = [
    "d2n_ge_anatomical_001", "d2n_generic_compressed_j2k_001", "d2n_hitachi_anatomical_001", "d2n_philips_dti_001",
    "d2n_siemens_dti_classic_001", "d2n_hyperfine_anatomical_001", "d2n_siemens_multiframe_anatomical_001",
    "pydicomdata_explicit_VR-UN.dcm", "pydicomdata_MR-SIEMENS-DICOM-WithOverlays.dcm",
]  # fmt: skip
DEEP = ["d2n_generic_anatomical_002_non_isotropic", "d2n_hitachi_anatomical_001"]


def cropped(source: Path, target: Path, size: int = 40) -> Path:
    """The middle of a volume, on the same grid; its header otherwise as it is."""
    image = nib.load(source)
    at = tuple(slice(max(0, (n - size) // 2), max(0, (n - size) // 2) + size) for n in image.shape[:3])
    # nibabel's slicer knows the new place; the codes and either transform are put back by hand.
    crop = image.slicer[at]
    moved = np.linalg.inv(image.affine) @ crop.affine
    new = nib.Nifti1Image(np.asarray(image.dataobj.get_unscaled())[at], None, image.header)
    new.header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)
    for name in ("sform", "qform"):
        affine, code = getattr(image.header, f"get_{name}")(coded=True)
        getattr(new.header, f"set_{name}")(None if affine is None else affine @ moved, code)
    nib.save(new, target)
    return target


def run(*words: Any) -> int:
    with warnings.catch_warnings(action="ignore"):
        return int(main([str(word) for word in words]) or 0)


def holds(source: Path, output: Path, *upscale: Any, capsys: pytest.CaptureFixture) -> None:
    """Upscale, then verify."""
    assert run("upscale", source, "-o", output, "--quiet", *upscale) == 0
    capsys.readouterr()
    code, said = run("verify", source, output, "--json"), capsys.readouterr().out
    assert code == 0, failures_told(said)
    assert json.loads(said)["passed"] is True


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECK)
def test_volumes_in_the_plane(shared_data, tmp_path, name, capsys):
    source = cropped(shared_data / f"mri/check/{name}.nii.gz", tmp_path / "crop.nii.gz")
    holds(source, tmp_path / "out.nii.gz", capsys=capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openms_long_p19_study1_FLAIR", "sct_t2s_0p5x7p5"])
def test_volumes_with_new_slices(shared_data, tmp_path, name, capsys):
    source = cropped(shared_data / f"mri/check/{name}.nii.gz", tmp_path / "crop.nii.gz", 32)
    holds(source, tmp_path / "out.nii.gz", "--isotropic", "--self", 0, capsys=capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_odd_volumes(shared_data, tmp_path, name, capsys):
    ending = ".hdr" if name == "pair.hdr" else ".nii.gz"
    holds(shared_data / f"mri/odd/{name}", tmp_path / f"out{ending}", capsys=capsys)


@pytest.fixture(scope="module")
def unpacked(shared_data, tmp_path_factory):
    """Folder of a series, or a file."""
    folder = tmp_path_factory.mktemp("series")

    def get(name: str) -> Path:
        archive = shared_data / f"dicom/{name}.tar.xz"
        if not archive.exists():
            return shared_data / f"dicom/{name}"
        if not (folder / name).exists():
            with tarfile.open(archive) as packed:
                packed.extractall(folder / name, filter="data")
        return folder / name

    return get


@pytest.mark.slow
@pytest.mark.parametrize("name", SERIES)
def test_series_in_the_plane(unpacked, tmp_path, name, capsys):
    source = unpacked(name)
    holds(source, tmp_path / ("out.dcm" if source.is_file() else "out"), "--model", "cubic", capsys=capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_series_with_new_slices(unpacked, tmp_path, name, capsys):
    holds(unpacked(name), tmp_path / "out", "--isotropic", "--self", 0, capsys=capsys)


@pytest.mark.slow
def test_a_series_by_the_network(unpacked, tmp_path, capsys):
    holds(unpacked("d2n_hitachi_anatomical_001"), tmp_path / "out", capsys=capsys)


def test_crops_keep_the_grid(shared_data, tmp_path):
    """The crop itself is no source of failures: nibabel's slicer keeps codes and voxel sizes."""
    source = shared_data / "mri/check/sct_t2_cervical_1mm.nii.gz"
    one, two = nib.load(source), nib.load(cropped(source, tmp_path / "crop.nii.gz"))
    assert [int(one.header[k]) for k in ("qform_code", "sform_code")] == [
        int(two.header[k]) for k in ("qform_code", "sform_code")
    ]
    np.testing.assert_allclose(one.header.get_zooms(), two.header.get_zooms())
