"""Levels of a plane: means over blocks that ignore what is not finite, with little memory, whatever the size."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.report import pyramid
from sciSR.report.pyramid import TILE, PlanePyramid, block_means
from sciSR.report.tile_cache import ByteCache


def plain_means(values: np.ndarray, factor: int) -> np.ndarray:
    """The same by the definition, block by block."""
    rows, columns = (-(-n // factor) for n in values.shape)
    out = np.full((rows, columns), np.nan)
    for r in range(rows):
        for c in range(columns):
            block = values[r * factor : (r + 1) * factor, c * factor : (c + 1) * factor].astype(np.float64)
            good = block[np.isfinite(block)]
            if good.size:
                out[r, c] = good.mean()
    return out


def whole(levels: PlanePyramid, level: int) -> tuple[np.ndarray, bool]:
    height, width = levels.shape(level)
    return levels.read(level, slice(0, height), slice(0, width))


class Watched:
    """An array that notes the largest block asked of it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype, self.largest = values, values.shape, values.dtype, 0

    def __getitem__(self, index: Any) -> np.ndarray:
        block = self.values[index]
        self.largest = max(self.largest, block.nbytes)
        return block


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    factor=st.sampled_from([1, 2, 4, 8]),
    bad=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_block_means_are_the_means_of_finite_pixels(
    rows: int, columns: int, factor: int, bad: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(100, 3, (rows, columns)).astype(np.float32)
    values[rng.random(values.shape) < bad] = rng.choice([np.nan, np.inf, -np.inf])
    np.testing.assert_allclose(block_means(values, factor), plain_means(values, factor), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "f4", ">f8", "?"])
def test_every_type_of_pixel_is_averaged(dtype: str) -> None:
    values = (np.arange(35).reshape(5, 7) % 2).astype(dtype)
    np.testing.assert_allclose(block_means(values, 2), plain_means(values, 2))


@pytest.mark.parametrize("shape", [(1, 1), (300, 7), (513, 700), (256, 256)])
def test_levels_end_with_one_tile_and_begin_native(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    levels = PlanePyramid(values)
    assert max(levels.shape(levels.levels - 1)) <= TILE
    native, exact = whole(levels, 0)
    assert exact
    np.testing.assert_array_equal(native, values)
    for level in range(levels.levels):
        got, exact = whole(levels, level)
        assert exact
        assert got.shape == levels.shape(level)
        np.testing.assert_allclose(got, plain_means(values, 1 << level), rtol=1e-5, atol=1e-6)


def test_coarse_levels_of_large_planes_come_from_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "_SMALL", 1000)
    monkeypatch.setattr(pyramid, "_BAND_BYTES", 1 << 17)
    rng = np.random.default_rng(1)
    values = rng.normal(10, 1, (1100, 1900)).astype(np.float32)
    values[200:460, 300:777] = np.nan
    source = Watched(values)
    levels = PlanePyramid(source)
    assert not levels.complete
    estimate, exact = whole(levels, 3)
    assert not exact
    assert np.nanmax(np.abs(estimate - plain_means(values, 8))) < 2  # each of 8 of its 64 pixels, of sigma 1
    levels.build()
    assert levels.complete
    for level in range(levels.held, levels.levels):
        got, exact = whole(levels, level)
        assert exact
        np.testing.assert_allclose(got, plain_means(values, 1 << level), rtol=1e-6)
    for level in range(levels.levels):
        whole(levels, level)
    # Native pixels themselves are the one thing here that is asked for whole.
    source.largest = 0
    levels = PlanePyramid(source)
    levels.build()
    whole(levels, 2)
    assert source.largest <= 1 << 17


def test_a_pass_that_is_stopped_leaves_nothing_half_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "_SMALL", 1000)
    levels = PlanePyramid(np.ones((2048, 2048), np.float32))
    levels.build(lambda: True)
    assert not levels.complete
    assert levels.nbytes == 0


def test_labels_are_never_mixed() -> None:
    values = np.random.default_rng(2).integers(0, 5, (900, 700)) * 100
    levels = PlanePyramid(values, labels=True)
    for level in range(levels.levels):
        got, exact = whole(levels, level)
        assert exact
        assert got.shape == levels.shape(level)
        assert set(np.unique(got)) <= {0, 100, 200, 300, 400}


def test_pieces_are_the_same_as_the_whole() -> None:
    values = np.random.default_rng(3).normal(size=(700, 900)).astype(np.float32)
    levels = PlanePyramid(values)
    for level in range(levels.levels):
        all_of_it, _ = whole(levels, level)
        rows, columns = (n // 3 for n in levels.shape(level))
        piece, _ = levels.read(level, slice(rows, 2 * rows), slice(columns, 3 * columns))
        np.testing.assert_array_equal(piece, all_of_it[rows : 2 * rows, columns : 3 * columns])


@given(sizes=st.lists(st.integers(0, 60), max_size=40), limit=st.integers(0, 200))
def test_the_cache_holds_no_more_than_it_may(sizes: list[int], limit: int) -> None:
    cache = ByteCache(limit)
    for number, size in enumerate(sizes):
        cache.put(number % 7, np.zeros(size, np.uint8))
        assert cache.size <= limit
        assert cache.size == sum(a.nbytes for k in range(7) if (a := cache.get(k)) is not None)


def test_the_cache_forgets_the_least_recently_used() -> None:
    cache = ByteCache(20)
    cache.put("a", np.zeros(8, np.uint8))
    cache.put("b", np.zeros(8, np.uint8))
    assert cache.get("a") is not None
    cache.put("c", np.zeros(8, np.uint8))
    assert cache.get("b") is None
    assert cache.get("a") is not None


def test_the_cache_is_safe_for_threads() -> None:
    cache = ByteCache(1000)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for key, size in zip(rng.integers(0, 30, 500), rng.integers(0, 300, 500), strict=True):
            cache.get(int(key))
            cache.put(int(key), np.zeros(size, np.uint8))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 <= cache.size <= 1000
    cache.drop(lambda key: True)
    assert cache.size == len(cache) == 0
