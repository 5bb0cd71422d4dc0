"""Runs stages over planes: tile by tile, by bands of rows, within the memory at hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from sciSR.errors import ResourceError
from sciSR.inference.consistency import block_mean_step, margin
from sciSR.inference.device import available_memory, is_out_of_memory
from sciSR.inference.planes import Plane, Scratch
from sciSR.inference.stages import FourierStage, TiledStage
from sciSR.inference.tiles import Span, fine_step, split

log = logging.getLogger("sciSR")

DEFAULT_TILE = 512
SMALLEST_TILE = 16
_MEMORY_SHARE = 0.25


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

    def start_tile(self, stage: TiledStage) -> int:
        """Tile size in coarse pixels: as asked, or what a quarter of the free memory holds, up to 512."""
        if self.tile is None:
            share = _MEMORY_SHARE * available_memory(self.device) / max(1, stage.bytes_per_pixel)
            self.tile = int(min(DEFAULT_TILE, share**0.5 - 2 * stage.halo))
        self.tile = max(SMALLEST_TILE, self.tile)
        return self.tile

    def bands(self, stage: TiledStage, source: Plane) -> Iterator[tuple[Span, np.ndarray]]:
        """Fine rows from top to bottom, full width, relative to the offset.

        float32; float64 where a consistency step within the tile must not be rounded relative to the offset.
        """
        dtype = np.float64 if self.block_mean and margin(stage.factors) else np.float32
        height = int(source.shape[0] * stage.factors[0])
        width = int(source.shape[1] * stage.factors[1])
        start = 0
        while start < height:
            step = fine_step(self.start_tile(stage), stage.factors[0])
            step = -(-step // self.row_multiple) * self.row_multiple
            rows = Span(start, min(start + step, height))
            band = np.empty((len(rows), width), dtype=dtype)
            source.load(self._needed(rows, stage, 0))
            for columns in split(width, fine_step(self.start_tile(stage), stage.factors[1])):
                self._tile(stage, source, rows, columns, band[:, columns.start : columns.stop])
                self.advance(len(rows) * len(columns))
            yield rows, band
            start = rows.stop

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


def _touched(stage: TiledStage, coarse: Span) -> Span:
    """Coarse pixels with the stage's halo, begun and ended at multiples that it needs.

    Counted from the image's edge, not from the tile's: what a network does within a group of pixels must not depend
    on the tile.
    """
    span, multiple = coarse.grow(stage.halo), stage.multiple
    return Span(span.start // multiple * multiple, -(-span.stop // multiple) * multiple)
