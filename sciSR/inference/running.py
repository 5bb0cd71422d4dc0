"""Runs a plan's planes on all cores: tiles side by side, or whole small planes side by side."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from sciSR.inference.agreement import Agreement
from sciSR.inference.batches import compute_in_batches
from sciSR.inference.consistency import MARGIN
from sciSR.inference.finishing import Finished, finish_tile
from sciSR.inference.planes import ImagePlane
from sciSR.inference.runner import Runner, Tile
from sciSR.inference.stages import FourierStage, NetworkStage
from sciSR.inference.tiles import Span
from sciSR.inference.workers import MOST, Workers, how_many

if TYPE_CHECKING:
    from sciSR.inference.upscaling import UpscalePlan

Index = tuple[slice | int, ...]
Put = Callable[[Index, np.ndarray], None]

_RUN = 8192  # fine columns that are handed over at once: a file takes a few long rows faster than many short ones


class _Plane(NamedTuple):
    """A plane that a worker computes as a whole, its rows read already."""

    index: Index
    number: int
    source: ImagePlane


def run_planes(
    plan: UpscalePlan, planes: list[Index], runner: Runner, agreement: Agreement, put: Put, *, by_tile: bool
) -> None:
    """Compute planes and hand them over in order, from the calling thread.

    Parameters
    ----------
    plan : UpscalePlan
    planes : list of tuple
        As from :func:`sciSR.inference.statistics.plane_indices`.
    runner : Runner
        Of the plan.
    agreement : Agreement
        Measured on the way.
    put : callable
    by_tile : bool
        Whether tiles may be handed over instead of bands of full width.
    """
    stages = plan.stages()
    first = stages[0]
    local = plan.is_whole and not plan.whole_plane and len(stages) == 1 and plan.uncertain is None
    if plan.device.type == "cuda" and local and isinstance(first, NetworkStage):
        with Workers(how_many(torch.device("cpu"), MOST)) as workers:
            for index in planes:
                compute = functools.partial(compute_in_batches, runner, workers=workers)
                _plane_by_tiles(plan, index, runner, agreement, put, compute, by_tile=by_tile)
        return
    if plan.device.type != "cpu" or plan.uncertain is not None or isinstance(first, FourierStage):
        with Workers(how_many(plan.device, _tiles(plan, runner))) as runner.workers:
            for number, index in enumerate(planes):
                plan.run_plane(index, number, runner, agreement, put)
        return
    count = _tiles(plan, runner)
    if len(planes) > 1 and count == 1:
        _side_by_side(plan, planes, runner, agreement, put)
        return
    with Workers(how_many(plan.device, count)) as runner.workers:
        for number, index in enumerate(planes):
            if local:
                _plane_by_tiles(plan, index, runner, agreement, put, runner.compute, by_tile=by_tile)
            else:
                plan.run_plane(index, number, runner, agreement, put)


def _tiles(plan: UpscalePlan, runner: Runner) -> int:
    """How many tiles a plane has, at a size that leaves memory for as many workers as there could be."""
    stage = plan.stages()[-1]
    if isinstance(stage, FourierStage):
        return 1
    first, second = plan.image.spatial_axes
    done = plan.stages()[:-1]
    shape = [plan.image.shape[axis] for axis in (first, second)]
    for each in done:
        shape = [int(n * f) for n, f in zip(shape, each.factors, strict=True)]
    runner.workers = Workers(how_many(plan.device, 1 << 30))
    return runner.count(stage, (shape[0], shape[1]))


def _plane_by_tiles(
    plan: UpscalePlan,
    index: Index,
    runner: Runner,
    agreement: Agreement,
    put: Put,
    compute: Callable[..., Iterator[Finished]],
    *,
    by_tile: bool,
) -> None:
    """One plane whose tiles are finished where they are computed."""
    source, [stage] = plan.source_plane(index), plan.stages()
    assert not isinstance(stage, FourierStage)
    width = int(source.shape[1] * plan.factors[1])

    def finish(tile: Tile, values: np.ndarray) -> Finished:
        empty = Agreement(plan.factors, share=float(plan.share))
        assert isinstance(tile.source, ImagePlane)
        return finish_tile(plan, tile.rows, tile.columns, values, tile.source, empty)

    tiles = runner.tiles(stage, source, by_panel=by_tile)
    with closing(compute(stage, tiles, finish)) as finished:
        for rows, columns, values in _gathered(_merging(finished, agreement), width, by_tile):
            put(plan.place(index, rows, None if len(columns) == width else columns), values)
            del values  # or there would be two, as the next are put together


def _merging(finished: Iterator[Finished], agreement: Agreement) -> Iterator[Finished]:
    for each in finished:
        agreement.merge(each.agreement)
        yield each


def _gathered(
    finished: Iterator[Finished], width: int, by_tile: bool
) -> Iterator[tuple[Span, Span, np.ndarray]]:
    """Neighbours put together: up to `_RUN` columns where tiles may be handed over, else the full width."""
    most = _RUN if by_tile else width
    block: np.ndarray | None = None
    rows, start, stop = Span(0, 0), 0, 0
    for each in finished:
        # Tiles may be left out, so the next one need not be a neighbour.
        beside = each.rows == rows and each.columns.start == stop
        if block is not None and not (beside and each.columns.stop - start <= block.shape[1]):
            yield rows, Span(start, stop), block[:, : stop - start]
            block = None
        if block is None:
            rows, start = each.rows, each.columns.start
            room = min(most, width - start)
            fits = len(each.columns) >= room
            block = each.values if fits else np.empty((len(rows), room), dtype=each.values.dtype)
        if block is not each.values:
            block[:, each.columns.start - start : each.columns.stop - start] = each.values
        stop = each.columns.stop
        if stop - start == block.shape[1]:
            yield rows, Span(start, stop), block
            block = None
    if block is not None:
        yield rows, Span(start, stop), block[:, : stop - start]


def _side_by_side(
    plan: UpscalePlan, planes: list[Index], runner: Runner, agreement: Agreement, put: Put
) -> None:
    """Planes of one tile each: every worker computes whole ones, global steps and all."""

    def work(plane: _Plane) -> tuple[list[tuple[Index, np.ndarray]], Agreement, int]:
        blocks: list[tuple[Index, np.ndarray]] = []
        found = Agreement(plan.factors, agreement.operator, float(plan.share))
        pixels = 0

        def advance(done: int) -> None:
            nonlocal pixels
            pixels += done

        own = plan.runner(advance)
        own.tile = runner.tile
        plan.run_plane(
            plane.index, plane.number, own, found, lambda *block: blocks.append(block), plane.source
        )
        return blocks, found, pixels

    def read() -> Iterator[_Plane]:
        for number, index in enumerate(planes):
            source = plan.source_plane(index)
            # All that regions can ask for: rows beyond the edges are mirrored ones.
            source.load(Span(0, source.shape[0]).grow(_reach(plan)))
            yield _Plane(index, number, source)

    with (
        Workers(how_many(plan.device, len(planes))) as workers,
        closing(workers.in_order(work, read())) as results,
    ):
        for blocks, found, pixels in results:
            agreement.merge(found)
            runner.advance(pixels)
            for block in blocks:
                put(*block)


def _reach(plan: UpscalePlan) -> int:
    """Rows beyond the image's edge that the first stage can ask for."""
    stage: Any = plan.stages()[0]
    return int(stage.halo + stage.multiple + 2 * MARGIN)
