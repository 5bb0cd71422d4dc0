"""``scisr run``: a pipeline file over a folder."""

from __future__ import annotations

from typing import Any

import click

from sciSR import __version__
from sciSR.cli.options import GroupedCommand, GroupedOption, explain
from sciSR.cli.output import configure, print_error, print_json, print_line
from sciSR.errors import UsageError

HELP = """Run PIPELINE, a YAML file, over a folder: each item in a process of its own.

An item that crashes, hangs or grows beyond its limits fails by name, and the rest goes on. A ledger in the output
folder knows what is done: --resume verifies and skips it, and does again what has changed.

\b
  scisr run configs/pipelines/telescope_night.yaml --input night/ --output out/
  scisr run pipeline.yaml --dry-run                what would be done, about its time and memory
  scisr run pipeline.yaml --resume --jobs 4        go on after a crash, or with new files
  scisr run pipeline.yaml --cluster tcp://scheduler:8786
  scisr run pipeline.yaml --shard 3/64             one part of an array of jobs, without any engine
  scisr run pipeline.yaml --set limits.memory='4 GB' --set steps.3.scale=4

Exit code: 0 all good, 2 usage, 4 some failed (their own code where there is one item only),
5 no room on the disk or the cluster is gone, 130 interrupted.

Research use only, not for diagnosis.
"""


def run(ctx: click.Context, **given: Any) -> int:
    """Plan or run, then print what became of each item."""
    configure(-1 if given["quiet"] else given["verbose"])
    explain(ctx, given)
    from sciSR.workflow.pipelines.pipeline import Pipeline

    pipeline = Pipeline.from_file(given["pipeline"], given["set"])
    if given["files_of"] is not None:
        _print_files(pipeline, given)
        return 0
    common = {"shard": given["shard"], "overwrite": given["overwrite"]}
    if given["dry_run"]:
        plan = pipeline.plan(given["input"], given["output"], **common)
        _print_plan(plan, given)
        return 0
    from sciSR.cli.run_progress import watching

    with watching(quiet=given["quiet"], log_json=given["log_json"]) as watch:
        done = pipeline.run(
            given["input"],
            given["output"],
            jobs=given["jobs"],
            resume=given["resume"],
            cluster=given["cluster"],
            limits=_limits(pipeline, given),
            watch=watch,
            command=ctx.find_root().obj or (),
            **common,
        )
    if given["json"]:
        print_json({"software": f"sciSR {__version__}", **done.as_dict()})
    elif not given["quiet"]:
        from sciSR.cli.run_table import show

        show(done)
    if given["quiet"]:
        for result in done.failures:
            print_error((result.error or {}).get("message", result.key))
    return done.exit_code


def _print_files(pipeline: Any, given: dict[str, Any]) -> None:
    """An item's own files, for whoever may see what they are called; nothing of it is recorded.

    Raises
    ------
    UsageError
        No item has this key.
    """
    import difflib

    key, items = given["files_of"], {i.key: i for i in pipeline.items(given["input"], given["output"])}
    if key not in items:
        near = difflib.get_close_matches(key, list(items), 1)
        raise UsageError(
            f"--files-of: no item is called {key!r}",
            remedy=f"did you mean {near[0]}?" if near else "--dry-run lists them",
        )
    files = [str(path) for path in items[key].files]
    if given["json"]:
        print_json({"software": f"sciSR {__version__}", "key": key, "files": files})
        return
    for path in files:
        print_line(path)


def _limits(pipeline: Any, given: dict[str, Any]) -> Any:
    """The file's limits with those that were given over them.

    Raises
    ------
    UsageError
    """
    from pydantic import ValidationError

    over = {
        "time": given["time_limit"],
        "memory": given["memory_limit"],
        "retries": given["retries"],
    }
    over = {name: value for name, value in over.items() if value is not None}
    if not over:
        return None
    limits = pipeline.config.limits
    try:
        return type(limits).model_validate({**limits.model_dump(), **over})
    except ValidationError as error:
        from sciSR.yaml_file import plain

        first = error.errors(include_url=False)[0]
        option = {"time": "--time-limit", "memory": "--memory-limit"}.get(str(first["loc"][0]), "--retries")
        raise UsageError(f"{option}: {plain(first)}") from error


def _print_plan(plan: Any, given: dict[str, Any]) -> None:
    if given["json"]:
        print_json({"software": f"sciSR {__version__}", **plan.as_dict()})
        return
    from sciSR.cli.run_table import show_plan

    show_plan(plan)


def _grouped(group: str, *names: str, **fields: Any) -> GroupedOption:
    return GroupedOption(list(names), group=group, **fields)


class Jobs(click.ParamType):
    """A number of items at a time, or auto."""

    name = "jobs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """``"4"`` -> 4, ``"auto"`` as it is."""
        if value == "auto" or isinstance(value, int):
            return value
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a number from 1 nor 'auto'", param, ctx)
        return int(value)


# fmt: off
OPTIONS = [
    _grouped("Folders", "-i", "--input", type=click.Path(), metavar="FOLDER",
             help="Where the inputs are; by default as the file says."),
    _grouped("Folders", "-o", "--output", type=click.Path(), metavar="FOLDER",
             help="Where the outputs go; made if missing; by default as the file says."),
    _grouped("What", "--dry-run", is_flag=True, help="Only say what would be done, and what is done already."),
    _grouped("What", "--resume", is_flag=True, help="Skip what is done and unchanged, do the rest."),
    _grouped("What", "--overwrite", is_flag=True, help="Do everything again, over whatever is there."),
    _grouped("What", "--files-of", metavar="KEY",
             help="Only print an item's input files: records do not name those that a patient's name may be in."),
    _grouped("What", "--set", multiple=True, metavar="KEY=VALUE",
             help="Another value for a key of the file, e.g. steps.3.scale=4; may be repeated."),
    _grouped("Where", "-j", "--jobs", type=Jobs(), default=1, show_default=True, metavar="N",
             help="Items at a time; auto for as many as cores and memory allow."),
    _grouped("Where", "--cluster", metavar="WHERE",
             help="A Dask cluster: tcp://host:8786, local:N, or a YAML file for SLURM and others."),
    _grouped("Where", "--shard", metavar="I/N", help="Only part I of N, from 1: for arrays of jobs."),
    _grouped("Limits of each item", "--time-limit", metavar="TIME", help="E.g. '30 min'."),
    _grouped("Limits of each item", "--memory-limit", metavar="SIZE", help="E.g. '8 GB'."),
    _grouped("Limits of each item", "--retries", type=click.IntRange(0, 10), metavar="N",
             help="After a crash, a lost worker or a failing disk."),
    _grouped("Output", "--json", is_flag=True, help="One JSON document on stdout, all else on stderr."),
    _grouped("Output", "--log-json", type=click.Path(), metavar="FILE",
             help="One JSON object a line for each event, into a file, or - for stderr."),
    _grouped("Output", "-q", "--quiet", is_flag=True, help="Only warnings and errors."),
    _grouped("Output", "-v", "--verbose", count=True, help="More; -vv for everything."),
]
# fmt: on


def _build() -> click.Command:
    pipeline = click.Argument(["pipeline"], type=click.Path(), metavar="PIPELINE")
    return GroupedCommand("run", params=[pipeline, *OPTIONS], callback=click.pass_context(run), help=HELP)


command = _build()
