"""Where each pixel lies after upscaling, as independent readers see it."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_samples import AXIAL, SAGITTAL, datasets, derive, make_series, oblique, phantom, refined, write_all
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.testing import refine_nearest
from scisr_medical.dicom_adapter import adapter

TOLERANCE = 1e-3  # mm


def predicted(source: list[pydicom.Dataset], factors: tuple[float, float, float]) -> np.ndarray:
    """(slice, row, column, 1) -> LPS mm of the fine grid, from the source's headers and the edge rule alone.

    ``i_in = (i_out + 1/2)/s - 1/2`` along each axis; slices sorted along the normal.
    """
    row, column = (np.array(source[0].ImageOrientationPatient[k : k + 3], float) for k in (0, 3))
    normal = np.cross(row, column)
    positions = sorted((np.array(d.ImagePositionPatient, float) for d in source), key=lambda p: p @ normal)
    step = (positions[-1] - positions[0]) / max(len(positions) - 1, 1)
    between_rows, between_columns = map(float, source[0].PixelSpacing)
    affine = np.eye(4)
    for axis, (vector, s) in enumerate(
        zip((step, column * between_rows, row * between_columns), factors, strict=True)
    ):
        affine[:3, axis] = vector / s
        affine[:3, 3] += vector * (0.5 / s - 0.5)
    affine[:3, 3] += positions[0]
    return affine


def corners(shape: tuple[int, ...]) -> np.ndarray:
    """Indices of the eight corner voxels, (8, 3)."""
    return np.array(np.meshgrid(*((0, n - 1) for n in shape), indexing="ij")).reshape(3, -1).T


def places(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    return index @ affine[:3, :3].T + affine[:3, 3]


def by_simpleitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3], affine[:3, 3] = directions[:, ::-1], image.GetOrigin()
    return affine, sitk.GetArrayFromImage(image)


def by_highdicom(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    highdicom = pytest.importorskip("highdicom")
    volume = highdicom.get_volume_from_series(datasets(folder))
    affine, values = volume.affine.copy(), volume.array
    row, column = (np.array(datasets(folder)[0].ImageOrientationPatient[k : k + 3], float) for k in (0, 3))
    if affine[:3, 0] @ np.cross(row, column) < 0:  # it may count slices the other way round
        affine[:3, 3] += affine[:3, 0] * (len(values) - 1)
        affine[:3, 0] *= -1
        values = values[::-1]
    return affine, values


def run_dcm2niix(folder: Path, out: Path) -> nibabel.Nifti1Image:
    pytest.importorskip("dcm2niix")
    out.mkdir()
    run = [sys.executable, "-m", "dcm2niix", "-f", "v", "-z", "n", "-b", "n", "-o", str(out), str(folder)]
    subprocess.run(run, check=True, capture_output=True, timeout=60)
    return nibabel.load(out / "v.nii")


def by_dcm2niix(folder: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """dcm2niix flips rows and writes RAS; back to LPS and DICOM's order of rows."""
    nifti = run_dcm2niix(folder, out)
    affine = np.diag([-1, -1, 1, 1]) @ nifti.affine
    values = np.asarray(nifti.dataobj)
    affine[:3, 3] += affine[:3, 1] * (values.shape[1] - 1)
    affine[:3, 1] *= -1
    values = values[:, ::-1]
    return affine[:, [2, 1, 0, 3]], values.transpose(2, 1, 0)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, oblique(0.3, -0.2, 0.1), oblique(-1.2, 0.7, 2.0)])
@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_every_reader_finds_each_corner_where_it_was(tmp_path, orientation, modality):
    make_series(tmp_path / "in", modality=modality, orientation=orientation)
    source = datasets(tmp_path / "in")
    derive(tmp_path / "in", tmp_path / "out", 2)
    expected = predicted(source, (1, 2, 2))
    image = adapter.read(tmp_path / "out")[0]
    values = np.asarray(image)
    index = corners(values.shape)
    seen = {
        "sciSR": (image.grid.affine, values),
        "SimpleITK": by_simpleitk(tmp_path / "out"),
        "highdicom": by_highdicom(tmp_path / "out"),
        "dcm2niix": by_dcm2niix(tmp_path / "out", tmp_path / "nii"),
    }
    for reader, (affine, array) in seen.items():
        if reader == "dcm2niix" and affine[:3, 0] @ expected[:3, 0] < 0:
            affine[:3, 3] += affine[:3, 0] * (len(array) - 1)
            affine[:3, 0] *= -1
            array = array[::-1]
        assert array.shape == (4, 20, 24), reader
        error = np.abs(places(affine, index) - places(expected, index)).max()
        assert error < TOLERANCE, f"{reader}: corners moved by {error:.2g} mm"
        assert np.allclose(array, values), reader


@given(
    orientation=st.builds(oblique, *(st.floats(-3, 3) for _ in range(3))),
    spacing=st.tuples(*(st.floats(0.2, 9) for _ in range(3))),
    scale=st.sampled_from([2, 3, 4, 1.5]),
)
@settings(max_examples=15)
def test_world_coordinates_of_corners_survive_any_orientation_spacing_and_scale(
    tmp_path_factory, orientation, spacing, scale
):
    folder = tmp_path_factory.mktemp("series")
    make_series(folder / "in", stored=phantom((3, 4, 6)), orientation=orientation, spacing=spacing)
    source = datasets(folder / "in")
    derive(folder / "in", folder / "out", scale)
    found = predicted(datasets(folder / "out"), (1, 1, 1))
    expected = predicted(source, (1, scale, scale))
    shape = (3, int(4 * scale), int(6 * scale))
    assert adapter.read(folder / "out")[0].shape == shape
    assert np.abs(places(found, corners(shape)) - places(expected, corners(shape))).max() < TOLERANCE


@pytest.mark.parametrize("across", [2, 3])
def test_across_slices_the_step_vector_is_divided_and_the_first_centre_moves(tmp_path, across):
    make_series(tmp_path / "in", orientation=oblique(0.4, 0.2, -0.3))
    source = datasets(tmp_path / "in")
    image = refined(adapter.read(tmp_path / "in")[0], (across, 2, 2))
    write_all([image], tmp_path / "out")
    expected = predicted(source, (across, 2, 2))
    for affine, values in (by_simpleitk(tmp_path / "out"), by_highdicom(tmp_path / "out")):
        index = corners(values.shape)
        assert values.shape == (4 * across, 20, 24)
        assert np.abs(places(affine, index) - places(expected, index)).max() < TOLERANCE
    out = datasets(tmp_path / "out")
    assert float(out[0].SpacingBetweenSlices) == pytest.approx(3 / across)
    assert float(out[0].SliceThickness) == pytest.approx(3 / across)
    assert "original slice thickness 2.5 mm" in out[0].DerivationDescription
    middle = out[across].SourceImageSequence
    assert [s.ReferencedSOPInstanceUID for s in middle] == ["1.2.3.1", "1.2.3.2"], (
        "the two slices that bracket it"
    )


def test_rows_and_columns_may_have_different_factors(tmp_path):
    make_series(tmp_path / "in")
    source = datasets(tmp_path / "in")
    write_all([refined(adapter.read(tmp_path / "in")[0], (1, 3, 2))], tmp_path / "out")
    out = datasets(tmp_path / "out")
    assert list(map(float, out[0].PixelSpacing)) == pytest.approx([0.8 / 3, 0.3])
    index = corners((4, 30, 24))
    assert places(predicted(out, (1, 1, 1)), index) == pytest.approx(
        places(predicted(source, (1, 3, 2)), index), abs=1e-6
    )


def test_slices_come_in_the_order_of_their_position_whatever_their_names_and_numbers_say(tmp_path):
    order = [2, 0, 3, 1]

    def shuffle(dataset, k):
        dataset.InstanceNumber = order[k] + 1

    stored = make_series(tmp_path / "in", name=lambda k: f"{order[k]}.dcm", edit=shuffle)
    assert np.array_equal(np.asarray(adapter.read(tmp_path / "in")[0]), stored)


def test_loose_slices_keep_their_own_planes(tmp_path):
    def tilt(dataset, k):
        dataset.ImageOrientationPatient = list(oblique(0.1 * k, 0.2 * k, 0))

    make_series(tmp_path / "in", edit=tilt)
    source = datasets(tmp_path / "in")
    out = derive(tmp_path / "in", tmp_path / "out", 2, irregular=True)
    for before, after in zip(source, out, strict=True):
        index = corners((1, 20, 24))
        found, expected = predicted([after], (1, 1, 1)), predicted([before], (1, 2, 2))
        assert places(found, index) == pytest.approx(places(expected, index), abs=1e-6)
        assert "no volume geometry is claimed" in after.DerivationDescription


def test_the_grid_of_loose_slices_maps_there_and_back(tmp_path):
    def tilt(dataset, k):
        dataset.ImageOrientationPatient = list(oblique(0.3 * k, 0.2 * k, 0.1))

    make_series(tmp_path / "in", edit=tilt)
    grid = adapter.read(tmp_path / "in", irregular=True)[0].grid.refine((1, 2, Fraction(3, 2)))
    index = np.array([[0, 3.0, 4.0], [1, 0.0, 17.0], [3, 19.0, 0.0]])
    assert grid.index(grid.world(index)) == pytest.approx(index, abs=1e-6)
    with pytest.raises(UsageError, match="across slices"):
        grid.refine((2, 2, 2))


def test_positions_of_a_single_slice_are_refined_too(tmp_path):
    make_series(tmp_path / "in", stored=phantom((1, 8, 8)))
    image = adapter.read(tmp_path / "in" / "s000.dcm")[0]
    assert image.shape == (1, 8, 8)
    target = write_all([refine_nearest(image, Fraction(2))], tmp_path / "one.dcm")
    out = pydicom.dcmread(target)
    assert list(map(float, out.ImagePositionPatient)) == pytest.approx([-31.25 - 0.15, 12.5 - 0.2, -40])
