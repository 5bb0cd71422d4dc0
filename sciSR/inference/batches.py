"""Equal tiles in batches on an accelerator: copies overlap with the network, kernels are launched as one graph.

Two slots of page-locked memory are used in turns. While the device computes one batch, the processor's workers finish
the tiles of the one before and cut the next from the image; copies run on streams of their own. On a device without
streams (the processor, in tests) the same steps run one after another.
"""

from __future__ import annotations

import functools
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sciSR.inference.device import available_memory, is_out_of_memory
from sciSR.inference.runner import Runner, Tile, touched_by
from sciSR.inference.stages import NetworkStage
from sciSR.inference.tiles import Span
from sciSR.inference.workers import Workers

log = logging.getLogger("sciSR")
Made = TypeVar("Made")

_PIXELS = 1 << 21  # coarse pixels of a batch: seven tiles of 512
_SHARE = 0.25
_TIMES_BEFORE_GRAPH = 2


def grouped(
    tiles: Iterable[Tile], shape: Callable[[Tile], tuple[int, ...]], most: int
) -> Iterator[list[Tile]]:
    """Runs of neighbouring tiles of one shape, `most` pixels (but one tile) in all; in order."""
    batch: list[Tile] = []
    for tile in tiles:
        if batch and (shape(tile) != shape(batch[0]) or (len(batch) + 1) * math.prod(shape(tile)) > most):
            yield batch
            batch = []
        batch.append(tile)
    if batch:
        yield batch


@dataclass
class _Slot:
    """Page-locked memory for one batch, and what tells that its results are there."""

    given: Tensor
    made: Tensor
    ready: Any = None


class BatchedNetwork:
    """A network stage that is fed whole batches.

    Parameters
    ----------
    stage : NetworkStage
    device : torch.device
    """

    def __init__(self, stage: NetworkStage, device: torch.device) -> None:
        self.stage, self.device = stage, device
        self._cuda = device.type == "cuda"
        self._slots: dict[tuple[int, ...], deque[_Slot]] = {}
        self._graphs: dict[tuple[int, ...], tuple[Any, Tensor, Tensor]] = {}
        self._seen: dict[tuple[int, ...], int] = {}
        if self._cuda:
            self._inwards, self._outwards = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def submit(self, values: list[np.ndarray]) -> _Slot:
        """Begin with a batch of equal regions; `result` waits for it."""
        shape = (len(values), *values[0].shape)
        slot = self._slot(shape)
        for place, each in zip(slot.given, values, strict=True):
            place.copy_(torch.from_numpy(np.ascontiguousarray(each, dtype=np.float32)))
        if not self._cuda:
            slot.made.copy_(self.stage.batch(slot.given))
            return slot
        main = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._inwards):
            x = slot.given.to(self.device, non_blocking=True)
        main.wait_stream(self._inwards)
        x.record_stream(main)
        y = self._on_device(x)
        self._outwards.wait_stream(main)
        with torch.cuda.stream(self._outwards):
            slot.made.copy_(y, non_blocking=True)
            y.record_stream(self._outwards)
            slot.ready = torch.cuda.Event()
            slot.ready.record(self._outwards)
        if shape in self._graphs:  # its output is overwritten by the next replay
            main.wait_stream(self._outwards)
        return slot

    def result(self, slot: _Slot) -> np.ndarray:
        """Fine values ``[n, s h, s w]``; valid until the slot's turn comes again, two batches later."""
        if slot.ready is not None:
            slot.ready.synchronize()
        return slot.made.numpy()

    def _slot(self, shape: tuple[int, ...]) -> _Slot:
        if shape not in self._slots:
            fine = (shape[0], *(n * self.stage.spec.scale for n in shape[1:]))
            self._slots[shape] = deque(
                _Slot(torch.empty(shape, pin_memory=self._cuda), torch.empty(fine, pin_memory=self._cuda))
                for _ in range(2)
            )
        slots = self._slots[shape]
        slots.rotate(1)
        return slots[0]

    def _on_device(self, x: Tensor) -> Tensor:
        """The network; a shape that comes again and again is recorded once and replayed."""
        shape = tuple(x.shape)
        self._seen[shape] = self._seen.get(shape, 0) + 1
        if self._seen[shape] == _TIMES_BEFORE_GRAPH + 1:
            self._record(shape, x)
        if shape not in self._graphs:
            return self.stage.batch(x)
        graph, given, made = self._graphs[shape]
        given.copy_(x)
        graph.replay()
        return made

    def _record(self, shape: tuple[int, ...], x: Tensor) -> None:
        """A CUDA graph of the network at this shape, if it can be recorded (no decision depends on values)."""
        given = x.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                made = self.stage.batch(given)
        except RuntimeError as error:
            log.debug("no CUDA graph of this network: %s", error)
            torch.cuda.synchronize(self.device)
            return
        self._graphs[shape] = graph, given, made


def compute_in_batches(
    runner: Runner,
    stage: NetworkStage,
    tiles: Iterable[Tile],
    finish: Callable[[Tile, np.ndarray], Made],
    workers: Workers,
    most: int | None = None,
) -> Iterator[Made]:
    """What `finish` makes of each tile's fine values, in order, as `Runner.compute` does.

    Parameters
    ----------
    runner : Runner
        Whose device computes; it takes over, tile by tile, where a batch is too much for the device's memory.
    stage : NetworkStage
        With a whole-number factor.
    tiles : iterable of Tile
    finish : callable
        Run by the workers.
    workers : Workers
        Threads of the processor.
    most : int, optional
        Input pixels in a batch; by default what a quarter of the free memory holds, up to two million.
    """
    network, scale = BatchedNetwork(stage, runner.device), stage.spec.scale
    most = most or int(min(_PIXELS, _SHARE * available_memory(runner.device) / stage.bytes_per_pixel))
    under_way: deque[tuple[list[Tile], Callable[[], Iterable[np.ndarray]]]] = deque()

    def needed(tile: Tile) -> tuple[Span, Span]:
        return touched_by(stage, tile.rows, tile.columns)

    def one(item: tuple[Tile, np.ndarray]) -> Made:
        tile, fine = item
        if fine.shape == (len(tile.rows), len(tile.columns)):
            return finish(tile, fine)
        outer = (Span(scale * span.start, scale * span.stop) for span in needed(tile))
        rows, columns = (own.within(span) for own, span in zip(tile[:2], outer, strict=True))
        return finish(tile, fine[rows, columns])

    def done() -> Iterator[Made]:
        batch, fine = under_way.popleft()
        for tile, made in zip(batch, workers.in_order(one, zip(batch, fine(), strict=True)), strict=True):
            runner.advance(len(tile.rows) * len(tile.columns))
            yield made

    batches = grouped(tiles, lambda tile: tuple(len(span) for span in needed(tile)), most)
    for batch in batches:
        regions = list(workers.in_order(lambda tile: tile.source.region(*needed(tile)), batch))
        if len(under_way) == 2:
            yield from done()
        try:
            slot = network.submit(regions)
            under_way.append((batch, functools.partial(network.result, slot)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            log.warning("out of memory on %s: tiles one by one here", runner.device)
            under_way.append((batch, functools.partial(_one_by_one, runner, stage, batch)))
    while under_way:
        yield from done()


def _one_by_one(runner: Runner, stage: NetworkStage, batch: list[Tile]) -> Iterator[np.ndarray]:
    """Fine values of each tile, cut to it."""
    if runner.device.type == "cuda":
        torch.cuda.empty_cache()
    for tile in batch:
        values = np.empty((len(tile.rows), len(tile.columns)), dtype=np.float32)
        runner.fill(stage, tile, values)
        yield values
