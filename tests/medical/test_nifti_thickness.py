"""Slice thickness: from the JSON sidecar, in the file's unit, told apart from the distance of slices."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nifti_samples import make, read

from sciSR.errors import SciSRWarning
from scisr_medical.nifti_adapter import adapter

SPACING = (0.5, 0.5, 4.4)


def volume(tmp_path: Path, record: Any, unit: int = 2, shape: tuple = (8, 6, 5), **fields: Any) -> Path:
    scale = {1: 1e-3, 3: 1e3}.get(unit, 1.0)
    affine = np.diag([*(scale * s for s in SPACING), 1.0])
    path = make(tmp_path / "in.nii", shape, affine=affine, fields={"xyzt_units": unit, **fields})
    if record is not None:
        (tmp_path / "in.json").write_text(record if isinstance(record, str) else json.dumps(record))
    return path


@pytest.mark.parametrize(("unit", "expected"), [(2, 4.0), (1, 0.004), (3, 4000.0), (0, 4.0)])
def test_it_is_in_the_grids_own_unit(tmp_path: Path, unit: int, expected: float) -> None:
    image = read(volume(tmp_path, {"SliceThickness": 4}, unit))
    assert image.slice_thickness == pytest.approx(expected)


@pytest.mark.parametrize("record", [None, {}, {"EchoTime": 1}, "no JSON", "[1, 2]", {"SliceThickness": None}])
def test_missing_is_none_and_no_word_about_it(tmp_path: Path, record: Any) -> None:
    path = volume(tmp_path, record)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [image] = adapter.read(path)
    assert image.slice_thickness is None


@pytest.mark.parametrize("value", [0, -4, "4 mm", [4], True, float("nan"), 1e400])
def test_what_is_no_length_is_not_used_and_said(tmp_path: Path, value: Any) -> None:
    path = volume(tmp_path, {"SliceThickness": value})
    with pytest.warns(SciSRWarning, match="SliceThickness in its JSON sidecar is"):
        [image] = adapter.read(path)
    assert image.slice_thickness is None


@pytest.mark.parametrize("thickness", [3.0, 4.4, 6.0])
def test_gaps_and_overlaps_are_both_fine(tmp_path: Path, thickness: float) -> None:
    path = volume(tmp_path, {"SliceThickness": thickness, "SpacingBetweenSlices": 4.4})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [image] = adapter.read(path)
    assert image.slice_thickness == thickness
    assert image.grid.spacing[2] == pytest.approx(4.4)


@pytest.mark.parametrize(
    ("said", "warned"), [(4.4, False), (4.43, False), (4.46, True), (4.0, True), (0.4, True)]
)
@pytest.mark.parametrize("unit", [1, 2])
def test_another_distance_of_slices_is_warned_about_and_the_header_rules(
    tmp_path: Path, said: float, warned: bool, unit: int
) -> None:
    path = volume(tmp_path, {"SliceThickness": 4, "SpacingBetweenSlices": said}, unit)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SciSRWarning)
        [image] = adapter.read(path)
    texts = [str(w.message) for w in caught]
    assert len(texts) == warned
    assert all(f"{said:g} mm by its JSON sidecar" in text and "4.4 mm apart" in text for text in texts)
    assert image.grid.spacing[2] == pytest.approx(4.4e-3 if unit == 1 else 4.4)


def test_it_is_that_of_the_slice_axis_alone(tmp_path: Path) -> None:
    record = {"SliceThickness": 4, "SpacingBetweenSlices": 4.4}
    path = volume(tmp_path, record, dim_info=3 << 4)
    assert read(path).slice_thickness == 4
    assert read(path, axes="y,z").slice_thickness is None  # the axis left over is not that of the slices
    path = volume(tmp_path, record | {"SliceEncodingDirection": "i-"})
    assert read(path).slice_thickness is None
    assert read(path, axes="y,z").slice_thickness == 4


def test_a_single_slice_has_a_thickness_and_a_plane_has_none(tmp_path: Path) -> None:
    record = {"SliceThickness": 4, "SpacingBetweenSlices": 6}
    assert read(volume(tmp_path, record, shape=(8, 6, 1))).slice_thickness == 4
    assert read(volume(tmp_path, record, shape=(8, 6))).slice_thickness is None
