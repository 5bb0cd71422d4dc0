"""Where each voxel lies: refined with both transforms, never guessed."""

from __future__ import annotations

import shutil
import warnings
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nifti_samples import (
    OBLIQUE,
    corners,
    fine_points,
    make,
    nifti_tool,
    patch,
    raw_header,
    read,
    rotation_affine,
    upscale_nearest,
)

from sciSR.errors import GeometryError, SciSRWarning, UsageError
from scisr_medical.nifti_adapter import adapter


def world(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    return nib.affines.apply_affine(affine, points)


def assert_same_world(source: Path, target: Path, factors: tuple, tolerance: float = 1e-4) -> None:
    """nibabel puts every outer corner of the volume at the same place before and after."""
    before, after = nib.load(source), nib.load(target)
    points = corners(before.shape)
    moved = world(after.affine, fine_points(points, factors)) - world(before.affine, points)
    assert np.abs(moved).max() < tolerance


zooms = st.floats(0.2, 4.0)


@given(
    sizes=st.tuples(*[st.integers(2, 6)] * 3),
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(zooms, zooms, zooms),
    flip=st.booleans(),
    shear=st.floats(-0.3, 0.3),
    scale=st.sampled_from([2, 3, 4, Fraction(3, 2)]),
    version=st.sampled_from([1, 2]),
)
def test_corners_keep_their_world_coordinates_for_any_affine(
    tmp_path_factory: pytest.TempPathFactory, sizes, angles, spacing, flip, shear, scale, version
) -> None:
    from scipy.spatial.transform import Rotation

    folder = tmp_path_factory.mktemp("affine")
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix() @ np.diag(spacing)
    affine[:3, 0] += shear * affine[:3, 1]
    affine[:3, 2] *= -1 if flip else 1
    affine[:3, 3] = 40, -30, 20
    source = make(folder / "in.nii", sizes, affine=affine, codes=(0, 2), version=version)
    result = upscale_nearest(source, folder / "out.nii", scale)
    assert_same_world(source, folder / "out.nii", result.grid.factors)
    assert nib.load(folder / "out.nii").shape == result.shape


def test_itk_finds_the_corners_at_the_same_place(tmp_path: Path) -> None:
    import SimpleITK as sitk

    source = make(tmp_path / "in.nii.gz", (7, 6, 5), affine=rotation_affine(flip=True))
    result = upscale_nearest(source, tmp_path / "out.nii.gz", Fraction(2))
    before, after = (sitk.ReadImage(str(tmp_path / name)) for name in ("in.nii.gz", "out.nii.gz"))
    assert after.GetSize() == result.shape
    points = corners(before.GetSize())
    moved = [
        np.subtract(
            after.TransformContinuousIndexToPhysicalPoint(fine.tolist()),
            before.TransformContinuousIndexToPhysicalPoint(coarse.tolist()),
        )
        for coarse, fine in zip(points, fine_points(points, result.grid.factors), strict=True)
    ]
    assert np.abs(moved).max() < 1e-4


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 2), (2, 4), (3, 1), (0, 0)])
def test_both_codes_and_the_absent_transforms_are_kept(tmp_path: Path, codes: tuple[int, int]) -> None:
    source = make(tmp_path / "in.nii", codes=codes)
    upscale_nearest(source, tmp_path / "out.nii")
    before, after = raw_header(source), raw_header(tmp_path / "out.nii")
    assert (after["qform_code"], after["sform_code"]) == codes
    if codes[0] == 0:
        assert [after[f"qoffset_{a}"] for a in "xyz"] == [before[f"qoffset_{a}"] for a in "xyz"]
    if codes[1] == 0:
        assert all((after[f"srow_{a}"] == before[f"srow_{a}"]).all() for a in "xyz")
    for name in ("quatern_b", "quatern_c", "quatern_d", "xyzt_units"):
        assert after[name] == before[name]
    assert after["pixdim"][0] == before["pixdim"][0]
    assert (after["pixdim"][4:] == before["pixdim"][4:]).all()
    assert_same_world(source, tmp_path / "out.nii", (2, 2, 1))


def test_disagreeing_transforms_are_each_updated_and_warned_about(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", codes=(1, 2))
    moved = nib.load(source)
    header = moved.header.copy()
    other = rotation_affine(origin=(50, 0, 0))
    patch(source, **{f"srow_{a}": other[row] for row, a in enumerate("xyz")})
    with pytest.warns(SciSRWarning, match=r"in\.nii: qform and sform disagree by up to 7\d\.\d mm"):
        (image,) = adapter.read(source)
    assert np.allclose(image.grid.affine, other, atol=1e-5)
    upscale_nearest(source, tmp_path / "out.nii")
    after = nib.load(tmp_path / "out.nii").header
    points = corners((7, 6, 5))
    fine = fine_points(points, (2, 2, 1))
    for old, new in ((header.get_qform(), after.get_qform()), (other, after.get_sform())):
        assert np.allclose(world(new, fine), world(old, points), atol=1e-4)


def test_a_sheared_sform_is_kept_and_no_qform_made_up(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", affine=OBLIQUE, codes=(0, 1))
    upscale_nearest(source, tmp_path / "out.nii")
    assert_same_world(source, tmp_path / "out.nii", (2, 2, 1))
    assert raw_header(tmp_path / "out.nii")["qform_code"] == 0


def test_a_volume_without_transforms_stays_centred_and_is_warned_about(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", codes=(0, 0))
    with pytest.warns(SciSRWarning, match="neither qform nor sform"):
        adapter.read(source)
    upscale_nearest(source, tmp_path / "out.nii")
    assert_same_world(source, tmp_path / "out.nii", (2, 2, 1))


def test_voxel_size_zero_is_refused_where_nothing_else_tells(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", codes=(1, 0), fields={"pixdim": {1: 0}})
    with pytest.raises(GeometryError, match=r"in\.nii: pixdim\[1\] \(voxel size along x\) is 0; set it"):
        adapter.read(source)


def test_voxel_size_zero_is_taken_from_the_sform_and_said(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", fields={"pixdim": {2: 0}})
    with pytest.warns(SciSRWarning, match=r"pixdim\[2\] is 0; 1\.1 is used, from the sform"):
        adapter.read(source)
    upscale_nearest(source, tmp_path / "out.nii")
    after = raw_header(tmp_path / "out.nii")
    assert np.allclose(after["pixdim"][1:4], [0.45, 0.55, 2.5])
    sound = make(tmp_path / "sound.nii")
    assert_same_world(sound, tmp_path / "out.nii", (2, 2, 1))


def test_an_illegal_qfac_is_refused_or_settled_by_the_sform(tmp_path: Path) -> None:
    alone = make(tmp_path / "alone.nii", codes=(1, 0), fields={"pixdim": {0: -3}})
    with pytest.raises(GeometryError, match="qfac"):
        adapter.read(alone)
    both = make(tmp_path / "both.nii", affine=rotation_affine(flip=True), fields={"pixdim": {0: -3}})
    with pytest.warns(SciSRWarning, match=r"qfac\) is -3; -1 is used"):
        adapter.read(both)
    upscale_nearest(both, tmp_path / "out.nii")
    assert raw_header(tmp_path / "out.nii")["pixdim"][0] == -1


def test_voxel_sizes_that_contradict_the_sform_are_warned_about(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", codes=(0, 1), fields={"pixdim": {3: 5}})
    with pytest.warns(SciSRWarning, match=r"0\.9 x 1\.1 x 5 by pixdim, 0\.9 x 1\.1 x 2\.5 by the sform"):
        adapter.read(source)
    upscale_nearest(source, tmp_path / "out.nii")
    assert_same_world(source, tmp_path / "out.nii", (2, 2, 1))


def test_a_quaternion_that_is_no_rotation_is_refused(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", fields={"quatern_b": 2.0})
    with pytest.raises(GeometryError, match="is no rotation"):
        adapter.read(source)


def test_a_singular_sform_is_refused(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", codes=(0, 1), fields={"srow_z": np.zeros(4)})
    with pytest.raises(GeometryError, match="singular"):
        adapter.read(source)


@pytest.mark.parametrize(
    ("spacing", "shape", "expected"),
    [
        ((1, 1, 1), (4, 5, 6), ("x", "y")),
        ((0.5, 0.5, 3), (4, 5, 6), ("x", "y")),
        ((3, 0.5, 0.5), (4, 5, 6), ("y", "z")),
        ((0.5, 3, 0.5), (4, 5, 6), ("x", "z")),
        ((1.0, 1.00001, 1.0), (4, 5, 6), ("x", "y")),
        ((0.5, 1, 1), (1, 5, 6), ("y", "z")),
        ((1, 1, 1), (4, 5, 6, 2), ("x", "y")),
        ((1, 1, 1), (4, 5), ("x", "y")),
    ],
)
def test_the_two_finest_axes_are_upscaled_by_default(tmp_path: Path, spacing, shape, expected) -> None:
    source = make(tmp_path / "in.nii", shape, affine=rotation_affine(spacing), codes=(0, 1))
    assert read(source).spatial == expected


@pytest.mark.parametrize("wish", ["x,z", "i,k", ("x", "z"), "Z, X", "k,i"])
def test_axes_can_be_chosen_by_world_or_voxel_letter(tmp_path: Path, wish) -> None:
    source = make(tmp_path / "in.nii")
    assert read(source, axes=wish).spatial == ("x", "z")
    result = upscale_nearest(source, tmp_path / "out.nii", read={"axes": wish})
    assert result.shape == (14, 6, 10)
    assert_same_world(source, tmp_path / "out.nii", (2, 1, 2))


@pytest.mark.parametrize("wish", ["x", "x,x", "x,t", "x,y,z", "a,b", ""])
def test_senseless_axes_are_refused_with_the_choice(tmp_path: Path, wish: str) -> None:
    source = make(tmp_path / "in.nii", (4, 5, 6, 2))
    with pytest.raises(UsageError, match="must name two of x, y, z"):
        adapter.read(source, axes=wish)


@pytest.mark.parametrize(("code", "unit"), [(0, "unknown"), (1, "m"), (2, "mm"), (3, "um")])
def test_length_units_stay_the_files_own(tmp_path: Path, code: int, unit: str) -> None:
    source = make(tmp_path / "in.nii", fields={"xyzt_units": code | 8})
    assert read(source).grid.unit == unit
    upscale_nearest(source, tmp_path / "out.nii")
    after = raw_header(tmp_path / "out.nii")
    assert after["xyzt_units"] == code | 8
    assert np.allclose(after["pixdim"][1:4], [0.45, 0.55, 2.5])


def test_a_two_dimensional_file_stays_two_dimensional(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", (6, 5))
    upscale_nearest(source, tmp_path / "out.nii")
    after = raw_header(tmp_path / "out.nii")
    assert after["dim"][:4].tolist() == [2, 12, 10, 1]
    assert_same_world(source, tmp_path / "out.nii", (2, 2, 1))


def test_a_two_dimensional_sform_without_third_axis_is_enough(tmp_path: Path) -> None:
    rows = {
        f"srow_{a}": row for a, row in zip("xyz", [[0.5, 0, 0, 3], [0, 0.5, 0, 4], [0, 0, 0, 5]], strict=True)
    }
    source = make(tmp_path / "in.nii", (6, 5), codes=(0, 1), fields=rows)
    upscale_nearest(source, tmp_path / "out.nii")
    after = raw_header(tmp_path / "out.nii")
    assert after["srow_x"].tolist() == [0.25, 0, 0, 2.875]
    assert after["srow_z"].tolist() == [0, 0, 0, 5]


@pytest.mark.skipif(shutil.which("nifti_tool") is None, reason="nifti_tool (nifti-bin) is not installed")
@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz", "out.hdr"])
def test_nifti_tool_finds_the_header_good(tmp_path: Path, name: str) -> None:
    # -check_hdr knows NIfTI-1 only, whatever wrote the file
    source = make(tmp_path / "in.nii", (5, 6, 4, 3), dtype=np.int16)
    upscale_nearest(source, tmp_path / name)
    assert "header IS GOOD" in nifti_tool(tmp_path / name)


def test_reading_says_nothing_about_a_sound_file(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii")
    with warnings.catch_warnings(action="error"):
        adapter.read(source)
