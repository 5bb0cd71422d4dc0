"""Tiles as data: which fine pixels are computed together, and which coarse pixels they need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Span:
    """A half-open range of pixel numbers along one axis."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def grow(self, before: int, after: int | None = None) -> Span:
        """The range with a margin on both sides; it may reach outside the image."""
        return Span(self.start - before, self.stop + (before if after is None else after))

    def within(self, outer: Span) -> slice:
        """This range as a slice of an array that covers `outer`."""
        return slice(self.start - outer.start, self.stop - outer.start)

    def coarse(self, factor: Fraction) -> Span:
        """The coarse pixels that these fine pixels touch."""
        p, q = factor.numerator, factor.denominator
        return Span((self.start * q) // p, -((-self.stop * q) // p))

    def fine(self, factor: Fraction) -> Span:
        """The fine pixels that these coarse pixels touch."""
        return self.coarse(1 / factor)


def split(size: int, step: int) -> Iterator[Span]:
    """Cut ``0..size`` into ranges of `step`; the last may be shorter."""
    for start in range(0, size, max(1, step)):
        yield Span(start, min(start + step, size))


def fine_step(tile: int, factor: Fraction) -> int:
    """Fine pixels per tile of `tile` coarse ones; a whole number of coarse pixels where that is possible."""
    return max(1, int(tile * factor))


def mirror(span: Span, size: int) -> np.ndarray:
    """Pixel numbers inside ``0..size`` for a range that may reach outside, mirrored at the image's edges.

    Half-sample symmetric (``c b a | a b c | c b a``), the reflection that fits edge-aligned grids: pixel ``-1``
    is pixel ``0`` again. Repeats as often as it must for images smaller than the margin.
    """
    return mirror_index(np.arange(span.start, span.stop), size)


def mirror_index(index: np.ndarray, size: int) -> np.ndarray:
    """The same for any pixel numbers."""
    index = index % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)
