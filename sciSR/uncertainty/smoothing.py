"""A variance from few probes: what the stages do to noise changes slowly, so neighbours may speak for each other.

Each pixel's mean square over K probes is uncertain by ``sqrt(2/K)``. What is smooth is not the variance itself (a star
brings its own noise) but the gain, propagated over injected variance, each divided by the slope of the network's
stretch; and that for each place of a fine pixel within its coarse one by itself, since interpolation amplifies noise by
a pattern of the coarse pixels' period. Where the probes scatter around the smooth gain by more than their own
uncertainty, it is not smooth there, and each pixel is believed that much more by itself (empirical Bayes).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sciSR.inference.tiles import Span
from sciSR.views import nearest_index

WIDTH = 1.5
"""Standard deviation of the smoothing in coarse pixels."""
SCATTER = 1.25
"""Of the neighbourhood in which the probes' scatter is looked at."""
REACH = 10
"""Coarse pixels beyond which a pixel does not matter."""
_CUT = 3.0
_CHANCE = 0.02
"""Share of a single pixel's variance that the mean ratio of a neighbourhood may be away from 1 by chance."""


@dataclass(frozen=True, eq=False)
class Probed:
    """What a block of a plane showed.

    Attributes
    ----------
    squares : ndarray, fine, float64
        Mean squares of the probes' differences over all fine pixels that the coarse ones touch.
    injected : ndarray, ``[h, w]``
        Variance of the noise that they carried, in the same unit.
    factors : pair of Fraction
        Fine pixels per coarse one.
    probes : int
    first : pair of int
        Number of the first coarse pixel along each axis.
    slopes : pair of ndarray, optional
        Squares of the slope with which a network's stretch is undone, at the coarse and at the fine values.
    """

    squares: np.ndarray
    injected: np.ndarray
    factors: tuple[Fraction, Fraction]
    probes: int
    first: tuple[int, int] = (0, 0)
    slopes: tuple[np.ndarray, np.ndarray] | None = None


def smoothed_variance(seen: Probed) -> np.ndarray:
    """Variance of each fine pixel of a block, float64.

    The same wherever the block begins, further than `REACH` coarse pixels from its edge.
    """
    squares, injected = seen.squares, seen.injected
    if seen.slopes is not None:
        injected, squares = injected / seen.slopes[0], squares / seen.slopes[1]
    expected = _gain_smoothed(squares, injected, seen)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(expected > 0, squares / expected, 0.0)
    variance = expected * (1 + _trust(ratio, seen) * (ratio - 1))
    variance = np.where(expected > 0, variance, squares)  # no noise of its own, but that of its neighbours
    return variance if seen.slopes is None else variance * seen.slopes[1]


def _gain_smoothed(squares: np.ndarray, injected: np.ndarray, seen: Probed) -> np.ndarray:
    """The variance with a smooth gain."""
    wide = _blur(injected, (WIDTH, WIDTH), (0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(wide > 0, injected / wide, 0.0)
    if all(f.denominator == 1 for f in seen.factors):
        p, q = (int(f) for f in seen.factors)
        height, width = injected.shape
        total = _blur(squares.reshape(height, p, width, q), (WIDTH, WIDTH), (0, 2))
        return (total * ratio[:, None, :, None]).reshape(squares.shape)
    total = _blur(squares, tuple(WIDTH * float(f) for f in seen.factors), (0, 1))
    places = [
        np.clip(nearest_index(np.arange(n) + Span(start, start + 1).fine(f).start, f) - start, 0, size - 1)
        for n, f, start, size in zip(squares.shape, seen.factors, seen.first, ratio.shape, strict=True)
    ]
    return total * ratio[np.ix_(*places)]


def _trust(ratio: np.ndarray, seen: Probed) -> np.ndarray:
    """How much each pixel's own mean square counts: the share of the scatter that is not the probes' own."""
    own = 2 / seen.probes
    widths = tuple(SCATTER * float(f) for f in seen.factors)
    mean, square = _blur(ratio, widths, (0, 1)), _blur(np.square(ratio), widths, (0, 1))
    true = np.maximum(square - (1 + own) * np.square(mean), 0) / (1 + own)
    true += np.maximum(np.square(mean - 1) - _CHANCE * own, 0)
    return true / (true + own)


def _blur(values: np.ndarray, widths: tuple[float, ...], axes: tuple[int, ...]) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    for axis, width in zip(axes, widths, strict=True):
        values = gaussian_filter1d(values, width, axis, mode="reflect", truncate=_CUT, output=np.float64)
    return values
