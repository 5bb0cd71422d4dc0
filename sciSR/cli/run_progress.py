"""Progress of many items on stderr: bars on a terminal, plain lines elsewhere, lines of JSON for machines."""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

import click

from sciSR.cli.output import print_warning
from sciSR.errors import UsageError
from sciSR.files import encodable
from sciSR.workflow.batch.summary import in_time
from sciSR.workflow.batch.watch import NoWatch, Watch
from sciSR.workflow.pipelines.work import ItemResult

PLAIN_EVERY = 10.0
"""Seconds between two plain lines about items that are not finished: a log of a night's run stays readable."""
JSON_EVERY = 1.0
_LONGEST_KEY = 48


@contextlib.contextmanager
def watching(*, quiet: bool, log_json: str | None = None) -> Iterator[Watch]:
    """A watch that shows what happens to items.

    Parameters
    ----------
    quiet : bool
        Show nothing; the JSON lines come all the same.
    log_json : str, optional
        A file to append to, or ``-`` for stderr, where it takes the place of all else.

    Raises
    ------
    UsageError
        The file can't be opened.
    """
    with contextlib.ExitStack() as stack:
        watches: list[Watch] = []
        if log_json == "-":
            watches.append(JsonLines(sys.stderr))
        elif log_json is not None:
            watches.append(JsonLines(stack.enter_context(_opened(log_json))))
        if not quiet and log_json != "-":
            watches.append(stack.enter_context(_bars() if sys.stderr.isatty() else _plain()))
        yield Each(watches)


def _opened(path: str) -> TextIO:
    try:
        return open(path, "a", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"can't be written: {error.strerror or error}", where=path) from error


class Tally:
    """How many items there are, how far they are, and how long the rest will take.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.start: float | None = None
        self.total = self.done = self.failed = self.skipped = 0
        self.running: dict[str, float] = {}

    def count(self, result: ItemResult) -> None:
        """One item more that is finished."""
        self.running.pop(result.key, None)
        name = result.status
        setattr(self, name, getattr(self, name) + 1)

    @property
    def finished(self) -> int:
        """Done, failed or skipped."""
        return self.done + self.failed + self.skipped

    def begin(self) -> None:
        """The first item is worked on: from now on time counts."""
        if self.start is None:
            self.start = self.clock()

    @property
    def per_minute(self) -> float | None:
        """Items a minute; None before the first."""
        worked = self.done + self.failed
        if self.start is None or not worked:
            return None
        return 60 * worked / max(self.clock() - self.start, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """If the rest goes on like this; None where nothing tells."""
        worked = self.done + self.failed + sum(self.running.values())
        if self.start is None or worked <= 0 or self.total < self.finished:
            return None
        rest = self.total - self.finished - sum(self.running.values())
        return max(0.0, rest) * (self.clock() - self.start) / worked

    def text(self) -> str:
        """``"12 of 200, 2 failed, 5.1 a minute, 37 min left"``."""
        parts = [f"{self.finished} of {self.total}" if self.total else f"{self.finished} finished"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.skipped:
            parts.append(f"{self.skipped} done before")
        if self.per_minute is not None:
            parts.append(f"{self.per_minute:.3g} a minute")
        if self.seconds_left is not None and self.finished < self.total:
            parts.append(f"{in_time(self.seconds_left)} left")
        return ", ".join(parts)


class Each:
    """Tells several watches, and of each finished item once."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.watches = watches
        self._finished: set[str] = set()

    def expected(self, total: int) -> None:
        """So many items in all."""
        for watch in self.watches:
            watch.expected(total)

    def started(self, key: str) -> None:
        """A worker has the item."""
        for watch in self.watches:
            watch.started(key)

    def progress(self, key: str, fraction: float) -> None:
        """So much of it is done."""
        for watch in self.watches:
            watch.progress(key, fraction)

    def finished(self, result: ItemResult) -> None:
        """It is done, failed or skipped."""
        if result.key in self._finished:
            return
        self._finished.add(result.key)
        for watch in self.watches:
            watch.finished(result)


class JsonLines(NoWatch):
    """One JSON object a line for each event: ``time``, ``event``, ``key`` and what belongs to it.

    A stream that fails (a full disk) is given up with a warning; the run goes on.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream: TextIO | None = stream
        self._clock = clock
        self._last: dict[str, float] = {}

    def expected(self, total: int) -> None:
        """``{"event": "expected", "total": 200}``."""
        self._say("expected", total=total)

    def started(self, key: str) -> None:
        """``{"event": "started", "key": ...}``."""
        self._say("started", key=key)

    def progress(self, key: str, fraction: float) -> None:
        """``{"event": "progress", "key": ..., "fraction": 0.5}``; once a second at most."""
        now = self._clock()
        if now - self._last.get(key, -JSON_EVERY) >= JSON_EVERY:
            self._last[key] = now
            self._say("progress", key=key, fraction=round(fraction, 4))

    def finished(self, result: ItemResult) -> None:
        """``{"event": "finished", "key": ..., "status": ..., "seconds": ..., "error": ...}``."""
        self._last.pop(result.key, None)
        self._say(
            "finished",
            key=result.key,
            status=result.status,
            seconds=result.seconds,
            attempts=result.attempts,
            peak_bytes=result.peak_bytes,
            error=None if result.error is None else dict(result.error),
        )

    def _say(self, event: str, **fields: Any) -> None:
        if self._stream is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        try:
            line = json.dumps({"time": now, "event": event, **fields}, ensure_ascii=False)
            self._stream.write(f"{encodable(line)}\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            failed, self._stream = self._stream, None
            with contextlib.suppress(
                OSError, ValueError
            ):  # what it holds back can't be written at its end either
                failed.close()
            print_warning(f"--log-json: can't be written: {error}; the run goes on without it")


class PlainLines(NoWatch):
    """A line for each item that is finished, and one now and then about those that are not."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self.tally = Tally(clock)
        self._last = clock()
        self._skipped = 0

    def expected(self, total: int) -> None:
        """So many items in all."""
        self.tally.total = total

    def started(self, key: str) -> None:
        """Counts it as running."""
        self.tell_skipped()
        self.tally.begin()
        self.tally.running[key] = 0.0

    def progress(self, key: str, fraction: float) -> None:
        """A line if the last one is long ago."""
        self.tally.running[key] = fraction
        now = self._clock()
        if now - self._last >= PLAIN_EVERY:
            self._last = now
            running = ", ".join(f"{name} {part:.0%}" for name, part in self.tally.running.items())
            self._say(f"{self.tally.text()}: {running}")

    def finished(self, result: ItemResult) -> None:
        """A line; items that were done before share one."""
        self.tally.count(result)
        if result.status == "skipped":
            self._skipped += 1
            return
        self.tell_skipped()
        self._last = self._clock()
        counted = f"[{self.tally.finished}/{self.tally.total}]" if self.tally.total else ""
        self._say(f"{counted} {_line(result)}".strip())

    def tell_skipped(self) -> None:
        """How many were done before, once."""
        if self._skipped:
            self._say(f"{self._skipped} done before")
            self._skipped = 0


def _line(result: ItemResult) -> str:
    tries = f", attempt {result.attempts}" if result.attempts > 1 else ""
    if result.error is not None:
        said = " ".join(str(result.error.get("message", "")).split())
        said = said.removeprefix(f"{result.key}: ")
        return f"failed {result.key}: {said} ({result.seconds:.1f} s{tries})"
    return f"{result.status} {result.key} ({result.seconds:.1f} s{tries})"


@contextlib.contextmanager
def _plain() -> Iterator[PlainLines]:
    lines = PlainLines(lambda text: click.echo(text, err=True))
    yield lines
    lines.tell_skipped()


@contextlib.contextmanager
def _bars() -> Iterator[Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield Bars(shown)


class Bars(NoWatch):
    """A bar over all items with counts, throughput and time left, and one for each item that is worked on."""

    def __init__(self, shown: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown = shown
        self.tally = Tally(clock)
        self._all = shown.add_task("all", total=None, told="")
        self._bars: dict[str, Any] = {}

    def expected(self, total: int) -> None:
        """So many items in all."""
        self.tally.total = total
        self._refresh()

    def started(self, key: str) -> None:
        """A bar for it."""
        self.tally.begin()
        self.tally.running[key] = 0.0
        short = key if len(key) <= _LONGEST_KEY else f"{key[: _LONGEST_KEY - 1]}…"
        self._bars[key] = self._shown.add_task(f"  {short}", total=1.0, told="")
        self._refresh()

    def progress(self, key: str, fraction: float) -> None:
        """Its bar grows."""
        if key in self._bars:
            self.tally.running[key] = fraction
            self._shown.update(self._bars[key], completed=fraction)
            self._refresh()

    def finished(self, result: ItemResult) -> None:
        """Its bar goes; a failure stays as a line."""
        self.tally.count(result)
        if result.key in self._bars:
            self._shown.remove_task(self._bars.pop(result.key))
        if result.error is not None:
            self._shown.console.print(_line(result), markup=False, highlight=False, soft_wrap=True)
        self._refresh()

    def _refresh(self) -> None:
        completed = self.tally.finished + sum(self.tally.running.values())
        self._shown.update(
            self._all, total=self.tally.total or None, completed=completed, told=self.tally.text()
        )
