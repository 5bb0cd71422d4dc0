"""Bad pixels come back over the same footprint, with the input's own values."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from sciSR.inference.planes import ImagePlane
from sciSR.inference.tiles import Span
from sciSR.views import NearestView


def put_flags_back(
    rows: Span, final: np.ndarray, source: ImagePlane, factors: tuple[Fraction, Fraction], share: float
) -> None:
    """Overwrite every fine pixel that touches a bad one, in place.

    Parameters
    ----------
    rows : Span
        Fine rows.
    final : ndarray, shape (fine rows, fine columns)
        Their final values; changed.
    share : float
        What a fine pixel holds of its coarse one.

    Notes
    -----
    NaN stays NaN, infinite stays infinite, a masked value keeps its value (its share, for totals). Where the scale
    is no whole number, a fine pixel that only overlaps a bad one has no value of its own and becomes NaN.
    """
    coarse = rows.coarse(factors[0])
    measured, bad = source.measured(coarse)
    if bad is None or not bad.any():
        return
    columns = Span(0, final.shape[1])
    footprint = touches(bad, coarse, rows, factors[0], axis=0)
    footprint = touches(footprint, Span(0, bad.shape[1]), columns, factors[1], axis=1)
    fine = (slice(rows.start, rows.stop), slice(None))
    raw = NearestView(_Rows(measured.astype(np.float64), coarse.start, source.shape), factors)[fine]
    nearest_is_bad = NearestView(_Rows(bad, coarse.start, source.shape), factors)[fine]
    values = np.where(np.isfinite(raw), raw * share, raw)
    values[footprint & ~nearest_is_bad] = np.nan
    final[footprint] = values[footprint]


class _Rows:
    """Rows of a plane, indexed as if the whole plane were there."""

    def __init__(self, rows: np.ndarray, start: int, shape: tuple[int, int]) -> None:
        self.rows, self.start, self.shape, self.dtype = rows, start, shape, rows.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        rows, columns = index
        return self.rows[rows.start - self.start : rows.stop - self.start, columns]


def touches(bad: np.ndarray, coarse: Span, fine: Span, factor: Fraction, axis: int) -> np.ndarray:
    """Fine pixels that overlap any bad coarse one, along one axis."""
    o = np.arange(fine.start, fine.stop, dtype=np.int64)
    p, q = factor.numerator, factor.denominator
    low, high = (o * q) // p, -((-(o + 1) * q) // p) - 1  # first and last coarse pixel under each fine one
    out = np.take(bad, low - coarse.start, axis=axis)
    for step in range(1, int((high - low).max(initial=0)) + 1):
        out |= np.take(bad, np.minimum(low + step, high) - coarse.start, axis=axis)
    return out
