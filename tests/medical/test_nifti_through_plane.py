"""Headers of volumes refined across the slices or coarsened: nibabel and SimpleITK find the same field."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_samples import (
    OBLIQUE,
    corners,
    fine_points,
    make,
    nifti_tool,
    raw_header,
    read,
    rotation_affine,
)

from sciSR.image import Image
from sciSR.testing import Subject, write_images
from scisr_medical.nifti_adapter import adapter

LAS = np.diag([-0.5, 0.5, 4.0, 1.0])
PERMUTED = np.array([[0, 0, 4.0, -30], [0.5, 0, 0, 12], [0, -0.5, 0, 7], [0, 0, 0, 1]])  # slices along x
AFFINES = {
    "LAS": LAS,
    "permuted": PERMUTED,
    "double oblique": rotation_affine((0.5, 0.6, 4.0)),
    "left-handed": rotation_affine((0.5, 0.6, 4.0), flip=True),
    "sheared": OBLIQUE,
}
SLICES = {"dim_info": 57, "slice_start": 0, "slice_end": 4, "slice_code": 3, "slice_duration": 0.1}


def refined(path: Path, target: Path, factors: tuple[Any, ...], **options: Any) -> Image:
    """Write a volume of ones on the grid that `factors` make of the file's."""
    image = read(path, **options)
    grid = image.grid.refine((*factors, *(1,) * (len(image.shape) - 3)))
    result = image.replace(data=np.ones(grid.shape, np.float32), grid=grid)
    write_images(Subject(adapter, path), [result], target)
    return result


def itk_world(path: Path, index: np.ndarray) -> np.ndarray:
    """RAS+ of continuous indices (n, 3), by SimpleITK, whose own world is LPS+."""
    itk = pytest.importorskip("SimpleITK")
    image = itk.ReadImage(str(path))
    return np.array([image.TransformContinuousIndexToPhysicalPoint(i.tolist()) for i in index]) * [-1, -1, 1]


MIXED = [
    (1, 1, 8), (1, 1, Fraction(13, 5)), (2, 2, Fraction(16, 5)), (Fraction(1, 2), Fraction(1, 3), Fraction(7, 5)),
    (1, 1, Fraction(3, 5)), (Fraction(5, 4), Fraction(2, 3), Fraction(41, 5)),
]  # fmt: skip


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("factors", MIXED)
def test_the_field_stays_where_it_was_for_every_reader(tmp_path: Path, name: str, factors: tuple) -> None:
    path = make(tmp_path / "in.nii", (8, 6, 5), affine=AFFINES[name])
    result = refined(path, tmp_path / "out.nii", factors)
    before, after = nib.load(path), nib.load(tmp_path / "out.nii")
    assert after.shape == result.shape == tuple(int(n * f) for n, f in zip((8, 6, 5), factors, strict=True))
    points = corners(before.shape)
    moved = fine_points(points, factors)
    for form in ("get_sform", "get_qform"):
        there = nib.affines.apply_affine(getattr(after.header, form)(), moved)
        assert np.allclose(there, nib.affines.apply_affine(getattr(before.header, form)(), points), atol=2e-4)
    sizes = np.array(before.header.get_zooms()) / [float(f) for f in factors]
    assert np.allclose(after.header.get_zooms(), sizes, rtol=1e-6)
    if name != "sheared":  # ITK refuses those
        assert np.allclose(itk_world(tmp_path / "out.nii", moved), itk_world(path, points), atol=2e-4)
    assert "header IS GOOD" in nifti_tool(tmp_path / "out.nii")


angles = st.floats(-3.1, 3.1)
sizes = st.floats(0.2, 8.0)
counts = st.integers(1, 9)


@settings(max_examples=30)
@given(
    st.tuples(angles, angles, angles),
    st.tuples(sizes, sizes, sizes),
    st.tuples(counts, counts, counts),
    st.tuples(*[st.integers(1, 40)] * 3),
    st.sampled_from([(1, 1), (1, 0), (0, 2), (3, 4)]),
    st.booleans(),
    st.sampled_from([2, 3]),
)
def test_any_factors_on_any_affine_keep_the_corners(
    tmp_path_factory: pytest.TempPathFactory,
    angle: Any,
    zooms: Any,
    shape: Any,
    fine: Any,
    codes: Any,
    flip: bool,
    unit: int,
) -> None:
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angle).as_matrix() @ np.diag(zooms)
    affine[:3, 0] *= -1 if flip else 1
    affine[:3, 3] = 40, -25.5, 3
    folder = tmp_path_factory.mktemp("any")
    path = make(folder / "in.nii", shape, affine=affine, codes=codes, fields={"xyzt_units": unit})
    factors = tuple(Fraction(n, m) for n, m in zip(fine, shape, strict=True))
    refined(path, folder / "out.nii", factors)
    before, after = nib.load(path), nib.load(folder / "out.nii")
    assert after.shape == fine
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    points = corners(shape)
    there = nib.affines.apply_affine(after.affine, fine_points(points, factors))
    assert np.allclose(there, nib.affines.apply_affine(before.affine, points), atol=2e-4)
    fields = raw_header(folder / "out.nii")
    assert (fields["qform_code"], fields["sform_code"]) == codes
    old = raw_header(path)
    for name in ("quatern_b", "quatern_c", "quatern_d"):
        assert fields[name] == old[name]
    assert fields["pixdim"][0] == old["pixdim"][0]


def test_coarser_again_is_the_first_grid(tmp_path: Path) -> None:
    path = make(tmp_path / "in.nii", (6, 5, 4), affine=AFFINES["double oblique"])
    refined(path, tmp_path / "fine.nii", (2, 1, Fraction(13, 4)))
    refined(tmp_path / "fine.nii", tmp_path / "back.nii", (Fraction(1, 2), 1, Fraction(4, 13)))
    before, after = nib.load(path), nib.load(tmp_path / "back.nii")
    assert after.shape == before.shape
    assert np.allclose(after.header.get_sform(), before.header.get_sform(), atol=1e-5)
    assert np.allclose(after.header.get_qform(), before.header.get_qform(), atol=1e-5)


# -- slice fields and sidecars ----------------------------------------------------------------------------------------


def slice_fields(path: Path) -> dict[str, Any]:
    header = raw_header(path)
    return {name: header[name].item() for name in SLICES}


@pytest.mark.parametrize("factors", [(2, 2, 1), (Fraction(1, 2), Fraction(1, 3), 1)])
def test_slice_fields_are_kept_in_plane(tmp_path: Path, factors: tuple) -> None:
    path = make(tmp_path / "in.nii", (8, 6, 5), fields=SLICES)
    refined(path, tmp_path / "out.nii", factors)
    assert slice_fields(tmp_path / "out.nii") == slice_fields(path)


@pytest.mark.parametrize("factor", [4, Fraction(12, 5), Fraction(4, 5)])
def test_slice_fields_are_zeroed_across_slices_but_the_axes_named(tmp_path: Path, factor: Any) -> None:
    path = make(tmp_path / "in.nii", (8, 6, 5), fields=SLICES)
    refined(path, tmp_path / "out.nii", (1, 1, factor))
    after = slice_fields(tmp_path / "out.nii")
    assert after.pop("dim_info") == 57
    assert not any(after.values())


def test_the_named_slice_axis_decides(tmp_path: Path) -> None:
    along_x = SLICES | {"dim_info": 1 << 4, "slice_end": 7}
    path = make(tmp_path / "in.nii", (8, 6, 5), affine=np.diag([4.0, 1, 1, 1]), fields=along_x)
    refined(path, tmp_path / "z.nii", (1, 2, 2))
    assert slice_fields(tmp_path / "z.nii") == slice_fields(path)
    refined(path, tmp_path / "x.nii", (4, 1, 1))
    assert raw_header(tmp_path / "x.nii")["slice_code"] == 0


RECORD = {
    "EchoTime": 0.09,
    "SliceThickness": 4,
    "SpacingBetweenSlices": 4.4,
    "SliceTiming": [0.0, 0.5, 1.0, 1.5, 2.0],
    "RepetitionTime": 2.5,
}


def sidecar(tmp_path: Path, factors: tuple, record: dict[str, Any] | None = None) -> dict[str, Any]:
    path = make(tmp_path / "in.nii", (8, 6, 5), affine=rotation_affine((0.5, 0.5, 4.4)))
    (tmp_path / "in.json").write_text(json.dumps(RECORD if record is None else record))
    refined(path, tmp_path / "out.nii", factors)
    return json.loads((tmp_path / "out.json").read_text())


def test_a_sidecar_of_finer_slices_tells_the_new_and_keeps_the_old(tmp_path: Path) -> None:
    after = sidecar(tmp_path, (1, 1, Fraction(44, 5)))
    assert after["SliceThickness"] == after["SpacingBetweenSlices"] == pytest.approx(0.5, abs=1e-6)
    assert "SliceTiming" not in after
    assert after["SciSR"]["Original"] == {"SliceThickness": 4, "SpacingBetweenSlices": 4.4}
    assert after["SciSR"]["Warning"] == "Research use only, not for diagnosis"
    assert (after["EchoTime"], after["RepetitionTime"]) == (0.09, 2.5)


def test_a_sidecar_in_plane_keeps_all(tmp_path: Path) -> None:
    after = sidecar(tmp_path, (2, 2, 1))
    assert {key: after[key] for key in RECORD} == RECORD
    assert "Original" not in after["SciSR"]


EPI = {
    "PhaseEncodingDirection": "j-",
    "TotalReadoutTime": 0.025,
    "EffectiveEchoSpacing": 0.005,
    "ReconMatrixPE": 6,
}


def test_the_readout_follows_the_lines_along_the_phase_encoding(tmp_path: Path) -> None:
    """``TotalReadoutTime = EffectiveEchoSpacing * (ReconMatrixPE - 1)`` before and after, as BIDS defines it."""
    after = sidecar(tmp_path, (2, 2, 1), EPI)
    assert (after["ReconMatrixPE"], after["EffectiveEchoSpacing"]) == (12, 0.005)
    assert after["TotalReadoutTime"] == pytest.approx(0.005 * 11)
    assert after["SciSR"]["Original"] == {"TotalReadoutTime": 0.025, "ReconMatrixPE": 6}


@pytest.mark.parametrize("factors", [(2, 1, 1), (1, 1, 2)])
def test_the_readout_stays_where_its_axis_does(tmp_path: Path, factors: tuple) -> None:
    after = sidecar(tmp_path, factors, EPI)
    assert {key: after[key] for key in EPI} == EPI


def test_a_readout_along_no_known_axis_is_dropped_but_kept_on_record(tmp_path: Path) -> None:
    after = sidecar(tmp_path, (2, 2, 1), {"TotalReadoutTime": 0.025})
    assert "TotalReadoutTime" not in after
    assert after["SciSR"]["Original"] == {"TotalReadoutTime": 0.025}
    again = tmp_path / "again"
    again.mkdir()
    refined(tmp_path / "out.nii", again / "fine.nii", (2, 2, 1))
    assert json.loads((again / "fine.json").read_text())["SciSR"]["Original"] == {"TotalReadoutTime": 0.025}


def test_what_was_acquired_survives_a_second_refinement(tmp_path: Path) -> None:
    sidecar(tmp_path, (1, 1, 2))
    again = tmp_path / "again"
    again.mkdir()
    refined(tmp_path / "out.nii", again / "fine.nii", (1, 1, 2))
    after = json.loads((again / "fine.json").read_text())
    assert after["SliceThickness"] == pytest.approx(1.1)
    assert after["SciSR"]["Original"] == {"SliceThickness": 4, "SpacingBetweenSlices": 4.4}
    refined(tmp_path / "out.nii", again / "plane.nii", (2, 2, 1))
    in_plane = json.loads((again / "plane.json").read_text())
    assert in_plane["SciSR"]["Original"] == after["SciSR"]["Original"]


def test_a_sidecar_without_slices_gets_them(tmp_path: Path) -> None:
    after = sidecar(tmp_path, (1, 1, 4), {"EchoTime": 0.1})
    assert after["SliceThickness"] == after["SpacingBetweenSlices"] == pytest.approx(1.1)
    assert after["SciSR"]["Original"] == {}
