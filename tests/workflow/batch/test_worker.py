"""What happens to one item happens to no other: real workers, real crashes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_steps import task
from watched import alive, eventually

from sciSR.workflow.batch.limits import Limits, Patience
from sciSR.workflow.batch.supervisor import supervise
from sciSR.workflow.batch.worker_source import WorkerSource
from sciSR.workflow.pipelines.work import ItemResult

PRELOAD = ("hostile_workers",)
QUICK = Patience(grace=0.3, pauses=())
ONCE = Limits(retries=0)


@pytest.fixture
def run(tmp_path: Path, source: WorkerSource) -> Callable[..., ItemResult]:
    (tmp_path / "out").mkdir()

    def one(step: str, limits: Limits = ONCE, patience: Patience = QUICK, **parameters: object) -> ItemResult:
        result = supervise(
            task(tmp_path, "item", step, **parameters),
            limits,
            log=tmp_path / "item.log",
            threads=1,
            source=source,
            patience=patience,
        )
        assert not (tmp_path / "out" / ".scisr" / "scratch" / "item").exists(), "scratch is left behind"
        assert (tmp_path / "out" / "item.txt").exists() == result.ok, "outputs are all there or none"
        return result

    return one


def test_a_good_item_passes(run: Callable[..., ItemResult]) -> None:
    result = run("good")
    assert result.ok
    assert result.attempts == 1
    assert result.peak_bytes > 1_000_000


@pytest.mark.parametrize(
    ("step", "parameters", "kind", "said"),
    [
        ("segfault", {}, "crash", "crashed in native code (SIGSEGV)"),
        ("leave", {"code": 3}, "crash", "exit code 3 and no answer"),
        ("leave", {"code": 0}, "crash", "exit code 0 and no answer"),
        ("garble", {}, "lost", "answer can't be read"),
        ("count", {"fail": "unexpected"}, "SciSRError", "nobody thought of this"),
        ("no_such_step", {}, "UsageError", "no step is called"),
    ],
)
def test_a_bad_end_has_a_name_and_a_reason(
    run: Callable[..., ItemResult], tmp_path: Path, step: str, parameters: dict, kind: str, said: str
) -> None:
    if step == "count":
        parameters = {**parameters, "folder": str(tmp_path / "marks")}
        (tmp_path / "marks").mkdir()
    result = run(step, **parameters)
    assert result.error is not None
    assert result.error["kind"] == kind
    assert result.error["step"] == f"01-{step}", "where it was is known whatever the end"
    assert said in result.error["message"]
    assert "\n" not in result.error["message"]
    assert result.error["exit_code"] in (2, 3, 5)
    assert run("good").ok, "the next item is well"


def test_sigkill_of_somebody_else_is_named(run: Callable[..., ItemResult], tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    killer = subprocess.Popen(
        ["sh", "-c", f"until [ -s {mark} ]; do sleep 0.02; done; kill -9 $(cat {mark})"]
    )
    result = run("hang", mark=str(mark))
    killer.wait()
    assert result.error is not None
    assert "SIGKILL" in result.error["message"]
    assert "memory" in result.error["message"]


@pytest.mark.parametrize("step", ["hang", "stopped"])
def test_a_worker_that_ignores_requests_is_killed(run: Callable[..., ItemResult], step: str) -> None:
    result = run(step, Limits(time=0.3, retries=2))
    assert result.error is not None
    assert result.error["kind"] == "timeout"
    assert result.error["step"] == f"01-{step}"
    assert "0.3 s" in result.error["message"]
    assert result.attempts == 1, "what took too long takes too long again"


def test_a_worker_that_listens_may_tidy_up(run: Callable[..., ItemResult], tmp_path: Path) -> None:
    result = run("listen", Limits(time=1, retries=0), Patience(grace=60), mark=str(tmp_path / "pid"))
    assert result.error is not None
    assert result.error["kind"] == "timeout"
    assert (tmp_path / "pid.tidy").exists()


@pytest.mark.parametrize("child", [False, True])
def test_memory_is_held_to_its_limit_with_all_children(run: Callable[..., ItemResult], child: bool) -> None:
    result = run("eat", Limits(memory=600_000_000, retries=2), child=child)
    assert result.error is not None
    assert result.error["kind"] == "memory"
    assert "the limit is 600 MB" in result.error["message"]
    assert result.error["exit_code"] == 5
    assert result.attempts == 1


def test_what_is_asked_far_beyond_the_limit_fails_at_once(run: Callable[..., ItemResult]) -> None:
    result = run("reserve", Limits(memory=600_000_000, retries=2))
    assert result.error is not None
    assert "out of memory" in result.error["message"]
    assert result.attempts == 1


@pytest.mark.parametrize("session", [False, True])
def test_no_process_outlives_its_item(run: Callable[..., ItemResult], tmp_path: Path, session: bool) -> None:
    mark = tmp_path / "pid"
    assert run("outlive", mark=str(mark), session=session).ok
    assert eventually(lambda: not alive(int(mark.read_text())))


def test_threads_that_live_on_do_not_hold_an_item_up(run: Callable[..., ItemResult]) -> None:
    assert run("linger").ok


@pytest.mark.parametrize("how", ["signal", "5", "110", "116"])  # EIO, ETIMEDOUT, ESTALE
def test_what_passes_is_tried_again(run: Callable[..., ItemResult], tmp_path: Path, how: str) -> None:
    result = run("fall_once", Limits(retries=1), mark=str(tmp_path / "mark"), how=how)
    assert result.ok
    assert result.attempts == 2


@pytest.mark.parametrize(("fail", "attempts"), [("signal", 3), ("io", 3), ("refuse", 1), ("unexpected", 1)])
def test_only_what_may_pass_is_tried_again_and_not_for_ever(
    run: Callable[..., ItemResult], tmp_path: Path, fail: str, attempts: int
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    result = run("count", Limits(retries=2), folder=str(marks), fail=fail)
    assert not result.ok
    assert result.attempts == attempts == len(list(marks.iterdir()))


def test_a_server_of_workers_that_is_killed_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    source = WorkerSource(PRELOAD)
    try:
        mark = tmp_path / "pid"
        script = f"until [ -s {mark} ]; do sleep 0.02; done; kill -9 $(ps -o ppid= -p $(cat {mark}))"
        killer = subprocess.Popen(["sh", "-c", script])
        lost = supervise(task(tmp_path, "item", "hang", mark=str(mark)), ONCE, source=source, patience=QUICK)
        killer.wait()
        assert lost.error is not None
        assert lost.error["kind"] == "lost"
        assert eventually(lambda: not alive(int(mark.read_text()))), "its workers go with it"
        assert supervise(task(tmp_path, "next", "good"), ONCE, source=source).ok
    finally:
        source.close()


def test_workers_have_their_share_of_threads_and_torch_works(tmp_path: Path, source: WorkerSource) -> None:
    (tmp_path / "out").mkdir()
    for number in (1, 2):
        key = f"item{number}"
        assert supervise(task(tmp_path, key, "threads"), ONCE, source=source, threads=number).ok
        assert (tmp_path / "out" / f"{key}.txt").read_text() == f"{number} {number}"


@pytest.mark.slow
def test_workers_can_be_started_afresh(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    source = WorkerSource(PRELOAD, fresh=True)
    try:
        assert supervise(task(tmp_path, "good", "good"), ONCE, source=source).ok
        bad = supervise(task(tmp_path, "bad", "segfault"), ONCE, source=source)
        assert bad.error is not None
        assert "SIGSEGV" in bad.error["message"]
    finally:
        source.close()


def test_the_caller_is_untouched(run: Callable[..., ItemResult]) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), os.getcwd()
    run("segfault")
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), os.getcwd())
