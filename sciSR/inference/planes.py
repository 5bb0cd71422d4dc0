"""Planes that are read in mirrored, filled regions, and scratch planes that live in memory or on disk."""

from __future__ import annotations

import contextlib
import copy
import errno
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from sciSR.errors import ResourceError
from sciSR.image import Image
from sciSR.inference import fill
from sciSR.inference.statistics import bad_pixels, read_rows
from sciSR.inference.tiles import Span, mirror

SCRATCH_IN_MEMORY = 256 << 20
"""Planes of up to this many bytes stay in memory; larger ones go to a temporary file."""


class Plane(Protocol):
    """A two-dimensional field of values relative to the image's offset, in its robust unit."""

    shape: tuple[int, int]

    def held(self, rows: Span, columns: Span | None = None) -> Plane:
        """What gives regions within these rows (and columns) from now on, whatever is asked of this plane later."""
        ...

    def region(self, rows: Span, columns: Span) -> np.ndarray:
        """Values over a region that may reach outside (mirrored there); float64 or float32."""
        ...


class ImagePlane:
    """One plane of an image: offset subtracted (in float64), bad pixels filled.

    Parameters
    ----------
    image : Image
    index : tuple
        Which plane, as from :func:`sciSR.inference.statistics.plane_indices`.
    offset, unit : float
        Values are ``(x - offset) / unit``, computed in float64, so that neither a pedestal nor an odd unit costs
        precision in float32.
    has_bad : bool
        False skips the search for bad pixels' fill (the search itself is part of reading).
    """

    def __init__(
        self, image: Image, index: tuple[slice | int, ...], offset: float, unit: float, *, has_bad: bool
    ) -> None:
        self.image, self.index, self.offset, self.unit, self.has_bad = image, index, offset, unit, has_bad
        first, second = image.spatial_axes
        self.shape = (image.shape[first], image.shape[second])
        self._band: tuple[Span, np.ndarray, np.ndarray | None] | None = None
        self._left = 0  # first column of the band

    def load(self, rows: Span) -> None:
        """Read the rows that the next regions need, at once; one band is kept."""
        span = rows.grow(self._margin)
        if self._band is None or span.start < self._band[0].start or span.stop > self._band[0].stop:
            self._band = self._read(span, slice(None))

    def held(self, rows: Span, columns: Span | None = None) -> ImagePlane:
        """This plane with the rows loaded that regions within `rows` need; a part of them where columns are given."""
        if columns is None:
            self.load(rows)
            return copy.copy(self)
        inside = mirror(columns.grow(self._margin), self.shape[1])
        part = copy.copy(self)
        part._left = int(inside.min())
        part._band = self._read(rows.grow(self._margin), slice(part._left, int(inside.max()) + 1))
        return part

    @property
    def _margin(self) -> int:
        return fill.RADIUS if self.has_bad else 0

    def _read(self, span: Span, columns: slice) -> tuple[Span, np.ndarray, np.ndarray | None]:
        inside = mirror(span, self.shape[0])
        low, high = int(inside.min()), int(inside.max()) + 1
        values = read_rows(self.image, self.index, slice(low, high), columns=columns)
        flags = None
        if self.image.mask is not None:
            flags = read_rows(self.image, self.index, slice(low, high), "mask", columns)
        bad = bad_pixels(values, flags) if self.has_bad else None
        take = inside - low
        if len(take) != high - low:
            values = values[take]
            bad = None if bad is None else bad[take]
        return span, values, bad

    def region(self, rows: Span, columns: Span) -> np.ndarray:
        self.load(rows)
        assert self._band is not None
        span, values, bad = self._band
        if bad is None:
            take = mirror(columns, self.shape[1]) - self._left
            return self._relative(_take(values[rows.within(span)], take, 1))
        # With the fill's reach around the region, so that the fill does not depend on the tile.
        outer_rows, outer_columns = rows.grow(fill.RADIUS), columns.grow(fill.RADIUS)
        take = mirror(outer_columns, self.shape[1]) - self._left
        block, flags = values[outer_rows.within(span)][:, take], bad[outer_rows.within(span)][:, take]
        block = self._relative(block)
        if flags.any():
            block = fill.fill_bad(block, flags)
        return block[rows.within(outer_rows), columns.within(outer_columns)]

    def _relative(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):
            return (values.astype(np.float64) - self.offset) / self.unit

    def measured(self, rows: Span, columns: Span | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """The file's own values of some rows inside the image, full width or some columns, and which are bad."""
        self.load(rows)
        assert self._band is not None
        span, values, bad = self._band
        inside = rows.within(span)
        across = slice(None)
        if columns is not None:
            across = slice(columns.start - self._left, columns.stop - self._left)
        return values[inside, across], None if bad is None else bad[inside, across]


@contextlib.contextmanager
def full_folder_named() -> Iterator[None]:
    """The result's own disk may be empty: it is the folder for temporary files that is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ResourceError(
            "the folder for temporary files is full",
            where=tempfile.gettempdir(),
            remedy="let TMPDIR name one with more space",
        ) from error


def _take(values: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
    """``np.take``, but a view where the index is one run of neighbours (as it is inside an image)."""
    if len(index) and index[-1] - index[0] == len(index) - 1:
        run = slice(int(index[0]), int(index[-1]) + 1)
        return values[run] if axis == 0 else values[:, run]
    return np.take(values, index, axis=axis)


class Scratch:
    """A plane to write and read back: in memory while it is small, in a temporary file otherwise.

    The file is read and written by rows, not mapped: mapped pages would count as resident memory. float64 is for what
    is transformed further: a Fourier transform spreads the rounding of a bright star over its whole row.
    """

    def __init__(
        self, shape: tuple[int, int], limit: int = SCRATCH_IN_MEMORY, dtype: type[np.floating] = np.float32
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row_bytes = shape[1] * self.dtype.itemsize
        self._file = None
        self._lock = threading.Lock()  # of the file's position
        self._array = None
        if shape[0] * self._row_bytes <= limit:
            self._array = np.empty(shape, dtype=dtype)
        else:
            self._file = tempfile.TemporaryFile(prefix="scisr-")  # noqa: SIM115  (closed in close())

    def write(self, rows: Span, values: np.ndarray) -> None:
        """Store full-width rows; an array of the whole plane is the plane's own from now on."""
        if self._array is not None and values.shape == self.shape and values.dtype == self.dtype:
            self._array = values
        elif self._array is not None:
            self._array[rows.start : rows.stop] = values
        else:
            assert self._file is not None
            with full_folder_named(), self._lock:
                self._file.seek(rows.start * self._row_bytes)
                self._file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
                self._file.flush()

    def read(self, rows: Span) -> np.ndarray:
        """Full-width rows inside the plane."""
        if self._array is not None:
            return self._array[rows.start : rows.stop]
        assert self._file is not None
        block = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        with self._lock:
            self._file.seek(rows.start * self._row_bytes)
            self._file.readinto(block.data.cast("B"))
        return block

    def region(self, rows: Span, columns: Span) -> np.ndarray:
        inside = mirror(rows, self.shape[0])
        low = int(inside.min())
        block = self.read(Span(low, int(inside.max()) + 1))
        return _take(_take(block, inside - low, 0), mirror(columns, self.shape[1]), 1)

    def held(self, rows: Span, columns: Span | None = None) -> Scratch:
        """Itself: nothing is forgotten."""
        return self

    def map_columns(self, function: Callable[[np.ndarray], np.ndarray], height: int) -> Scratch:
        """Apply `function` ``(columns, rows) -> (columns, new rows)`` down the columns, in strips.

        Parameters
        ----------
        height : int
            Rows of the result, which is float32.
        """
        out = Scratch((height, self.shape[1]))
        if self._array is not None and out._array is not None:
            out._array[:] = function(np.ascontiguousarray(self._array.T)).T
            return out
        width = max(1, SCRATCH_IN_MEMORY // (16 * (self.shape[0] + height)))
        band = max(1, SCRATCH_IN_MEMORY // (8 * self._row_bytes))
        for start in range(0, self.shape[1], width):
            strip = Span(start, min(start + width, self.shape[1]))
            columns = np.concatenate(
                [
                    self.read(Span(r, min(r + band, self.shape[0])))[:, strip.start : strip.stop]
                    for r in range(0, self.shape[0], band)
                ]
            )
            out._write_columns(strip, function(np.ascontiguousarray(columns.T)).T)
        return out

    def _write_columns(self, columns: Span, values: np.ndarray) -> None:
        if self._array is not None:
            self._array[:, columns.start : columns.stop] = values
            return
        assert self._file is not None
        with full_folder_named():
            for row, each in enumerate(np.ascontiguousarray(values, dtype=self.dtype)):
                self._file.seek(row * self._row_bytes + columns.start * self.dtype.itemsize)
                self._file.write(each.data)
            self._file.flush()

    def close(self) -> None:
        """Free the memory or the file."""
        self._array = None
        if self._file is not None:
            with contextlib.suppress(OSError):  # what a full disk could not take is not wanted any more
                self._file.close()
            self._file = None
