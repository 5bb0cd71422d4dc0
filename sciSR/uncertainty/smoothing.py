"""A variance from few probes: what the stages do to noise changes slowly, so neighbours may speak for each other.

Each pixel's mean square over K probes is uncertain by ``sqrt(2/K)``. What is smooth is not the variance itself (a star
brings its own noise) but the gain, propagated over injected variance; and that for each place of a fine pixel within
its coarse one by itself, since interpolation amplifies noise by a pattern of the coarse pixels' period.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from sciSR.inference.tiles import Span
from sciSR.views import nearest_index

WIDTH = 1.5
"""Standard deviation of the smoothing in coarse pixels."""
LOCAL = 0.6
"""Of the injected variance, which a network mixes with that of its neighbours."""
REACH = 6
"""Coarse pixels beyond which the weights are cut: four standard deviations."""


def smoothed_variance(
    squares: np.ndarray,
    injected: np.ndarray,
    factors: tuple[Fraction, Fraction],
    first: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """Variance of each fine pixel.

    Parameters
    ----------
    squares : ndarray, fine
        Mean squares of the probes' differences over all fine pixels that the coarse ones touch.
    injected : ndarray, ``[h, w]``
        Variance of the noise that they carried, in the same unit.
    factors : pair of Fraction
        Fine pixels per coarse one.
    first : pair of int
        Number of the first coarse pixel along each axis.

    Returns
    -------
    ndarray, fine, float64
        The same wherever the block begins, further than `REACH` coarse pixels from its edge.
    """
    wide, local = (_blur(injected, width, (0, 1)) for width in (WIDTH, LOCAL))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(wide > 0, local / wide, 0.0)
    if all(f.denominator == 1 for f in factors):
        p, q = (int(f) for f in factors)
        height, width = injected.shape
        total = _blur(squares.reshape(height, p, width, q), WIDTH, (0, 2))
        return (total * ratio[:, None, :, None]).reshape(squares.shape)
    total = squares
    for axis, f in enumerate(factors):
        total = _blur(total, WIDTH * float(f), (axis,))
    places = [
        nearest_index(np.arange(n) + Span(start, start + 1).fine(f).start, f) - start
        for n, f, start in zip(squares.shape, factors, first, strict=True)
    ]
    return (
        total * ratio[np.ix_(*(np.clip(each, 0, n - 1) for each, n in zip(places, ratio.shape, strict=True)))]
    )


def _blur(values: np.ndarray, width: float, axes: tuple[int, ...]) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    for axis in axes:
        values = gaussian_filter1d(values, width, axis, mode="reflect", truncate=4.0, output=np.float64)
    return values
