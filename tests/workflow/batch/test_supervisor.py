"""Several items at a time: drawn as workers get free, and stopped with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import supervised_run
from hostile_steps import task
from watched import alive, eventually

from sciSR.errors import UsageError
from sciSR.workflow.batch.limits import Limits, Patience
from sciSR.workflow.batch.supervisor import ProcessExecutor
from sciSR.workflow.batch.watch import NoWatch
from sciSR.workflow.pipelines.work import ItemResult, Task

PRELOAD = ("hostile_workers",)
QUICK = Patience(grace=0.3, pauses=())


def written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


class Notes(NoWatch):
    """All that a watch is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def started(self, key: str) -> None:
        self.said.append(("started", key))

    def progress(self, key: str, fraction: float) -> None:
        assert 0 <= fraction <= 1
        self.said.append(("progress", key))

    def finished(self, result: ItemResult) -> None:
        self.said.append(("finished", result.key))


def test_a_mixed_batch_ends_with_every_item_named(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    bad = {3: "segfault", 5: "leave", 8: "garble", 9: "no_such_step", 11: "hang"}
    drawn: list[str] = []
    finished: set[str] = set()

    def tasks() -> Iterator[Task]:
        for number in range(14):
            # Lazily: when a task is asked for, all but one of those before it at most are finished.
            assert len(drawn) - len(finished) < 2
            drawn.append(f"item{number}")
            yield task(tmp_path, drawn[-1], bad.get(number, "good"))

    notes = Notes()
    executor = ProcessExecutor(
        2, Limits(time=3, retries=0), tmp_path / "logs", preload=PRELOAD, patience=QUICK
    )
    results: dict[str, ItemResult] = {}
    for result in executor.run(tasks(), notes):
        assert result.key not in results
        finished.add(result.key)
        results[result.key] = result
    assert set(results) == set(drawn)
    assert {key for key, result in results.items() if not result.ok} == {f"item{number}" for number in bad}
    assert all((tmp_path / "out" / f"{key}.txt").exists() == result.ok for key, result in results.items())
    assert all((tmp_path / "logs" / f"{key}.log").stat().st_size for key in drawn)
    for key in drawn:
        of_key = [what for what, name in notes.said if name == key]
        assert of_key[0] == "started"
        assert of_key[-1] == "finished"
        assert of_key.count("finished") == 1


def test_closing_the_results_stops_the_workers(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    marks = [tmp_path / f"{number}.pid" for number in range(50)]
    drawn: list[int] = []

    def tasks() -> Iterator[Task]:
        yield task(tmp_path, "first", "good", after=str(marks[0]))
        for number, mark in enumerate(marks):
            drawn.append(number)
            yield task(tmp_path, f"item{number}", "hang", mark=str(mark))

    with closing(ProcessExecutor(2, preload=PRELOAD, patience=QUICK).run(tasks())) as results:
        assert next(results).key == "first"
    assert len(drawn) <= 2, "what nobody waits for is not drawn"
    assert not any(alive(int(mark.read_text())) for mark in marks if written(mark))
    assert not list((tmp_path / "out" / ".scisr" / "scratch").glob("item?"))


def test_an_error_where_tasks_come_from_stops_the_workers_and_is_raised(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    mark = tmp_path / "pid"

    def tasks() -> Iterator[Task]:
        yield task(tmp_path, "item", "hang", mark=str(mark))
        assert eventually(lambda: written(mark))
        raise UsageError("no more")

    with pytest.raises(UsageError, match="no more"):
        list(ProcessExecutor(2, preload=PRELOAD, patience=QUICK).run(tasks()))
    assert not alive(int(mark.read_text()))


def started(folder: Path, step: str) -> subprocess.Popen[str]:
    """A run in another process whose first two items hang."""
    process = subprocess.Popen(
        [sys.executable, supervised_run.__file__, str(folder), "2", step, "4"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        start_new_session=True,
    )
    assert eventually(lambda: all(written(folder / f"item{number}.pid") for number in (0, 1)))
    return process


def pids(folder: Path) -> list[int]:
    """Of the workers, and of the process that they were forked from."""
    workers = [int((folder / f"item{number}.pid").read_text()) for number in (0, 1)]
    stat = Path(f"/proc/{workers[0]}/stat").read_text().rpartition(")")[2].split()
    return [*workers, int(stat[1])]


def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    process = started(tmp_path, "hang")
    found = pids(tmp_path)
    process.kill()
    process.communicate()
    assert eventually(lambda: not any(alive(pid) for pid in found))
    assert not list((tmp_path / "out").glob("*.txt"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_supervisor_that_is_told_to_end_stops_its_workers(tmp_path: Path, number: int) -> None:
    process = started(tmp_path, "listen")
    found = pids(tmp_path)
    os.kill(process.pid, number)
    process.communicate()
    assert process.returncode != 0
    assert eventually(lambda: not any(alive(pid) for pid in found))
    if number == signal.SIGINT:  # SIGTERM ends this small script at once; the command line unwinds
        assert (tmp_path / "item0.pid.tidy").exists()
        assert not list((tmp_path / "out" / ".scisr" / "scratch").glob("item?"))


def test_of_several_gpus_each_worker_sees_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    last = tmp_path / "out" / "c.txt"  # a waits until c is done, so that b and c share the other place

    def tasks() -> Iterator[Task]:
        yield task(tmp_path, "a", "see", after=str(last))
        yield task(tmp_path, "b", "see")
        yield task(tmp_path, "c", "see")

    assert all(result.ok for result in ProcessExecutor(2, preload=PRELOAD).run(tasks()))
    assert [(tmp_path / "out" / f"{key}.txt").read_text() for key in "abc"] == ["3", "5", "5"]


@pytest.mark.gpu
def test_forked_workers_can_use_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    tasks = (task(tmp_path, key, "use_gpu") for key in "ab")
    assert all(result.ok for result in ProcessExecutor(1, preload=PRELOAD).run(tasks))
    assert (tmp_path / "out" / "b.txt").read_text() == "64.0"


@pytest.mark.parametrize("jobs", [0, -1, "many", True, 1.5])
def test_jobs_that_make_no_sense_are_refused(jobs: object) -> None:
    with pytest.raises(UsageError, match="jobs"):
        ProcessExecutor(jobs)  # type: ignore[arg-type]
