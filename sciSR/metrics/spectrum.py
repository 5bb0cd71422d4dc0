"""Radial power spectrum: how much an image varies at each spatial frequency.

``P(q) = a < |F(q)|^2 > / sum w^2``, the mean over a ring of frequency q, with F the discrete Fourier transform of the
windowed image without its mean, w the window and a the area (volume) of a pixel: the periodogram of Press et al.,
Numerical Recipes (2007), section 13.4, in two and three dimensions. The sum of P over all coefficients times the area
of one (1 / extent^2) is the image's variance under the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UsageError
from sciSR.metrics.windowing import centred, field_weight, finite_or_none, neighbours, rings


@dataclass(frozen=True, eq=False)
class PowerSpectrum:
    """Power over rings (or shells).

    Attributes
    ----------
    frequencies : ndarray, (rings,)
        Mean spatial frequency of each ring, in `frequency_unit`, up to the finest axis's limit.
    power : ndarray, (rings,)
        In `unit`; NaN where a ring holds no coefficient.
    n : ndarray, (rings,)
        Coefficients in each ring, those of negative frequencies included.
    frequency_unit : str
        ``"cycles/pixel"``, ``"cycles/arcsec"``, ``"cycles/mm"``.
    unit : str
        Square of the image's unit times the area of a pixel: ``"(MJy/sr)^2 arcsec^2"``.
    """

    frequencies: NDArray[np.float64]
    power: NDArray[np.float64]
    n: NDArray[np.float64]
    frequency_unit: str
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN is None."""
        return {
            "frequencies": [finite_or_none(f) for f in self.frequencies],
            "power": [finite_or_none(p) for p in self.power],
            "n": [float(n) for n in self.n],
            "frequency_unit": self.frequency_unit,
            "unit": self.unit,
        }


def radial_power_spectrum(
    image: NDArray,
    *,
    spacing: float | Sequence[float] = 1.0,
    length_unit: str = "pixel",
    unit: str | None = None,
    mask: NDArray | None = None,
    window: NDArray | Literal["hann", "tukey", "none"] = "hann",
    ring_width: float = 1.0,
) -> PowerSpectrum:
    """The isotropic power spectral density of a plane or a volume.

    Parameters
    ----------
    image : ndarray, (rows, columns) or (slices, rows, columns)
        NaN and infinite pixels are bad: single ones are bridged by their neighbours' mean, others left out with a soft
        edge.
    spacing : float or one per axis
        Size of a pixel in `length_unit`; see :func:`sciSR.metrics.pixel_scale.pixel_scale`.
    length_unit : str
    unit : str, optional
        Of the image's values, for the result's unit.
    mask : ndarray of bool, optional
        True where pixels count.
    window : ndarray, "hann", "tukey" or "none"
        Taper against the image's edges, which would otherwise leak over all frequencies.
    ring_width : float
        In Fourier pixels of the axis of the longest extent, at least 1.

    Returns
    -------
    PowerSpectrum

    Raises
    ------
    UsageError
        No plane or volume of 8 pixels or more, or hardly any pixel counts.
    """
    values = np.asarray(image, np.float64)
    if values.ndim not in (2, 3) or min(sorted(values.shape)[-2:]) < 8:
        raise UsageError(
            f"a power spectrum needs a plane or a volume of 8 pixels or more, not {values.shape}"
        )
    steps = np.broadcast_to(np.asarray(spacing, np.float64), (values.ndim,))
    good = np.isfinite(values)
    if mask is not None:
        good &= np.asarray(mask, bool)
    usable = good if good.all() else good | (neighbours(good) >= 0.8)
    weight = field_weight(good, usable, window)
    over = rings(values.shape, ring_width, steps)
    density = np.abs(np.fft.rfftn(centred(values, good, weight))) ** 2
    density *= float(np.prod(steps)) / float(np.sum(weight**2))
    n = over.total(np.ones(over.ring.shape))
    with np.errstate(invalid="ignore", divide="ignore"):
        power, frequencies = over.total(density) / n, over.total(over.radius) / n
    there = n > 0
    area = f"{length_unit}^{values.ndim}"
    return PowerSpectrum(
        frequencies[there],
        power[there],
        n[there],
        f"cycles/{length_unit}",
        f"({unit})^2 {area}" if unit else area,
    )
