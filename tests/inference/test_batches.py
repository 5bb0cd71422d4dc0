"""Tiles in batches are the same tiles; run here on the processor, on a GPU by test_gpu."""

from __future__ import annotations

import numpy as np
import pytest

import sciSR
from scenes import assert_same_to_rounding, astro_image, sky
from sciSR.inference import batches, plan_upscale, running
from sciSR.inference.batches import compute_in_batches, grouped
from sciSR.inference.runner import Tile
from sciSR.inference.tiles import Span
from sciSR.inference.workers import Workers


def test_neighbours_of_one_shape_are_grouped_in_order() -> None:
    widths = [32, 32, 32, 16, 32, 32, 48]
    tiles = [Tile(Span(0, 10), Span(0, width), None) for width in widths]
    found = [[len(t.columns) for t in batch] for batch in grouped(tiles, lambda t: (10, len(t.columns)), 650)]
    assert found == [[32, 32], [32], [16], [32, 32], [48]]


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("most", [1, 5000, 1 << 20])
def test_batches_give_the_tiles_of_the_engine(bad: bool, most: int) -> None:
    data = sky((150, 170))
    if bad:
        data[20:23, 60:70] = np.nan
    plan = plan_upscale(astro_image(data), 2, "espcn-astro-x2", tile=40)
    [stage], runner = plan.stages(), plan.runner()
    source = plan.source_plane((slice(None), slice(None)))
    one_by_one = list(runner.compute(stage, runner.tiles(stage, source), lambda *both: both))
    with Workers(2) as workers:
        together = compute_in_batches(
            runner, stage, runner.tiles(stage, source), lambda t, v: (t, v.copy()), workers, most
        )
        for (tile, values), (again, same) in zip(one_by_one, together, strict=True):
            assert tile[:2] == again[:2]
            assert_same_to_rounding(np.arcsinh(same / 2), np.arcsinh(values / 2))


def test_a_batch_that_does_not_fit_is_done_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    image = astro_image(sky((100, 90)))
    plan = plan_upscale(image, 2, "espcn-astro-x2", tile=32)
    expected = np.asarray(sciSR.upscale(image, 2, "espcn-astro-x2", tile=32).data)

    def full(self, values):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(batches.BatchedNetwork, "submit", full)
    out = np.empty((200, 180), np.float32)
    agreement, runner = running.Agreement(plan.factors), plan.runner()

    def put(index, block) -> None:
        out[index] = block

    with Workers(1) as workers:

        def compute(stage, tiles, finish):
            return compute_in_batches(runner, stage, tiles, finish, workers)

        where = (slice(None), slice(None))
        running._plane_by_tiles(plan, where, runner, agreement, put, compute, by_tile=True)
    assert np.array_equal(out, expected)
