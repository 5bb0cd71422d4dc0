"""Two images of one field piece by piece: some rows of coarse pixels, and the fine pixels that these cover."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sciSR.forward.pixel import overlap_matrix
from sciSR.image import Image
from sciSR.inference.consistency import block_means
from sciSR.inference.flags import touches
from sciSR.inference.statistics import bad_pixels, plane_indices, read_rows
from sciSR.inference.tiles import Span, split
from sciSR.views import nearest_index

_BAND_BYTES = 8 << 20
Index = tuple[slice | int, ...]


@dataclass(frozen=True)
class Band:
    """Rows of one coarse plane with one more on either side where there is one, and the fine pixels under them.

    Attributes
    ----------
    index : tuple
        The coarse plane.
    rows : Span
        Coarse rows, without the margin.
    top : int
        Rows of margin before them: 0 or 1.
    coarse : ndarray, shape (rows and margin, columns)
        As read.
    bad : ndarray of bool
        Not finite, or masked.
    fine : ndarray, shape (planes, fine rows, fine columns)
        As read, without a margin.
    fine_rows : Span
    fine_mask : ndarray of bool or None
        The fine image's own mask.
    sigma, fine_sigma : ndarray or None
        Standard deviations, as `coarse` and `fine`.
    factors : pair of Fraction
        Fine pixels per coarse one along rows and columns.
    weights : ndarray, shape (planes,)
        Share of the coarse plane that each fine one is; they sum to 1.
    """

    index: Index
    rows: Span
    top: int
    coarse: np.ndarray
    bad: np.ndarray
    fine: np.ndarray
    fine_rows: Span
    fine_mask: np.ndarray | None
    sigma: np.ndarray | None
    fine_sigma: np.ndarray | None
    factors: tuple[Fraction, Fraction]
    weights: np.ndarray

    @property
    def inner(self) -> slice:
        """The rows without their margin."""
        return slice(self.top, self.top + len(self.rows))

    def means(self, fine: np.ndarray) -> np.ndarray:
        """Means over each coarse pixel of values on the fine pixels, float64 ``[rows, columns]``."""
        with np.errstate(invalid="ignore", over="ignore"):
            together = np.tensordot(self.weights, fine.astype(np.float64), axes=1)
            return block_means(together, self.factors, self.rows)

    def touched(self) -> np.ndarray:
        """Fine pixels that overlap any bad coarse one, ``[fine rows, fine columns]``."""
        around = Span(self.rows.start - self.top, self.rows.start - self.top + len(self.bad))
        down = touches(self.bad, around, self.fine_rows, self.factors[0], axis=0)
        columns = Span(0, self.fine.shape[2])
        return touches(down, Span(0, self.bad.shape[1]), columns, self.factors[1], axis=1)

    def nearest(self, coarse: np.ndarray) -> np.ndarray:
        """Values of the coarse pixels (with margin) that the fine ones' centres lie in."""
        rows = nearest_index(np.arange(self.fine_rows.start, self.fine_rows.stop), self.factors[0])
        columns = nearest_index(np.arange(self.fine.shape[2]), self.factors[1])
        return coarse[rows - self.rows.start + self.top][:, columns]

    @property
    def own(self) -> slice:
        """The fine rows whose centres lie in these coarse rows: every fine row belongs to one band."""
        fine = np.arange(self.fine_rows.start, self.fine_rows.stop)
        inside = nearest_index(fine, self.factors[0])
        which = np.flatnonzero((inside >= self.rows.start) & (inside < self.rows.stop))
        return slice(int(which[0]), int(which[-1]) + 1) if len(which) else slice(0, 0)


def bands(coarse: Image, fine: Image, factors: Sequence[Fraction]) -> Iterator[Band]:
    """All of two images, a few MB at a time.

    Parameters
    ----------
    coarse, fine : Image
        With the same axes.
    factors : sequence of Fraction
        Fine pixels per coarse one, 1 or more, for each axis of the data.
    """
    first, second = coarse.spatial_axes
    pair = factors[first], factors[second]
    height = coarse.shape[first]
    planes = float(np.prod([float(f) for axis, f in enumerate(factors) if axis not in (first, second)]))
    row_bytes = 8 * fine.shape[second] * float(pair[0]) * max(1.0, planes)
    for index in plane_indices(coarse):
        for rows in split(height, max(1, int(_BAND_BYTES // max(row_bytes, 1)))):
            yield _band(coarse, fine, index, rows, factors, pair)


def _band(
    coarse: Image,
    fine: Image,
    index: Index,
    rows: Span,
    factors: Sequence[Fraction],
    pair: tuple[Fraction, Fraction],
) -> Band:
    first, second = coarse.spatial_axes
    outer = Span(max(0, rows.start - 1), min(coarse.shape[first], rows.stop + 1))
    span = rows.fine(pair[0])
    planes = _fine_planes(index, factors)
    # Coarse pixels made of whole fine ones may leave some out at the far end.
    covered = math.ceil(coarse.shape[second] * pair[1])

    def margin(what: str) -> np.ndarray | None:
        if getattr(coarse, what) is None:
            return None
        return read_rows(coarse, index, slice(outer.start, outer.stop), what)

    def under(what: str) -> np.ndarray | None:
        if getattr(fine, what) is None:
            return None
        rows = slice(span.start, span.stop)
        return np.stack([read_rows(fine, plane, rows, what)[:, :covered] for _, plane in planes])

    values, finer = margin("data"), under("data")
    assert values is not None
    assert finer is not None
    mask = under("mask")
    return Band(
        index=index,
        rows=rows,
        top=rows.start - outer.start,
        coarse=values,
        bad=bad_pixels(values, margin("mask")),
        fine=finer,
        fine_rows=span,
        fine_mask=None if mask is None else mask.astype(bool),
        sigma=margin("uncertainty"),
        fine_sigma=under("uncertainty"),
        factors=pair,
        weights=np.array([weight for weight, _ in planes]),
    )


def _fine_planes(index: Index, factors: Sequence[Fraction]) -> list[tuple[float, Index]]:
    """The fine planes that one coarse plane covers, and the share of it that each is."""
    choices: list[list[tuple[float, slice | int]]] = []
    for entry, factor in zip(index, factors, strict=True):
        if isinstance(entry, slice):
            choices.append([(1.0, entry)])
            continue
        weights, start = overlap_matrix(entry, entry + 1, factor)
        choices.append([(float(w), start + k) for k, w in enumerate(weights[0]) if w > 0])
    return [
        (float(np.prod([weight for weight, _ in each])), tuple(entry for _, entry in each))
        for each in itertools.product(*choices)
    ]
