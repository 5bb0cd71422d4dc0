"""``scisr compare``: images beside a truth, or two halves of the data beside each other."""

from __future__ import annotations

import shutil
from typing import Any

import click

from sciSR import __version__
from sciSR.cli.options import GroupedCommand, GroupedOption, add_format_options, given_format_options
from sciSR.cli.output import configure, print_json, print_line
from sciSR.plugins import adapters

HELP = """Compare images with a truth on the same grid: one table, the best of each column marked.

PSNR, SSIM, NRMSE, HFEN, gradient correlation and Fourier ring correlation of every image; of the sky also aperture and
PSF photometry, centroids, completeness and purity of the detected sources; of volumes Fourier shell correlation along
each axis. docs/metrics.md says what each of them is.

\b
  scisr compare truth.fits a.fits b.fits
  scisr compare truth.nii.gz lanczos.nii.gz network.nii.gz --mask brain.nii.gz --json
  scisr compare truth.fits coarse.fits --resample cubic --region 100:612,100:612
  scisr compare --halves first_half.fits second_half.fits       resolution without a truth

Exit code: 0 all good, 2 usage (grids that differ), 3 unreadable or refused input, 5 out of memory or disk.

Research use only, not for diagnosis.
"""


def run(**given: Any) -> int:
    """Compare, and print the table or one JSON document."""
    configure(-1 if given["quiet"] else given["verbose"])
    from sciSR.errors import UsageError

    files, options = given["files"], given_format_options(given)
    common = {
        "region": given["region"],
        "resample": given["resample"],
        "mask": given["mask"],
        "options": options,
    }
    software = f"sciSR {__version__}"
    if given["halves"]:
        from sciSR.comparison.halves import compare_halves
        from sciSR.comparison.render import render_halves

        if len(files) != 2:
            raise UsageError(f"--halves compares two files, not {len(files)}")
        if given["data_range"] is not None:
            raise UsageError("--data-range has no meaning for halves", remedy="leave it out")
        found = compare_halves(files[0], files[1], **common)
        if given["json"]:
            print_json({"software": software, "halves": [each.as_dict() for each in found]})
        else:
            print_line(render_halves(found))
        return 0
    if len(files) < 2:
        raise UsageError("nothing to compare the truth with", remedy="give the truth first, then the images")
    from sciSR.comparison.compare import compare
    from sciSR.comparison.render import render

    result = compare(*files, data_range=given["data_range"], **common)
    if given["json"]:
        print_json({"software": software, "truth": files[0], **result.as_dict()})
    else:
        width = shutil.get_terminal_size((120, 24)).columns
        print_line(render(result, width, given["markdown"]))
    return 0


def _option(*names: str, group: str = "What", **fields: Any) -> GroupedOption:
    return GroupedOption(list(names), group=group, **fields)


# fmt: off
OPTIONS = [
    _option("--halves", is_flag=True,
            help="Two independent halves of the data, no truth: how fine the detail is that they share."),
    _option("--mask", metavar="FILE",
            help="Only pixels that are not 0 in FILE; or 'all', or 'foreground' (the default for MR)."),
    _option("--region", metavar="A:B,C:D", help="Only these pixels, from 0: of the plane, or one range per axis."),
    _option("--data-range", type=float, metavar="R",
            help="Peak of PSNR and SSIM.  [default: from the truth's 0.1 % to its 99.9 % quantile]"),
    _option("--resample", type=click.Choice(["nearest", "linear", "cubic"]),
            help="Bring images on another grid to the truth's pixels first; by default they are refused."),
    _option("--markdown", is_flag=True, group="Output", help="The table in Markdown."),
    _option("--json", is_flag=True, group="Output",
            help="One JSON document on stdout, with all curves and bins, all else on stderr."),
    _option("-q", "--quiet", is_flag=True, group="Output", help="Only errors and the table."),
    _option("-v", "--verbose", count=True, group="Output", help="More; -vv for everything."),
]
# fmt: on


def _build() -> click.Command:
    files = click.Argument(["files"], nargs=-1, required=True, type=click.Path(), metavar="TRUTH IMAGES...")
    command = GroupedCommand("compare", params=[files, *OPTIONS], callback=run, help=HELP)
    add_format_options(command, adapters(), reading_only=True)
    return command


command = _build()
