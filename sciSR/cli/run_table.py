"""How ``scisr run`` shows a plan and a run: failures last, where one looks."""

from __future__ import annotations

import sys
from typing import Any

import click

from sciSR.cli.output import print_error, print_line
from sciSR.workflow.batch.space import in_bytes
from sciSR.workflow.batch.summary import in_time, table
from sciSR.workflow.pipelines.naming import is_unnamed

MOST = 40
"""Rows of a plan that are shown; all of them are in the JSON."""
NUMBERS = ("outputs", "size", "time", "memory")


def show_plan(plan: Any) -> None:
    """One line an item on stdout, the totals on stderr."""
    items = plan.as_dict()["items"]
    width = max((len(item["key"]) for item in items), default=0)
    for item in items[:MOST]:
        about = ""
        if item["estimate"] is not None:
            about = (
                f"  about {in_time(item['estimate']['seconds'])}, {in_bytes(item['estimate']['peak_bytes'])}"
            )
        why = "" if item["why"] in ("done", "new") else f"  ({item['why']})"
        print_line(f"{item['key']:<{width}}  {item['state']:<5}{about}{why}")
    if len(items) > MOST:
        click.echo(f"... and {len(items) - MOST} more; --json lists all", err=True)
    total = plan.as_dict()["total"]
    steps = dict.fromkeys(step.split("-", 1)[1] for item in items for step in item["steps"])
    click.echo(f"steps: {' -> '.join(steps)}", err=True)
    click.echo(
        f"{total['to_do']} of {total['items']} to do: about {in_time(total['seconds'])} one after another, "
        f"{in_bytes(total['peak_bytes'])} of memory each at most, {in_bytes(total['output_bytes'])} of outputs",
        err=True,
    )


def show(run: Any) -> None:
    """A table on a terminal; elsewhere one line for each item that was done, then the failures. Then the totals."""
    if sys.stdout.isatty():
        _table(run)
    else:
        _lines(run)
    _scores(run)
    counts = run.counts
    click.echo(
        f"{counts['done']} done, {counts['skipped']} already done, {counts['failed']} failed of {run.total} "
        f"in {in_time(run.seconds)}",
        err=True,
    )
    hidden = [each.key for each in run.failures if is_unnamed(each.key)]
    if hidden:
        click.echo(f"'scisr run ... --files-of {hidden[0]}' prints the file that is not named here", err=True)
    for path in run.files:
        click.echo(f"  {path}", err=True)


def _scores(run: Any) -> None:
    """What the branches scored, if anything was evaluated."""
    from sciSR.workflow.batch.summary_scores import score_table, scores

    head, body = score_table(scores(run.results))
    widths = [max(len(row[n]) for row in (head, *body)) for n in range(len(head))]
    for row in (head, *body) if head else ():
        print_line("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _lines(run: Any) -> None:
    for result in run.results:
        if result.status == "done":
            files = ", ".join(each.path for each in result.outputs[:3])
            more = f" and {len(result.outputs) - 3} more" if len(result.outputs) > 3 else ""
            print_line(f"{result.key} -> {files}{more}  ({in_time(result.seconds)})")
    for result in run.failures:
        message = str((result.error or {}).get("message", "failed"))
        print_error(message if message.startswith(result.key) else f"{result.key}: {message}")


def _table(run: Any) -> None:
    """Failures last: what a terminal shows at the end of a long table is its end."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = table(run)[::-1]
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0] if rows else ():
        shown.add_column(column, justify="right" if column in NUMBERS else "left", overflow="fold")
    for row in rows:
        style = "bold red" if row["state"] == "failed" else "dim" if row["state"] == "already done" else ""
        shown.add_row(*(Text(value) for value in row.values()), style=style)
    Console().print(shown)
