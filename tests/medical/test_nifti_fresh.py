"""A volume read from DICOM and written as NIfTI lies where it lay; nibabel, SimpleITK and dcm2niix judge."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_samples import make_series, oblique, phantom
from hypothesis import given
from hypothesis import strategies as st

import sciSR
from sciSR.errors import GeometryError, SciSRWarning, UsageError
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.testing import refine_nearest
from sciSR.workflow.run import upscale_file
from scisr_medical.dicom_adapter import adapter as dicom

angles = st.floats(-3.1, 3.1)


def series(folder: Path, **how: object) -> Image:
    make_series(folder, orientation=oblique(0.3, -0.2, 0.5), stored=phantom((4, 13, 11)), **how)
    [image] = dicom.read(folder)
    return image


def test_each_voxel_lies_where_the_scanner_said(tmp_path: Path) -> None:
    image = series(tmp_path / "in")
    written = nibabel.load(sciSR.write(image, tmp_path / "out.nii.gz"))
    assert written.shape == (11, 13, 4)  # columns, rows, slices: as every converter does it
    for z, y, x in ((0, 0, 0), (3, 12, 10), (1, 5, 7)):
        lps = image.grid.world(np.array([z, y, x]))
        ras = nibabel.affines.apply_affine(written.affine, [x, y, z])
        assert np.allclose(ras, lps * [-1, -1, 1], atol=1e-4)
    assert np.array_equal(written.get_fdata(), np.asarray(image).transpose(2, 1, 0))
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (1, 1)
    assert written.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("factors", [(1, 2, 2), (Fraction(3, 2), 1, 1), (Fraction(5, 4), 2, 3)])
def test_itk_sees_the_finer_volume_in_the_same_field(tmp_path: Path, factors: tuple) -> None:
    itk = pytest.importorskip("SimpleITK")
    image = series(tmp_path / "in")
    grid = image.grid.refine(factors)
    fine = image.replace(data=np.ones(grid.shape, np.float32), grid=grid)
    found = itk.ReadImage(str(sciSR.write(fine, tmp_path / "out.nii")))
    size = np.array(found.GetSize())
    assert tuple(size[::-1]) == grid.shape
    for corner in np.ndindex(2, 2, 2):
        there = found.TransformContinuousIndexToPhysicalPoint((np.array(corner) * size - 0.5).tolist())
        coarse = np.array(corner[::-1]) * image.shape - 0.5
        assert np.allclose(there, image.grid.world(coarse), atol=1e-3)  # ITK's world is LPS, as DICOM's


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
def test_it_is_the_volume_that_dcm2niix_makes(tmp_path: Path) -> None:
    image = series(tmp_path / "in")
    ours = nibabel.load(sciSR.write(image, tmp_path / "ours.nii"))
    command = ["dcm2niix", "-b", "n", "-z", "n", "-f", "theirs", "-o", str(tmp_path), str(tmp_path / "in")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    theirs = nibabel.load(tmp_path / "theirs.nii")
    points = np.stack(np.meshgrid(*map(np.arange, ours.shape), indexing="ij"), -1).reshape(-1, 3)
    there = nibabel.affines.apply_affine(
        np.linalg.inv(theirs.affine), nibabel.affines.apply_affine(ours.affine, points)
    )
    assert np.abs(there - np.rint(there)).max() < 1e-3
    assert np.array_equal(
        theirs.get_fdata()[tuple(np.rint(there).astype(int).T)], ours.get_fdata().reshape(-1)
    )


@given(st.tuples(angles, angles, angles), st.permutations("xyz"), st.sampled_from(["RAS+", "LPS+"]))
def test_any_order_of_axes_keeps_the_world(
    tmp_path_factory: pytest.TempPathFactory, angle: tuple, axes: list, world_axes: str
) -> None:
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angle).as_matrix() @ np.diag([0.7, 1.3, 4.0])
    affine[:3, 3] = 10, -20, 30
    shape = (3, 4, 5, 2)
    image = Image(
        np.arange(np.prod(shape), dtype=np.float32).reshape(shape),
        (*axes, "t"),
        ("x", "y"),
        AffineGrid(shape, affine, world_axes=world_axes),
    )
    written = nibabel.load(sciSR.write(image, tmp_path_factory.mktemp("any") / "out.nii"))
    where = [axes.index(name) for name in "xyz"]
    assert np.array_equal(written.get_fdata(), np.transpose(image.data, (*where, 3)))
    sign = [1, 1, 1] if world_axes == "RAS+" else [-1, -1, 1]
    index = np.array([2, 1, 4, 0])
    there = nibabel.affines.apply_affine(written.affine, index[:3][where])
    assert np.allclose(there, image.grid.world(index) * sign, atol=1e-4)


def test_the_world_can_be_turned_and_turned_back() -> None:
    grid = AffineGrid((3, 4, 5), np.diag([2.0, 3, 4, 1]), world_axes="LPS+").refine((2, 1, 1))
    assert grid.toward("LPS+") is grid
    turned = grid.toward("RAS+")
    assert np.allclose(turned.world([1, 1, 1]), grid.world([1, 1, 1]) * [-1, -1, 1])
    assert np.array_equal(turned.toward("LPS+").affine, grid.affine)
    assert turned.factors == grid.factors
    with pytest.raises(GeometryError, match="RAS\\+ or LPS\\+"):
        AffineGrid((3, 4, 5), np.eye(4), world_axes="LAS")


def test_loose_slices_are_no_volume(tmp_path: Path) -> None:
    make_series(tmp_path / "in", stored=phantom((3, 8, 8)))
    [image] = dicom.read(tmp_path / "in", irregular=True)
    with pytest.raises(UsageError, match="no volume in space"):
        sciSR.write(refine_nearest(image, 2), tmp_path / "out.nii")
    assert not (tmp_path / "out.nii").exists()


# -- the command line -------------------------------------------------------------------------------------------------


def test_a_series_becomes_a_nifti_file_and_what_is_lost_is_said(tmp_path: Path) -> None:
    image = series(tmp_path / "in")
    with pytest.warns(SciSRWarning, match="written as nifti.*not carried over"):
        upscale_file(tmp_path / "in", tmp_path / "out.nii.gz", model="cubic", options={"dtype": "float32"})
    written = nibabel.load(tmp_path / "out.nii.gz")
    assert written.shape == (22, 26, 4)
    first = image.grid.refine((1, 2, 2)).world(np.array([0, 0, 0]))
    assert np.allclose(
        nibabel.affines.apply_affine(written.affine, [0, 0, 0]), first * [-1, -1, 1], atol=1e-4
    )
    assert b"Research use only" in written.header.extensions[0].content
    assert int(written.header["sform_code"]) == 1
    with pytest.raises(UsageError, match="--keep-private means nothing"):
        upscale_file(tmp_path / "in", tmp_path / "b.nii", model="cubic", options={"keep_private": "0019"})


def test_loose_slices_become_no_volume(tmp_path: Path) -> None:
    make_series(tmp_path / "in", stored=phantom((3, 8, 8)))
    with pytest.raises(UsageError, match="no volume in space"), warnings.catch_warnings(action="ignore"):
        upscale_file(tmp_path / "in", tmp_path / "out.nii", model="cubic", options={"irregular": True})
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_no_other_conversion_is_offered(tmp_path: Path) -> None:
    make_series(tmp_path / "in", stored=phantom((3, 8, 8)))
    with pytest.raises(UsageError, match="can't become a fits output"):
        upscale_file(tmp_path / "in", tmp_path / "out.fits")
    nifti = sciSR.write(series(tmp_path / "again"), tmp_path / "a.nii")
    with pytest.raises(UsageError, match="can't become a dicom output"):
        upscale_file(nifti, tmp_path / "out.dcm")
