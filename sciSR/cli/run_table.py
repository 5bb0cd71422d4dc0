"""How ``scisr run`` shows a plan and a run: failures last, where one looks."""

from __future__ import annotations

from typing import Any

import click

from sciSR.cli.output import print_error, print_line

MOST = 40
"""Rows of a plan that are shown; all of them are in the JSON."""


def show_plan(plan: Any) -> None:
    """One line an item on stdout, the totals on stderr."""
    items = plan.as_dict()["items"]
    width = max((len(item["key"]) for item in items), default=0)
    for item in items[:MOST]:
        about = ""
        if item["estimate"] is not None:
            about = f"  about {duration(item['estimate']['seconds'])}, {size(item['estimate']['peak_bytes'])}"
        why = "" if item["why"] in ("done", "new") else f"  ({item['why']})"
        print_line(f"{item['key']:<{width}}  {item['state']:<5}{about}{why}")
    if len(items) > MOST:
        click.echo(f"... and {len(items) - MOST} more; --json lists all", err=True)
    total = plan.as_dict()["total"]
    steps = dict.fromkeys(step.split("-", 1)[1] for item in items for step in item["steps"])
    click.echo(f"steps: {' -> '.join(steps)}", err=True)
    click.echo(
        f"{total['to_do']} of {total['items']} to do: about {duration(total['seconds'])} one after another, "
        f"{size(total['peak_bytes'])} of memory each at most, {size(total['output_bytes'])} of outputs",
        err=True,
    )


def show(run: Any) -> None:
    """One line for each item that was done, then the failures, then the totals."""
    for result in run.results:
        if result.status == "done":
            files = ", ".join(each.path for each in result.outputs[:3])
            more = f" and {len(result.outputs) - 3} more" if len(result.outputs) > 3 else ""
            print_line(f"{result.key} -> {files}{more}  ({result.seconds:.1f} s)")
    for result in run.failures:
        message = str((result.error or {}).get("message", "failed"))
        print_error(message if message.startswith(result.key) else f"{result.key}: {message}")
    counts = run.counts
    click.echo(
        f"{counts['done']} done, {counts['skipped']} already done, {counts['failed']} failed of {run.total} "
        f"in {duration(run.seconds)}",
        err=True,
    )
    for path in run.files:
        click.echo(f"  {path}", err=True)


def duration(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"3.5 h"``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """``"820 MB"``, ``"3.1 GB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit != "GB" else f"{count:.1f} GB"
        count /= 1000
    return f"{count:.1f} TB"
