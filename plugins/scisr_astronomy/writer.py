"""Writes FITS files by blocks and atomically: header room first, pixels where they belong, sums at the end."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sciSR.errors import ResourceError, UsageError
from sciSR.files import atomic_output, translate_os_errors
from sciSR.image import Image
from sciSR.provenance import Provenance
from sciSR.views import full_index
from scisr_astronomy import checksum
from scisr_astronomy.carry import StoredForm, add_history
from scisr_astronomy.error_hdu import complete, values_of
from scisr_astronomy.fits_file import wrong_sum
from scisr_astronomy.header_bytes import corrected_sums, header_bytes
from scisr_astronomy.layout import Unit, place, plan_units
from scisr_astronomy.preflight import BLOCK
from scisr_astronomy.provenance_table import NAME as PROVENANCE_NAME
from scisr_astronomy.provenance_table import provenance_hdu
from scisr_astronomy.reader import FitsMetadata
from scisr_astronomy.rows import row_runs

_CHUNK = 1 << 22
_AT_A_TIME = 1 << 20  # bytes: for more, Linux looks for longer runs of free memory, longer than copying takes
_AT_ONCE = hasattr(os, "pwrite")


class FitsWriter:
    """See :class:`sciSR.adapter.Writer`. Made by :meth:`FitsAdapter.open_writer`."""

    def __init__(
        self, path: Path, images: Sequence[Image], *, overwrite: bool, uncertainty: bool = False
    ) -> None:
        self.path = Path(path)
        self.uncertainty_files: tuple[Path, ...] = ()
        self._units = plan_units(images, uncertainty)
        self._images = list(images)
        metadata = images[0].metadata
        self._file = metadata.file if isinstance(metadata, FitsMetadata) else None
        self._size = place(self._units, self._file.records if self._file else ())
        self._by_part = {unit.part: unit for unit in self._units if unit.part is not None}
        self._written = dict.fromkeys(self._by_part, 0)
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        try:
            self._open(overwrite)
        except BaseException:
            self._abort()
            raise

    def _open(self, overwrite: bool) -> None:
        self._target = self._stack.enter_context(atomic_output(self.path, overwrite=overwrite))
        free = shutil.disk_usage(self._target.parent).free
        if self._size > free:
            raise ResourceError(
                f"needs {self._size / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free",
                where=self.path,
                remedy="free some space; nothing was written",
            )
        plain = self._target
        if self.path.name.lower().endswith(".gz"):
            handle, name = tempfile.mkstemp(
                prefix=f".{self.path.name[:80]}.", suffix=".plain.tmp", dir=plain.parent
            )
            os.close(handle)
            plain = Path(name)
            self._stack.callback(plain.unlink, missing_ok=True)
        self._plain = plain
        with translate_os_errors(self.path):
            self._stream = self._stack.enter_context(plain.open("r+b", buffering=0))
            self._lay_out()

    def _lay_out(self) -> None:
        """Give the file its size, and write what is known before any pixel comes."""
        self._stream.truncate(self._size)
        for unit in self._units:
            if unit.copy_of is not None:
                self._copy(unit)
            elif unit.part is None and unit.error_of is None:
                self._write_known(unit)

    def put(self, part: int, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Store a block of physical values; see :class:`sciSR.adapter.Writer`."""
        unit = self._by_part[part]
        index = full_index(index, len(unit.shape))
        bounds = []
        for entry, size in zip(index, unit.shape, strict=True):
            start, stop, step = (entry if isinstance(entry, slice) else slice(entry, entry + 1)).indices(size)
            if step != 1:
                raise UsageError("blocks are put with slices of step 1")
            bounds.append((start, stop))
        lengths = [stop - start for start, stop in bounds]
        block = np.asarray(block)
        if block.size != int(np.prod(lengths)):
            raise UsageError(f"a block of shape {block.shape} does not fit index {index}", where=self.path)
        self._store(unit, bounds, block.reshape(lengths))
        with self._lock:
            self._written[part] += block.size

    def commit(self, images: Sequence[Image]) -> Path:
        """Finish headers with the images' final provenance, sums, fsync and rename."""
        for part, unit in self._by_part.items():
            if self._written[part] < int(np.prod(unit.shape)):
                raise UsageError(f"only part of image {unit.name or part} was written", where=self.path)
        with translate_os_errors(self.path):
            self._write_errors(images)
            table = provenance_hdu(self._provenance(images))
            for unit in self._units:
                if unit.part is not None:
                    self._finish(unit, images[unit.part].provenance)
                elif unit.header is not None and "NEXTEND" in unit.header:
                    unit.header["NEXTEND"] = len(self._units) - 1 + bool(table)
                    self._finish(unit, Provenance())
            self._write_at(self._size, table)
            self._stream.close()
            if self._plain != self._target:
                self._compress()
        self._stack.close()
        return self.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abort(kind, error, trace)

    def _abort(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Throw the temporary file away; nothing to do after commit."""
        if error is None:
            error = _Aborted()
            kind = _Aborted
        with contextlib.suppress(_Aborted):
            self._stack.__exit__(kind, error, trace)

    def _provenance(self, images: Sequence[Image]) -> list[tuple[int, str, Provenance]]:
        rows = []
        for number, unit in enumerate(self._units):
            steps = unit.provenance if unit.part is None else images[unit.part].provenance
            rows.append((number, unit.name, steps))
        return rows

    def _finish(self, unit: Unit, provenance: Provenance) -> None:
        """The final header of a unit whose pixels are all there.

        Their sum is known where each was put once, by this writer; else the data are read back for DATASUM.
        """
        header = unit.header
        if provenance.steps:
            lines = header.copy()
            add_history(
                lines,
                [Provenance(provenance.steps[-1:]).summary()[:500], f"full record in {PROVENANCE_NAME}"],
            )
            header = lines
        total = unit.total
        if unit.summed != unit.data_size:
            with open(self._plain, "rb") as stream:
                total = checksum.sum_range(stream, unit.data_start, -(-unit.data_size // BLOCK) * BLOCK)
        self._write_at(unit.start, header_bytes(header, total, blocks=unit.blocks))

    def _copy(self, unit: Unit) -> None:
        """An HDU of the input, byte by byte; a last one without padding gets it.

        Sums that were wrong and ignored are corrected, or else our own output would not be readable again.
        """
        record = self._file.records[unit.copy_of]
        at, left = unit.start, record.end - record.start
        with open(self._file.plain, "rb") as source:
            source.seek(record.start)
            while left:
                chunk = source.read(min(_CHUNK, left))
                if not chunk:
                    break
                self._write_at(at, chunk)
                at, left = at + len(chunk), left - len(chunk)
        if self._file.ignore_checksum and wrong_sum(self._file, record):
            with open(self._plain, "rb") as stream:
                size = record.data_start - record.start
                total = checksum.sum_range(stream, unit.start + size, record.end - record.data_start)
            self._write_at(unit.start, corrected_sums(self._file.raw_header(record.index), total))

    def _write_errors(self, images: Sequence[Image]) -> None:
        """The standard deviations, which are known once all pixels are."""
        for unit in self._units:
            if unit.error_of is not None:
                part, kind = unit.error_of
                unit.data = values_of(images[part], kind)
                complete(unit.header, images[part].provenance)
                self._write_known(unit)
                self.uncertainty_files = (self.path,)

    def _write_known(self, unit: Unit) -> None:
        """A unit whose values are known now: data first, for their sum, then the header."""
        if unit.data is not None:
            for bounds in _slabs(unit.shape, unit.itemsize):
                block = np.asarray(unit.data[tuple(slice(*b) for b in bounds)])
                self._store(unit, bounds, block)
        self._finish(unit, Provenance())

    def _store(self, unit: Unit, bounds: Sequence[tuple[int, int]], block: np.ndarray) -> None:
        """Write a block, converting a few MB at a time."""
        rows = max(1, _CHUNK // max(1, block[:1].nbytes)) if block.size else 1
        for first in range(0, len(block), rows):
            piece = block[first : first + rows]
            start = bounds[0][0] + first
            self._store_piece(unit, [(start, start + len(piece)), *bounds[1:]], piece)

    def _store_piece(self, unit: Unit, bounds: Sequence[tuple[int, int]], block: np.ndarray) -> None:
        form = unit.form
        if form is not None:
            dtype = _physical(form)
            stored = form.store(block if block.dtype == dtype else block.astype(dtype))
        else:
            stored = np.ascontiguousarray(block)
        flat = memoryview(stored.reshape(-1)).cast("B")
        item = unit.itemsize
        for at, offset, count in row_runs(unit.shape, bounds):
            self._write_at(unit.data_start + offset * item, flat[at * item : (at + count) * item])
        if item % 4 == 0:  # whole words, whose sum does not ask for their order; smaller pixels share words
            total = checksum.add_to_sum(flat)
            with self._lock:
                unit.summed, unit.total = unit.summed + len(flat), checksum.join(unit.total, total)

    def _write_at(self, offset: int, data: Any) -> None:
        view = memoryview(data).cast("B")
        if _AT_ONCE:  # a block can be a thousand short rows: one call each
            while len(view):
                done = os.pwrite(self._stream.fileno(), view[:_AT_A_TIME], offset)
                view, offset = view[done:], offset + done
            return
        with self._lock:
            self._stream.seek(offset)
            while len(view):
                view = view[self._stream.write(view) :]

    def _compress(self) -> None:
        with (
            open(self._plain, "rb") as source,
            open(self._target, "wb") as raw,
            gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as sink,
        ):
            shutil.copyfileobj(source, sink, _CHUNK)


class _Aborted(Exception):
    """Left before commit."""


def _physical(form: StoredForm) -> np.dtype:
    """The dtype of physical values that a stored form holds."""
    if not form.bzero:
        return form.dtype
    return np.dtype("i1") if form.bitpix == 8 else np.dtype(f"u{form.bitpix // 8}")


def _slabs(shape: Sequence[int], itemsize: int) -> Iterator[list[tuple[int, int]]]:
    """Pieces of at most some MB that cover an array: rows of its last two axes."""
    if len(shape) == 1:
        shape = (1, *shape)
    width = max(1, shape[-1] * itemsize)
    rows = max(1, _CHUNK // width)
    for outer in np.ndindex(*shape[:-2]):
        for first in range(0, shape[-2], rows):
            yield [*((o, o + 1) for o in outer), (first, min(first + rows, shape[-2])), (0, shape[-1])]
