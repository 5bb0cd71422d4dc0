"""One plane at any size: level 0 is native, a pixel of level k is the mean of 2^k x 2^k native ones.

Small pieces of fine levels are read and averaged when asked for. Coarse levels of a large plane need all of it: they
are made in one pass over bands of rows (:meth:`PlanePyramid.build`), and until then estimated from one native row for
each of theirs, so that a picture is there at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np

from sciSR.image import LazyArray

TILE = 256
"""Side of a tile in pixels."""

_BAND_BYTES = 16 << 20  # native pixels held at a time
_HELD_PIXELS = 1 << 23  # of the finest level that is kept in memory: sums and counts are 12 bytes a pixel
_SMALL = 1 << 22  # planes of no more pixels are averaged when asked, without waiting for the pass


def block_means(block: np.ndarray, factor: int) -> np.ndarray:
    """Means over `factor` x `factor` blocks, float64, of the finite pixels; NaN where there are none.

    Blocks at the lower and right edge may be short.
    """
    return _means(*block_sums(block, factor))


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def block_sums(block: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the finite pixels of each block, float64, and how many they are, int32."""
    good = np.isfinite(block) if block.dtype.kind == "f" else None
    if good is not None and good.all():
        good = None
    if good is None:
        rows, columns = block.shape
        high = _lengths(rows, factor)
        counts = np.multiply.outer(high, _lengths(columns, factor)).astype(np.int32)
    else:
        block = np.where(good, block, block.dtype.type(0))
        counts = _summed(good, factor, np.int32)
    return _summed(block, factor, np.float64), counts


def _lengths(size: int, factor: int) -> np.ndarray:
    starts = np.arange(0, size, factor)
    return np.minimum(factor, size - starts)


def _summed(array: np.ndarray, factor: int, dtype: type) -> np.ndarray:
    """Rows first: that sum runs along memory, and leaves little for the other."""
    rows = np.add.reduceat(array, np.arange(0, array.shape[0], factor), axis=0, dtype=dtype)
    return np.add.reduceat(rows, np.arange(0, array.shape[1], factor), axis=1, dtype=dtype)


class PlanePyramid:
    """Levels of one plane.

    Parameters
    ----------
    plane : LazyArray
        Two axes, rows first.
    lock : threading.Lock
        Held while `plane` is read: readers need not be safe for threads.
    labels : bool
        Take the pixel in the middle of each block instead of the mean: labels are never mixed.
    """

    def __init__(self, plane: LazyArray, lock: threading.Lock | None = None, *, labels: bool = False) -> None:
        self.plane = plane
        self.height, self.width = (int(n) for n in plane.shape)
        self.labels = labels
        self._lock = lock or threading.Lock()
        self.levels = 1 + max(0, math.ceil(math.log2(max(self.height, self.width, 1) / TILE)))
        small = self.height * self.width <= _SMALL
        fitting = math.ceil(math.log2(max(1.0, self.height * self.width / _HELD_PIXELS)) / 2)
        # Levels from `held` on are kept once made; all finer ones are read from the plane. None of a small plane are.
        self.held = self.levels if small or labels else max(3, fitting)
        self._made: dict[int, np.ndarray] = {}
        self.done = 0.0
        """How much of the plane a pass has read, 0 to 1."""

    def shape(self, level: int) -> tuple[int, int]:
        """Rows and columns of a level; the last ones may stand for fewer native pixels."""
        return -(-self.height >> level), -(-self.width >> level)

    @property
    def complete(self) -> bool:
        """Whether every level is exact by now."""
        return self.held >= self.levels or self.held in self._made

    @property
    def nbytes(self) -> int:
        return sum(level.nbytes for level in self._made.values())

    def read(self, level: int, rows: slice, columns: slice) -> tuple[np.ndarray, bool]:
        """A piece of a level, float32, and whether it is exact rather than estimated.

        Parameters
        ----------
        level : int
        rows, columns : slice
            Start and stop within :meth:`shape`.
        """
        made = self._made.get(level)
        if made is not None:
            return made[rows, columns], True
        if self.labels:
            return self._picked(level, rows, columns), True
        if level < self.held:
            return self._averaged(level, rows, columns), True
        return self._estimated(level, rows, columns), False

    def build(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Make all coarse levels in one pass over the plane; leave early, without them, once `stopped`."""
        if self.complete:
            return
        factor = 1 << self.held
        sums = np.empty(self.shape(self.held))
        counts = np.empty(self.shape(self.held), np.int32)
        step = max(1, _BAND_BYTES // (factor * self.width * self._item))
        for first in range(0, len(sums), step):
            if stopped():
                return
            band = self._native(
                slice(first * factor, min((first + step) * factor, self.height)), slice(0, self.width)
            )
            sums[first : first + step], counts[first : first + step] = block_sums(band, factor)
            self.done = min(1.0, (first + step) / len(sums))
        made = {}
        for level in range(self.held, self.levels):
            if level > self.held:
                sums, counts = _summed(sums, 2, np.float64), _summed(counts, 2, np.int32)
            made[level] = _float32(_means(sums, counts))
        self._made = made

    def give_up(self) -> None:
        """After a pass that failed: what can be read is averaged when asked for, however long it takes."""
        self.held = self.levels

    @property
    def _item(self) -> int:
        return max(4, np.dtype(self.plane.dtype).itemsize)

    def _native(self, rows: slice, columns: slice) -> np.ndarray:
        with self._lock:
            return np.asarray(self.plane[rows, columns])

    def _averaged(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        factor = 1 << level
        across = slice(columns.start * factor, min(columns.stop * factor, self.width))
        if level == 0:
            return _float32(self._native(rows, across))
        step = max(1, _BAND_BYTES // max(1, factor * (across.stop - across.start) * self._item))
        out = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        for first in range(rows.start, rows.stop, step):
            last = min(first + step, rows.stop)
            band = self._native(slice(first * factor, min(last * factor, self.height)), across)
            out[first - rows.start : last - rows.start] = _float32(block_means(band, factor))
        return out

    def _estimated(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        """The mean of one native row for each row of the level: the one in the middle of its blocks."""
        factor = 1 << level
        across = slice(columns.start * factor, min(columns.stop * factor, self.width))
        out = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        starts = np.arange(0, across.stop - across.start, factor)
        for number, row in enumerate(range(rows.start, rows.stop)):
            at = self._middle(row, factor, self.height)
            values = self._native(slice(at, at + 1), across)[0].astype(np.float64)
            good = np.isfinite(values)
            counts = np.add.reduceat(good, starts, dtype=np.int32)
            out[number] = _float32(_means(np.add.reduceat(np.where(good, values, 0), starts), counts))
        return out

    def _picked(self, level: int, rows: slice, columns: slice) -> np.ndarray:
        factor = 1 << level
        if level == 0:
            return _float32(self._native(rows, columns))
        across = [self._middle(c, factor, self.width) for c in range(columns.start, columns.stop)]
        out = np.empty((rows.stop - rows.start, len(across)), np.float32)
        for number, row in enumerate(range(rows.start, rows.stop)):
            at = self._middle(row, factor, self.height)
            line = self._native(slice(at, at + 1), slice(across[0], across[-1] + 1))[0]
            out[number] = _float32(line[np.array(across) - across[0]])
        return out

    @staticmethod
    def _middle(index: int, factor: int, size: int) -> int:
        return min(index * factor + factor // 2, size - 1)


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)
