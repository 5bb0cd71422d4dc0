"""Results come in order from as many threads as asked; what fails is raised where its result would have come."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import sciSR
from scenes import astro_image, brain, mr_image, sky
from sciSR.inference import plan_upscale, runner, running
from sciSR.inference.workers import Workers


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order(count: int) -> None:
    gate = threading.Event()

    def square(n: int) -> int:
        if n == 0 and count > 1:
            assert gate.wait(30)  # the first task is done last
        else:
            gate.set()
        return n * n

    with Workers(count) as workers:
        assert list(workers.in_order(square, range(20))) == [n * n for n in range(20)]


def test_tasks_are_drawn_only_a_few_ahead() -> None:
    drawn = []

    def tasks():
        for n in range(100):
            drawn.append(n)
            yield n

    with Workers(2) as workers:
        for n in workers.in_order(lambda n: n, tasks()):
            assert len(drawn) <= n + 5


@pytest.mark.parametrize("count", [1, 2])
def test_an_exception_is_raised_in_its_turn_and_nothing_goes_on(count: int) -> None:
    done, seen = [], []

    def fails_at_five(n: int) -> int:
        if n == 5:
            raise ValueError("five")
        done.append(n)
        return n

    with Workers(count) as workers:
        results = workers.in_order(fails_at_five, range(100))
        seen.extend(next(results) for _ in range(5))
        with pytest.raises(ValueError, match="five"):
            next(results)
    assert seen == [0, 1, 2, 3, 4]
    assert max(done) <= 10


def test_the_callers_threads_are_as_before(two_threads) -> None:
    with Workers(2):
        assert torch.get_num_threads() == 2
    found = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [2]


SCENES = {
    "espcn-astro-x2": astro_image(sky((90, 150)), quantity="total"),
    "espcn-mr-kspace-x2": mr_image(np.stack([brain((40, 50), seed) for seed in range(5)])),
    "lanczos": astro_image(np.stack([sky((60, 70), seed) for seed in range(3)])),
}


@pytest.mark.parametrize("method", SCENES)
def test_the_number_of_threads_changes_nothing(method: str, two_threads) -> None:
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        result = sciSR.upscale(SCENES[method], 2, method, tile=40 if method == "espcn-astro-x2" else None)
        results.append((np.asarray(result.data).tobytes(), result.provenance.steps[-1]["agreement"]))
    assert results[0] == results[1]


@pytest.mark.parametrize("bad", [False, True])
def test_tiles_and_bands_are_the_same_pixels(bad: bool, two_threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PANEL", 64)  # a wide image is read in parts
    monkeypatch.setattr(running, "_RUN", 150)  # and handed over in others: two tiles each, and a rest
    data = sky((100, 200))
    if bad:
        data[20:23, 60:70] = np.nan
        data[50, 63] = np.inf
    plan = plan_upscale(astro_image(data), 2, "espcn-astro-x2", tile=32)
    found = {}
    for by_tile in (False, True):
        out, order = np.full((200, 400), -1.0, np.float32), []

        def put(index, block, out=out, order=order) -> None:
            out[index] = block
            order.append(block.shape)

        final = plan.run(put, by_tile=by_tile)
        found[by_tile] = out.tobytes(), final.provenance.steps[-1]["agreement"]
        assert (max(width for _, width in order) == 400) is not by_tile
    assert found[False] == found[True]


def test_each_worker_has_its_share_of_the_threads(two_threads) -> None:
    def threads(_: int) -> int:
        torch.ones(300, 300).matmul(torch.ones(300, 300)).add_(1)
        return torch.get_num_threads()

    with Workers(2) as workers:
        assert set(workers.in_order(threads, range(6))) == {1}


def test_without_threads_the_caller_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with Workers(2) as workers:
            assert list(workers.in_order(abs, [-1, -2])) == [1, 2]
