"""An image on another's pixels, block by block: only where it was asked for, and said."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sciSR.comparison.grids import indices_of
from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.views import full_index

Method = Literal["nearest", "linear", "cubic"]
ORDERS: dict[str, int] = {"nearest": 0, "linear": 1, "cubic": 3}
_MARGIN = 6  # pixels that a cubic spline sees around a place to better than 1e-3
_ALIGNED = 1e-3  # an axis is not interpolated along where all places lie this close to whole pixels


class Resampled:
    """`image` at the centres of `truth`'s pixels; nothing is read until indexed.

    Parameters
    ----------
    image, truth : Image
    method : {"nearest", "linear", "cubic"}
        Interpolating splines of order 0, 1 and 3. NaN where a place lies outside the image, or a bad pixel has a part.
    """

    def __init__(self, image: Image, truth: Image, method: Method) -> None:
        if method not in ORDERS:
            raise UsageError(f"unknown resampling {method!r}", remedy=f"use {', '.join(ORDERS)}")
        self.image, self.truth, self.order = image, truth, ORDERS[method]
        self.shape = truth.shape
        self.dtype = np.dtype(np.float64)
        self._share = _volume_ratio(image, truth) if image.quantity == "total" else 1.0

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[np.float64]:
        spans, single = [], []
        for axis, (entry, size) in enumerate(zip(full_index(index, self.ndim), self.shape, strict=True)):
            if isinstance(entry, slice):
                spans.append(np.arange(*entry.indices(size)))
            else:
                single.append(axis)
                spans.append(np.array([range(size)[int(entry)]]))
        places = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).astype(np.float64)
        there = np.moveaxis(indices_of(self.truth, self.image, places), -1, 0)
        return self._interpolated(there).squeeze(axis=tuple(single)) * self._share

    def _interpolated(self, there: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.ndimage import map_coordinates

        ends = np.array(self.image.shape).reshape(-1, *[1] * (there.ndim - 1))
        outside = ~((there >= -0.5) & (there <= ends - 0.5)).all(axis=0)
        there = np.clip(np.where(np.isfinite(there), there, 0), 0, ends - 1)
        low = [max(0, int(np.floor(axis.min())) - _MARGIN) for axis in there]
        high = [
            min(n, int(np.ceil(axis.max())) + _MARGIN + 1)
            for axis, n in zip(there, self.image.shape, strict=True)
        ]
        block = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        values = np.array(self.image.data[block], np.float64)
        bad = ~np.isfinite(values)
        if self.image.mask is not None:
            bad |= np.asarray(self.image.mask[block], bool)
        local = there - np.array(low).reshape(ends.shape)
        whole = np.abs(local - np.round(local)).reshape(len(local), -1).max(axis=1) < _ALIGNED
        local = np.where(whole.reshape(ends.shape), np.round(local), local)
        values[bad] = np.median(values[~bad]) if not bad.all() else 0.0
        found = map_coordinates(values, local, order=self.order, mode="nearest")
        if bad.any():
            part = map_coordinates(bad.astype(np.float64), local, order=min(self.order, 1), mode="nearest")
            outside = outside | (part > 1e-6)
        return np.where(outside, np.nan, found)


def _volume_ratio(image: Image, truth: Image) -> float:
    """Volume of a pixel of the truth in pixels of the image: totals are shared out."""
    middle = np.array([(n - 1) / 2 for n in truth.shape])
    steps = [*truth.spatial_axes]
    ends = np.stack([middle, *(middle + np.eye(len(middle))[axis] for axis in steps)])
    there = indices_of(truth, image, ends)
    jacobian = (there[1:] - there[0])[:, list(image.spatial_axes)]
    return float(abs(np.linalg.det(jacobian)))


def resampled(image: Image, truth: Image, method: Method) -> Image:
    """An image on the truth's grid; bad pixels, and what it does not cover, are NaN."""
    return image.replace(
        data=Resampled(image, truth, method),
        axes=truth.axes,
        spatial=truth.spatial,
        grid=truth.grid,
        uncertainty=None,
        mask=None,
    )
