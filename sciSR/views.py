"""Lazy arrays over other lazy arrays: nearest-neighbour refinement, and reduction of blocks, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


class BlockView:
    """`source` with each block of pixels reduced to one; nothing is read until indexed.

    Parameters
    ----------
    source : LazyArray
    scales : sequence of int
        Pixels of a block along each axis of `source`; a rest at the far end is left out.
    reduce : callable
        ``reduce(blocks)`` takes an array whose last axis runs over the pixels of a block and removes that axis.
    dtype : dtype
        Of the result.
    """

    def __init__(
        self,
        source: LazyArray,
        scales: Sequence[int],
        reduce: Callable[[np.ndarray], np.ndarray],
        dtype: Any,
    ) -> None:
        self.source, self.scales, self.reduce, self.dtype = source, tuple(scales), reduce, np.dtype(dtype)
        self.shape = tuple(n // s for n, s in zip(source.shape, self.scales, strict=True))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        fine, split, single = [], [], []
        for axis, (entry, size, scale) in enumerate(
            zip(full_index(index, self.ndim), self.shape, self.scales, strict=True)
        ):
            if not isinstance(entry, slice):
                single.append(axis)
                at = range(size)[int(entry)]
                entry = slice(at, at + 1)
            start, stop, step = entry.indices(size)
            if step != 1:
                raise IndexError("blocks are read with slices of step 1")
            stop = max(start, stop)
            fine.append(slice(start * scale, stop * scale))
            split += [stop - start, scale]
        blocks = np.asarray(self.source[tuple(fine)]).reshape(split)
        within = tuple(range(1, 2 * self.ndim, 2))
        blocks = np.moveaxis(blocks, within, tuple(range(self.ndim, 2 * self.ndim)))
        blocks = blocks.reshape(*blocks.shape[: self.ndim], math.prod(self.scales))
        out = self.reduce(blocks).astype(self.dtype, copy=False)
        return out.squeeze(axis=tuple(single)) if single else out
