"""Locations and scales that a few wild pixels can't move, and medians of a pixel's neighbours."""

from __future__ import annotations

import numpy as np

# Optimal sorting network of 8 values (Knuth, The Art of Computer Programming 3, 5.3.4): 19 exchanges.
_SORT_8 = (
    *((0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (1, 2), (5, 6)),
    *((0, 4), (3, 7), (1, 5), (2, 6), (1, 4), (3, 6), (2, 4), (3, 5), (3, 4)),
)
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def sample(values: np.ndarray, limit: int = 40_000) -> np.ndarray:
    """At most `limit` of the values, evenly spaced: enough for a median to 0.6 % of sigma, and quick.

    The stride is made odd and not a multiple of three, so that it does not run along a detector's columns.
    """
    values = np.ravel(values)
    if values.size <= limit:
        return values
    step = -(-values.size // limit)
    while step % 2 == 0 or step % 3 == 0:
        step += 1
    return values[::step]


def mad_std(values: np.ndarray, centre: float | None = None) -> float:
    """Standard deviation of a normal distribution with these values' median absolute deviation; 0 of nothing."""
    if values.size == 0:
        return 0.0
    centre = float(np.median(values)) if centre is None else centre
    return float(1.482602218505602 * np.median(np.abs(values - centre)))


def bulk_std(values: np.ndarray, centre: float | None = None, cut: float = 4.0) -> float:
    """Standard deviation of the values within `cut` of it about their centre; 0 of nothing.

    Where a detector's noise is a few digital units, a median absolute deviation is one of few numbers; this is not.
    """
    if values.size == 0:
        return 0.0
    centre = float(np.median(values)) if centre is None else centre
    left = np.abs(values - centre)
    spread = 1.4826 * float(np.median(left))
    if spread == 0:  # more than half of the values are equal
        spread = float(np.sqrt(np.mean(np.square(left, dtype=np.float64))))
    for _ in range(4):
        inside = left[left <= cut * spread]
        if inside.size == 0:
            break
        found = float(np.sqrt(np.mean(np.square(inside, dtype=np.float64))))
        if abs(found - spread) < 1e-3 * spread:
            break
        spread = found
    return spread


def location(values: np.ndarray, cut: float = 4.0, steps: int = 6) -> tuple[float, float, float]:
    """Mean of the bulk, its error, and the bulk's standard deviation.

    A mean between limits, not a median or a biweight: photon noise is skewed, and those two lie below its mean (by
    0.01 and 0.006 sigma at 150 electrons), which many frames together would notice.

    Parameters
    ----------
    values : ndarray
        Any shape; finite.
    cut : float
        Values further off than this many standard deviations have no say.

    Returns
    -------
    (centre, error, deviation) : float
        Zero, infinity and zero where there are no values.
    """
    values = np.ravel(values)
    if values.size == 0:
        return 0.0, float("inf"), 0.0
    few = sample(values)
    start = float(np.median(few))
    deviation = bulk_std(few, start)
    if deviation == 0:
        return start, 0.0, 0.0
    left, moved = values - values.dtype.type(start), 0.0
    for _ in range(steps):
        inside = left[np.abs(left - left.dtype.type(moved)) <= cut * deviation]
        before, moved = moved, float(np.mean(inside, dtype=np.float64))
        if abs(moved - before) < 1e-3 * deviation / np.sqrt(inside.size):
            break
    return start + moved, deviation / float(np.sqrt(inside.size)), deviation


def ring_median(values: np.ndarray, radius: int = 1) -> np.ndarray:
    """Median of the eight pixels at distance `radius` (Chebyshev) in the eight directions.

    The pixel itself is not among them: a hot pixel can't hide behind its own value. Borders are mirrored.

    Parameters
    ----------
    values : ndarray, (rows, columns)
    radius : int

    Returns
    -------
    ndarray, (rows, columns), float32
    """
    rows, columns = values.shape
    mode = "reflect" if min(rows, columns) > radius else "edge"
    padded = np.pad(np.asarray(values, dtype=np.float32), radius, mode=mode)
    planes = [padded[radius * (1 + r) :, radius * (1 + c) :][:rows, :columns].copy() for r, c in _AROUND]
    spare = np.empty_like(planes[0])
    for a, b in _SORT_8:
        np.minimum(planes[a], planes[b], out=spare)
        np.maximum(planes[a], planes[b], out=planes[b])
        planes[a], spare = spare, planes[a]
    return np.float32(0.5) * (planes[3] + planes[4])
