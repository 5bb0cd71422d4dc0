"""Pixels of an output clip that come in any order, kept on disk until they are all there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sciSR.errors import UsageError
from sciSR.files import translate_os_errors
from sciSR.views import full_index

_CHUNK = 4 << 20


class BlockStore:
    """An array in a file, of full size from the start: a full disk is found out before hours of work.

    Integers are rounded to the nearest and clipped to ``0 ... top``.

    Parameters
    ----------
    stream : binary file, open for reading and writing
    shape, dtype
        Of the array, C order.
    where : Path
        The output, for messages.
    offset : int
        Where the array begins in the file.
    top : int, optional
        The largest value; that of the dtype by default.

    Attributes
    ----------
    clipped : int
        Pixels that lay outside by more than rounding.
    """

    def __init__(
        self,
        stream: BinaryIO,
        shape: tuple[int, ...],
        dtype: Any,
        where: Path,
        *,
        offset: int = 0,
        top: int | None = None,
    ) -> None:
        self.shape, self.dtype, self.where = shape, np.dtype(dtype), where
        self.clipped = 0
        self._stream, self._offset = stream, offset
        self._top = np.iinfo(self.dtype).max if top is None and self.dtype.kind == "u" else top
        self._missing = int(np.prod(shape, dtype=object))
        with translate_os_errors(where):
            reserve(stream, offset + self._missing * self.dtype.itemsize)

    def put(self, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Store a block; one int or slice per axis."""
        values = np.asarray(block)
        self._missing -= values.size
        if self.dtype.kind == "u":
            values = self._rounded(values)
        with translate_os_errors(self.where):
            self._map("r+")[full_index(index, len(self.shape))] = values

    def _rounded(self, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind == "f":
            values = np.rint(np.nan_to_num(values, nan=0.0))
        outside = (values < 0) | (values > self._top)
        self.clipped += int(np.count_nonzero(outside))
        return np.clip(values, 0, self._top)

    def frame(self, t: int) -> np.ndarray:
        """One entry of the first axis, as a copy."""
        with translate_os_errors(self.where):
            return np.array(self._map("r")[t])

    def rows(self, rows: slice) -> np.ndarray:
        """Some entries of the first axis, as a copy."""
        with translate_os_errors(self.where):
            return np.array(self._map("r")[rows])

    def whole(self) -> np.ndarray:
        """The array, mapped: read as it is looked at."""
        with translate_os_errors(self.where):
            return self._map("r")

    def check_complete(self) -> None:
        """Raise UsageError unless every pixel was put."""
        if self._missing > 0:
            raise UsageError("only part of the image was written", where=self.where)

    def _map(self, mode: Any) -> np.ndarray:
        # Mapped anew for each block: its dirty pages are then the system's, not this process's memory.
        return np.memmap(self._stream, self.dtype, mode, self._offset, self.shape)


def reserve(stream: BinaryIO, size: int) -> None:
    """Give the file its full size with blocks behind it: writing to a map of a full disk kills the process."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    zeros = bytes(_CHUNK)
    stream.seek(0)
    for start in range(0, size, _CHUNK):
        stream.write(zeros[: size - start])
    stream.flush()
