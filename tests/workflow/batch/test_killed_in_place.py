"""A worker that is killed between its last rename and its answer is in nobody's way, itself least of all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hostile_steps import task

from sciSR.workflow.batch.ledger import Ledger
from sciSR.workflow.batch.limits import Limits, Patience
from sciSR.workflow.batch.supervisor import ProcessExecutor
from sciSR.workflow.pipelines.work import ItemResult, Task


def run(ledger: Ledger, one: Task, retries: int) -> ItemResult:
    executor = ProcessExecutor(
        1, Limits(retries=retries), preload=("hostile_workers",), patience=Patience(pauses=())
    )
    ledger.started(one)
    (result,) = executor.run([one])
    ledger.record(one, result)
    return result


def test_the_next_attempt_replaces_what_it_left(tmp_path: Path) -> None:
    one = task(tmp_path, "one", "fall_in_place", mark=str(tmp_path / "mark"))
    with Ledger.open(tmp_path / "out") as ledger:
        ledger.begin({}, {})
        result = run(ledger, one, retries=1)
        assert (result.status, result.attempts) == ("done", 2), result.error
        assert ledger.why(one) == "done"
    assert not list((tmp_path / "out" / ".scisr" / "scratch").iterdir())


def test_the_next_run_does(tmp_path: Path) -> None:
    one = task(tmp_path, "one", "fall_in_place", mark=str(tmp_path / "mark"))
    with Ledger.open(tmp_path / "out") as ledger:
        ledger.begin({}, {})
        assert run(ledger, one, retries=0).error["kind"] == "crash"  # type: ignore[index]
        assert (tmp_path / "out" / "one.txt").exists()
    with Ledger.open(tmp_path / "out") as ledger:
        ledger.begin({}, {})
        again = dataclasses.replace(one, may_replace=tuple(ledger.outputs_of("one")))
        assert run(ledger, again, retries=0).ok


def test_a_strangers_file_is_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "one.txt").write_text("fine")
    one = task(tmp_path, "one", "good")
    with Ledger.open(tmp_path / "out") as ledger:
        ledger.begin({}, {})
        assert "exists already" in run(ledger, one, retries=1).error["message"]  # type: ignore[index]
        assert ledger.outputs_of("one") == []
