"""One block: the same tiles as on one machine, the same finishing, the agreement over the block's own pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.image import Image
from sciSR.inference.agreement import Agreement
from sciSR.inference.device import tune_allocator
from sciSR.inference.planes import ImagePlane
from sciSR.inference.runner import Runner, Tile
from sciSR.inference.running import run_planes
from sciSR.inference.statistics import plane_indices
from sciSR.inference.tiles import Span
from sciSR.inference.upscaling import WHOLE_PLANE, UpscalePlan
from sciSR.workflow.cluster.blocks import Block
from sciSR.workflow.cluster.blocks_state import plan_from, window_of

Put = Callable[[tuple[slice | int, ...], np.ndarray], None]


class BlockRunner(Runner):
    """A runner that leaves out tiles of the last stage beside the block: they come only from where tiles begin."""

    block: tuple[Span, Span] | None = None
    _to_scratch = False

    def tiles(self, stage: Any, source: Any, *, by_panel: bool = False) -> Iterator[Tile]:
        for tile in super().tiles(stage, source, by_panel=by_panel):
            # Bands of full width need all their tiles; those beside the block are then empty ones.
            if not by_panel or self._wanted(tile.rows, tile.columns):
                yield tile

    def to_scratch(self, stage: Any, source: Any) -> Any:
        self._to_scratch = True
        try:
            return super().to_scratch(stage, source)
        finally:
            self._to_scratch = False

    def _tile(self, stage: Any, source: Any, rows: Span, columns: Span, out: np.ndarray) -> None:
        if self._to_scratch or self._wanted(rows, columns):
            super()._tile(stage, source, rows, columns, out)
        else:
            out[:] = 0

    def _wanted(self, rows: Span, columns: Span) -> bool:
        if self.block is None:
            return True
        return all(
            mine.start < theirs.stop and theirs.start < mine.stop
            for mine, theirs in zip(self.block, (rows, columns), strict=True)
        )


class BlockAgreement(Agreement):
    """Measures only the block's own pixels, whose fine rows begin and end where input pixels do."""

    inside: tuple[Span, Span] = (Span(0, 0), Span(0, 0))

    def feed(self, rows: Span, values: np.ndarray, source: ImagePlane) -> None:
        down, across = self.inside
        start, stop = max(rows.start, down.start), min(rows.stop, down.stop)
        if start >= stop:
            return
        part = values[start - rows.start : stop - rows.start, across.start : across.stop]
        coarse = down.coarse(self.factors[0]), across.coarse(self.factors[1])
        super().feed(Span(start - down.start, stop - down.start), part, _Measured(source, coarse))  # type: ignore[arg-type]


class _Measured:
    """The input under a block, rows counted from the block's first."""

    def __init__(self, source: ImagePlane, inside: tuple[Span, Span]) -> None:
        self._source, self._inside = source, inside
        self.shape = len(inside[0]), len(inside[1])

    def measured(self, rows: Span) -> tuple[np.ndarray, np.ndarray | None]:
        down, across = self._inside
        values, bad = self._source.measured(Span(rows.start + down.start, rows.stop + down.start))
        columns = slice(across.start, across.stop)
        return values[:, columns], None if bad is None else bad[:, columns]


def compute_block(
    image: Image, state: Mapping[str, Any], block: Block, put: Put, *, models: list[Any] | None = None
) -> dict[str, Any]:
    """Compute one block of an image and hand its pixels over by bands of rows.

    Parameters
    ----------
    image : Image
        As read from the file; only the block's input is read.
    state : mapping
        Of :func:`sciSR.workflow.cluster.blocks_state.state_of`.
    block : Block
    put : callable
        ``put(index, values)``, index in the output's pixels.
    models : list, optional
        Of :func:`sciSR.workflow.cluster.blocks_state.models_from`.

    Returns
    -------
    dict
        The measured agreement as numbers that :func:`merged` adds up.
    """
    plane = plane_indices(image)[block.plane]
    down, across = block.source
    plan = plan_from(
        state,
        window_of(image, plane, slice(down.start, down.stop), slice(across.start, across.stop)),
        models=models,
    )
    origin = tuple(int(span.start * f) for span, f in zip(block.source, plan.factors, strict=True))
    inside = tuple(
        Span(span.start - at, span.stop - at)
        for span, at in zip((block.rows, block.columns), origin, strict=True)
    )
    first, second = image.spatial_axes

    def store(index: tuple[slice | int, ...], values: np.ndarray) -> None:
        cut, where = [], list(plane)
        for axis, entry, mine, at in zip((first, second), index, inside, origin, strict=True):
            assert isinstance(entry, slice)
            whole = entry.start is None
            low, high = (0, values.shape[1]) if whole else (entry.start, entry.stop)
            start, stop = max(low, mine.start), min(high, mine.stop)
            if start >= stop:
                return
            cut.append(slice(start - low, stop - low))
            where[axis] = slice(start + at, stop + at)
        put(tuple(where), values[tuple(cut)])

    return _numbers(_run(plan, inside, store))


def _run(plan: UpscalePlan, inside: tuple[Span, ...], put: Put) -> Agreement:
    share = float(plan.share)
    if plan.is_replication:
        agreement = Agreement(plan.factors, share=share)
        plan.replicate(put, agreement)
        return agreement
    if plan.device.type == "cpu":
        tune_allocator()
    if (
        plan.consistency in WHOLE_PLANE
    ):  # such a block is the whole plane, and its agreement is found globally
        agreement = Agreement(plan.factors, plan.operator, share)
        runner = plan.runner()
    else:
        agreement = BlockAgreement(plan.factors, plan.operator, share)
        agreement.inside = inside[0], inside[1]
        runner = plan.runner(kind=BlockRunner)
        assert isinstance(runner, BlockRunner)
        runner.block = inside[0], inside[1]
    run_planes(plan, [(slice(None), slice(None))], runner, agreement, put, by_tile=True)
    return agreement


_SUMMED = ("squares", "count")


def _numbers(agreement: Agreement) -> dict[str, Any]:
    found = {name: getattr(agreement, name) for name in ("largest", "lowest", "highest", *_SUMMED)}
    return {name: None if isinstance(v, float) and math.isinf(v) else v for name, v in found.items()}


def merged(
    factors: tuple[Fraction, Fraction], operator: str, share: float, parts: Iterable[Mapping[str, Any]]
) -> Agreement:
    """The agreement over all blocks, whatever order they were done in.

    Parameters
    ----------
    factors, operator, share
        As for :class:`sciSR.inference.agreement.Agreement`.
    parts : iterable of mapping
        What :func:`compute_block` returned.
    """
    parts = list(parts)
    out = Agreement(factors, operator, share)
    out.largest = max((p["largest"] for p in parts), default=0.0)
    out.lowest = min((p["lowest"] for p in parts if p["lowest"] is not None), default=math.inf)
    out.highest = max((p["highest"] for p in parts if p["highest"] is not None), default=-math.inf)
    out.squares = math.fsum(p["squares"] for p in parts)
    out.count = sum(p["count"] for p in parts)
    return out
