"""Coarser grids and blocks: the same field from its first pixel on, without reading more than is asked for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import GeometryError, UsageError
from sciSR.grid import AffineGrid, PixelGrid, coarsened, cropped
from sciSR.views import BlockView

scales = st.integers(1, 6)
AFFINE = np.array([[2.0, 0.3, 0, -50], [-0.2, 1.5, 0.4, 20], [0.1, 0, 3.0, 7], [0, 0, 0, 1]])


@given(st.integers(6, 60), st.integers(6, 60), scales, scales)
def test_outer_edges_stay_where_whole_pixels_end(height: int, width: int, p: int, q: int) -> None:
    grid = AffineGrid((height, width, 5), AFFINE)
    coarse = coarsened(grid, (p, q, 1))
    assert coarse.shape == (height // p, width // q, 5)
    for corner in [(-0.5, -0.5, 0), (coarse.shape[0] - 0.5, coarse.shape[1] - 0.5, 4)]:
        fine = ((corner[0] + 0.5) * p - 0.5, (corner[1] + 0.5) * q - 0.5, corner[2])
        assert np.allclose(coarse.world(np.array(corner)), grid.world(np.array(fine)), atol=1e-9)


@given(st.integers(6, 60), scales)
def test_refining_again_gives_the_grid_back(size: int, scale: int) -> None:
    size = size * scale
    grid = AffineGrid((size, size, 3), AFFINE)
    again = coarsened(grid, (scale, scale, 1)).refine((scale, scale, 1))
    assert again.shape == grid.shape
    assert again.factors == grid.factors
    assert np.allclose(again.affine, grid.affine, atol=1e-12)


def test_the_rest_at_the_far_end_is_left_out_and_nothing_moves() -> None:
    grid = PixelGrid((11, 7))
    coarse = coarsened(grid, (3, 2))
    assert coarse.shape == (3, 3)
    assert coarse.factors == (Fraction(1, 3), Fraction(1, 2))
    assert np.allclose(coarse.world(np.zeros(2)), [1.0, 0.5])


def test_a_field_smaller_than_a_pixel_is_refused() -> None:
    with pytest.raises(UsageError, match="11x2"):
        coarsened(PixelGrid((11, 2)), (3, 3))
    with pytest.raises(UsageError, match="coarsen"):
        coarsened(PixelGrid((11, 2)), (0, 1))


def test_a_grid_that_can_not_be_cropped_says_so() -> None:
    class Stranger:
        shape = (5, 5)

    with pytest.raises(GeometryError, match="Stranger"):
        cropped(Stranger(), (4, 4))  # type: ignore[arg-type]


class Watched:
    """Remembers how much was read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, index: Any) -> np.ndarray:
        self.read += self.array[index].size
        return self.array[index]


@given(st.data(), st.tuples(scales, scales), st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_any_block_equals_the_block_of_the_whole(data: st.DataObject, scale: tuple, shape: tuple) -> None:
    shape = tuple(max(n, s) for n, s in zip(shape, scale, strict=True))
    source = Watched(np.random.default_rng(0).integers(0, 99, shape))
    view = BlockView(source, scale, lambda b: b.max(-1), np.int16)
    p, q = scale
    height, width = view.shape
    whole = source.array[: height * p, : width * q].reshape(height, p, width, q).max((1, 3))
    index = []
    for size in view.shape:
        start = data.draw(st.integers(0, size - 1))
        index.append(start if data.draw(st.booleans()) else slice(start, data.draw(st.integers(start, size))))
    source.read = 0
    block = view[tuple(index)]
    assert block.dtype == np.int16
    assert np.array_equal(block, whole[tuple(index)])
    assert source.read <= max(1, block.size) * p * q
