"""``scisr verify``: whether an output holds what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sciSR.cli.options import GroupedCommand, GroupedOption, add_format_options, given_format_options
from sciSR.cli.output import configure, print_json
from sciSR.plugins import adapters

HELP = """Check that OUTPUT, made of INPUT by sciSR or any other tool, holds what it promises.

Geometry and field of view, flux per original pixel and in total, the residual against the noise, bad pixels, values,
every metadata key, the provenance and its hashes, and the format's own validator where that is installed. INPUT and
OUTPUT are files or folders (DICOM series).

\b
  scisr verify m51.fits m51_x2.fits
  scisr verify T1w.nii.gz T1w_x2.nii.gz --json
  scisr verify flt.fits flt_x2.fits --hdu SCI,1

Exit code: 0 every promise holds (warnings may remain), 6 one is broken, 2 usage, 3 unreadable input.

Research use only, not for diagnosis.
"""

BROKEN = 6


def run(**given: Any) -> int:
    """Verify and print: failures first."""
    configure(-1 if given["quiet"] else 0)
    from sciSR.verify.checking import verify_files

    found = verify_files(Path(given["input"]), Path(given["output"]), **given_format_options(given))
    if given["json"]:
        print_json(found.as_dict())
    elif not given["quiet"]:
        from sciSR.cli.verify_table import show

        show(found, every_key=given["keys"])
    return 0 if found.passed else BROKEN


def _build() -> click.Command:
    params: list[click.Parameter] = [
        click.Argument(["input"], type=click.Path()),
        click.Argument(["output"], type=click.Path()),
        GroupedOption(["--keys"], is_flag=True, help="Every metadata key, those that were kept too."),
        GroupedOption(["--json"], is_flag=True, help="One JSON document on stdout."),
        GroupedOption(["-q", "--quiet"], is_flag=True, help="The exit code alone."),
    ]
    command = GroupedCommand("verify", params=params, callback=run, help=HELP)
    add_format_options(command, adapters(), reading_only=True)
    return command


command = _build()
