"""The one formula: a refined grid covers exactly the same field, edge to edge."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import GeometryError, SciSRError, UsageError
from sciSR.grid import (
    AffineGrid,
    Grid,
    PixelGrid,
    coarse_index,
    compose,
    exact_factors,
    fine_index,
    refined_shape,
    refinement_matrix,
)

sizes = st.integers(1, 300)
integers = st.integers(1, 8)
ratios = st.fractions(min_value=1, max_value=8, max_denominator=12)
positions = st.floats(-1e4, 1e4)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Oblique, flipped, sheared, anisotropic; never near singular."""
    from scipy.spatial.transform import Rotation

    angles = draw(st.tuples(*[st.floats(-3, 3)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.05, 20)] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix() @ np.diag(np.multiply(spacing, signs))
    matrix[:3, 1] += draw(st.floats(-0.4, 0.4)) * matrix[:3, 0]
    matrix[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return matrix


@given(positions, ratios)
def test_coarse_and_fine_positions_are_inverse(position: float, factor: Fraction) -> None:
    assert coarse_index(fine_index(position, factor), factor) == pytest.approx(position, abs=1e-9)


@given(sizes, integers)
def test_outer_edges_coincide(size: int, factor: int) -> None:
    assert fine_index(-0.5, factor) == -0.5
    assert fine_index(size - 0.5, factor) == pytest.approx(size * factor - 0.5)


@given(integers, st.integers(0, 50))
def test_the_mean_of_the_fine_centres_is_the_coarse_centre(factor: int, pixel: int) -> None:
    inside = np.arange(pixel * factor, (pixel + 1) * factor)
    assert np.mean(coarse_index(inside, factor)) == pytest.approx(pixel)


def test_the_formula_at_two_is_a_quarter_pixel() -> None:
    assert coarse_index(np.arange(4), 2).tolist() == [-0.25, 0.25, 0.75, 1.25]


@given(st.lists(sizes, min_size=1, max_size=4), st.floats(1, 9))
def test_exact_factors_give_whole_pixels_closest_to_the_wish(shape: list[int], scale: float) -> None:
    factors = exact_factors(shape, [scale] * len(shape))
    fine = refined_shape(shape, factors)
    for size, result, factor in zip(shape, fine, factors, strict=True):
        assert Fraction(result, size) == factor >= 1
        assert abs(result - size * scale) <= 0.5 + size * 1e-4


@given(st.lists(sizes, min_size=1, max_size=4), integers)
def test_whole_scales_are_kept_exactly(shape: list[int], scale: int) -> None:
    assert exact_factors(shape, [scale] * len(shape)) == (Fraction(scale),) * len(shape)


def test_no_pixel_is_lost_to_float_rounding() -> None:
    # floor(n * d / (d/s)) in floats drops a voxel for some of these
    for size in range(1, 300):
        for spacing in (0.1, 0.3, 0.7, 0.9375):
            scale = spacing / (spacing / 3)
            assert refined_shape([size], exact_factors([size], [scale])) == (3 * size,)


@pytest.mark.parametrize("scale", [0.5, 0, -2, float("nan"), float("inf"), Fraction(9, 10)])
def test_scales_below_one_or_not_finite_are_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="the scale must be 1 or more"):
        exact_factors([10], [scale])


def test_factors_that_split_pixels_are_refused() -> None:
    with pytest.raises(UsageError, match="do not give whole pixels"):
        refined_shape([5], [Fraction(3, 2)])
    with pytest.raises(UsageError, match="1 factors given for 2 axes"):
        refined_shape([5, 5], [2])


@given(st.tuples(integers, integers), st.tuples(integers, integers), st.tuples(sizes, sizes))
def test_pixel_grids_compose_and_invert(first: tuple, second: tuple, shape: tuple) -> None:
    twice = PixelGrid(shape).refine(first).refine(second)
    once = PixelGrid(shape).refine([a * b for a, b in zip(first, second, strict=True)])
    assert twice == once
    points = np.array([[-0.5, -0.5], [0, 0], [n - 0.5 for n in once.shape]])
    assert np.allclose(once.index(once.world(points)), points)
    assert np.allclose(once.world(points[2]), [n - 0.5 for n in shape])


@given(
    affines(), st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[integers] * 3), st.tuples(*[integers] * 3)
)
def test_affine_grids_compose(affine: np.ndarray, shape: tuple, first: tuple, second: tuple) -> None:
    twice = AffineGrid(shape, affine).refine(first).refine(second)
    once = AffineGrid(shape, affine).refine([a * b for a, b in zip(first, second, strict=True)])
    assert twice.shape == once.shape
    assert twice.factors == once.factors == compose([Fraction(f) for f in first], second)
    assert np.allclose(twice.affine, once.affine, atol=1e-10)


@given(affines(), st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[integers] * 3))
def test_affine_grids_keep_the_field_edge_to_edge(affine: np.ndarray, shape: tuple, factors: tuple) -> None:
    coarse = AffineGrid(shape, affine)
    fine = coarse.refine(factors)
    ends = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in shape], indexing="ij")).reshape(3, -1).T
    same = np.stack([fine_index(ends[:, a], f) for a, f in enumerate(factors)], axis=-1)
    assert np.allclose(fine.world(same), coarse.world(ends), atol=1e-9)
    assert np.allclose(fine.index(coarse.world(ends)), same, atol=1e-6)
    assert np.allclose(fine.spacing, coarse.spacing / factors)


@given(affines(), st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 4)] * 3))
def test_block_averaging_the_fine_grid_returns_the_coarse_one(affine, shape, factors) -> None:
    coarse = AffineGrid(shape, affine)
    fine = coarse.refine(factors)
    centres = fine.world(np.stack(np.meshgrid(*map(np.arange, fine.shape), indexing="ij"), axis=-1))
    blocks = centres.reshape([n for pair in zip(shape, factors, strict=True) for n in pair] + [3]).mean(
        axis=(1, 3, 5)
    )
    assert np.allclose(
        blocks, coarse.world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))
    )
    back = fine.affine @ np.linalg.inv(refinement_matrix(factors))
    assert np.allclose(back, affine, atol=1e-10)


def test_block_averaging_by_powers_of_two_returns_the_affine_exactly() -> None:
    affine = np.array([[0.75, 0.25, 0, 3], [-0.5, 1.5, 0.125, -7], [0, 0.25, 2, 11], [0, 0, 0, 1]])
    fine = AffineGrid((8, 6, 4), affine).refine((2, 4, 1))
    assert (fine.affine @ np.linalg.inv(refinement_matrix((2, 4, 1))) == affine).all()


def test_directions_handedness_and_shear_stay() -> None:
    affine = np.array([[-0.8, 0.1, 0.3, 12], [0.05, 0.9, -0.4, -31], [0.1, 0.2, 2.4, 7], [0, 0, 0, 1]])
    before, after = AffineGrid((4, 4, 4), affine), AffineGrid((4, 4, 4), affine).refine((2, 3, 4))
    assert np.allclose(after.affine[:3, :3] / after.spacing, before.affine[:3, :3] / before.spacing)
    assert np.sign(np.linalg.det(after.affine)) == np.sign(np.linalg.det(before.affine))


def test_a_fourth_axis_is_carried_along_but_never_refined() -> None:
    grid = AffineGrid((4, 5, 6, 7), np.eye(4)).refine((2, 2, 1, 1))
    assert grid.shape == (8, 10, 6, 7)
    assert grid.factors == (2, 2, 1, 1)
    assert grid.world([1, 2, 3, 4]).tolist() == [0.25, 0.75, 3]
    with pytest.raises(UsageError, match="only the three spatial axes"):
        grid.refine((1, 1, 1, 2))


def test_a_two_dimensional_grid_lies_in_the_plane_zero() -> None:
    grid = AffineGrid((4, 5), np.diag([2.0, 3.0, 4.0, 1.0])).refine((2, 2))
    assert grid.world([0, 0]).tolist() == [-0.5, -0.75, 0]
    assert np.allclose(grid.index(grid.world([3, 4])), [3, 4])


def test_an_affine_of_another_shape_is_refused() -> None:
    with pytest.raises(GeometryError, match="4x4"):
        AffineGrid((4, 4, 4), np.eye(3))


def test_a_grid_can_not_be_changed_from_outside() -> None:
    affine = np.eye(4)
    grid = AffineGrid((4, 4, 4), affine)
    affine[0, 3] = 99
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 1


@pytest.mark.parametrize("grid", [PixelGrid((3, 4)), AffineGrid((3, 4, 5), np.eye(4), unit="um")])
def test_grids_fulfil_the_protocol_and_describe_themselves_as_json(grid: Grid) -> None:
    assert isinstance(grid, Grid)
    assert json.loads(json.dumps(grid.describe()))["shape"] == list(grid.shape)
    assert issubclass(UsageError, SciSRError)
