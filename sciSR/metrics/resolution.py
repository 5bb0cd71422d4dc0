"""How fine the detail is that two independent images of one scene share: Fourier ring correlation.

Sources: Saxton and Baumeister, J. Microscopy 127, 127 (1982); van Heel and Schatz, J. Struct. Biol. 151, 250 (2005)
for the half-bit threshold; Rosenthal and Henderson, J. Mol. Biol. 333, 721 (2003), and Nieuwenhuizen et al., Nature
Methods 10, 557 (2013), for 1/7; Koho et al., Nature Communications 10, 3103 (2019), for practice with images.

The two images must share nothing but the scene. What both took from the same place (a static hot pixel that survived
in both halves, an interpolation kernel's aliasing, a common prior's artefacts) correlates too, and looks like detail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UsageError
from sciSR.metrics.windowing import (
    Rings,
    centred,
    field_weight,
    finite_or_none,
    independent_share,
    neighbours,
    rings,
    tapered_window,
)

__all__ = [
    "THRESHOLDS",
    "TRUTH_THRESHOLDS",
    "Resolution",
    "RingCorrelation",
    "Threshold",
    "bridgeable",
    "correlated",
    "curve_report",
    "fourier_ring_correlation",
    "frc_report",
    "frc_resolution",
    "tapered_window",
    "threshold_curve",
]

Threshold = Literal["1/7", "half-bit", "1/2"]
THRESHOLDS: tuple[Threshold, ...] = ("1/7", "half-bit")
"""Between half-sets."""
TRUTH_THRESHOLDS: tuple[Threshold, ...] = (*THRESHOLDS, "1/2")
"""Against a truth, where 1/2 means what 1/7 means between half-sets."""

_RISE, _DEEP = 0.1, 0.7
_TELLING = 0.6
_HALF_BIT = 0.2071
"""Signal to noise of each half (power) where the whole carries half a bit: (sqrt(2) - 1) / 2."""


class RingCorrelation(NamedTuple):
    """A curve.

    Attributes
    ----------
    frequencies : ndarray, (rings,)
        Mean spatial frequency of each ring, cycles per pixel, up to 0.5; of shells, see
        :func:`sciSR.metrics.shells.fourier_shell_correlation`.
    correlation : ndarray, (rings,)
        -1 to 1; NaN where either image has no power.
    n : ndarray, (rings,)
        Effective number of Fourier coefficients, those of negative frequencies included: one standard deviation of
        the correlation of pure noise is ``1/sqrt(n)``, or somewhat less in rings as narrow as the window's leakage.
    """

    frequencies: NDArray[np.float64]
    correlation: NDArray[np.float64]
    n: NDArray[np.float64]


@dataclass(frozen=True)
class Resolution:
    """Where a curve falls below a threshold.

    Attributes
    ----------
    frequency : float
        In the curve's unit, cycles per pixel; NaN where the curve never lies above the threshold.
    threshold : {"1/7", "half-bit"}
    reached_end : bool
        The curve stays above the threshold up to the pixel's own limit: the true resolution may be finer.
    rises_again : bool
        The curve turned up before it fell below the threshold. What both images share beyond that is most likely an
        artefact of how they were made; `frequency` is where it turned.
    """

    frequency: float
    threshold: Threshold
    reached_end: bool = False
    rises_again: bool = False

    @property
    def period(self) -> float:
        """Pixels per cycle: the length of the finest wave that both images share. 2 pixels is the finest possible."""
        return 1 / self.frequency if self.frequency > 0 else math.nan


def fourier_ring_correlation(
    a: NDArray,
    b: NDArray,
    *,
    mask: NDArray | None = None,
    window: NDArray | Literal["hann", "tukey", "none"] = "hann",
    ring_width: float = 1.0,
    spacing: float | Sequence[float] = 1.0,
) -> RingCorrelation:
    """Normalised cross-correlation of two images' spectra over rings of equal spatial frequency.

    ``FRC(q) = Re sum F_a conj(F_b) / sqrt(sum |F_a|^2 sum |F_b|^2)``, sums over the ring of frequency q.

    Parameters
    ----------
    a, b : ndarray, (rows, columns)
        Aligned, of the same shape. NaN and infinite pixels of either are bad in both: single ones in smooth places are
        bridged by their neighbours' mean, others left out with a soft edge.
    mask : ndarray of bool, (rows, columns), optional
        True where pixels count.
    window : ndarray, "hann", "tukey" or "none"
        Taper against the images' edges, which would otherwise correlate at all frequencies. Hann's leaks over two
        rings; Tukey's (a quarter of the side tapered) uses more of the field and leaks over eight, which matters
        where the signal stands far above the noise.
    ring_width : float
        In Fourier pixels of the longer side, at least 1.
    spacing : float or two
        Size of a pixel; frequencies are in cycles per its unit.

    Returns
    -------
    RingCorrelation

    Raises
    ------
    UsageError
        Shapes differ, images are no planes, or hardly any pixel counts.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < 8:
        raise UsageError(
            f"ring correlation needs two equal planes of 8 pixels or more, not {a.shape} and {b.shape}"
        )
    good = np.isfinite(a) & np.isfinite(b)
    if mask is not None:
        good &= np.asarray(mask, bool)
    weight = field_weight(good, good | bridgeable(a, b, good), window)
    spectra = [np.fft.rfft2(centred(image, good, weight)) for image in (a, b)]
    steps = np.broadcast_to(np.asarray(spacing, np.float64), (2,))
    curve = correlated(spectra[0], spectra[1], rings(a.shape, ring_width, steps), independent_share(weight))
    there = curve.n > 0
    return RingCorrelation(*(values[there] for values in curve))


def correlated(a: NDArray, b: NDArray, over: Rings, independent: float = 1.0) -> RingCorrelation:
    """Two spectra (of ``rfftn``) correlated over rings.

    Parameters
    ----------
    a, b : ndarray, complex
    over : Rings
    independent : float
        Part of the coefficients that are independent; see :func:`sciSR.metrics.windowing.independent_share`.
    """
    cross = over.total((a * np.conj(b)).real)
    power = over.total(np.abs(a) ** 2) * over.total(np.abs(b) ** 2)
    n, frequencies = over.total(np.ones(over.ring.shape)), over.total(over.radius)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(power > 0, cross / np.sqrt(power), np.nan)
        frequencies = frequencies / n
    return RingCorrelation(frequencies, correlation, n * independent)


def bridgeable(a: NDArray, b: NDArray, good: NDArray) -> NDArray[np.bool_]:
    """Bad pixels that their neighbours' mean can stand for: most neighbours good, and no steeper than the noise.

    A bridged star core would be a sharp feature that both images have.
    """
    if good.all():
        return ~good
    around = neighbours(good)
    difference = (a - b)[good]
    noise = (
        1.4826 * np.median(np.abs(difference - np.median(difference))) / math.sqrt(2)
        if difference.size
        else 0.0
    )
    mean = np.where(good, (a + b) / 2, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = neighbours(mean**2) / around - (neighbours(mean) / around) ** 2
    return ~good & (around >= 0.4) & (variance < (5 * noise) ** 2)


def threshold_curve(n: NDArray, threshold: Threshold = "1/7") -> NDArray[np.float64]:
    """The correlation that a ring of `n` coefficients must exceed.

    ``"1/7"``: fixed; two halves of as much noise as signal each, that correlate by 1/7, make a whole that correlates
    by 1/2 with the truth (Rosenthal and Henderson 2003).
    ``"1/2"``: fixed; the same quality, where one of the two images is the truth.
    ``"half-bit"``: van Heel and Schatz 2005, equation 17: the whole carries half a bit per coefficient,
    ``(s + 2 sqrt(s/n) + 1/sqrt(n)) / (s + 2 sqrt(s/n) + 1)`` with ``s = (sqrt(2) - 1)/2``.

    Raises
    ------
    UsageError
        Unknown name.
    """
    n = np.asarray(n, np.float64)
    if threshold == "1/7":
        return np.full(n.shape, 1 / 7)
    if threshold == "1/2":
        return np.full(n.shape, 0.5)
    if threshold != "half-bit":
        raise UsageError(f"the threshold is {threshold!r}; use {' or '.join(TRUTH_THRESHOLDS)}")
    root = np.sqrt(np.maximum(n, 1.0))
    both = _HALF_BIT + 2 * math.sqrt(_HALF_BIT) / root
    return (both + 1 / root) / (both + 1)


def frc_resolution(curve: RingCorrelation, threshold: Threshold = "1/7", limit: float = 0.5) -> Resolution:
    """The first spatial frequency at which a curve falls below a threshold for good measure.

    A single low ring between two high ones is noise: the curve is smoothed by a running mean of three rings, weighted
    by their numbers of coefficients, before the crossing is interpolated. Optics and noise make a curve fall and
    stay down: one that dips and rises again before the crossing ends at the dip.

    Parameters
    ----------
    curve : RingCorrelation
    threshold : {"1/7", "half-bit"}
    limit : float
        The pixel's own limit, half a cycle per pixel, in the curve's unit of frequency.

    Returns
    -------
    Resolution
    """
    smooth = _smoothed(curve)
    limits = threshold_curve(curve.n, threshold)
    excess = smooth - limits
    excess[~np.isfinite(excess)] = -1.0
    above = excess > 0
    if not above.any():
        return Resolution(math.nan, threshold)
    first = int(np.argmax(above))
    # Nothing in common at low frequencies: a spike is no resolution. Rings too small to tell anything don't count.
    if np.count_nonzero(limits[:first] < _TELLING) > max(2, len(above) // 10):
        return Resolution(math.nan, threshold)
    below = np.flatnonzero(~above[first:])
    end = first + int(below[0]) if below.size else len(above)
    dip = _dip(smooth[first:end], curve.n[first:end])
    if dip is not None:
        return Resolution(float(curve.frequencies[first + dip]), threshold, rises_again=True)
    if not below.size:
        return Resolution(limit, threshold, reached_end=True)
    f0, f1 = curve.frequencies[end - 1], curve.frequencies[end]
    e0, e1 = excess[end - 1], excess[end]
    return Resolution(float(f0 + (f1 - f0) * e0 / (e0 - e1)), threshold)


def _dip(smooth: NDArray, n: NDArray) -> int | None:
    """Where a curve is lowest before it rises again by more than its noise and a good deal; None where it does not."""
    lowest = np.minimum.accumulate(smooth)
    at = np.maximum.accumulate(np.where(smooth <= lowest, np.arange(len(smooth)), 0))
    noise = np.sqrt(1 / (3 * n) + 1 / (3 * n[at]))  # at most, of the difference of two means of three rings
    rise = smooth - lowest > np.maximum(_RISE, 5 * noise)
    found = np.flatnonzero(rise & (lowest < _DEEP))  # only deep dips count, not ripples near 1
    return int(at[found[0]]) if found.size else None


def _smoothed(curve: RingCorrelation) -> NDArray[np.float64]:
    values = np.where(np.isfinite(curve.correlation), curve.correlation, 0.0)
    n = np.where(np.isfinite(curve.correlation), curve.n, 0.0)
    kernel = np.ones(3)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.convolve(values * n, kernel, "same") / np.convolve(n, kernel, "same")


def curve_report(
    curve: RingCorrelation,
    *,
    limit: float = 0.5,
    length_unit: str = "pixel",
    thresholds: Sequence[Threshold] = THRESHOLDS,
) -> dict[str, Any]:
    """A curve in its own units and what it implies, JSON-ready; NaN is None.

    Parameters
    ----------
    curve : RingCorrelation
    limit : float
        Half a cycle per pixel, in the curve's unit of frequency.
    length_unit : str
        Of periods; frequencies are in cycles per it.
    thresholds : sequence of str

    Returns
    -------
    dict
        ``frequencies``, ``frequency_unit``, ``correlation``, ``n``, ``half_bit`` (that threshold's curve), and
        ``resolution``: for each threshold ``frequency``, ``period``, ``reached_end``, ``rises_again``.
    """
    found = {}
    for threshold in thresholds:
        each = frc_resolution(curve, threshold, limit)
        found[threshold] = {
            "frequency": finite_or_none(each.frequency),
            "period": finite_or_none(each.period),
            "reached_end": each.reached_end,
            "rises_again": each.rises_again,
        }
    return {
        "frequencies": [finite_or_none(f) for f in curve.frequencies],
        "frequency_unit": f"cycles/{length_unit}",
        "correlation": [finite_or_none(c) for c in curve.correlation],
        "n": [float(n) for n in curve.n],
        "half_bit": [float(t) for t in threshold_curve(curve.n, "half-bit")],
        "limit": limit,
        "resolution": found,
    }


def frc_report(
    a: NDArray,
    b: NDArray,
    *,
    factor: float = 1.0,
    mask: NDArray | None = None,
    ring_width: float = 1.0,
) -> dict[str, Any]:
    """The curve and what it implies, JSON-ready; what the report of a fusion holds under ``"frc"``.

    Parameters
    ----------
    a, b : ndarray, (rows, columns)
        The two half-sets' results on the fine grid.
    factor : float
        Fine pixels per native pixel: results are given in native pixels too.
    mask : ndarray of bool, optional
        True where pixels count.
    ring_width : float

    Returns
    -------
    dict
        ``frequencies`` (cycles per native pixel; the native pixel's own limit is 0.5), ``correlation``, ``n``,
        ``half_bit`` (that threshold's curve), and ``resolution``: for each threshold ``frequency``, ``period_px``
        (native pixels), ``reached_end``, ``rises_again``. NaN is None.
    """
    curve = fourier_ring_correlation(a, b, mask=mask, ring_width=ring_width)
    found = {}
    for threshold in THRESHOLDS:
        each = frc_resolution(curve, threshold)
        found[threshold] = {
            "frequency": finite_or_none(each.frequency * factor),
            "period_px": finite_or_none(each.period / factor),
            "reached_end": each.reached_end,
            "rises_again": each.rises_again,
        }
    return {
        "frequencies": [float(f * factor) for f in curve.frequencies],
        "correlation": [finite_or_none(c) for c in curve.correlation],
        "n": [float(n) for n in curve.n],
        "half_bit": [float(t) for t in threshold_curve(curve.n, "half-bit")],
        "factor": float(factor),
        "resolution": found,
    }
