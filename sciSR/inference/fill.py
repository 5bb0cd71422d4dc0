"""Filling bad pixels by normalised convolution (Knutsson and Westin 1993, CVPR), for the network's eyes only."""

from __future__ import annotations

import numpy as np

SIGMAS = (1.0, 2.0, 4.0, 8.0)
RADIUS = 24
"""Reach in pixels: bad pixels further than this from any good one get the fallback value."""

_ENOUGH = 1e-3  # total kernel weight on good pixels below which a wider kernel is used


def fill_bad(values: np.ndarray, bad: np.ndarray, fallback: float = 0.0) -> np.ndarray:
    """Replace bad pixels by the Gaussian-weighted mean of good ones near them.

    The narrowest Gaussian of `SIGMAS` that meets enough good pixels is used. What stood under a bad pixel has no
    influence on anything.

    Parameters
    ----------
    values : ndarray, shape (rows, columns), float
        With a margin of `RADIUS` real pixels around whatever will be used.
    bad : ndarray of bool
    fallback : float
        Where no good pixel is within reach.

    Returns
    -------
    ndarray
        A copy; good pixels untouched.
    """
    from scipy.ndimage import gaussian_filter

    filled = np.where(bad, fallback, values)
    good = (~bad).astype(np.float64)
    known = np.where(bad, 0.0, values).astype(np.float64)
    todo = bad.copy()
    for sigma in SIGMAS:
        if not todo.any():
            break
        window = {"sigma": sigma, "radius": RADIUS, "mode": "constant", "cval": 0.0}
        weight = gaussian_filter(good, **window)
        ready = todo & (weight > _ENOUGH)
        filled[ready] = (gaussian_filter(known, **window)[ready] / weight[ready]).astype(filled.dtype)
        todo &= ~ready
    return filled
