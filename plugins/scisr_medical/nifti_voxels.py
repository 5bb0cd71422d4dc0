"""Voxels of a NIfTI file, block by block: memory-mapped, inflated once if compressed, scaled when read."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sciSR.errors import ResourceError, UnreadableError
from sciSR.files import check_regular_file, inflate
from sciSR.views import full_index
from scisr_medical.nifti_header import NiftiHeader

GZIP_MAGIC = b"\x1f\x8b"
# Deflate can't shrink by more than this (zlib's technical details), so nothing larger can be inside a file.
_DEFLATE_LIMIT = 1032
# Compressed files up to this inflated size stay in memory, larger ones go to a temporary file.
_IN_MEMORY = 64 << 20
# Zeros at the end of a file that are taken for padding: one block of the usual file systems.
_PADDING = 4096


def is_gzip(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def inflated_head(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file's content, inflated if it is gzip; less if there is less.

    Raises
    ------
    UnreadableError
        The gzip stream is damaged right at its start.
    """
    with open(path, "rb") as stream:
        raw = stream.read(65536)
        if not raw.startswith(GZIP_MAGIC):
            # read(n) reserves n bytes first, however short the file is
            more = min(size, path.stat().st_size) - len(raw)
            return (raw + stream.read(more) if more > 0 else raw)[:size]
        inflator, out = zlib.decompressobj(wbits=31), bytearray()
        try:
            while raw and len(out) < size:
                out += inflator.decompress(raw, size - len(out))
                if inflator.eof:  # gzip files may be several streams in a row (bgzip)
                    raw = inflator.unused_data or stream.read(65536)
                    inflator = zlib.decompressobj(wbits=31)
                else:
                    raw = inflator.unconsumed_tail or stream.read(65536)
        except zlib.error as error:
            if not out:
                raise UnreadableError(f"damaged gzip data: {error}", where=path) from error
    return bytes(out)


def content_size(path: Path, expected: int, trailer: int = 0) -> int:
    """Size of the content of a file that should hold `expected` bytes, held against it.

    For a gzip file only the cheap check is made here: whether so much can be inside at all; :func:`open_content`
    makes the others.

    Raises
    ------
    UnreadableError
        Truncated, or longer than its header says.
    """
    size = check_regular_file(path)
    if not is_gzip(path):
        _check_size(path, expected, path, trailer)
        return size
    if expected > size * _DEFLATE_LIMIT:
        raise UnreadableError(
            f"truncated or damaged: its header says {expected} bytes, {size} compressed bytes can't hold them",
            where=path,
        )
    return expected


def _check_size(content: Path, expected: int, path: Path, trailer: int = 0) -> None:
    """Hold the size of (inflated) content against the header's; only zeros may follow, and few, or a trailer."""
    size = content.stat().st_size
    if size < expected:
        raise UnreadableError(f"truncated: {size} bytes, its header says {expected}", where=path)
    if expected + trailer >= size:
        return
    tail = b""
    if expected < size <= expected + _PADDING:
        with open(content, "rb") as stream:
            stream.seek(expected)
            tail = stream.read()
    if size > expected + _PADDING or any(tail):
        raise UnreadableError(
            f"damaged header or trailing data: {size} bytes, its header says {expected}",
            where=path,
            remedy="check dim, datatype and vox_offset with nifti_tool -disp_hdr",
        )


@dataclass(frozen=True)
class Content:
    """Bytes of one file, inflated: a path, an open (nameless) temporary file, or a buffer.

    Attributes
    ----------
    source : Path, file or bytes
    path : Path
        What messages name.
    """

    source: Path | BinaryIO | bytes
    path: Path

    def tail(self, start: int) -> bytes:
        """Everything from byte `start` on."""
        if isinstance(self.source, bytes):
            return self.source[start:]
        if isinstance(self.source, Path):
            with open(self.source, "rb") as stream:
                stream.seek(start)
                return stream.read()
        self.source.seek(start)
        return self.source.read()

    def array(self, dtype: np.dtype, offset: int, shape: tuple[int, ...]) -> np.ndarray:
        """The voxels as a Fortran-ordered view. A memory map is made anew for each block and dropped with it, so
        that its pages do not count as this process's memory for ever."""
        if isinstance(self.source, bytes):
            flat = np.frombuffer(self.source, dtype=dtype, count=int(np.prod(shape)), offset=offset)
            return flat.reshape(shape, order="F")
        return np.memmap(self.source, dtype=dtype, mode="r", offset=offset, shape=shape, order="F")


def open_content(path: Path, expected: int, trailer: int = 0) -> Content:
    """A file's content with its size checked; a gzip file is inflated once, its CRC checked to the end.

    Parameters
    ----------
    path : Path
    expected : int
        Bytes up to the end of the voxels.
    trailer : int
        Bytes of anything that may follow them.

    Raises
    ------
    UnreadableError
        Truncated, too long, or failing its CRC.
    ResourceError
        No room for the inflated content.
    """
    content_size(path, expected, trailer)
    if not is_gzip(path):
        return Content(path, path)
    limit = expected + max(_PADDING, trailer)
    folder = tempfile.gettempdir()
    if limit > _IN_MEMORY and shutil.disk_usage(folder).free < limit:
        raise ResourceError(
            f"{limit / 1e9:.1f} GB are needed in {folder} to inflate it",
            where=path,
            remedy="point TMPDIR to a larger disk, or decompress the file first",
        )
    handle, name = tempfile.mkstemp(prefix="scisr-", suffix=".nii")
    os.close(handle)
    temporary = Path(name)
    stream: BinaryIO | None = None
    try:
        size = inflate(path, temporary, compression="gzip", limit=limit)
        _check_size(temporary, expected, path, trailer)
        if size <= _IN_MEMORY:
            return Content(temporary.read_bytes(), path)
        stream = open(temporary, "rb")  # noqa: SIM115 - closed when its voxels are dropped
        return Content(stream, path)
    finally:
        # Nameless from here on, where the system allows it: nothing is left however the process ends.
        _unlink(temporary, stream)


def _unlink(path: Path, stream: BinaryIO | None) -> None:
    try:
        path.unlink()
    except PermissionError:  # Windows keeps the name of an open file
        if stream is not None:
            weakref.finalize(stream, path.unlink, missing_ok=True)


class Voxels:
    """Physical values of a NIfTI file, read when indexed.

    Parameters
    ----------
    content : Content
    header : NiftiHeader
    offset : int
        First byte of the voxels in `content`.
    part : callable, optional
        Makes complex voxels real: ``numpy.abs``, ``numpy.real``, ``numpy.imag``.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
        Native byte order: the stored dtype where the header asks for no scaling, else float64.
    """

    def __init__(
        self, content: Content, header: NiftiHeader, *, part: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        self._content = content
        self._header = header
        self._part = part
        self.shape = header.shape
        self.dtype = self._convert(np.zeros(1, dtype=header.stored)).dtype
        if isinstance(content.source, io.IOBase):
            weakref.finalize(self, content.source.close)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def _convert(self, raw: np.ndarray) -> np.ndarray:
        values = np.array(raw, dtype=raw.dtype.newbyteorder("="), order="K")  # a copy: the map goes away
        if self._header.scaled:
            wide = np.complex128 if values.dtype.kind == "c" else np.float64
            values = values.astype(wide) * self._header.slope + self._header.inter
        return values if self._part is None else self._part(values)

    def __getitem__(self, index: Any) -> np.ndarray:
        try:
            stored = self._content.array(self._header.stored, self._header.offset, self.shape)
        except (OSError, ValueError) as error:
            raise UnreadableError(
                f"changed or vanished while it was being read: {error}", where=self._content.path
            ) from error
        return self._convert(stored[full_index(index, self.ndim)])
