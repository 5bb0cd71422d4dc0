"""Progress on stderr: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

# Seconds between two plain lines: a log of an hour's run stays readable.
_PAUSE = 10.0


@contextlib.contextmanager
def shown(name: str, *, quiet: bool) -> Iterator[Callable[[float], None] | None]:
    """Show how far the work on `name` is; yields a callback that takes the fraction done."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar(name) as report:
            yield report
    else:
        yield _plain_lines(name)


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Callable[[float], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=1.0)
        yield lambda fraction: progress.update(task, completed=fraction)


def _plain_lines(name: str) -> Callable[[float], None]:
    start = last = time.monotonic()

    def report(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PAUSE or not 0 < fraction < 1:
            return
        last = now
        left = (now - start) * (1 - fraction) / fraction
        click.echo(f"{name}: {fraction:.0%}, about {left:.0f} s left", err=True)

    return report
