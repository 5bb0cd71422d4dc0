"""Every real enhanced file: what is derived from it, enhanced and classic, lies where other readers look for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import warnings
from fractions import Fraction
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_samples import dciodvfy_errors, write_all
from test_dicom_geometry import corners, places
from test_dicom_through_plane import resampled

from scisr_medical.dicom_adapter import adapter

pytestmark = pytest.mark.realdata

SOURCES = {
    "d2n_hyperfine_anatomical_001": {},
    "d2n_philips_enhanced_anatomical_001": {},
    "d2n_philips_enhanced_dti_001": {},
    "d2n_philips_enhanced_fmri_001": {},
    "d2n_siemens_multiframe_anatomical_001": {},
    "enh_philips_fieldmap_64fr": {"image_type": "FIELD_MAP"},
    "enh_siemens_xa10_rest_1": {},
    "enh_siemens_xa10": {},
    "pydicomdata_eCT_Supplemental": {},
}
"""Name -> how it is read; the frame set of two files stands for a time series."""
OF_THE_SOURCE = {
    "pydicomdata_eCT_Supplemental": "RescaleType",  # a blood flow map in CT, of unspecified unit
}
"""What dciodvfy says of the source as well, where only the scanner knows better."""
TOLERANCE = 1e-3  # mm


@pytest.fixture(scope="module")
def sources(shared_data, tmp_path_factory):
    """Name -> a folder with the files of one series."""
    unpacked = tmp_path_factory.mktemp("enhanced")
    for name in SOURCES:
        folder = unpacked / name
        folder.mkdir()
        archive = shared_data / "dicom" / f"{name}.tar.xz"
        if archive.exists():
            with tarfile.open(archive) as opened:
                opened.extractall(folder, filter="data")
        elif name == "enh_siemens_xa10":
            for k in (1, 2):
                shutil.copy(shared_data / "dicom" / f"{name}_rest_{k}.dcm", folder)
        else:
            shutil.copy(shared_data / "dicom" / f"{name}.dcm", folder)
    return unpacked


@pytest.fixture(params=SOURCES)
def case(request, sources):
    """Name and image; between the slices one new for each old and one more, coarser rows, finer columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [image] = adapter.read(sources / request.param, **SOURCES[request.param])
    slices = image.shape[0]
    return request.param, resampled(image, (Fraction(2 * slices + 1, slices), Fraction(1, 2), Fraction(2)))


def read_again(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [image] = adapter.read(path)
    return image


def by_dcm2niix(path: Path, out: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and the places of the corners, LPS; dcm2niix turns 3-D acquisitions to the canonical axes."""
    out.mkdir()
    run = [sys.executable, "-m", "dcm2niix", "-f", "v", "-z", "n", "-b", "n", "-o", str(out), str(path)]
    subprocess.run(run, check=True, capture_output=True, timeout=60)
    [file] = out.glob("*.nii")
    nifti = nibabel.load(file)
    return nifti.shape, places(np.diag([-1, -1, 1, 1]) @ nifti.affine, corners(nifti.shape[:3]))


def itk_affine(image) -> np.ndarray:
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3], affine[:3, 3] = directions[:, ::-1], image.GetOrigin()
    return affine


def farthest(expected: np.ndarray, seen: np.ndarray) -> float:
    return float(np.linalg.norm(expected[:, None] - seen[None], axis=2).min(axis=1).max())


def test_the_derived_enhanced_file_lies_where_all_readers_look_for_it(case, tmp_path):
    name, result = case
    (tmp_path / "out").mkdir()
    out = write_all([result], tmp_path / "out" / "e.dcm")
    index = corners(result.shape[:3])
    expected = places(result.grid.affine, index)
    again = read_again(out)
    assert again.shape == result.shape
    step = float(
        pydicom.dcmread(out, stop_before_pixels=True)
        .SharedFunctionalGroupsSequence[0]
        .PixelValueTransformationSequence[0]
        .RescaleSlope
    )
    assert np.abs(np.asarray(again) - np.asarray(result)).max() <= abs(step) * 0.51
    assert np.abs(places(again.grid.affine, index) - expected).max() < TOLERANCE
    volumes = int(np.prod(result.shape[3:]))
    itk = SimpleITK.ReadImage(str(out))
    assert itk.GetSize() == (result.shape[2], result.shape[1], result.shape[0] * volumes)
    assert np.abs(places(itk_affine(itk), index) - expected).max() < TOLERANCE
    opened = highdicom.imread(out)
    if volumes == 1:
        volume = opened.get_volume_geometry()
        assert volume.spatial_shape == result.shape
        assert farthest(expected, places(volume.affine, index)) < TOLERANCE
    else:
        positions = [
            f.PlanePositionSequence[0].ImagePositionPatient for f in opened.PerFrameFunctionalGroupsSequence
        ]
        orientation = (
            opened.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
        )
        for k in range(volumes):
            part = positions[k * result.shape[0] : (k + 1) * result.shape[0]]
            spacing, _ = highdicom.spatial.get_volume_positions(part, orientation)
            assert spacing == pytest.approx(result.grid.spacing[0], abs=1e-4)
    shape, seen = by_dcm2niix(tmp_path / "out", tmp_path / "nii")
    assert sorted(shape[:3]) == sorted(result.shape[:3])
    assert shape[3:] == result.shape[3:]
    assert farthest(expected, seen) < TOLERANCE
    errors = dciodvfy_errors(out)
    assert [e for e in errors if OF_THE_SOURCE.get(name, "-") not in e] == []


def test_the_derived_classic_series_lies_there_too(case, tmp_path):
    _, result = case
    folder = write_all([result], tmp_path / "out.dcm", classic=True)
    index = corners(result.shape[:3])
    expected = places(result.grid.affine, index)
    assert len(list(folder.iterdir())) == result.shape[0] * int(np.prod(result.shape[3:]))
    assert farthest(expected, places(read_again(folder).grid.affine, index)) < TOLERANCE
    shape, seen = by_dcm2niix(folder, tmp_path / "nii")
    assert sorted(shape[:3]) == sorted(result.shape[:3])
    assert shape[3:] == result.shape[3:]
    assert farthest(expected, seen) < TOLERANCE
    files = sorted(folder.iterdir())[: result.shape[0]]
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in files])
    assert np.abs(places(itk_affine(reader.Execute()), index) - expected).max() < TOLERANCE
    volume = highdicom.get_volume_from_series([pydicom.dcmread(f) for f in files])
    assert farthest(expected, places(volume.affine, index)) < TOLERANCE
    for file in (files[0], files[-1]):
        assert dciodvfy_errors(file) == []


def test_gradients_and_b_values_are_those_that_dcm2niix_finds_in_the_source(sources, tmp_path):
    source = sources / "d2n_philips_enhanced_dti_001"
    image = read_again(source)
    out = write_all([resampled(image, (Fraction(1), Fraction(2), Fraction(2)))], tmp_path / "derived")
    found = {}
    for name, path in (("source", source), ("out", out)):
        by_dcm2niix(path, tmp_path / name)
        columns = [np.loadtxt(tmp_path / name / f"v.{kind}", ndmin=2) for kind in ("bval", "bvec")]
        table = np.concatenate(columns).T  # b, x, y, z of each volume, which come in an order of their own
        found[name] = table[np.lexsort(np.round(table, 3).T)]
    assert found["out"] == pytest.approx(found["source"], abs=1e-4)
