"""Lazy arrays over other lazy arrays: nearest-neighbour refinement and plain arithmetic, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.grid import refined_shape
from sciSR.image import LazyArray


def full_index(index: Any, ndim: int) -> tuple[Any, ...]:
    """An index with one entry per axis: Ellipsis and missing axes filled with full slices."""
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = (*index[:at], *([slice(None)] * (ndim - len(index) + 1)), *index[at + 1 :])
    return (*index, *([slice(None)] * (ndim - len(index))))


def nearest_index(fine: np.ndarray, factor: Fraction) -> np.ndarray:
    """Coarse pixel in which the centre of each fine pixel lies: floor((i + 1/2)/s), in exact integers.

    A centre on the edge of two coarse pixels goes to the upper one.
    """
    fine = np.asarray(fine, dtype=np.int64)
    return ((2 * fine + 1) * factor.denominator) // (2 * factor.numerator)


class NearestView:
    """`source` refined by nearest neighbour, multiplied by `scale`; nothing is read until indexed.

    Parameters
    ----------
    source : LazyArray
    factors : sequence of Fraction
        One per axis of `source`.
    scale : float
        1 keeps values (and the dtype); ``1/prod(factors)`` shares totals out among the finer pixels.
    """

    def __init__(self, source: LazyArray, factors: Sequence[Fraction | int], *, scale: float = 1.0) -> None:
        self.source = source
        self.factors = tuple(Fraction(f) for f in factors)
        self.scale = scale
        self.shape = refined_shape(source.shape, self.factors)
        self.dtype = np.dtype(source.dtype) if scale == 1.0 else np.result_type(source.dtype, np.float32)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        outer, takes = [], []
        for entry, size, factor in zip(full_index(index, self.ndim), self.shape, self.factors, strict=True):
            if isinstance(entry, slice):
                fine = np.arange(*entry.indices(size))
                coarse = nearest_index(fine, factor)
                start = int(coarse[0]) if len(coarse) else 0
                outer.append(slice(start, int(coarse[-1]) + 1 if len(coarse) else 0))
                takes.append(coarse - start)
            else:
                outer.append(int(nearest_index(np.asarray(range(size)[int(entry)]), factor)))
        block = np.asarray(self.source[tuple(outer)])
        for axis, take in enumerate(takes):
            block = np.take(block, take, axis=axis)
        return block if self.scale == 1.0 else (block * self.scale).astype(self.dtype)
