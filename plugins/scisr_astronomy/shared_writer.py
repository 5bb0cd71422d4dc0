"""One FITS file that several processes fill: laid out first, pixels written where they belong, sums at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import ResourceError, UsageError
from sciSR.files import check_output, put_in_place, translate_os_errors
from sciSR.image import Image
from sciSR.views import full_index
from scisr_astronomy.carry import StoredForm
from scisr_astronomy.rows import row_runs
from scisr_astronomy.writer import FitsWriter


class SharedFitsWriter(FitsWriter):
    """A writer whose temporary file has a name of its own and outlives a killed run.

    Parameters
    ----------
    path : Path
    images : sequence of Image
    temporary : Path
        On the file system of `path`; an existing one is gone on with.
    """

    def __init__(self, path: Path, images: Sequence[Image], *, temporary: Path, overwrite: bool) -> None:
        if Path(path).name.lower().endswith(".gz"):
            raise UsageError(
                "a compressed file can't be written by several processes",
                where=path,
                remedy="give a name in .fits",
            )
        self._temporary, self._overwrite = Path(temporary), overwrite
        super().__init__(path, images, overwrite=overwrite)

    def _open(self, overwrite: bool) -> None:
        check_output(self.path, overwrite=overwrite)
        self._target = self._plain = self._temporary
        with translate_os_errors(self.path):
            handle = os.open(self._temporary, os.O_RDWR | os.O_CREAT, 0o600)
            self._stream = self._stack.enter_context(os.fdopen(handle, "r+b", buffering=0))
            held = os.fstat(handle).st_blocks * 512
            free = shutil.disk_usage(self._temporary.parent).free
            if self._size - held > free:
                raise ResourceError(
                    f"needs {(self._size - held) / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free",
                    where=self.path,
                    remedy="free some space",
                )
            self._lay_out()

    def ticket(self, part: int) -> Mapping[str, Any]:
        """What another process needs to write pixels of one image: JSON-ready."""
        unit = self._by_part[part]
        return {
            "path": str(self._temporary),
            "offset": unit.data_start,
            "shape": list(unit.shape),
            "bitpix": unit.form.bitpix,
            "bzero": unit.form.bzero,
        }

    def commit(self, images: Sequence[Image]) -> Path:
        """Finish headers and sums, fsync, and rename; all pixels were written elsewhere."""
        self._written = {part: int(np.prod(unit.shape)) for part, unit in self._by_part.items()}
        super().commit(images)
        put_in_place(self._temporary, self.path, overwrite=self._overwrite)
        self._temporary.unlink(missing_ok=True)
        return self.path

    def discard(self) -> None:
        """Throw the temporary file away."""
        self._abort()
        self._temporary.unlink(missing_ok=True)


class FitsStore:
    """Writes blocks of physical values into the file of a ticket; see :meth:`SharedFitsWriter.ticket`."""

    def __init__(self, ticket: Mapping[str, Any]) -> None:
        self._shape = tuple(ticket["shape"])
        self._offset = int(ticket["offset"])
        kind = "f" if ticket["bitpix"] < 0 else ("u" if ticket["bitpix"] == 8 else "i")
        dtype = np.dtype(f">{kind}{abs(ticket['bitpix']) // 8}")
        self._form = StoredForm(ticket["bitpix"], ticket["bzero"], dtype)
        self._path = Path(ticket["path"])
        with translate_os_errors(self._path):
            self._handle = os.open(self._path, os.O_RDWR)

    def put(self, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Store a block at ``index`` (one int or slice per axis)."""
        bounds = []
        for entry, size in zip(full_index(index, len(self._shape)), self._shape, strict=True):
            start, stop, _ = (entry if isinstance(entry, slice) else slice(entry, entry + 1)).indices(size)
            bounds.append((start, stop))
        item = self._form.dtype.itemsize
        with translate_os_errors(self._path):
            flat = memoryview(self._form.store(np.asarray(block)).reshape(-1)).cast("B")
            for at, offset, count in row_runs(self._shape, bounds):
                view, place = flat[at * item : (at + count) * item], self._offset + offset * item
                while len(view):
                    written = os.pwrite(self._handle, view, place)
                    view, place = view[written:], place + written

    def __enter__(self) -> FitsStore:
        return self

    def __exit__(self, *error: object) -> None:
        """Fsync where all went well, so that a block that is said to be done is on disk."""
        try:
            if error[0] is None:
                with translate_os_errors(self._path):
                    os.fsync(self._handle)
        finally:
            with contextlib.suppress(OSError):
                os.close(self._handle)
