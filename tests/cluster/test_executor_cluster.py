"""Items on a cluster of real worker processes: the same outputs as on one machine, each once, whatever fails."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from real_cluster import until

from sciSR.workflow.cluster.executor import ClusterExecutor
from sciSR.workflow.pipelines.config import Limits

GOOD = tuple(f"good-{n}" for n in range(4))


class Notes:
    """A watch that remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def started(self, key: str) -> None:
        self.begun.append(key)

    def progress(self, key: str, fraction: float) -> None:
        assert 0 <= fraction <= 1

    def finished(self, result) -> None:
        pass


@pytest.fixture(scope="module")
def two_workers(_fault_step):
    """One cluster for several runs, one after another."""
    with ClusterExecutor("local:2", Limits()) as executor:
        yield executor


def test_a_cluster_gives_the_same_bits_as_one_machine_and_draws_tasks_as_workers_get_free(items, two_workers):
    drawn: list[str] = []

    def tasks():
        for task in items.tasks(*GOOD):
            drawn.append(task.key)
            yield task

    notes, done, ahead = Notes(), [], []
    two_workers.logs = items.folder / "logs"
    with closing(two_workers.run(tasks(), notes)) as results:
        for result in results:
            done.append(result)
            ahead.append(len(drawn) - len(done))
    assert sorted(result.key for result in done) == sorted(GOOD)
    assert all(result.status == "done" and result.attempts == 1 for result in done)
    assert items.made() == items.on_one_machine(*GOOD)
    assert {o.path: o.sha256 for r in done for o in r.outputs} == items.made()
    assert max(ahead) <= 2
    assert sorted(path.stem for path in two_workers.logs.iterdir()) == sorted(GOOD)
    assert sorted(notes.begun) == sorted(GOOD)
    assert not list((items.output / ".scisr" / "cluster" / "ledger").iterdir())


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def kill_worker_at(items, key: str) -> None:
    """The first time that an item is begun, its worker is killed with all that it has."""
    (_, worker) = until(lambda: items.begun(key), f"{key} is begun")[0]
    os.kill(worker, signal.SIGKILL)
    items.go()


@pytest.mark.slow
def test_one_worker_killed_one_item_hanging_one_too_large_one_poisonous(items):
    """Nothing is lost, nothing is there twice, and who did nothing wrong is not to suffer."""
    keys = ("wait-1", *GOOD[:1], "hang-1", "memory-1", "crash-1", *GOOD[1:])
    limits = Limits(time=15, memory="1 GB", retries=1)
    with ClusterExecutor("local:3", limits) as executor, ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_worker_at, items, "wait-1")
        done = {result.key: result for result in executor.run(items.tasks(*keys))}
        killing.result()
    failed = {key: result.error["kind"] for key, result in done.items() if not result.ok}
    assert failed == {"hang-1": "timeout", "memory-1": "memory", "crash-1": "crash"}
    assert sorted(done) == sorted(keys)
    assert items.made() == items.on_one_machine(*GOOD, "wait-1")
    assert len(items.begun("wait-1")) >= 2
    assert all(len(items.begun(key)) <= 2 for key in GOOD)


@pytest.mark.slow
def test_an_item_that_takes_its_worker_down_every_time_takes_no_other_item_along(items):
    with ClusterExecutor("local:2", Limits()) as executor:
        done = {result.key: result for result in executor.run(items.tasks("poison-1", *GOOD))}
    assert done["poison-1"].error["kind"] == "lost"
    assert "4 times" in done["poison-1"].error["message"]
    assert items.made() == items.on_one_machine(*GOOD)
    assert [len(items.begun(key)) for key in GOOD] == [1] * len(GOOD)


def test_an_item_whose_output_exists_fails_by_name_and_the_file_is_kept(items, two_workers):
    (items.output / "good-0.fits").write_text("mine")
    (result,) = two_workers.run(items.tasks("good-0"))
    assert result.error["exit_code"] == 2
    assert f"{items.output / 'good-0.fits'}: exists already" in result.error["message"]
    assert (items.output / "good-0.fits").read_text() == "mine"


def test_a_run_that_is_stopped_leaves_no_half_outputs_and_its_workers_nothing_to_deliver_to(
    items, two_workers
):
    results = two_workers.run(items.tasks("good-0", "wait-1", "wait-2"))
    assert next(results).key == "good-0"
    (process, _) = until(lambda: items.begun("wait-1"), "wait-1 is begun")[0]
    results.close()
    until(lambda: not lives(process), "what nobody waits for is stopped")
    items.go()
    assert sorted(items.made()) == ["good-0.fits"]
    assert not list(items.output.glob(".scisr/cluster/ledger/*/items"))


@pytest.mark.parametrize("keys", [()])
def test_no_items_need_no_cluster(items, keys):
    assert list(ClusterExecutor("tcp://127.0.0.1:1", Limits()).run(items.tasks(*keys))) == []
