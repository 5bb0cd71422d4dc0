"""Rows and columns at a frame's border that are darker than the sky beside them: overscan, settling, shadow."""

from __future__ import annotations

import numpy as np

REACH = 24
"""Rows at most that a border may have."""
_SIGMA = 4.0


def dark_border(values: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Border rows and columns whose median lies below what the rows further in, continued, would have.

    Parameters
    ----------
    values : ndarray, (rows, columns)
    bad : ndarray of bool

    Returns
    -------
    ndarray of bool
        Only whole rows and columns, counted from an edge without a gap.
    """
    out = np.zeros(values.shape, dtype=bool)
    if min(values.shape) < 4 * REACH:
        return out
    data = np.where(bad, np.nan, values).astype(np.float32)
    for axis in (0, 1):
        lines = data if axis == 0 else data.T
        marks = out if axis == 0 else out.T
        marks[: _dark(lines[: 3 * REACH])] = True
        depth = _dark(lines[: -3 * REACH - 1 : -1])
        if depth:
            marks[-depth:] = True
    return out


def _dark(lines: np.ndarray) -> int:
    """How many of these lines, from the first on, are dark."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # lines that are bad altogether have no median
        middle = np.nanmedian(lines, axis=1)
        inner = lines[REACH:]
        spread = 1.4826 * np.nanmedian(np.abs(inner - np.nanmedian(inner, axis=1, keepdims=True)))
    within = np.flatnonzero(np.isfinite(middle) & (np.arange(len(middle)) >= REACH))
    if within.size < REACH or not spread > 0:
        return 0
    line = np.polyfit(within, middle[within], 1)
    # The scene's own slope may bend: what it does over the next lines is allowed for.
    bend = 4 * float(np.std(middle[within] - np.polyval(line, within)))
    limit = np.polyval(line, np.arange(REACH)) - max(0.5 * _SIGMA * spread, bend)
    dark = middle[:REACH] < limit
    gap = np.flatnonzero(~dark & np.isfinite(middle[:REACH]))
    return int(gap[0]) if gap.size else 0
