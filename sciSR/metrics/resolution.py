"""How fine the detail is that two independent images of one scene share: Fourier ring correlation.

Sources: Saxton and Baumeister, J. Microscopy 127, 127 (1982); van Heel and Schatz, J. Struct. Biol. 151, 250 (2005)
for the half-bit threshold; Rosenthal and Henderson, J. Mol. Biol. 333, 721 (2003), and Nieuwenhuizen et al., Nature
Methods 10, 557 (2013), for 1/7; Koho et al., Nature Communications 10, 3103 (2019), for practice with images.

The two images must share nothing but the scene. What both took from the same place (a static hot pixel that survived
in both halves, an interpolation kernel's aliasing, a common prior's artefacts) correlates too, and looks like detail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UsageError

Threshold = Literal["1/7", "half-bit"]
THRESHOLDS: tuple[Threshold, ...] = ("1/7", "half-bit")

_SOFT = 8.0
_RISE, _DEEP = 0.1, 0.7
_HALF_BIT = 0.2071
"""Signal to noise of each half (power) where the whole carries half a bit: (sqrt(2) - 1) / 2."""


class RingCorrelation(NamedTuple):
    """A curve.

    Attributes
    ----------
    frequencies : ndarray, (rings,)
        Mean spatial frequency of each ring, cycles per pixel, up to 0.5.
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
        Cycles per pixel; NaN where the curve never lies above the threshold.
    threshold : {"1/7", "half-bit"}
    reached_end : bool
        The curve stays above the threshold up to the pixel's own limit (0.5): the true resolution may be finer.
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
        """Pixels per cycle: the length of the finest wave that both images share. 2 is the finest possible."""
        return 1 / self.frequency if self.frequency > 0 else math.nan


def tapered_window(shape: tuple[int, int], taper: float = 1.0) -> NDArray[np.float64]:
    """A window that falls to zero by cosines over a fraction `taper` of each side in all: 1 is Hann's, less Tukey's."""
    sides = []
    for size in shape:
        x = (np.arange(size) + 0.5) / size
        edge = np.minimum(x, 1 - x) / max(taper / 2, 1e-12)
        sides.append(np.where(edge < 1, 0.5 - 0.5 * np.cos(np.pi * np.minimum(edge, 1)), 1.0))
    return np.outer(*sides)


def fourier_ring_correlation(
    a: NDArray,
    b: NDArray,
    *,
    mask: NDArray | None = None,
    window: NDArray | Literal["hann", "tukey", "none"] = "hann",
    ring_width: float = 1.0,
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
    if not ring_width >= 1:
        raise UsageError(f"rings are at least one Fourier pixel wide, not {ring_width:g}")
    good = np.isfinite(a) & np.isfinite(b)
    if mask is not None:
        good &= np.asarray(mask, bool)
    weight = _weight(good, good | _bridgeable(a, b, good), window)
    spectra = [np.fft.rfft2(_centred(image, good, weight)) for image in (a, b)]
    ring, both, count = _rings(a.shape, ring_width)

    def total(values: NDArray) -> NDArray[np.float64]:
        return np.bincount(ring.ravel(), (values * both).ravel(), minlength=count)

    cross = total((spectra[0] * np.conj(spectra[1])).real)
    power = total(np.abs(spectra[0]) ** 2) * total(np.abs(spectra[1]) ** 2)
    n, frequencies = total(np.ones(ring.shape)), total(_radius(a.shape))
    # A window lets neighbouring coefficients share their noise: the variance of a mean of products grows by this.
    independent = float(np.sum(weight**2) ** 2 / (weight.size * np.sum(weight**4)))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(power > 0, cross / np.sqrt(power), np.nan)
        frequencies = frequencies / n
    inside = slice(1, -1)  # without the mean, and without what lies beyond 0.5 cycles per pixel
    return RingCorrelation(frequencies[inside], correlation[inside], n[inside] * independent)


def _bridgeable(a: NDArray, b: NDArray, good: NDArray) -> NDArray[np.bool_]:
    """Bad pixels that their neighbours' mean can stand for: most neighbours good, and no steeper than the noise.

    A bridged star core would be a sharp feature that both images have.
    """
    if good.all():
        return ~good
    around = _neighbours(good)
    difference = (a - b)[good]
    noise = (
        1.4826 * np.median(np.abs(difference - np.median(difference))) / math.sqrt(2)
        if difference.size
        else 0.0
    )
    mean = np.where(good, (a + b) / 2, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = _neighbours(mean**2) / around - (_neighbours(mean) / around) ** 2
    return ~good & (around >= 0.4) & (variance < (5 * noise) ** 2)


def _weight(good: NDArray, usable: NDArray, window: Any) -> NDArray[np.float64]:
    """The window, falling softly to zero towards holes and along ragged edges of the field.

    A hard edge that both images have would scatter the power of their stars over all frequencies, alike in both.
    """
    if isinstance(window, str):
        tapers = {"hann": 1.0, "tukey": 0.25, "none": 0.0}
        if window not in tapers:
            raise UsageError(f"the window is {window!r}; use hann, tukey, none or an array")
        weight = tapered_window((good.shape[0], good.shape[1]), tapers[window])
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


def _neighbours(values: NDArray) -> NDArray[np.float64]:
    """Mean over 5 x 5 pixels."""
    from scipy.ndimage import uniform_filter

    return uniform_filter(values.astype(np.float64), 5, mode="constant")


def _centred(image: NDArray, good: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """The windowed image without its mean (else the window's own spectrum would correlate), small holes bridged.

    A bad pixel gets the mean of its own image's good neighbours.
    """
    image = np.where(good, image, 0.0)
    if not good.all():
        around = _neighbours(good)
        with np.errstate(invalid="ignore", divide="ignore"):
            image = np.where(good | (around < 1e-6), image, _neighbours(image) / around)
    return (image - np.sum(image * weight) / np.sum(weight)) * weight


def _radius(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Cycles per pixel of each coefficient of ``rfft2``."""
    return np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])


def _rings(shape: tuple[int, ...], width: float) -> tuple[NDArray[np.intp], NDArray[np.float64], int]:
    """Number of each coefficient's ring, how often it counts, and how many rings there are.

    Ring 0 is the mean, the last one all beyond 0.5 cycles per pixel.
    """
    size = max(shape)
    rings = max(1, int(size / 2 / width))
    edge = 0.5 / rings
    radius = _radius(shape)
    ring = np.minimum(np.ceil(radius / edge - 1e-9).astype(np.intp), rings + 1)
    both = np.full(radius.shape, 2.0)  # coefficients of negative frequencies are not stored
    both[:, 0] = 1.0
    if shape[1] % 2 == 0:
        both[:, -1] = 1.0
    return ring, both, rings + 2


def threshold_curve(n: NDArray, threshold: Threshold = "1/7") -> NDArray[np.float64]:
    """The correlation that a ring of `n` coefficients must exceed.

    ``"1/7"``: fixed; two halves that correlate by 1/7 make a whole that correlates by 1/2 with the truth.
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
    if threshold != "half-bit":
        raise UsageError(f"the threshold is {threshold!r}; use {' or '.join(THRESHOLDS)}")
    root = np.sqrt(np.maximum(n, 1.0))
    both = _HALF_BIT + 2 * math.sqrt(_HALF_BIT) / root
    return (both + 1 / root) / (both + 1)


def frc_resolution(curve: RingCorrelation, threshold: Threshold = "1/7") -> Resolution:
    """The first spatial frequency at which a curve falls below a threshold for good measure.

    A single low ring between two high ones is noise: the curve is smoothed by a running mean of three rings, weighted
    by their numbers of coefficients, before the crossing is interpolated. Optics and noise make a curve fall and
    stay down: one that dips and rises again before the crossing ends at the dip.

    Parameters
    ----------
    curve : RingCorrelation
    threshold : {"1/7", "half-bit"}

    Returns
    -------
    Resolution
    """
    limit = threshold_curve(curve.n, threshold)
    smooth = _smoothed(curve)
    excess = smooth - limit
    excess[~np.isfinite(excess)] = -1.0
    above = excess > 0
    if not above.any():
        return Resolution(math.nan, threshold)
    first = int(np.argmax(above))
    if first > max(2, len(above) // 10):  # nothing in common at low frequencies: a spike is no resolution
        return Resolution(math.nan, threshold)
    below = np.flatnonzero(~above[first:])
    end = first + int(below[0]) if below.size else len(above)
    dip = _dip(smooth[first:end], curve.n[first:end])
    if dip is not None:
        return Resolution(float(curve.frequencies[first + dip]), threshold, rises_again=True)
    if not below.size:
        return Resolution(0.5, threshold, reached_end=True)
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
            "frequency": _number(each.frequency * factor),
            "period_px": _number(each.period / factor),
            "reached_end": each.reached_end,
            "rises_again": each.rises_again,
        }
    return {
        "frequencies": [float(f * factor) for f in curve.frequencies],
        "correlation": [_number(c) for c in curve.correlation],
        "n": [float(n) for n in curve.n],
        "half_bit": [float(t) for t in threshold_curve(curve.n, "half-bit")],
        "factor": float(factor),
        "resolution": found,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
