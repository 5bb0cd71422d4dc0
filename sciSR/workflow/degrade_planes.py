"""Noise-free coarse planes of an image, their bad pixels and variances, computed by bands of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from sciSR.forward.propagation import SquaredWeights
from sciSR.image import Image
from sciSR.inference.fill import RADIUS, fill_bad
from sciSR.inference.statistics import bad_pixels, plane_indices, read_rows
from sciSR.training.degradation import Degradation
from sciSR.views import full_index

LEAK = 0.01
"""A coarse pixel is bad if one of its own fine pixels is, or if bad ones hold more than this share of its squared
weights."""
_BAND_BYTES = 64 << 20

Index = tuple[slice | int, ...]


@dataclass(frozen=True, eq=False)
class Band:
    """Some rows of a coarse plane.

    Attributes
    ----------
    values : ndarray, float64 ``[rows, W]``
        Noise-free; bad pixels were filled before the forward model saw them.
    bad : ndarray of bool or None
        None where there is none.
    raw : ndarray or None
        What stands on bad pixels: the mean of the file's own values where all of them are bad and finite (a padding
        value stays one), NaN elsewhere.
    """

    values: np.ndarray
    bad: np.ndarray | None = None
    raw: np.ndarray | None = None


@dataclass(eq=False)
class CoarsePlanes:
    """What the forward model makes of each plane of an image.

    Parameters
    ----------
    image : Image
    degradation : Degradation
    fallback : float
        Stands in for bad pixels that are too far from any good one.
    has_bad : bool
        False skips the search for bad pixels.
    """

    image: Image
    degradation: Degradation
    fallback: float
    has_bad: bool

    def __post_init__(self) -> None:
        self._kept: dict[str, tuple[Index, Any]] = {}

    @property
    def scale(self) -> int:
        return self.degradation.scale

    @property
    def share(self) -> float:
        """What a coarse pixel holds of the mean of its fine ones: their number for totals."""
        return float(self.scale**2) if self.image.quantity == "total" else 1.0

    @cached_property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a coarse plane."""
        first, second = (self.image.shape[axis] // self.scale for axis in self.image.spatial_axes)
        return first, second

    @property
    def indices(self) -> list[Index]:
        """One index per plane, alike for fine and coarse."""
        return plane_indices(self.image)

    def spans(self) -> Iterator[slice]:
        """Rows of a coarse plane in pieces of some MB of fine pixels."""
        height, width = self.size
        rows = max(16, _BAND_BYTES // (8 * width * self.scale**2))
        for start in range(0, height, rows):
            yield slice(start, min(start + rows, height))

    def band(self, index: Index, rows: slice) -> Band:
        """Noise-free rows; where the whole plane must be computed for them, the last plane is kept."""
        if not self.degradation.whole_plane:
            return self._band(index, rows)
        whole = self._remembered("band", index, lambda: self._band(index, slice(0, self.size[0])))
        cut = [None if part is None else part[rows] for part in (whole.values, whole.bad, whole.raw)]
        return Band(*cut)  # type: ignore[arg-type]

    def variance(self, index: Index, rows: slice) -> np.ndarray:
        """Variance of coarse rows ``[rows, W]``, float64, from the image's own uncertainty; NaN where it has none."""
        if not self.degradation.whole_plane:
            return self._variance(index, rows)
        whole = self._remembered("variance", index, lambda: self._variance(index, slice(0, self.size[0])))
        return whole[rows]

    def _remembered(self, what: str, index: Index, compute: Callable[[], Any]) -> Any:
        if what not in self._kept or self._kept[what][0] != index:
            self._kept[what] = (index, compute())
        return self._kept[what][1]

    def _window(self, rows: slice) -> tuple[slice, slice]:
        """Fine rows to read for coarse `rows`, with what the kernel and the filling reach; and where they lie in it."""
        height = self.size[0]
        reach = self.degradation.margin + (math.ceil(RADIUS / self.scale) if self.has_bad else 0)
        start, stop = (0, height) if self.degradation.whole_plane else (rows.start - reach, rows.stop + reach)
        start, stop = max(0, start), min(height, stop)
        inside = slice(rows.start - start, rows.stop - start)
        return slice(start * self.scale, stop * self.scale), inside

    def _read(self, index: Index, fine: slice, what: str) -> np.ndarray:
        return read_rows(self.image, index, fine, what)[:, : self.size[1] * self.scale]

    def _bad(self, index: Index, fine: slice, values: np.ndarray) -> np.ndarray | None:
        if not self.has_bad:
            return None
        mask = None if self.image.mask is None else self._read(index, fine, "mask")
        bad = bad_pixels(values, mask)
        return bad if bad.any() else None

    def _band(self, index: Index, rows: slice) -> Band:
        fine, inside = self._window(rows)
        values = self._read(index, fine, "data")
        bad = self._bad(index, fine, values)
        values = values.astype(np.float64)
        filled = values if bad is None else fill_bad(values, bad, self.fallback)
        coarse = self.degradation.apply(torch.from_numpy(np.ascontiguousarray(filled))).numpy() * self.share
        if bad is None:
            return Band(coarse[inside])
        of_block = _blocks(bad, self.scale)
        with np.errstate(invalid="ignore", over="ignore"):
            raw = np.where(of_block.all(-1), _blocks(values, self.scale).mean(-1) * self.share, np.nan)
        bad_coarse = of_block.any(-1) | (self._spread(bad.astype(np.float64)) > LEAK * self._weights.total)
        raw[~np.isfinite(raw)] = np.nan
        return Band(coarse[inside], bad_coarse[inside], raw[inside])

    def _variance(self, index: Index, rows: slice) -> np.ndarray:
        assert self.image.uncertainty is not None
        fine, inside = self._window(rows)
        sigma = self._read(index, fine, "uncertainty").astype(np.float64)
        unknown = ~np.isfinite(sigma)
        variance = self._spread(np.where(unknown, 0.0, sigma) ** 2) * self.share**2
        if unknown.any():
            variance[_blocks(unknown, self.scale).any(-1)] = np.nan
        return variance[inside]

    @cached_property
    def _weights(self) -> SquaredWeights:
        operator = self.degradation.operator
        if self.degradation.whole_plane:
            return SquaredWeights.periodic(operator, self.scale, self.size)
        return SquaredWeights.local(operator, self.scale, self.degradation.margin)

    def _spread(self, plane: np.ndarray) -> np.ndarray:
        return self._weights.apply(torch.from_numpy(np.ascontiguousarray(plane))).numpy()


def _blocks(plane: np.ndarray, scale: int) -> np.ndarray:
    """``[s H, s W]`` -> ``[H, W, s s]``: the fine pixels of each coarse one."""
    height, width = (n // scale for n in plane.shape)
    blocks = plane.reshape(height, scale, width, scale).swapaxes(1, 2)
    return blocks.reshape(height, width, scale * scale)


class PlaneView:
    """A lazy array whose planes are computed when they are read.

    Parameters
    ----------
    image : Image
        Tells which axes are spatial.
    shape : tuple of int
    dtype : dtype
    compute : callable
        ``compute(index, rows)`` gives full-width rows of the plane at `index`.
    """

    def __init__(
        self,
        image: Image,
        shape: tuple[int, ...],
        dtype: Any,
        compute: Callable[[Index, slice], np.ndarray],
    ) -> None:
        self.shape, self.dtype, self.spatial, self._compute = (
            shape,
            np.dtype(dtype),
            image.spatial_axes,
            compute,
        )

    def __getitem__(self, index: Any) -> np.ndarray:
        entries = full_index(index, len(self.shape))
        ranges = [
            range(*e.indices(n)) if isinstance(e, slice) else range(n)[int(e) : int(e) % n + 1]
            for e, n in zip(entries, self.shape, strict=True)
        ]
        out = np.empty([len(r) for r in ranges], dtype=self.dtype)
        first, second = self.spatial
        rows, columns = ranges[first], ranges[second]
        outer = [range(1) if axis in self.spatial else r for axis, r in enumerate(ranges)]
        for at in np.ndindex(*(len(r) for r in outer)) if out.size else ():
            plane = tuple(
                slice(None) if axis in self.spatial else outer[axis][k] for axis, k in enumerate(at)
            )
            block = self._compute(plane, slice(rows.start, rows.stop))[:, columns.start : columns.stop]
            out[tuple(slice(None) if axis in self.spatial else k for axis, k in enumerate(at))] = block
        single = tuple(axis for axis, entry in enumerate(entries) if not isinstance(entry, slice))
        return out.squeeze(axis=single) if single else out
