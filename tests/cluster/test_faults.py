"""What others have started and may lose: schedulers, workers, and the run itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from real_cluster import processes, until

from sciSR.errors import ResourceError
from sciSR.workflow.batch.ledger import Ledger
from sciSR.workflow.cluster.executor import ClusterExecutor
from sciSR.workflow.cluster.reclaiming import reclaim
from sciSR.workflow.pipelines.config import Limits

pytestmark = pytest.mark.filterwarnings("ignore:the scheduler's worker-saturation:UserWarning")
GOOD = ("good-0", "good-1")


def test_a_scheduler_that_is_restarted_loses_nothing(items):
    """Its old workers end what they are at and deliver it, while a new one may do the same item: it is there once."""
    with (
        processes(items.folder, workers=2) as cluster,
        ClusterExecutor(cluster.address, Limits()) as executor,
    ):
        executor.connection.client.wait_for_workers(2)
        done = []
        with closing(executor.run(items.tasks("good-0", "wait-1", *GOOD[1:]))) as results:
            for result in results:
                done.append(result.key)
                if len(done) == 1:
                    until(lambda: items.begun("wait-1"), "wait-1 is begun")
                    cluster.kill(cluster.scheduler)
                    cluster.start_scheduler()
                    cluster.start_worker()
                    items.go()
    assert sorted(done) == sorted([*GOOD, "wait-1"])
    assert items.made() == items.on_one_machine(*GOOD, "wait-1")


def test_a_scheduler_that_stays_away_ends_the_run_in_one_line_and_a_resume_does_the_rest(items):
    keys = ("good-0", "wait-1", "good-1")
    with (
        processes(items.folder, workers=1) as cluster,
        ClusterExecutor(cluster.address, Limits()) as executor,
    ):
        results = executor.run(items.tasks(*keys))
        first = next(results)
        cluster.kill(cluster.scheduler)
        executor.connection.wait = 1
        with pytest.raises(ResourceError, match=r"the scheduler is gone.*--resume"):
            list(results)
    assert sorted(items.made()) == [f"{first.key}.fits"]
    items.go()
    with ClusterExecutor("local:1", Limits()) as executor:
        rest = list(executor.run(t for t in items.tasks(*keys) if t.key != first.key))
    assert all(result.ok for result in rest)
    assert items.made() == items.on_one_machine(*keys)


RUN = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from real_cluster import Items
from sciSR.workflow.batch.ledger import Ledger
from sciSR.workflow.cluster.executor import ClusterExecutor
from sciSR.workflow.pipelines.config import Limits

items = object.__new__(Items)
items.folder = Path({folder!r})
items.input, items.output, items.signals = (items.folder / name for name in ("in", "out", "signals"))

def begun(ledger, tasks):
    for task in tasks:
        ledger.started(task)
        yield task

if __name__ == "__main__":
    with Ledger.open(items.output) as ledger, ClusterExecutor({address!r}, Limits()) as executor:
        ledger.begin({{}})
        for result in executor.run(begun(ledger, items.tasks("good-0", "wait-1"))):
            print(result.key, flush=True)
            # Whatever comes now is delivered by the worker, and this process never hears of it.
            import threading
            threading.Event().wait()
"""


def test_what_was_finished_after_the_run_was_killed_is_not_done_again(items):
    """The run's process dies; a worker finishes its item; the next run's ledger learns of it."""
    keys = ("good-0", "wait-1")
    with processes(items.folder, workers=2) as cluster:
        script = RUN.format(
            path=[p for p in sys.path if p], folder=str(items.folder), address=cluster.address
        )
        run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert run.stdout.readline().strip() == "good-0"
        until(lambda: items.begun("wait-1"), "wait-1 is begun")
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        run.stdout.close()
        items.go()
        until(lambda: (items.output / "wait-1.fits").exists(), "the worker delivers without the run")
        with Ledger.open(items.output) as ledger:
            tasks = items.tasks(*keys)
            assert [ledger.finished(task) for task in tasks] == [None, None]
            until(lambda: reclaim(ledger, tasks) == 2, "both are found")
            assert [ledger.finished(task).status for task in tasks] == ["skipped", "skipped"]
            assert sorted(ledger.outputs_of("wait-1")) == ["wait-1.fits"]
    assert items.made() == items.on_one_machine(*keys)
    assert [len(items.begun(key)) for key in keys] == [1, 1]


def test_items_see_the_gpu_that_their_worker_is_pinned_to(items):
    with processes(items.folder) as cluster:
        cluster.start_worker(CUDA_VISIBLE_DEVICES="5")
        with ClusterExecutor(cluster.address, Limits()) as executor:
            (result,) = executor.run(items.tasks("good-0"))
    assert result.ok
    assert (items.signals / "gpu-good-0").read_text() == "5"


@pytest.mark.slow
def test_a_worker_that_was_given_up_and_comes_back_changes_nothing(items):
    """Stopped in the middle of an item, replaced by another worker, then woken up."""
    environment = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s"}
    with processes(items.folder, workers=1, **environment) as cluster:
        zombie = cluster.workers[0]
        with ClusterExecutor(cluster.address, Limits()) as executor:
            results = executor.run(items.tasks("wait-1"))
            found = []
            thread = threading.Thread(target=lambda: found.extend(results))
            thread.start()
            (process, _) = until(lambda: items.begun("wait-1"), "wait-1 is begun")[0]
            zombie.send_signal(signal.SIGSTOP)
            cluster.start_worker()
            until(lambda: len(items.begun("wait-1")) == 2, "another worker takes it", 90)
            items.go()
            thread.join(60)
            assert [result.status for result in found] == ["done"]
            made = items.made()
            before = os.stat(items.output / "wait-1.fits")
            zombie.send_signal(signal.SIGCONT)
            until(lambda: not _lives(process), "its item ends")
            after = os.stat(items.output / "wait-1.fits")
    assert items.made() == made == items.on_one_machine("wait-1")
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
