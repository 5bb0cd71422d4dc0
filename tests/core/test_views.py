"""Nearest neighbour without reading more than is asked for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.views import NearestView, full_index, nearest_index

factors = st.sampled_from([Fraction(1), Fraction(2), Fraction(3), Fraction(3, 2), Fraction(5, 3)])


class Watched:
    """Remembers which blocks were read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.read: list[Any] = []

    def __getitem__(self, index: Any) -> np.ndarray:
        self.read.append(index)
        return self.array[index]


@st.composite
def blocks(draw: st.DrawFn, size: int) -> Any:
    if draw(st.booleans()):
        return draw(st.integers(-size, size - 1))
    start = draw(st.integers(0, size))
    return slice(start, draw(st.integers(start, size)))


@given(st.data(), st.tuples(factors, factors), st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_any_block_equals_the_block_of_the_whole(data: st.DataObject, scales: tuple, sixths: tuple) -> None:
    shape = tuple(6 * n for n in sixths)  # every factor gives whole pixels
    array = np.random.default_rng(1).normal(size=shape)
    view = NearestView(array, scales)
    whole = view[...]
    assert whole.shape == view.shape == tuple(int(n * s) for n, s in zip(shape, scales, strict=True))
    index = tuple(data.draw(blocks(n)) for n in view.shape)
    assert np.array_equal(view[index], whole[index])


@given(st.integers(1, 40), st.integers(1, 6))
def test_whole_factors_repeat_each_pixel(size: int, factor: int) -> None:
    assert (
        nearest_index(np.arange(size * factor), Fraction(factor)).tolist()
        == np.repeat(range(size), factor).tolist()
    )


@given(st.integers(1, 60), factors)
def test_the_pixel_that_holds_the_centre_is_taken(sixths: int, factor: Fraction) -> None:
    fine = np.arange(int(6 * sixths * factor))
    coarse = nearest_index(fine, factor)
    centre = [(Fraction(int(i)) + Fraction(1, 2)) / factor for i in fine]
    assert all(pixel <= c < pixel + 1 for pixel, c in zip(coarse.tolist(), centre, strict=True))


def test_only_the_pixels_needed_are_read() -> None:
    watched = Watched(np.arange(600.0).reshape(6, 10, 10))
    view = NearestView(watched, (1, 2, 2))
    assert watched.read == []
    view[3, 4:8, 19]
    assert watched.read == [(3, slice(2, 4), 9)]


def test_totals_are_shared_out() -> None:
    counts = np.array([[8, 4], [0, 12]], dtype=np.int16)
    view = NearestView(counts, (2, 2), scale=0.25)
    assert view.dtype == view[...].dtype == np.float32
    assert view[...].sum() == counts.sum()
    assert view[0, 0] == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, bool])
def test_unscaled_views_keep_values_and_dtype(dtype: type) -> None:
    array = np.array([[1, 0], [3, 2]]).astype(dtype)
    view = NearestView(array, (3, 1))
    assert view.dtype == dtype
    assert np.array_equal(view[::, :], np.repeat(array, 3, axis=0))


def test_views_nest() -> None:
    array = np.arange(12.0).reshape(3, 4)
    nested = NearestView(NearestView(array, (2, 2)), (2, 1))
    assert np.array_equal(nested[...], NearestView(array, (4, 2))[...])


def test_an_index_is_completed_for_all_axes() -> None:
    assert full_index((), 3) == (slice(None),) * 3
    assert full_index(2, 3) == (2, slice(None), slice(None))
    assert full_index((..., 1), 3) == (slice(None), slice(None), 1)
    assert full_index((0, ..., 1), 4) == (0, slice(None), slice(None), 1)
    assert full_index((0, ..., 1), 2) == (0, 1)
