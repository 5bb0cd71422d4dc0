"""The coarser levels of a multiscale image, each from the one before, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from scisr_zarr.grid import NgffGrid

SMALLEST = 512
"""Levels end where both spatial axes have no more pixels than this."""
_PIECE = 2048


def level_grids(grid: NgffGrid, spatial: tuple[int, int]) -> list[NgffGrid]:
    """Level 0 and its coarser levels, two pixels to one; a rest of one pixel makes one of its own.

    Parameters
    ----------
    grid : NgffGrid
    spatial : pair of int
        The axes that get coarser.
    """
    grids = [grid]
    while max(grids[-1].shape[axis] for axis in spatial) > SMALLEST:
        last = grids[-1]
        by = [2 if axis in spatial and n > 1 else 1 for axis, n in enumerate(last.shape)]
        grids.append(
            replace(
                last,
                shape=tuple(-(-n // b) for n, b in zip(last.shape, by, strict=True)),
                scale=tuple(s * b for s, b in zip(last.scale, by, strict=True)),
                translation=tuple(
                    t + s * (b - 1) / 2 for t, s, b in zip(last.translation, last.scale, by, strict=True)
                ),
            )
        )
    return grids


def coarsen(fine: Any, coarse: Any, spatial: tuple[int, int], *, labels: bool) -> None:
    """Fill a level from the next finer one.

    Parameters
    ----------
    fine, coarse : zarr.Array
        `coarse` is written chunk by chunk.
    spatial : pair of int
    labels : bool
        Every second label instead of means.
    """
    for index in _pieces(coarse.shape, coarse.chunks, spatial):
        source = tuple(
            slice(2 * i.start, min(2 * i.stop, fine.shape[axis]))
            if axis in spatial and fine.shape[axis] != coarse.shape[axis]
            else i
            for axis, i in enumerate(index)
        )
        values = np.asarray(fine[source])
        for axis in spatial:
            if fine.shape[axis] != coarse.shape[axis]:
                values = _every_second(values, axis) if labels else _means(values, axis)
        coarse[index] = values.astype(coarse.dtype)


def _pieces(
    shape: tuple[int, ...], chunks: tuple[int, ...], spatial: tuple[int, int]
) -> Iterator[tuple[slice, ...]]:
    """Whole chunks, some of them together along the spatial axes."""
    steps = [
        max(1, _PIECE // c) * c if axis in spatial else c
        for axis, c in enumerate(chunks)
    ]  # fmt: skip
    counts = [-(-n // step) for n, step in zip(shape, steps, strict=True)]
    for place in np.ndindex(*counts):
        yield tuple(
            slice(p * step, min((p + 1) * step, n)) for p, step, n in zip(place, steps, shape, strict=True)
        )


def _every_second(values: np.ndarray, axis: int) -> np.ndarray:
    return np.take(values, range(0, values.shape[axis], 2), axis=axis)


def _means(values: np.ndarray, axis: int) -> np.ndarray:
    """Means of two neighbours; of one where the other is NaN or missing."""
    values = np.moveaxis(values.astype(np.float64, copy=False), axis, 0)
    if len(values) % 2:
        values = np.concatenate([values, np.full_like(values[:1], np.nan)])
    first, second = values[::2], values[1::2]
    lost = np.isnan(first), np.isnan(second)
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.where(lost[0], second, np.where(lost[1], first, (first + second) / 2))
    return np.moveaxis(means, 0, axis)
