"""``scisr train``: a network from your own files, or from a prepared patch file."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from sciSR import __version__
from sciSR.cli.options import GroupedCommand, GroupedOption
from sciSR.cli.output import configure, print_error, print_json, print_line

HELP = """Train a network; what it becomes is in runs/NAME: weights, card, curves, samples, checkpoint.

SOURCE is a configuration (.yaml), whose files are read as they are needed, or a patch file of `scisr prepare` (.npz),
which holds its own configuration and can be taken to where the data are not.

\b
  scisr train configs/train/mri-x2.yaml --data /data
  scisr train configs/train/mri-x2.yaml --data /data --set optimizer.lr=5e-4 --set name=slow
  scisr train configs/train/mri-x2.yaml --data /data --resume
  scisr prepare configs/train/mri-x2.yaml -o patches.npz ; scisr train patches.npz

Ctrl-C or SIGTERM stops after the step at hand with a checkpoint; --resume goes on from there, or from the last
checkpoint of a run that was killed, to the same result.

Exit code: 0 done, 2 usage (all errors of a configuration at once), 3 unreadable files or a loss that is not finite,
5 out of memory or disk, 130 interrupted.
"""


def run(**given: Any) -> int:
    """Open the source, train, and say where the weights are."""
    quiet, as_json = given["quiet"], given["json"]
    configure(-1 if quiet else 0)
    import torch

    from sciSR.training.loop import train
    from sciSR.training.machine import is_first
    from sciSR.training.run_folder import refuse_older
    from sciSR.training.source import open_source

    if given["threads"]:
        torch.set_num_threads(given["threads"])

    def ready(config: Any) -> None:
        refuse_older(given["out"], config.name, resume=given["resume"], overwrite=given["overwrite"])

    config, patches = open_source(given["source"], given["sets"], given["patches"], given["data"], ready)
    with _progress(config.name, config.training.steps, quiet=quiet) as (show, tick):
        folder, whole = train(
            config,
            patches,
            given["out"],
            resume=given["resume"],
            overwrite=given["overwrite"],
            device=given["device"],
            devices=given["devices"],
            nodes=given["nodes"],
            show=show,
            tick=tick,
        )
    if not is_first():  # of several processes one speaks
        return 0 if whole else 130
    if as_json:
        print_json({"software": f"sciSR {__version__}", "whole": whole, **folder.summary()})
    elif whole:
        print_line(str(folder.weights))
    if not whole:
        print_error(f"{folder.path}: interrupted; the same command with --resume goes on")
        return 130
    return 0


Show = Callable[[str], None]
Tick = Callable[[int, float], None]


@contextlib.contextmanager
def _progress(name: str, steps: int, *, quiet: bool) -> Iterator[tuple[Show, Tick]]:
    """What shows lines and steps: a bar under the lines on a terminal, lines alone elsewhere; all on stderr."""
    if quiet:
        yield lambda line: None, lambda step, ms: None
    elif sys.stderr.isatty():
        with _bar(name, steps) as both:
            yield both
    else:
        from sciSR.training.logs import heartbeat

        show = functools.partial(click.echo, err=True)
        yield show, heartbeat(show, steps)


@contextlib.contextmanager
def _bar(name: str, steps: int) -> Iterator[tuple[Show, Tick]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=steps, speed="")
        yield (
            lambda line: progress.console.print(line, markup=False, highlight=False, soft_wrap=True),
            lambda step, ms: progress.update(task, completed=step, speed=f"{ms:.1f} ms/step"),
        )


def _option(*names: str, group: str = "What", **fields: Any) -> GroupedOption:
    return GroupedOption(list(names), group=group, show_default=fields.get("default") is not None, **fields)


# fmt: off
OPTIONS = [
    _option("--data", type=click.Path(path_type=Path), metavar="ROOT",
            help="Folder of the files that a configuration names, instead of data.root."),
    _option("--patches", type=click.Path(path_type=Path), metavar="FILE",
            help="Prepared patches for a configuration, instead of its files."),
    _option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a value, e.g. training.steps=5000."),
    _option("--resume", group="Run", is_flag=True, help="Go on with a run of this name, or begin one."),
    _option("--overwrite", group="Run", is_flag=True, help="Remove an older run of this name."),
    _option("--out", group="Run", type=click.Path(path_type=Path), default="runs", metavar="FOLDER",
            help="Where the folders of runs are."),
    _option("--device", group="Machine", default="auto", help="auto, cpu, cuda or cuda:N."),
    _option("--devices", group="Machine", type=click.IntRange(min=1), default=1, metavar="N",
            help="GPUs (or processes) of each node; each takes its share of every batch."),
    _option("--nodes", group="Machine", type=click.IntRange(min=1), default=1, metavar="N", help="Nodes."),
    _option("--threads", group="Machine", type=click.IntRange(min=1), metavar="N", help="CPU threads."),
    _option("--json", group="Output", is_flag=True, help="One JSON document on stdout, all else on stderr."),
    _option("-q", "--quiet", group="Output", is_flag=True, help="Only warnings and errors."),
]
# fmt: on

command = GroupedCommand(
    "train",
    params=[click.Argument(["source"], type=click.Path(path_type=Path)), *OPTIONS],
    callback=run,
    help=HELP,
)
