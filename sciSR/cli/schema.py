"""``scisr schema``: what a pipeline file may say, for editors."""

from __future__ import annotations

from typing import Any

import click

from sciSR.cli.options import GroupedCommand, GroupedOption
from sciSR.cli.output import configure, print_json, print_line

HELP = """Print the JSON Schema of pipeline files, with the steps that are installed here.

An editor that knows it completes keys and marks mistakes while one types.

\b
  scisr schema > scisr-pipeline.json
  scisr schema -o scisr-pipeline.json

Then put '# yaml-language-server: $schema=scisr-pipeline.json' into the pipeline file's first line.
"""


def run(**given: Any) -> int:
    """Print or write it."""
    configure(0)
    from sciSR.workflow.pipelines.schema import pipeline_schema

    schema = pipeline_schema()
    if given["output"] is None:
        print_json(schema)
        return 0
    import json
    from pathlib import Path

    from sciSR.files import atomic_output

    with atomic_output(Path(given["output"]), overwrite=given["overwrite"]) as temporary:
        temporary.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    print_line(given["output"])
    return 0


command = GroupedCommand(
    "schema",
    params=[
        GroupedOption(["-o", "--output"], type=click.Path(), help="Write it into a file."),
        GroupedOption(["--overwrite"], is_flag=True, help="Replace an existing file."),
    ],
    callback=run,
    help=HELP,
)
