"""How well a result reproduces the measurement: measured on the values that are written, band by band."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.inference.consistency import block_means
from sciSR.inference.planes import ImagePlane
from sciSR.inference.tiles import Span


@dataclass
class Agreement:
    """Largest and root-mean-square ``|y - A x|`` over the good pixels.

    Parameters
    ----------
    factors : pair of Fraction
    operator : str
        What A is, for the report.
    share : float
        What a fine pixel holds of its coarse one (totals); divided out before the comparison.
    """

    factors: tuple[Fraction, Fraction]
    operator: str = "block mean"
    share: float = 1.0
    largest: float = 0.0
    lowest: float = math.inf
    highest: float = -math.inf
    squares: float = 0.0
    count: int = 0
    _rows: list[np.ndarray] = field(default_factory=list)
    _start: int = 0
    _next: int = 0

    def begin_plane(self) -> None:
        """Forget the rows of the last plane."""
        self._rows, self._start, self._next = [], 0, 0

    def feed(self, rows: Span, values: np.ndarray, source: ImagePlane) -> None:
        """Take fine rows as they come; compare all coarse rows that are complete with the input.

        Parameters
        ----------
        rows : Span
            Fine rows, following the last ones.
        values : ndarray
            As written.
        """
        self._rows.append(values)
        f = self.factors[0]
        last = (rows.stop * f.denominator) // f.numerator  # coarse rows below this are complete
        coarse = Span(self._next, min(last, source.shape[0]))
        if len(coarse) <= 0:
            return
        block = self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)
        fine = coarse.fine(f)
        predicted = block_means(
            block[fine.start - self._start : fine.stop - self._start], self.factors, coarse
        )
        predicted /= self.share
        measured, bad = source.measured(coarse)
        measured = measured.astype(np.float64)
        good = slice(None) if bad is None else ~bad
        self.take(predicted[good], measured[good])
        self._next = coarse.stop
        keep = Span(self._next, self._next + 1).fine(f).start
        rest = block[keep - self._start :]
        self._rows, self._start = [rest.copy()] if len(rest) else [], keep

    def compare(self, values: np.ndarray, measured: np.ndarray, bad: np.ndarray | None) -> None:
        """Fine pixels as written with the whole coarse pixels under them, ``[rows, columns]``, at whole factors."""
        predicted = block_means(values, self.factors, Span(0, len(measured)))
        if self.share != 1:
            predicted /= self.share
        good = slice(None) if bad is None else ~bad
        self.take(predicted[good], measured[good])

    def merge(self, other: Agreement) -> None:
        """Take what was found on another part of the image."""
        self.largest = max(self.largest, other.largest)
        self.lowest, self.highest = min(self.lowest, other.lowest), max(self.highest, other.highest)
        self.squares, self.count = self.squares + other.squares, self.count + other.count

    def take(self, predicted: np.ndarray, measured: np.ndarray) -> None:
        """Compare values of good pixels, in the image's unit."""
        if measured.size:
            measured = measured.astype(np.float64)
            difference = predicted - measured
            self.largest = max(self.largest, float(np.abs(difference).max()))
            self._widen(measured)
            self.squares += float(np.square(difference).sum())
            self.count += difference.size

    def take_plane(self, largest: float, values: np.ndarray) -> None:
        """A plane whose disagreement was found globally (k-space), in the same unit as its `values`."""
        self.largest = max(self.largest, largest)
        self._widen(values)

    def _widen(self, measured: np.ndarray) -> None:
        self.lowest = min(self.lowest, float(measured.min(initial=math.inf)))
        self.highest = max(self.highest, float(measured.max(initial=-math.inf)))

    @property
    def _range(self) -> float:
        """Highest minus lowest measured value; of a constant image its value, of an empty one 1."""
        if self.lowest > self.highest:
            return 1.0
        return self.highest - self.lowest or abs(self.highest) or 1.0

    def report(self, unit: float = 1.0, *, enforced: bool) -> Mapping[str, Any]:
        """JSON-ready: the operator, whether it was enforced, and the disagreement in the image's unit."""
        out: dict[str, Any] = {
            "operator": self.operator,
            "enforced": enforced,
            "max_abs": float(f"{self.largest * unit:.3g}"),
            "max_relative_to_range": float(f"{self.largest / self._range:.3g}"),
        }
        if self.count:
            out["rms"] = float(f"{(self.squares / self.count) ** 0.5 * unit:.3g}")
        return out
