"""Names and sidecars of BIDS derivatives."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.grid import AffineGrid
from sciSR.image import Image
from scisr_medical.bids_derivative import (
    ENTITIES,
    IDENTIFYING,
    output_path,
    resolution_label,
    sidecar,
    uri,
)
from scisr_medical.bids_layout import BidsImage, parse_name

labels = st.text("abcXYZ019+", min_size=1, max_size=4)
entities = st.dictionaries(st.sampled_from([key for key in ENTITIES if key != "sub"]), labels, max_size=6)


def image_called(name: str, folder: str = "anat") -> BidsImage:
    parsed = parse_name(name)
    assert parsed is not None
    relative = PurePosixPath("sub-01", folder, name)
    return BidsImage(Path(relative), relative, parsed, folder)


def pair(factors: tuple[Any, ...] = (2, 2, 1), shape: tuple[int, ...] = (12, 10, 4)) -> tuple[Image, Image]:
    """An image, and its result without pixels."""
    grid = AffineGrid(shape, np.diag([0.5, 0.5, 4.0, 1.0]), "mm")
    axes = ("x", "y", "z", "t")[: len(shape)]
    before = Image(np.zeros(shape, np.float32), axes, ("x", "y"), grid)
    fine = grid.refine(tuple(Fraction(f) for f in (*factors, 1))[: len(shape)])
    return before, dataclasses.replace(before, data=np.zeros(fine.shape, np.float32), grid=fine)


def derived(metadata: dict[str, Any], name: str = "sub-01_T2w.nii.gz", **how: Any) -> dict[str, Any]:
    return sidecar(image_called(name), metadata, *pair(**how))[0]


@given(entities)
def test_names_hold_every_entity_of_the_source_in_the_order_of_bids(given_: dict[str, str]) -> None:
    name = "_".join(["sub-01", *(f"{key}-{label}" for key, label in given_.items()), "T2w.nii"])
    result = parse_name(output_path(image_called(name), "x2").name)
    assert result is not None
    keys = [key for key, _ in result.entities]
    assert keys == sorted(keys, key=ENTITIES.index)
    assert set(keys) == {"sub", "res", "desc", *given_}
    for key, label in given_.items():
        found = result.get(key) or ""
        assert found.startswith(label) if key in ("res", "desc") else found == label
    assert result.suffix == "T2w"
    assert result.ending == ".nii.gz"


@given(st.lists(entities, min_size=2, max_size=2, unique_by=lambda each: tuple(sorted(each.items()))))
def test_different_sources_have_different_results(two: list[dict[str, str]]) -> None:
    names = [
        "_".join(["sub-01", *(f"{key}-{label}" for key, label in each.items()), "T2w.nii"]) for each in two
    ]
    first, second = (output_path(image_called(name), "x2") for name in names)
    assert first != second


def test_the_plain_name_is_the_documented_one() -> None:
    assert str(output_path(image_called("sub-01_T2w.nii.gz"), "x2")) == (
        "sub-01/anat/sub-01_res-x2_desc-sciSR_T2w.nii.gz"
    )


@pytest.mark.parametrize(
    ("scale", "spacing", "label"),
    [
        ("2", None, "x2"),
        ("1.5", None, "x1p5"),
        ("2,1", None, "x2by1"),
        (None, None, "iso"),
        (None, 0.8, "iso0p8"),
    ],
)
def test_resolution_labels_are_alphanumeric(scale: str | None, spacing: float | None, label: str) -> None:
    assert resolution_label(scale, spacing) == label
    assert re.fullmatch("[0-9a-zA-Z]+", label)


def test_keys_that_bids_demands_of_a_derivative_are_there() -> None:
    record = derived({"EchoTime": 0.09})
    assert record["EchoTime"] == 0.09
    assert record["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]
    assert record["Resolution"].startswith("0.25 x 0.25 x 4 mm")
    assert record["SpatialReference"] == "orig"
    assert record["SkullStripped"] is False
    assert "not for diagnosis" in record["Description"]


def test_what_the_source_says_of_itself_counts() -> None:
    record = derived(
        {"SkullStripped": True, "SpatialReference": "orig", "Description": "Denoised.", "RawSources": ["x"]}
    )
    assert record["SkullStripped"] is True
    assert record["Description"].startswith("Denoised. In-plane")
    assert "RawSources" not in record


def test_standard_spaces_need_no_reference_and_masks_no_skull() -> None:
    assert "SpatialReference" not in derived({}, "sub-01_space-MNI305_T1w.nii.gz")
    assert derived({}, "sub-01_space-mine_T1w.nii.gz")["SpatialReference"] == "orig"
    assert "SkullStripped" not in derived({}, "sub-01_desc-brain_mask.nii.gz")


def test_slice_times_go_with_the_slices_alone() -> None:
    acquired = {"SliceTiming": [0, 1, 2, 3], "SliceThickness": 3.5, "SpacingBetweenSlices": 4}
    assert derived(acquired)["SliceTiming"] == [0, 1, 2, 3]
    assert derived(acquired)["SliceThickness"] == 3.5
    thin = derived(acquired, factors=(1, 1, 8))
    assert "SliceTiming" not in thin
    assert thin["SliceThickness"] == thin["SpacingBetweenSlices"] == 0.5
    assert "SliceTiming" not in derived(acquired | {"SliceEncodingDirection": "i-"})
    _, changes = sidecar(image_called("sub-01_T2w.nii.gz"), acquired, *pair(factors=(1, 1, 8)))
    assert changes == {
        "Original": {"SliceThickness": 3.5, "SpacingBetweenSlices": 4},
        "Dropped": ["SliceTiming"],
    }


@given(st.integers(1, 4), st.sampled_from(["i", "j", "j-"]), st.integers(2, 40))
def test_distortion_in_millimetres_is_told_alike(factor: int, direction: str, lines: int) -> None:
    """A field of f Hz moves a voxel by ``f * TotalReadoutTime * n / (n - 1)`` voxels, before and after."""
    acquired = {
        "PhaseEncodingDirection": direction,
        "EffectiveEchoSpacing": 0.0005,
        "TotalReadoutTime": 0.0005 * (lines - 1),
        "ReconMatrixPE": lines,
        "BandwidthPerPixelPhaseEncode": 1 / (0.0005 * lines),
    }
    record = derived(acquired, factors=(factor, factor, 1), shape=(lines, lines, 4))
    new = record["ReconMatrixPE"]
    assert new == factor * lines
    shift_before = acquired["TotalReadoutTime"] * lines / (lines - 1) * 0.5
    shift_after = record["TotalReadoutTime"] * new / (new - 1) * (0.5 / factor)
    assert shift_after == pytest.approx(shift_before)
    assert record["TotalReadoutTime"] == pytest.approx(record["EffectiveEchoSpacing"] * (new - 1))
    assert record["BandwidthPerPixelPhaseEncode"] * new == pytest.approx(1 / 0.0005)


def test_a_second_run_keeps_what_the_scanner_acquired() -> None:
    first, changes = sidecar(
        image_called("sub-01_T2w.nii.gz"), {"SliceThickness": 3.5}, *pair(factors=(1, 1, 2))
    )
    again = first | {"SciSR": changes}
    record, changes = sidecar(image_called("sub-01_T2w.nii.gz"), again, *pair(factors=(1, 1, 4)))
    assert record["SliceThickness"] == 1
    assert changes["Original"]["SliceThickness"] == 3.5


def test_a_readout_time_along_an_unknown_axis_is_left_out() -> None:
    assert "TotalReadoutTime" not in derived({"TotalReadoutTime": 0.05})
    assert derived({"TotalReadoutTime": 0.05, "PhaseEncodingDirection": "k"})["TotalReadoutTime"] == 0.05
    assert "TotalReadoutTime" not in derived({"TotalReadoutTime": "fast", "PhaseEncodingDirection": "j"})


def test_paths_into_the_source_become_uris() -> None:
    record = derived(
        {
            "IntendedFor": ["ses-a/func/a_bold.nii.gz", "bids::sub-01/b.nii.gz", "bids:other:c.nii.gz"],
            "SpatialReference": {"VolumeReference": "sub-01/anat/ref.nii.gz", "SurfaceReference": "orig"},
        }
    )
    assert record["IntendedFor"] == [
        "bids:raw:sub-01/ses-a/func/a_bold.nii.gz",
        "bids:raw:sub-01/b.nii.gz",
        "bids:other:c.nii.gz",
    ]
    assert record["SpatialReference"] == {
        "VolumeReference": "bids:raw:sub-01/anat/ref.nii.gz",
        "SurfaceReference": "orig",
    }
    assert uri("x") == "bids:raw:x"


@given(st.dictionaries(st.sampled_from(sorted(IDENTIFYING)), st.text("DoeJane", min_size=3), min_size=1))
def test_nothing_identifying_is_copied_and_only_its_key_is_named(personal: dict[str, str]) -> None:
    record, changes = sidecar(image_called("sub-01_T2w.nii.gz"), {"EchoTime": 1} | personal, *pair())
    assert not set(personal) & set(record)
    assert changes == {"Original": {}, "Dropped": sorted(personal)}
