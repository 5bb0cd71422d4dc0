"""Every real series beside the checkout: upscaled onto the right grid, or refused with one line that says why."""

from __future__ import annotations

import gzip
import tarfile
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from dicom_samples import datasets, dciodvfy_errors, write_all
from test_dicom_geometry import by_highdicom, by_simpleitk, corners, places, predicted, run_dcm2niix

from sciSR.errors import GeometryError, SciSRError, UnsupportedError
from sciSR.testing import refine_nearest
from scisr_medical.dicom_adapter import adapter

pytestmark = pytest.mark.realdata

READ = {
    "d2n_failing_slicecount_001": (2, 256, 256),
    "d2n_ge_anatomical_001": (4, 256, 256),
    "d2n_ge_anatomical_001_single_slice": (1, 256, 256),
    "d2n_generic_anatomical_002_non_isotropic": (4, 28, 64),
    "d2n_generic_compressed_j2k_001": (4, 256, 256),
    "d2n_generic_compressed_jpeg_001": (4, 256, 256),
    "d2n_generic_compressed_jpegls_001": (4, 256, 256),
    "d2n_generic_compressed_rle_001": (4, 256, 256),
    "d2n_hitachi_anatomical_001": (4, 64, 64),
    "d2n_philips_anatomical_001": (4, 240, 240),
    "d2n_philips_anatomical_001_implicit": (4, 240, 240),
    "d2n_philips_dti_001": (2, 128, 128, 4),
    "d2n_siemens_anatomical_001": (4, 256, 256),
    "d2n_siemens_dti_classic_001": (4, 192, 192, 2),
    "siemens_xa30_t1tfl_96_phantom": (96, 128, 128),
    "pydicomdata_MR-SIEMENS-DICOM-WithOverlays.dcm": (1, 484, 484),
    "pydicomdata_MR2_J2KI.dcm": (1, 1024, 1024),
    "pydicomdata_MR2_J2KR.dcm": (1, 1024, 1024),
    "pydicomdata_explicit_VR-UN.dcm": (1, 512, 512),
    "bad_sequence.dcm": (1, 512, 512),
}
IRREGULAR = {
    "d2n_failing_gantrytilting_001": "gantry tilt 14.00 degrees.*IM-0001-0001.dcm to IM-0001-0004.dcm",
    "d2n_failing_notavolume_001": "duplicated slices: 001.dcm and 002.dcm",
    "d2n_failing_sliceincrement_001": "10 mm between IM-0001-0009-0001.dcm and IM-0001-0010-0001.dcm, expected 5 mm",
    "d2n_failing_sliceincrement_002": "1.499 mm between IM-0001-0003.dcm and IM-0001-0005.dcm, expected 0.7497 mm",
    "d2n_failing_sliceorientation_001": "mixed orientations: IM-0001-0001-0001 2.dcm .* IM-0001-0001-0001.dcm",
    "d2n_ge_dti_002": "duplicated slices: 001 and 101",
}
REFUSED = {
    "d2n_generic_rgb_001": "Secondary Capture Image Storage .colour, RGB.",
    "d2n_siemens_fmri_001": "Siemens mosaic",
    "siemens_xa30_colfa_rgb_8": "Secondary Capture Image Storage .colour, RGB.",
}
ENHANCED = {
    "d2n_hyperfine_anatomical_001",
    "d2n_philips_enhanced_anatomical_001",
    "d2n_philips_enhanced_dti_001",
    "d2n_philips_enhanced_fmri_001",
    "d2n_siemens_multiframe_anatomical_001",
    "enh_philips_fieldmap_64fr.dcm",
    "enh_siemens_xa10_rest_1.dcm",
    "enh_siemens_xa10_rest_2.dcm",
    "pydicomdata_eCT_Supplemental.dcm",
    "pydicomdata_emri_small.dcm",
    "pydicomdata_emri_small_RLE.dcm",
    "pydicomdata_emri_small_big_endian.dcm",
    "pydicomdata_emri_small_jpeg_2k_lossless.dcm",
    "pydicomdata_emri_small_jpeg_ls_lossless.dcm",
    "emri_small_jpeg_2k_lossless_too_short.dcm",
}
"""Multi-frame files, which have tests of their own."""
INVALID_SOURCE = {"bad_sequence.dcm"}
"""Sources whose own UIDs and identifiers, which a derived image has to repeat, are not valid DICOM."""


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory):
    """Name -> folder or file; archives unpacked once."""
    unpacked = tmp_path_factory.mktemp("dicom")
    found = {}
    for path in sorted((shared_data / "dicom").rglob("*")):
        if path.name.endswith(".tar.xz"):
            name = path.name.removesuffix(".tar.xz")
            with tarfile.open(path) as archive:
                archive.extractall(unpacked / name, filter="data")
            found[name] = unpacked / name
        elif path.suffix == ".dcm":
            found[path.name] = path
    return found


def quiet_read(path: Path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adapter.read(path, **options)


def plain(path: Path, target: Path) -> Path:
    """A flat folder of uncompressed-by-gzip copies, for readers that want one."""
    target.mkdir()
    for number, file in enumerate(
        sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    ):
        data = file.read_bytes()
        (target / f"{number:04d}.dcm").write_bytes(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    return target


def dcm2niix_corners(folder: Path, out: Path) -> np.ndarray:
    """LPS of the corner voxels, in any order: it turns 3-D acquisitions to the canonical axes."""
    nifti = run_dcm2niix(folder, out)
    return places(np.diag([-1, -1, 1, 1]) @ nifti.affine, corners(nifti.shape[:3]))


def test_the_table_names_every_real_file(real):
    assert set(real) == set(READ) | set(IRREGULAR) | set(REFUSED) | ENHANCED


@pytest.mark.parametrize("name", READ)
def test_a_real_series_lands_on_the_predicted_grid_of_independent_readers(real, name, tmp_path):
    (image,) = quiet_read(real[name])
    assert image.shape == READ[name]
    result = refine_nearest(image, Fraction(2))
    out = write_all([result], tmp_path / "out")
    source = datasets(plain(real[name], tmp_path / "source"))
    again = quiet_read(out)[0]
    index = corners(again.shape[:3])
    expected = predicted(source, (1, 2, 2)) if len(image.shape) == 3 and len(source) > 1 else None
    if expected is None:
        expected = again.grid.affine if len(source) == 1 else image.grid.refine((1, 2, 2, 1)).affine
    assert np.abs(places(again.grid.affine, index) - places(expected, index)).max() < 1e-3
    if len(image.shape) == 3:
        before, values = by_simpleitk(tmp_path / "source")
        after, fine = by_simpleitk(out)
        first = np.array([[0.0, 0.0, 0.0]])
        assert places(after, first) == pytest.approx(places(before, first - [0, 0.25, 0.25]), abs=1e-3)
        assert np.abs(places(after, index) - places(expected, index)).max() < 1e-3
        assert np.allclose(values, np.asarray(image), rtol=1e-6, atol=1e-4), "SimpleITK reads the same values"
        step = float(datasets(out)[0].get("RescaleSlope", 1))
        assert np.abs(fine[:, ::2, ::2] - values).max() <= step * 0.51
        if len(source) > 1:
            affine, _ = by_highdicom(out)
            assert np.abs(places(affine, index) - places(expected, index)).max() < 1e-3
            seen = dcm2niix_corners(out, tmp_path / "nii")
            nearest = np.linalg.norm(places(expected, index)[:, None] - seen[None], axis=2).min(axis=1)
            assert nearest.max() < 1e-3


@pytest.mark.parametrize("name", sorted(set(READ) - INVALID_SOURCE))
def test_dciodvfy_finds_no_error_in_what_was_derived_from_a_real_series(real, name, tmp_path):
    image = quiet_read(real[name])[0]
    write_all([refine_nearest(image, Fraction(2))], tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    for file in (files[0], files[-1]):
        assert dciodvfy_errors(file) == []


@pytest.mark.parametrize("name", IRREGULAR)
def test_an_irregular_real_series_is_refused_and_upscaled_slice_by_slice_on_request(real, name, tmp_path):
    with pytest.raises(GeometryError, match=IRREGULAR[name]) as caught:
        quiet_read(real[name])
    assert "--irregular" in str(caught.value)
    images = quiet_read(real[name], irregular=True)
    out = datasets(write_all([refine_nearest(i, Fraction(2)) for i in images], tmp_path / "out"))
    source = {d.SOPInstanceUID: d for d in datasets(plain(real[name], tmp_path / "source"))}
    assert len(out) == len(source)
    for after in out:
        before = source[after.SourceImageSequence[0].ReferencedSOPInstanceUID]
        index = corners((1, after.Rows, after.Columns))
        expected = places(predicted([before], (1, 2, 2)), index)
        assert np.abs(places(predicted([after], (1, 1, 1)), index) - expected).max() < 1e-3
    assert dciodvfy_errors(sorted((tmp_path / "out").iterdir())[0]) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_handled_is_refused_by_name_in_one_line(real, name):
    for options in ({}, {"irregular": True}):
        with pytest.raises(UnsupportedError, match=REFUSED[name]) as caught:
            quiet_read(real[name], **options)
        assert "\n" not in str(caught.value)


def test_damaged_copies_of_real_files_never_raise_anything_else(real, tmp_path):
    rng = np.random.default_rng(11)
    whole = real["pydicomdata_MR2_J2KR.dcm"].read_bytes()
    for number in range(20):
        damaged = bytearray(whole)
        for at in rng.integers(200, len(whole), 5):
            damaged[at] ^= 1 << int(rng.integers(8))
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(damaged[: len(whole) - (number % 3) * 1000])
        try:
            np.asarray(quiet_read(file)[0])
        except SciSRError as error:
            assert file.name in str(error)  # noqa: PT017  (either outcome is right)
