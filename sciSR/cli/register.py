"""``scisr register``: where each frame lies, and how well that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from sciSR import __version__
from sciSR.cli.fuse import build, parse_reference, registration_options
from sciSR.cli.options import GroupedOption, explain, given_format_options
from sciSR.cli.output import configure, print_json, print_line, print_warning

HELP = """Find where each frame of a field lies with respect to a reference frame, and how well that is known.

Nothing is written. A frame's shift is how far its centre moved from the reference's, in pixels; its error is one
standard deviation of that.

\b
  scisr register frames/*.fits            a table
  scisr register frames/*.fits --json     with matrices and covariances

Exit code: 0 done (frames that can't be registered are named), 2 usage, 3 unreadable input, or no
frame but the reference could be registered.
"""

_COLUMNS = (
    "frame",
    "model",
    "from",
    "shift (row, column)",
    "rotation",
    "scale",
    "error",
    "rms",
    "stars",
    "FWHM",
)


def run(ctx: click.Context, **given: Any) -> int:
    """Register, and print a table or JSON."""
    as_json = given["json"]
    configure(-1 if given["quiet"] else given["verbose"])
    explain(ctx, given)
    from sciSR.workflow.registering import register_files

    found = register_files(
        given["frames"],
        reference=parse_reference(given["reference"]),
        register=given["register"],
        model=given["model"],
        strict=given["strict"],
        options=given_format_options(given),
    )
    if as_json:
        print_json({"software": f"sciSR {__version__}", **found})
    else:
        _print_table(found)
    placed = [frame for frame in found["frames"] if frame["registered"]]
    return 0 if len(placed) > 1 or len(found["frames"]) + len(found["unread"]) == 1 else 3


def _print_table(found: Mapping[str, Any]) -> None:
    frames = [frame for frame in found["frames"] if frame["registered"]]
    lines = [_COLUMNS, *(_row(frame, found["reference"]["index"]) for frame in frames)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    for line in lines:
        words = [line[0].ljust(widths[0])]
        words += [word.rjust(width) for word, width in zip(line[1:], widths[1:], strict=True)]
        print_line("  ".join(words).rstrip())
    for frame in found["frames"]:
        if not frame["registered"]:
            print_warning(f"{frame['name']}: not registered: {frame['reason']}")
    for note in found["notes"]:
        if note in found["warnings"]:  # told already
            continue
        click.echo(f"  {note}", err=True)


def _row(frame: Mapping[str, Any], reference: int) -> tuple[str, ...]:
    first, second = frame["shift_px"]
    return (
        frame["name"],
        "reference" if frame["index"] == reference else frame["model"],
        "" if frame["index"] == reference else frame["how"],
        f"{first:+.3f}, {second:+.3f}",
        f"{frame['rotation_deg']:+.4f}°",
        f"{frame['scale']:.6f}",
        _number(frame["error_px"], 4),
        _number(frame["rms_px"], 3),
        str(frame["n_stars"]),
        _number(frame["fwhm_px"], 2),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


# fmt: off
OPTIONS = [
    *registration_options("auto", "wcs", "stars", "phase", "planetary"),
    GroupedOption(["--strict"], group="Frames", is_flag=True, help="Stop at the first frame that can't be used."),
    GroupedOption(["--json"], group="Output", is_flag=True, help="One JSON document on stdout, all else on stderr."),
    GroupedOption(["-q", "--quiet"], group="Output", is_flag=True, help="Only warnings and errors."),
    GroupedOption(["-v", "--verbose"], group="Output", count=True, help="More; -vv for everything."),
]
# fmt: on

command = build("register", run, OPTIONS, HELP)
