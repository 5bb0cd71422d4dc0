"""Blocks of a very large image as data: which output pixels are computed together, and which input pixels they need.

A block is a union of the tiles that one machine would compute, at the same places: what a network gives for a tile
depends on the tile's shape to float32 rounding, so only the same tiles give the same bits. The input of a block is
cut where a tile begins, with all that its stages, the fill of bad pixels and the consistency can reach around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sciSR.inference.fill import RADIUS as FILL_RADIUS
from sciSR.inference.tiles import Span, fine_step, split

CONSISTENCY_MARGIN = 16
"""Input pixels that a block-mean consistency inside the tile can reach; :mod:`sciSR.inference.consistency`."""
DEFAULT_SIDE = 8192
"""Output pixels along each side of a block, about."""


@dataclass(frozen=True)
class StageShape:
    """What a stage needs of its input.

    Attributes
    ----------
    factors : pair of Fraction
    halo : int
        Pixels around a tile.
    multiple : int
        Its regions begin and end at multiples of this many pixels.
    """

    factors: tuple[Fraction, Fraction]
    halo: int
    multiple: int = 1


@dataclass(frozen=True)
class Shape:
    """What decides how one plane may be cut.

    Attributes
    ----------
    size : pair of int
        Input rows and columns.
    factors : pair of Fraction
    stages : tuple of StageShape
    tile : int
        Input pixels along the side of a tile.
    steps_inside : bool
        Whether a consistency step follows inside the tile.
    filled : bool
        Whether there are bad pixels to fill.
    whole : str
        Why the plane can't be cut at all; empty where it can.
    """

    size: tuple[int, int]
    factors: tuple[Fraction, Fraction]
    stages: tuple[StageShape, ...]
    tile: int
    steps_inside: bool
    filled: bool
    whole: str = ""

    @property
    def fine(self) -> tuple[int, int]:
        """Output rows and columns."""
        return int(self.size[0] * self.factors[0]), int(self.size[1] * self.factors[1])

    @property
    def row_multiple(self) -> int:
        """Bands of rows hold whole input pixels where the factors are whole."""
        whole = all(f.denominator == 1 for f in self.factors)
        return int(self.factors[0]) if whole else 1

    def step(self, stage: int, axis: int) -> int:
        """Pixels of a stage's output from one tile to the next."""
        step = fine_step(self.tile, self.stages[stage].factors[axis])
        return -(-step // self.row_multiple) * self.row_multiple if axis == 0 else step

    def unit(self, axis: int) -> int:
        """Output pixels at whose multiples blocks may begin: where all stages begin a tile."""
        factor = self.factors[axis]
        unit = factor.numerator
        after = Fraction(1)
        for number in reversed(range(len(self.stages))):
            stage = self.stages[number]
            unit = _common(unit, Fraction(self.step(number, axis)) * after)
            after *= stage.factors[axis]
            unit = _common(unit, Fraction(stage.multiple) * after)
        return unit

    def needed(self, fine: Span, axis: int) -> Span:
        """Input pixels that output pixels (whole tiles) depend on, inside the image, begun where a tile begins."""
        low, high = fine.start, fine.stop
        sizes = [self.size[axis]]
        for stage in self.stages:
            sizes.append(int(sizes[-1] * stage.factors[axis]))
        for number in reversed(range(len(self.stages))):
            stage, step = self.stages[number], self.step(number, axis)
            tiles = Span(max(0, low) // step * step, min(-(-high // step) * step, sizes[number + 1]))
            margin = CONSISTENCY_MARGIN + 2 if self.steps_inside else 0
            touched = tiles.coarse(stage.factors[axis]).grow(stage.halo + margin + stage.multiple)
            low, high = touched.start, touched.stop
        if self.filled:
            low, high = low - FILL_RADIUS, high + FILL_RADIUS
        coarse = Fraction(self.unit(axis)) / self.factors[axis]
        assert coarse.denominator == 1
        begin, whole = int(coarse), self.factors[axis].denominator
        start = max(0, low) // begin * begin
        return Span(start, min(-(-high // whole) * whole, self.size[axis]))


@dataclass(frozen=True)
class Block:
    """Output pixels of one plane that are computed together.

    Attributes
    ----------
    number : int
        Counts the blocks of a run.
    part : int
        Which image of the file.
    plane : int
        Which plane of the image, as :func:`sciSR.inference.statistics.plane_indices` counts.
    rows, columns : Span
        Output pixels.
    source : pair of Span
        The input rows and columns that they depend on.
    """

    number: int
    part: int
    plane: int
    rows: Span
    columns: Span
    source: tuple[Span, Span]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        spans = (self.rows, self.columns, *self.source)
        bounds = [[span.start, span.stop] for span in spans]
        return {"number": self.number, "part": self.part, "plane": self.plane, "bounds": bounds}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Block:
        rows, columns, first, second = (Span(*bounds) for bounds in data["bounds"])
        return cls(data["number"], data["part"], data["plane"], rows, columns, (first, second))


def cut_plane(shape: Shape, side: tuple[int, int]) -> list[tuple[Span, Span, tuple[Span, Span]]]:
    """Output rows, output columns and the input of each block of one plane.

    Parameters
    ----------
    shape : Shape
    side : pair of int
        Output rows and columns of a block, rounded up to whole tiles; an axis whose tiles begin nowhere else than
        the image does (an odd size refined by 1.5) is not cut.
    """
    if shape.whole:
        whole = Span(0, shape.size[0]), Span(0, shape.size[1])
        return [(Span(0, shape.fine[0]), Span(0, shape.fine[1]), whole)]
    cuts = []
    for axis in (0, 1):
        unit = shape.unit(axis)
        step = -(-max(1, side[axis]) // unit) * unit
        cuts.append([(fine, shape.needed(fine, axis)) for fine in split(shape.fine[axis], step)])
    return [(rows, columns, (down, across)) for rows, down in cuts[0] for columns, across in cuts[1]]


def plan_blocks(
    shapes: Sequence[Shape], planes: Sequence[int], side: tuple[int, int] = (DEFAULT_SIDE, DEFAULT_SIDE)
) -> list[Block]:
    """All blocks of a file, numbered: image by image, plane by plane, from top left to bottom right.

    Parameters
    ----------
    shapes : sequence of Shape
        One per image of the file.
    planes : sequence of int
        How many planes each image has.
    side : pair of int
        Output rows and columns of a block, about.

    Returns
    -------
    list of Block
        They cover every output pixel once.
    """
    blocks: list[Block] = []
    for part, (shape, count) in enumerate(zip(shapes, planes, strict=True)):
        cuts = cut_plane(shape, side)
        for plane in range(count):
            first = len(blocks)
            blocks += [Block(first + n, part, plane, *cut) for n, cut in enumerate(cuts)]
    return blocks


def _common(first: int, second: Fraction) -> int:
    """Least common multiple of a whole number and a fraction's numerator."""
    return math.lcm(first, second.numerator)
