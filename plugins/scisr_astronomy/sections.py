"""Lazy arrays over FITS images: only the pixels asked for are read, in physical values.

Not a memory map: pages of a map count as resident memory of the process, and a map of a scaled or big-endian
image is converted as a whole. Here each block is read with its own few reads into one small buffer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import SciSRError, UnreadableError
from sciSR.views import full_index
from scisr_astronomy.gzip_tiles import GzipTiles
from scisr_astronomy.one_hdu import open_one
from scisr_astronomy.preflight import HduRecord
from scisr_astronomy.rows import row_runs

_NATIVE = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_UNSIGNED = {(8, -128.0): "i1", (16, 2.0**15): "u2", (32, 2.0**31): "u4", (64, 2.0**63): "u8"}


def stored_dtype(bitpix: int) -> np.dtype:
    """Big-endian dtype of stored values."""
    return np.dtype(_NATIVE[bitpix])


class StoredSection:
    """Stored values of an uncompressed image, without any scaling.

    Parameters
    ----------
    path : Path
        The plain FITS file.
    offset : int
        Byte offset of the first pixel.
    shape : tuple of int
        NumPy order.
    bitpix : int
    where : str
        How messages name the image.
    owner : object
        What keeps a temporary file alive; held as long as this section.
    """

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, ...], bitpix: int, *, where: str, owner: Any = None
    ) -> None:
        self.path = path
        self.owner = owner
        self.offset = offset
        self.shape = tuple(shape)
        self.dtype = stored_dtype(bitpix)
        self.where = where
        self._size = offset + math.prod(shape) * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        index = full_index(index, self.ndim)
        bounds = [_bounds(entry, size) for entry, size in zip(index, self.shape, strict=True)]
        block = np.empty([stop - start for start, stop in bounds], dtype=self.dtype)
        if block.size:
            try:
                self._fill(block, bounds)
            except OSError as error:
                raise UnreadableError(
                    f"can't be read: {error.strerror or error}", where=self.where
                ) from error
        return block[tuple(slice(None) if isinstance(entry, slice) else 0 for entry in index)]

    def _fill(self, block: np.ndarray, bounds: list[tuple[int, int]]) -> None:
        flat = memoryview(block.reshape(-1)).cast("B")
        item = self.dtype.itemsize
        with open(self.path, "rb", buffering=0) as stream:
            if os.fstat(stream.fileno()).st_size < self._size:
                raise UnreadableError("the file became shorter while it was read", where=self.where)
            for at, first, count in row_runs(self.shape, bounds):
                stream.seek(self.offset + first * item)
                view = flat[at * item : (at + count) * item]
                while len(view):
                    got = stream.readinto(view)
                    if not got:
                        raise UnreadableError("the file ended while it was read", where=self.where)
                    view = view[got:]


class PhysicalSection:
    """Physical values ``BZERO + BSCALE * stored``, NaN where ``stored == BLANK``, in the machine's byte order.

    The dtype is the smallest that holds them: integers stay integers without scaling and BLANK (the unsigned
    convention of BZERO included); otherwise float32 up to 16 bits and for BITPIX -32, else float64.
    """

    def __init__(self, stored: StoredSection, bscale: float, bzero: float, blank: int | None) -> None:
        self.stored = stored
        self.shape = stored.shape
        bits = {value: key for key, value in _NATIVE.items()}[_code(stored.dtype)]
        self.bscale, self.bzero = float(bscale), float(bzero)
        self.blank = blank if bits > 0 else None
        plain = bscale == 1 and bzero == 0
        unsigned = _UNSIGNED.get((bits, float(bzero))) if bscale == 1 else None
        self._mode = "float"
        if bits < 0:
            self.dtype = np.dtype(f"f{-bits // 8}")
        elif self.blank is None and plain:
            self._mode, self.dtype = "same", stored.dtype.newbyteorder("=")
        elif self.blank is None and unsigned:
            self._mode, self.dtype = "unsigned", np.dtype(unsigned)
        else:
            self.dtype = np.dtype("f4" if bits <= 16 else "f8")
        self._plain = plain

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        raw = self.stored[index]
        if self._mode == "same":
            return raw.astype(self.dtype, copy=False)
        if self._mode == "unsigned":
            # Adding half the range to a two's complement number flips its top bit: exact for 64 bits too.
            native = np.ascontiguousarray(raw.astype(raw.dtype.newbyteorder("="), copy=False))
            unsigned = np.dtype(f"u{native.dtype.itemsize}")
            top = unsigned.type(1 << (8 * native.dtype.itemsize - 1))
            return (native.view(unsigned) ^ top).view(self.dtype).reshape(raw.shape)
        if self._plain:
            values = raw.astype(self.dtype)
        else:
            values = (raw.astype(np.float64) * self.bscale + self.bzero).astype(self.dtype)
        if self.blank is not None:
            values = np.where(raw == self.blank, self.dtype.type(np.nan), values)
        return values


class CompressedSection:
    """Physical values of a tile-compressed image, read tile by tile through astropy.

    The file is opened for each block and closed again: no handle outlives a read.
    """

    def __init__(self, path: Path, record: HduRecord, *, where: str, owner: Any = None) -> None:
        self.path = path
        self.owner = owner
        self.record = record
        self.shape = record.shape
        self.where = where
        self._tiles: GzipTiles | None = None
        # One pixel decides the dtype, and shows a codec that is unknown or a first tile that is damaged.
        one = self._section(tuple(slice(0, 1) for _ in self.shape))
        self.dtype = one.dtype.newbyteorder("=")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        index = full_index(index, self.ndim)
        bounds = tuple(slice(*_bounds(entry, size)) for entry, size in zip(index, self.shape, strict=True))
        block = self._section(bounds).astype(self.dtype, copy=False)
        return block[tuple(slice(None) if isinstance(entry, slice) else 0 for entry in index)]

    def _section(self, bounds: tuple[slice, ...]) -> np.ndarray:
        shape = tuple(b.stop - b.start for b in bounds)
        if 0 in shape:
            return np.empty(shape, dtype=getattr(self, "dtype", np.float32))
        try:
            if self._tiles is None:
                self._tiles = GzipTiles(self.path, self.record, where=self.where)
            self._tiles.check(bounds)
            with open_one(self.path, self.record) as hdu:
                block = np.asarray(hdu.section[bounds])
        except SciSRError:
            raise
        except Exception as error:  # the codecs raise nearly anything on damaged tiles
            raise UnreadableError(f"compressed data can't be read: {error}", where=self.where) from error
        if block.shape != shape:
            raise UnreadableError(
                f"decompressed to {block.shape} instead of {shape} pixels", where=self.where
            )
        return block


class MappedSection:
    """Another section through an element-wise function, e.g. a variance as a standard deviation."""

    def __init__(self, source: Any, function: Callable[[np.ndarray], np.ndarray], dtype: Any) -> None:
        self.source = source
        self.function = function
        self.shape = tuple(source.shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(self.function(self.source[index])).astype(self.dtype, copy=False)


def _code(dtype: np.dtype) -> str:
    return "u1" if dtype.itemsize == 1 else f">{dtype.kind}{dtype.itemsize}"


def _bounds(entry: Any, size: int) -> tuple[int, int]:
    if isinstance(entry, slice):
        start, stop, step = entry.indices(size)
        if step != 1:
            raise IndexError("only slices with a step of 1 can be read")
        return start, max(start, stop)
    position = range(size)[int(entry)]
    return position, position + 1
