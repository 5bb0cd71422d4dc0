"""Odd numbers, places and contents of stacks: each is fused as well as can be, or refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stack_scene import Body, axes_for, psnr, take, three, truth

from sciSR.errors import GeometryError, UsageError
from sciSR.stacks import Stack, fuse_stacks
from sciSR.stacks.rigid import Rigid, displacement, rotation_matrix

EXTENT = 32.0
BODY = Body.of(1, EXTENT, 50)


@pytest.fixture(scope="module")
def stacks() -> list[Stack]:
    return three(BODY, EXTENT, noise=0.5)


def test_one_stack_is_a_matter_of_isotropic_upscaling(stacks: list[Stack]) -> None:
    with pytest.raises(UsageError, match="--isotropic"):
        fuse_stacks(stacks[:1])
    with pytest.raises(UsageError, match="no stack"):
        fuse_stacks([])


def test_stacks_that_do_not_overlap_are_named(stacks: list[Stack]) -> None:
    affine = stacks[1].affine.copy()
    affine[0, 3] += 500
    with pytest.raises(GeometryError, match=r"stack0 and stack1 do not overlap.*500 mm"):
        fuse_stacks([stacks[0], replace(stacks[1], affine=affine)])


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_constant_or_empty_stack_is_named(stacks: list[Stack], value: float) -> None:
    empty = replace(stacks[1], data=np.full_like(stacks[1].data, value))
    with pytest.raises(UsageError, match="stack1"):
        fuse_stacks([stacks[0], empty])


def test_what_is_no_stack_is_refused(stacks: list[Stack]) -> None:
    first = stacks[0]
    with pytest.raises(GeometryError, match="three axes"):
        replace(first, data=first.data[..., None])
    with pytest.raises(GeometryError, match="mask's shape"):
        replace(first, bad=np.zeros((3, 3, 3), bool))
    with pytest.raises(GeometryError, match="affine"):
        replace(first, affine=np.zeros((4, 4)))
    with pytest.raises(UsageError, match="thickness"):
        replace(first, thickness=0.0)
    with pytest.raises(UsageError, match="no prior"):
        fuse_stacks(stacks, prior="best")
    with pytest.raises(UsageError, match="spacing"):
        fuse_stacks(stacks, spacing=-1.0)


def test_two_stacks_with_bad_voxels(stacks: list[Stack]) -> None:
    data, bad = stacks[0].data.copy(), np.zeros(stacks[1].data.shape, bool)
    data[10:14, 10:14, 3] = np.nan
    bad[5] = True
    spoilt = stacks[1].data.copy()
    spoilt[bad] = 1e6
    fused = fuse_stacks(
        [replace(stacks[0], data=data), replace(stacks[1], data=spoilt, bad=bad)], register=False
    )
    true = truth(BODY, fused.volume.shape, fused.affine)
    clean = fuse_stacks(stacks[:2], register=False)
    assert np.isfinite(fused.volume).all()
    assert psnr(fused.volume, true) > psnr(clean.volume, true) - 2
    assert psnr(clean.volume, true) > 25


def test_five_stacks_of_different_kinds() -> None:
    """Oblique, with gaps, overlapping, of other spacings, sheared by nothing but their own choice."""
    tilt = rotation_matrix(np.radians([20.0, -15.0, 30.0]))
    made = [
        take(BODY, EXTENT, axes_for(2), name="axial"),
        take(BODY, EXTENT, axes_for(0), distance=4.0, thickness=3.0, name="gaps"),
        take(BODY, EXTENT, axes_for(1), distance=2.0, thickness=4.0, name="overlap"),
        take(BODY, EXTENT, tilt @ axes_for(1), in_plane=1.6, name="oblique"),
        take(BODY, EXTENT, tilt.T @ axes_for(2), distance=3.2, thickness=3.2, name="other"),
    ]
    fused = fuse_stacks(made, register=False)
    true = truth(BODY, fused.volume.shape, fused.affine)
    three_only = fuse_stacks(made[:3], register=False)
    assert psnr(fused.volume, true) > 30
    assert psnr(fused.volume, true) > psnr(three_only.volume, true) - 0.5


def test_any_axis_order_and_handedness_is_the_same_body(stacks: list[Stack]) -> None:
    """The same voxels under another affine: the result lies on the same places."""
    plain = fuse_stacks(stacks, register=False)
    turned = []
    for stack in stacks:
        flip = np.eye(4)
        flip[0, 0], flip[0, 3] = -1, stack.data.shape[0] - 1
        data, affine = stack.data[::-1], stack.affine @ flip
        turned.append(
            replace(stack, data=np.transpose(data, (2, 0, 1)), affine=affine[:, [2, 0, 1, 3]], slice_axis=0)
        )
    other = fuse_stacks(turned, register=False)
    back = np.transpose(other.volume, (1, 2, 0))[::-1]
    assert np.abs(back - plain.volume).max() < 2e-2 * np.abs(plain.volume).max()


def test_the_spacing_is_kept_exactly_over_the_field(stacks: list[Stack]) -> None:
    fused = fuse_stacks(stacks, spacing=1.5, register=False)
    assert fused.volume.shape == (21, 21, 21)
    np.testing.assert_allclose(np.linalg.norm(fused.affine[:3, :3], axis=0), 32 / 21)


def test_where_no_stack_says_anything_nothing_is_known(stacks: list[Stack]) -> None:
    bad = np.zeros(stacks[0].data.shape, bool)
    bad[:12] = True
    other = np.zeros(stacks[1].data.shape, bool)
    other[...] = False
    # Across the world's first axis: rows of the first stack, slices of the second.
    other[:, :, :3] = True
    fused = fuse_stacks([replace(stacks[0], bad=bad), replace(stacks[1], bad=other)], register=False)
    assert np.isnan(fused.volume[:5]).all()
    assert np.isnan(fused.std[:5]).all()
    assert np.isfinite(fused.volume[16:]).all()
    assert (fused.std[16:] > 0).all()


@pytest.mark.parametrize("prior", ["huber", "none"])
def test_other_priors(stacks: list[Stack], prior: str) -> None:
    fused = fuse_stacks(stacks, register=False, prior=prior)
    assert psnr(fused.volume, truth(BODY, fused.volume.shape, fused.affine)) > 30


@pytest.mark.slow
@settings(max_examples=5)
@given(st.lists(st.floats(-5, 5), min_size=6, max_size=6).map(np.array))
def test_any_small_motion_is_found(parameters: np.ndarray) -> None:
    """Up to 8.7 degrees and 8.7 mm, on a coarse grid."""
    right = Rigid.of(parameters, np.zeros(3))
    made = three(BODY, EXTENT, (right,), noise=0.3, in_plane=2.0)
    fused = fuse_stacks(made, slice_motion=False)
    points = np.random.default_rng(0).uniform(-10, 10, (100, 3))
    assert displacement(fused.motions[1].matrix, right.matrix, points).max() < 0.2
