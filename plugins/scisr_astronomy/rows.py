"""Contiguous runs of a block inside a larger C-ordered array: the arithmetic of reading and writing by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np


def row_runs(shape: Sequence[int], bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Runs of pixels that are contiguous both in the block and in the array.

    Parameters
    ----------
    shape : sequence of int
        Of the whole array.
    bounds : sequence of (start, stop)
        The block, one pair per axis.

    Yields
    ------
    at, first, count : int
        Offset in the block, offset in the array, and length, in pixels.
    """
    ndim = len(shape)
    lengths = [stop - start for start, stop in bounds]
    if ndim == 0 or 0 in lengths:
        return
    # Trailing axes taken whole merge into one run with the axis before them.
    split = ndim - 1
    while split > 0 and lengths[split] == shape[split]:
        split -= 1
    run = math.prod(lengths[split:])
    strides = [math.prod(shape[axis + 1 :]) for axis in range(ndim)]
    base = sum(start * stride for (start, _), stride in zip(bounds, strides, strict=True))
    firsts = np.array([base], dtype=np.int64)
    for length, stride in zip(lengths[:split], strides[:split], strict=True):
        firsts = np.add.outer(firsts, stride * np.arange(length, dtype=np.int64)).ravel()
    for number, first in enumerate(firsts.tolist()):
        yield number * run, first, run
