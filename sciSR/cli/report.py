"""``scisr report``: a page about an output, or an index of a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sciSR import __version__
from sciSR.cli.options import GroupedCommand, GroupedOption, add_format_options, given_format_options
from sciSR.cli.output import configure, print_json, print_line
from sciSR.errors import UsageError
from sciSR.plugins import adapters

HELP = """Make the page about an output, or an index of a folder of outputs.

A page is one HTML file that needs nothing else: before and after under a divider, maps of uncertainty and error, the
residual, spectra, checks, metadata, the model's card, the command, and a methods paragraph. It is below 3 MB, loads
nothing from elsewhere, and holds no patient's name.

\b
  scisr report m51.fits m51_x2.fits                    writes m51_x2.html
  scisr report T1w.nii.gz T1w_x2.nii.gz -o page.html
  scisr report low.fits low_x2.fits --truth sharp.fits with the error map
  scisr report out/ -o summary.html                    an index, and a page for each output
  scisr report out/ --inputs raw/                      where the inputs are
  scisr report m51_x2.fits                             without its input: what can be shown

Exit code: 0 all good, 2 usage, 3 unreadable input, 4 some of a folder failed.

Research use only, not for diagnosis.
"""


def run(**given: Any) -> int:
    """One page or an index."""
    configure(-1 if given["quiet"] else 0)
    from sciSR.workflow.reporting import FAILED, is_folder_of_outputs, report_folder, report_pair

    paths = [Path(path) for path in given["paths"]]
    common = {"overwrite": given["overwrite"], "options": given_format_options(given)}
    if len(paths) == 1 and is_folder_of_outputs(paths[0]):
        for name in ("truth", "part", "volume"):
            if given[name]:
                raise UsageError(f"--{name} is for one output", remedy="leave it out")
        page, rows = report_folder(paths[0], given["output"], inputs=given["inputs"], **common)
        _say(given, page, {"outputs": rows})
        return FAILED if any(not row["link"] for row in rows) else 0
    if len(paths) > 2:
        raise UsageError(f"{len(paths)} files given", remedy="give an input and its output, or a folder")
    if given["inputs"]:
        raise UsageError("--inputs is for a folder of outputs", remedy="give the input itself")
    before = paths[0] if len(paths) == 2 else None
    page = report_pair(
        before,
        paths[-1],
        given["output"],
        truth=given["truth"],
        part=given["part"],
        volume=given["volume"] or 0,
        **common,
    )
    _say(given, page, {})
    return 0


def _say(given: dict[str, Any], page: Path, more: dict[str, Any]) -> None:
    if given["json"]:
        print_json(
            {"software": f"sciSR {__version__}", "report": str(page), "bytes": page.stat().st_size, **more}
        )
    elif not given["quiet"]:
        print_line(str(page))


# fmt: off
OPTIONS = [
    GroupedOption(["-o", "--output"], type=click.Path(), metavar="PAGE",
                  help="Name of the page; by default beside the output, or summary.html in the folder."),
    GroupedOption(["--truth"], type=click.Path(), help="The scene itself on the output's pixels: for an error map."),
    GroupedOption(["--part"], help="Which image, of files that hold several (SCI,2); the first by default."),
    GroupedOption(["--volume"], type=click.IntRange(min=0), metavar="N",
                  help="Which one, of several volumes (time points), from 0."),
    GroupedOption(["--inputs"], type=click.Path(file_okay=False), metavar="DIR",
                  help="Of a folder of outputs: where their inputs are; known by the hashes in their records."),
    GroupedOption(["--overwrite"], is_flag=True, help="Replace existing pages."),
    GroupedOption(["--json"], is_flag=True, help="One JSON document on stdout."),
    GroupedOption(["-q", "--quiet"], is_flag=True, help="Only warnings and errors."),
]
# fmt: on


def _build() -> click.Command:
    paths = click.Argument(
        ["paths"], nargs=-1, required=True, type=click.Path(), metavar="[INPUT] OUTPUT | FOLDER"
    )
    command = GroupedCommand("report", params=[paths, *OPTIONS], callback=run, help=HELP)
    add_format_options(command, adapters(), reading_only=True)
    return command


command = _build()
