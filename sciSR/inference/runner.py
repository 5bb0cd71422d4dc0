"""Runs stages over planes: tile by tile, by bands of rows, within the memory at hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from sciSR.errors import ResourceError
from sciSR.inference.consistency import block_mean_step, margin
from sciSR.inference.device import available_memory, is_out_of_memory
from sciSR.inference.planes import Plane, Scratch
from sciSR.inference.stages import FourierStage, TiledStage
from sciSR.inference.tiles import Span, fine_step, split
from sciSR.inference.workers import Workers

log = logging.getLogger("sciSR")

DEFAULT_TILE = 512
SMALLEST_TILE = 16
_MEMORY_SHARE = 0.25
_PANEL = 8192  # coarse columns that are read at once where tiles are all that is asked for

Result = TypeVar("Result")


class Tile(NamedTuple):
    """Fine pixels to compute, and the plane with all rows loaded that they depend on."""

    rows: Span
    columns: Span
    source: Plane


@dataclass
class Runner:
    """How to run: device, tile size, and whether the block-mean consistency step follows within the tile.

    The tile halves itself when memory runs out and stays at the smaller size. A whole-number scale in one stage needs
    no step here: it is made consistent when the band gets its final values, in float64.
    """

    device: torch.device
    tile: int | None = None
    block_mean: bool = False
    row_multiple: int = 1
    """Bands are a multiple of this many fine rows (but for the last), so that each holds whole original pixels."""
    advance: Callable[[int], None] = field(default=lambda pixels: None)
    workers: Workers = field(default_factory=lambda: Workers(1))

    def start_tile(self, stage: TiledStage) -> int:
        """Tile size in coarse pixels: as asked, or what a quarter of the free memory holds, up to 512."""
        if self.tile is None:
            memory = available_memory(self.device) / self.workers.count
            share = _MEMORY_SHARE * memory / max(1, stage.bytes_per_pixel)
            self.tile = int(min(DEFAULT_TILE, share**0.5 - 2 * stage.halo))
        self.tile = max(SMALLEST_TILE, self.tile)
        return self.tile

    def count(self, stage: TiledStage, shape: tuple[int, int]) -> int:
        """How many tiles a plane of this shape has."""
        tile = self.start_tile(stage)
        return -(-shape[0] // tile) * -(-shape[1] // tile)

    def tiles(self, stage: TiledStage, source: Plane, *, by_panel: bool = False) -> Iterator[Tile]:
        """What there is to do, band by band; what a band's tiles need is read as the first of them is drawn.

        With `by_panel` wide bands are read in parts, for whom only tiles are wanted.
        """
        height, width = (int(n * f) for n, f in zip(source.shape, stage.factors, strict=True))
        start = 0
        while start < height:
            tile = self.start_tile(stage)
            step = -(-fine_step(tile, stage.factors[0]) // self.row_multiple) * self.row_multiple
            rows, across = Span(start, min(start + step, height)), fine_step(tile, stage.factors[1])
            down = self._needed(rows, stage, 0)
            for panel in split(width, max(1, _PANEL // tile) * across if by_panel else width):
                whole = len(panel) == width
                held = source.held(down, None if whole else self._needed(panel, stage, 1))
                for c in split(len(panel), across):
                    yield Tile(rows, Span(panel.start + c.start, panel.start + c.stop), held)
            start = rows.stop

    def compute(
        self, stage: TiledStage, tiles: Iterable[Tile], finish: Callable[[Tile, np.ndarray], Result]
    ) -> Iterator[Result]:
        """What `finish` makes of each tile's fine values, in order; both are done by the workers.

        The values are relative to the offset, float32; float64 where a consistency step within the tile must not be
        rounded relative to the offset.
        """
        dtype = np.float64 if self.block_mean and margin(stage.factors) else np.float32

        def work(tile: Tile) -> tuple[Result, int]:
            values = np.empty((len(tile.rows), len(tile.columns)), dtype=dtype)
            self.fill(stage, tile, values)
            return finish(tile, values), values.size

        for result, pixels in self.workers.in_order(work, tiles):
            self.advance(pixels)
            yield result

    def bands(self, stage: TiledStage, source: Plane) -> Iterator[tuple[Span, np.ndarray]]:
        """Fine rows from top to bottom, full width, as `compute` has them."""
        width = int(source.shape[1] * stage.factors[1])
        band: np.ndarray | None = None
        for tile, values in self.compute(stage, self.tiles(stage, source), lambda *both: both):
            if band is None:
                band = (
                    values if len(tile.columns) == width else np.empty((len(tile.rows), width), values.dtype)
                )
            if band is not values:
                band[:, tile.columns.start : tile.columns.stop] = values
            if tile.columns.stop == width:
                yield tile.rows, band
                band = None

    def to_scratch(self, stage: TiledStage | FourierStage, source: Plane) -> Scratch:
        """The whole refined plane, to be read again by a further stage or a global step."""
        if isinstance(stage, FourierStage):
            return stage.plane(source, self.device)
        out = Scratch(tuple(int(n * f) for n, f in zip(source.shape, stage.factors, strict=True)))  # type: ignore[arg-type]
        for rows, band in self.bands(stage, source):
            out.write(rows, band)
        return out

    def _needed(self, fine: Span, stage: TiledStage, axis: int) -> Span:
        """Coarse pixels that a tile's fine ones depend on along one axis."""
        core, factor = self._core(fine, stage, axis), stage.factors[axis]
        return _touched(stage, core.fine(factor).coarse(factor))

    def _core(self, fine: Span, stage: TiledStage, axis: int) -> Span:
        """Whole coarse pixels under fine ones, plus what the consistency of neighbours can reach."""
        return fine.coarse(stage.factors[axis]).grow(margin(stage.factors) if self.block_mean else 0)

    def fill(self, stage: TiledStage, tile: Tile, out: np.ndarray) -> None:
        """Fine values of one tile, computed here and now."""
        self._tile(stage, tile.source, tile.rows, tile.columns, out)

    def _tile(self, stage: TiledStage, source: Plane, rows: Span, columns: Span, out: np.ndarray) -> None:
        """Fill `out`; on an out-of-memory error cut the tile in four and remember the smaller size."""
        try:
            out[:] = self._compute(stage, source, rows, columns)
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size = max(len(rows), len(columns))
            coarse = int(size / max(stage.factors))
            if coarse <= SMALLEST_TILE:
                raise ResourceError(
                    f"out of memory on {self.device} even with tiles of {coarse} pixels",
                    remedy="free memory or give --device cpu",
                ) from error
        # Outside the handler, so that the failed tile's tensors are freed before the smaller ones are made.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.tile = max(SMALLEST_TILE, min(self.tile or coarse, coarse) // 2)
        log.warning("out of memory on %s: tiles of %d pixels from here on", self.device, self.tile)
        for r in split(len(rows), fine_step(self.tile, stage.factors[0])):
            for c in split(len(columns), fine_step(self.tile, stage.factors[1])):
                self._tile(
                    stage,
                    source,
                    Span(rows.start + r.start, rows.start + r.stop),
                    Span(columns.start + c.start, columns.start + c.stop),
                    out[r.start : r.stop, c.start : c.stop],
                )

    def _compute(self, stage: TiledStage, source: Plane, rows: Span, columns: Span) -> np.ndarray:
        core = tuple(self._core(span, stage, axis) for axis, span in enumerate((rows, columns)))
        fine = tuple(s.fine(f) for s, f in zip(core, stage.factors, strict=True))
        touched = tuple(_touched(stage, s.coarse(f)) for s, f in zip(fine, stage.factors, strict=True))
        values = source.region(*touched)
        x = stage.region(torch.from_numpy(values.astype(np.float32)).to(self.device), touched, fine)
        if self.block_mean:
            y = values[core[0].within(touched[0]), core[1].within(touched[1])]
            x = block_mean_step(x, torch.from_numpy(y).to(x.device), stage.factors, core)
        return x[rows.within(fine[0]), columns.within(fine[1])].cpu().numpy()


def touched_by(stage: TiledStage, rows: Span, columns: Span) -> tuple[Span, Span]:
    """Coarse rows and columns that fine ones depend on, without a step within the tile."""
    first, second = (span.coarse(factor) for span, factor in zip((rows, columns), stage.factors, strict=True))
    return _touched(stage, first), _touched(stage, second)


def _touched(stage: TiledStage, coarse: Span) -> Span:
    """Coarse pixels with the stage's halo, begun and ended at multiples that it needs.

    Counted from the image's edge, not from the tile's: what a network does within a group of pixels must not depend
    on the tile.
    """
    span, multiple = coarse.grow(stage.halo), stage.multiple
    return Span(span.start // multiple * multiple, -(-span.stop // multiple) * multiple)
