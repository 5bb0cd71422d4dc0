"""Lazy parts of an image (a function of its values), and finished values kept until they are needed again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from sciSR.image import Image, LazyArray
from sciSR.inference.planes import SCRATCH_IN_MEMORY, full_folder_named

_CHUNK = 4 << 20


class PartView:
    """A function of each value of an array; nothing is read until indexed.

    Parameters
    ----------
    source : LazyArray
    function : callable
        Of a block; keeps its shape.
    dtype : dtype
        Of the result.
    """

    def __init__(self, source: LazyArray, function: Callable[[np.ndarray], np.ndarray], dtype: Any) -> None:
        self.source, self.function, self.dtype = source, function, np.dtype(dtype)
        self.shape = tuple(source.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # the cosine of an infinite phase is NaN, and such pixels are bad
            return np.asarray(self.function(np.asarray(self.source[index])), dtype=self.dtype)


class BadView:
    """Where an image's pixel is bad: not finite in any part, or masked; bool, nothing is read until indexed."""

    dtype = np.dtype(bool)

    def __init__(self, image: Image) -> None:
        self.image, self.shape = image, image.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        values = np.asarray(self.image.data[index])
        bad = ~np.isfinite(values) if values.dtype.kind in "fc" else np.zeros(values.shape, dtype=bool)
        return bad if self.image.mask is None else bad | np.asarray(self.image.mask[index]).astype(bool)


class RootMeanSquare:
    """Of the uncertainties of two images; float32, nothing is read until indexed."""

    dtype = np.dtype(np.float32)

    def __init__(self, first: Image, second: Image) -> None:
        self.arrays, self.shape = [first.uncertainty, second.uncertainty], first.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        one, other = (np.asarray(array[index]).astype(np.float64) for array in self.arrays)  # type: ignore[index]
        return np.sqrt((np.square(one) + np.square(other)) / 2).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[tuple(slice(None) for _ in self.shape)], dtype=dtype)


class Kept:
    """An array to write in blocks and to read back: in memory while it is small, in a temporary file otherwise.

    The file is mapped anew for each block: its pages are then the system's, not this process's memory. Its space is
    reserved at the start, since writing to a map of a full disk kills the process.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, limit: int = SCRATCH_IN_MEMORY) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._array: np.ndarray | None = None
        size = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        if size <= limit:
            self._array = np.empty(shape, dtype=self.dtype)
            return
        with full_folder_named():
            self._file = tempfile.TemporaryFile(prefix="scisr-")  # noqa: SIM115  (closed in close())
            try:
                reserve(self._file.fileno(), size)
            except BaseException:
                self._file.close()
                raise

    def _map(self) -> np.ndarray:
        if self._array is not None:
            return self._array
        return np.memmap(self._file, self.dtype, "r+", 0, self.shape)

    def put(self, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Keep a block."""
        self._map()[index] = block

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.array(self._map()[index])

    def close(self) -> None:
        """Free the memory or the file."""
        if self._array is None:
            self._file.close()
        self._array = np.empty((0,) * len(self.shape), dtype=self.dtype)


def reserve(file: int, size: int) -> None:
    """Give a new file its space on disk, so that writing to a map of it can't fail; OSError where there is none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    for start in range(0, size, _CHUNK):
        os.write(file, bytes(min(_CHUNK, size - start)))
