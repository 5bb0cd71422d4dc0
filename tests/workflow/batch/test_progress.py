"""What a run shows while it works, for people and for machines."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.cli.run_progress import Bars, Each, JsonLines, PlainLines, Tally, watching
from sciSR.errors import UsageError
from sciSR.workflow.pipelines.work import ItemResult


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def done(key: str, status: str = "done") -> ItemResult:
    return ItemResult(key=key, status=status, seconds=2.0)  # type: ignore[arg-type]


def failed(key: str) -> ItemResult:
    error = {"kind": "crash", "message": f"{key}: fell", "exit_code": 3, "step": ""}
    return ItemResult(key=key, status="failed", error=error, seconds=1.0)


def test_throughput_and_time_left_follow_the_clock() -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.total = 12
    tally.count(done("old", "skipped"))
    assert tally.per_minute is None
    assert tally.seconds_left is None
    tally.begin()
    clock.now = 60.0
    tally.count(done("a"))
    tally.count(failed("b"))
    tally.running["c"] = 0.5
    assert tally.per_minute == pytest.approx(2.0)
    # 2.5 items in a minute; 12 - 3 - 0.5 are left.
    assert tally.seconds_left == pytest.approx(8.5 / 2.5 * 60)
    assert tally.text() == "3 of 12, 1 failed, 1 done before, 2 a minute, 3 min left"


@given(st.lists(st.sampled_from(["done", "failed", "skipped"]), max_size=30), st.floats(0, 1e6))
def test_counts_add_up(statuses: list[str], seconds: float) -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.total = len(statuses)
    tally.begin()
    for number, status in enumerate(statuses):
        clock.now += seconds
        tally.count(done(str(number), status))
    assert tally.finished == tally.total
    assert tally.seconds_left in (None, 0.0)


def test_plain_lines_come_once_an_item_and_rarely_between() -> None:
    said: list[str] = []
    clock = Clock()
    lines = PlainLines(said.append, clock)
    lines.expected(4)
    lines.finished(done("old", "skipped"))
    lines.started("a")
    for second in range(25):
        clock.now = float(second)
        lines.progress("a", second / 25)
    lines.finished(done("a"))
    lines.started("b")
    lines.finished(failed("b"))
    assert said[0] == "1 done before"
    assert len([line for line in said if "a 40%" in line or "a 80%" in line]) == 2
    assert said[-2:] == ["[2/4] done a (2.0 s)", "[3/4] failed b: fell (1.0 s)"]
    assert len(said) == 5


def test_json_lines_are_one_object_each() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = Each([JsonLines(stream, clock)])
    lines.expected(2)
    lines.started("a")
    for fraction in (0.1, 0.2, 0.3):
        lines.progress("a", fraction)
    lines.finished(done("a"))
    lines.finished(done("a"))
    lines.finished(failed("b"))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [each["event"] for each in events] == ["expected", "started", "progress", "finished", "finished"]
    assert all(each["time"].endswith("+00:00") for each in events)
    assert events[-1]["error"]["kind"] == "crash"
    assert events[-2] | {"time": ""} == {
        "time": "",
        "event": "finished",
        "key": "a",
        "status": "done",
        "seconds": 2.0,
        "attempts": 1,
        "peak_bytes": 0,
        "error": None,
    }


def test_a_log_that_fails_stops_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(quiet=True, log_json="/dev/full") as watch:
        watch.started("a")
        watch.finished(done("a"))
    assert capsys.readouterr().err.count("warning") == 1


def test_bars_follow_items_and_keep_failures(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console
    from rich.progress import Progress

    stream = io.StringIO()
    shown = Progress(console=Console(file=stream, width=200))
    bars = Bars(shown)
    bars.expected(3)
    bars.started("[bold]a")
    bars.started("b")
    bars.progress("[bold]a", 0.5)
    assert [task.completed for task in shown.tasks] == [0.5, 0.5, 0]
    bars.finished(failed("b"))
    bars.finished(done("[bold]a"))
    assert [task.completed for task in shown.tasks] == [2], "only the bar over all is left"
    assert "failed b: fell" in stream.getvalue()
    bars.progress("b", 0.9)  # late news of an item that is gone


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(quiet=True) as watch:
        watch.expected(1)
        watch.started("a")
        watch.finished(failed("a"))
    assert capsys.readouterr() == ("", "")


def test_json_lines_are_appended_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "events.jsonl"
    for key in ("a", "b"):
        with watching(quiet=False, log_json=str(path)) as watch:
            watch.finished(done(key))
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]
    assert "done a" in capsys.readouterr().err


def test_json_lines_on_stderr_are_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(quiet=False, log_json="-") as watch:
        watch.finished(done("a"))
    assert [json.loads(line)["key"] for line in capsys.readouterr().err.splitlines()] == ["a"]


def test_a_file_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no/such"), watching(quiet=True, log_json=str(tmp_path / "no/such")):
        pass
