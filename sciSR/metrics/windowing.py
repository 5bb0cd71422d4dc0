"""What spectra of finite, holed fields have in common: windows, weights around holes, rings and shells of frequency."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UsageError

_SOFT = 8.0
TAPERS = {"hann": 1.0, "tukey": 0.25, "none": 0.0}


def tapered_window(shape: Sequence[int], taper: float = 1.0) -> NDArray[np.float64]:
    """A window that falls to zero by cosines over a fraction `taper` of each side in all: 1 is Hann's, less Tukey's.

    Parameters
    ----------
    shape : sequence of int
        Any number of axes; one of a single pixel is not tapered.
    taper : float
        0..1.
    """
    sides = []
    for size in shape:
        x = (np.arange(size) + 0.5) / size
        edge = np.minimum(x, 1 - x) / max(taper / 2, 1e-12)
        side = np.where(edge < 1, 0.5 - 0.5 * np.cos(np.pi * np.minimum(edge, 1)), 1.0)
        sides.append(side if size > 1 else np.ones(1))
    return functools.reduce(np.multiply.outer, sides)


def field_weight(good: NDArray, usable: NDArray, window: Any) -> NDArray[np.float64]:
    """The window, falling softly to zero towards holes and along ragged edges of the field.

    A hard edge that both images have would scatter the power of their stars over all frequencies, alike in both.

    Parameters
    ----------
    good : ndarray of bool
        For its shape.
    usable : ndarray of bool
        True for good pixels and for bad ones that are bridged.
    window : ndarray or {"hann", "tukey", "none"}

    Raises
    ------
    UsageError
        Unknown window, one of another shape, or hardly any pixel is left.
    """
    if isinstance(window, str):
        if window not in TAPERS:
            raise UsageError(f"the window is {window!r}; use hann, tukey, none or an array")
        weight = tapered_window(good.shape, TAPERS[window])
    else:
        weight = np.array(window, np.float64)
        if weight.shape != good.shape:
            raise UsageError(f"the window has shape {weight.shape}, the images {good.shape}")
    if not usable.all():
        weight = weight * _soft(~usable)
    if np.count_nonzero(weight) < 64:
        raise UsageError("hardly any pixel is good in both images")
    return weight


def _soft(hole: NDArray) -> NDArray[np.float64]:
    """0 in holes, 1 away from them, a cosine over `_SOFT` pixels between."""
    from scipy.ndimage import distance_transform_edt

    distance = distance_transform_edt(~hole)
    return np.where(distance < _SOFT, 0.5 - 0.5 * np.cos(np.pi * distance / _SOFT), 1.0)


def neighbours(values: NDArray) -> NDArray[np.float64]:
    """Mean over 5 pixels along each axis."""
    from scipy.ndimage import uniform_filter

    return uniform_filter(values.astype(np.float64), 5, mode="constant")


def centred(image: NDArray, good: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """The windowed image without its mean (else the window's own spectrum would count), small holes bridged.

    A bad pixel gets the mean of its own image's good neighbours.
    """
    image = np.where(good, image, 0.0)
    if not good.all():
        around = neighbours(good)
        with np.errstate(invalid="ignore", divide="ignore"):
            image = np.where(good | (around < 1e-6), image, neighbours(image) / around)
    return (image - np.sum(image * weight) / np.sum(weight)) * weight


def independent_share(weight: NDArray) -> float:
    """Part of the coefficients that are independent: a window lets neighbouring ones share their noise."""
    return float(np.sum(weight**2) ** 2 / (weight.size * np.sum(weight**4)))


def frequency_axes(shape: Sequence[int], spacing: Sequence[float]) -> list[NDArray[np.float64]]:
    """Frequencies of ``rfftn``'s coefficients along each axis, cycles per unit of `spacing`, ready to broadcast."""
    found = []
    for axis, (size, step) in enumerate(zip(shape, spacing, strict=True)):
        last = axis == len(shape) - 1
        values = np.fft.rfftfreq(size, step) if last else np.fft.fftfreq(size, step)
        found.append(values.reshape([-1 if a == axis else 1 for a in range(len(shape))]))
    return found


class Rings(NamedTuple):
    """Rings (or shells) of equal width in frequency.

    Attributes
    ----------
    ring : ndarray of int, shape of ``rfftn``'s result
        Number of each coefficient's ring: 0 is the mean, the last one all beyond the limit.
    both : ndarray, float64
        How often each coefficient counts: those of negative frequencies are not stored.
    radius : ndarray, float64
        Frequency of each coefficient.
    count : int
        Rings in all, the first and the last included.
    """

    ring: NDArray[np.intp]
    both: NDArray[np.float64]
    radius: NDArray[np.float64]
    count: int

    def total(self, values: NDArray) -> NDArray[np.float64]:
        """Sums over each ring, without the mean and without what lies beyond the limit."""
        sums = np.bincount(self.ring.ravel(), (values * self.both).ravel(), minlength=self.count)
        return sums[1:-1]


def rings(shape: Sequence[int], width: float = 1.0, spacing: Sequence[float] | None = None) -> Rings:
    """Rings of a plane or shells of a volume.

    Parameters
    ----------
    shape : sequence of int
    width : float
        In Fourier pixels of the axis of the longest extent, at least 1.
    spacing : sequence of float, optional
        Size of a pixel along each axis; 1 by default. The limit is that of the finest axis, half a cycle per pixel:
        rings beyond another axis's own limit hold the directions that are resolved.

    Raises
    ------
    UsageError
        Rings narrower than a Fourier pixel.
    """
    if not width >= 1:
        raise UsageError(f"rings are at least one Fourier pixel wide, not {width:g}")
    steps = np.ones(len(shape)) if spacing is None else np.asarray(spacing, np.float64)
    wide = np.array([n > 1 for n in shape])
    limit = 0.5 / float(steps[wide].min())
    extent = float((steps * np.array(shape))[wide].max())
    number = max(1, int(limit * extent / width + 1e-9))
    radius = np.sqrt(functools.reduce(np.add, (f**2 for f in frequency_axes(shape, steps))))
    ring = np.minimum(np.ceil(radius / (limit / number) - 1e-9).astype(np.intp), number + 1)
    both = np.full(radius.shape, 2.0)
    both[..., 0] = 1.0
    if shape[-1] % 2 == 0:
        both[..., -1] = 1.0
    return Rings(ring, both, radius, number + 2)


def finite_or_none(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None
