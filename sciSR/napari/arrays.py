"""Lazy pixels as napari indexes them: any ints and slices, axes in display order."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from sciSR.image import LazyArray
from sciSR.views import full_index


class LayerArray:
    """A lazy array with its axes in another order, read under a lock: napari slices in several threads.

    Offers what napari asks of a layer's data: ``shape``, ``dtype``, ``ndim``, ``size``, indexing, and conversion by
    ``numpy.asarray``, which reads all of it.

    Parameters
    ----------
    source : LazyArray
    order : sequence of int or None
        Axes of `source`, each once, in the order wanted; None for a further axis of one entry.
    lock : threading.Lock, optional
        Shared by arrays of one file.
    """

    def __init__(
        self, source: LazyArray, order: Sequence[int | None], lock: threading.Lock | None = None
    ) -> None:
        if sorted(a for a in order if a is not None) != list(range(len(source.shape))):
            raise ValueError(f"{tuple(order)} does not order {len(source.shape)} axes")
        self.source = source
        self.order = tuple(order)
        self.shape = tuple(1 if axis is None else int(source.shape[axis]) for axis in order)
        self.dtype = np.dtype(source.dtype)
        self.lock = lock or threading.Lock()

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        entries = full_index(index, self.ndim)
        if len(entries) != self.ndim:
            raise IndexError(f"{len(entries)} indices for {self.ndim} axes")
        outer: list[Any] = [slice(None)] * len(self.source.shape)
        after: list[Any] = []
        for axis, entry, size in zip(self.order, entries, self.shape, strict=True):
            run, inner = _split(entry, size)
            if axis is not None:
                outer[axis] = run
            after.append(inner)
        with self.lock:
            block = np.asarray(self.source[tuple(outer)])
        block = np.transpose(block, [axis for axis in self.order if axis is not None])
        for at, axis in enumerate(self.order):
            if axis is None:
                block = np.expand_dims(block, at)
        return block[tuple(after)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        block = self[...]
        return block if dtype is None else block.astype(dtype)


def _split(entry: Any, size: int) -> tuple[slice, Any]:
    """An index as a slice of step 1 of the source, and what is taken of that."""
    if not isinstance(entry, slice):
        at = range(size)[int(entry)]
        return slice(at, at + 1), 0
    start, stop, step = entry.indices(size)
    positions = range(start, stop, step)
    if not positions:
        return slice(0, 0), slice(None)
    low, high = min(positions[0], positions[-1]), max(positions[0], positions[-1])
    return slice(low, high + 1), slice(None, None, step)


class LevelArray:
    """One level of a plane's pyramid, for napari's multiscale layers; coarse ones are made when first asked for."""

    def __init__(self, pyramid: Any, level: int) -> None:
        self.pyramid, self.level = pyramid, level
        self.shape = pyramid.shape(level)
        self.dtype = np.dtype(np.float32)
        self.ndim = 2
        self.size = math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        splits = [_split(entry, size) for entry, size in zip(full_index(index, 2), self.shape, strict=True)]
        if self.level >= self.pyramid.held:
            self.pyramid.build()
        block, _ = self.pyramid.read(self.level, splits[0][0], splits[1][0])
        return block[tuple(inner for _, inner in splits)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        block = self[:, :]
        return block if dtype is None else block.astype(dtype)
