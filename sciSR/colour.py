"""Colour as luminance and two colour differences: linear views of an image with an axis named ``"rgb"``.

    Y = 0.299 R + 0.587 G + 0.114 B,    U = 0.436 (B - Y) / 0.886,    V = 0.615 (R - Y) / 0.701

Y is the luminance of ITU-R BT.601-7 (2.5.1), U and V the differences of ITU-R BT.470-6 (2.5), 0.436 and 0.615 of the
range either way. That is YUV, not the studio range of YCbCr: nothing is offset, rounded or clipped. The formula is
applied to values as they are stored: a gamma is not undone. The inverse is exact, so what is linear (a mean over
pixels, an interpolation) is the same in Y, U, V as in R, G, B.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sciSR.image import Image, LazyArray
from sciSR.planes import PlaneGrid
from sciSR.views import full_index

RGB = "rgb"
"""Name of an axis of three entries: red, green, blue."""

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
_U, _V = 0.436 / (1 - _BLUE), 0.615 / (1 - _RED)

LUMA = np.array([_RED, _GREEN, _BLUE])
"""Weights of R, G, B in Y."""

CHROMA = np.array([_U * (np.array([0, 0, 1]) - LUMA), _V * (np.array([1, 0, 0]) - LUMA)])
"""Weights of R, G, B in U and in V, ``[2, 3]``."""


def rgb_axis(image: Image) -> int | None:
    """Which axis of an image's data holds red, green and blue; None if none does."""
    axis = image.axes.index(RGB) if RGB in image.axes else None
    if axis is None or image.shape[axis] != 3 or RGB in image.spatial or image.kind == "labels":
        return None
    return axis


def to_rgb(luma: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """R, G, B, float64 ``[3, ...]``, of Y, U and V ``[...]``."""
    luma = luma.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite where the input is; such pixels are bad
        red, blue = luma + v / _V, luma + u / _U
        return np.stack([red, (luma - _RED * red - _BLUE * blue) / _GREEN, blue])


class MixedView:
    """A weighted sum over one axis of a lazy array, float64; nothing is read until indexed.

    Parameters
    ----------
    source : LazyArray
    axis : int
        The axis that is summed over and dropped.
    weights : ndarray, float64 ``[n]``
        One for each entry of the axis.
    """

    def __init__(self, source: LazyArray, axis: int, weights: np.ndarray) -> None:
        self.source, self.axis, self.weights = source, axis, weights
        self.shape = (*source.shape[:axis], *source.shape[axis + 1 :])
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, index: Any) -> np.ndarray:
        parts = _entries(self.source, self.axis, full_index(index, len(self.shape)))
        # One product after the other: a pixel's sum must not depend on the block that it is read in.
        with np.errstate(invalid="ignore", over="ignore"):
            terms = [w * part.astype(np.float64) for w, part in zip(self.weights, parts, strict=True)]
            return np.asarray(sum(terms))


class BadTogether:
    """Where a pixel is bad in any entry of one axis: not finite, or masked; bool, nothing is read until indexed.

    Parameters
    ----------
    image : Image
    axis : int
        Which is dropped.
    """

    def __init__(self, image: Image, axis: int) -> None:
        self.image, self.axis = image, axis
        self.shape = (*image.shape[:axis], *image.shape[axis + 1 :])
        self.dtype = np.dtype(bool)

    def __getitem__(self, index: Any) -> np.ndarray:
        entries = full_index(index, len(self.shape))
        bad = np.zeros((), dtype=bool)
        if self.image.dtype.kind == "f":
            bad = ~np.isfinite(_entries(self.image.data, self.axis, entries)).all(axis=0)
        if self.image.mask is not None:
            bad = bad | _entries(self.image.mask, self.axis, entries).astype(bool).any(axis=0)
        return bad


def _entries(source: LazyArray, axis: int, index: tuple[Any, ...]) -> np.ndarray:
    """A block of all entries along an axis, which comes first; `index` is without it."""
    block = np.asarray(source[(*index[:axis], slice(None), *index[axis:])])
    return np.moveaxis(block, sum(isinstance(entry, slice) for entry in index[:axis]), 0)


def bad_together(image: Image, axis: int) -> BadTogether | None:
    """The mask of a colour image's mixtures; None where no pixel can be bad."""
    return BadTogether(image, axis) if image.mask is not None or image.dtype.kind == "f" else None


def mixture(image: Image, axis: int, weights: np.ndarray) -> Image:
    """One mixture of an image's colours, lazily: a plane (or planes) without the axis; bad where any colour is."""
    return image.replace(
        data=MixedView(image.data, axis, weights),
        axes=tuple(name for number, name in enumerate(image.axes) if number != axis),
        grid=PlaneGrid(image.grid, {axis: 0}),
        mask=bad_together(image, axis),
        uncertainty=None,
    )
