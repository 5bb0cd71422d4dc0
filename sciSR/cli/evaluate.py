"""``scisr evaluate``: how well networks recover images that are known sharp."""

from __future__ import annotations

from typing import Any

import click

from sciSR import __version__
from sciSR.cli.options import GroupedCommand, GroupedOption, add_format_options, given_format_options
from sciSR.cli.output import configure, print_error, print_json, print_line
from sciSR.cli.progress import shown
from sciSR.plugins import adapters

HELP = """Measure networks on sharp images of your own: FITS, NIfTI or DICOM.

Each image is degraded by the network's own forward model, recovered, and compared with the truth; every classical
method does the same, and a network's gain is over the best of them in each image. Nothing is written.

\b
  scisr evaluate --models all-mri-x2 check/*.nii.gz
  scisr evaluate --models my_net.safetensors,ecbsr-astro-x2 fields/*.fits
  scisr evaluate --models classical --forward gaussian --scale 4 T1w.nii.gz

Scores: PSNR, SSIM, NRMSE; for the sky of asinh((x - sky) / 2 sigma), with bias and scatter of the sources' fluxes;
for MR within the head, with the error of the mean intensity (bias). Seconds are for a megapixel of the result.

Exit code: 0 all good, 2 usage, 3 unreadable or refused input, 4 some of several failed,
5 out of memory or disk.

Research use only, not for diagnosis.
"""


def run(**given: Any) -> int:
    """Examine every input, then print the tables (or one JSON document)."""
    quiet, as_json = given["quiet"], given["json"]
    configure(-1 if quiet else given["verbose"])
    from sciSR.evaluation.evaluate import Examiner, Failure, checked_snr, collect, examine_all
    from sciSR.evaluation.render import report
    from sciSR.evaluation.select import select
    from sciSR.reading import gather
    from sciSR.workflow.outputs import find_inputs

    tasks = select(given["models"], given["forward"], given["scale"])
    jobs = find_inputs(gather(given["inputs"]), given_format_options(given))
    examiner = Examiner(
        tasks, given["forward"], given["scale"], given["planes"], given["device"], checked_snr(given["snr"])
    )
    results = []
    for result in examine_all(examiner, jobs, lambda job: shown(job.input.name, quiet=quiet)):
        results.append(result)
        if isinstance(result, Failure):
            print_error(result.error)
        elif not quiet:
            domain, forward, scale = result.key
            click.echo(f"{result.image}: {domain} {forward} x{scale} done", err=True)
    found = collect(results, len(jobs))
    if as_json:
        print_json({"software": f"sciSR {__version__}", **found.as_dict()})
    else:
        style = "markdown" if given["markdown"] else "plain"
        print_line("\n\n".join(report(table, style, images=given["per_image"]) for table in found.tables))
    return found.exit_code


def _option(*names: str, group: str = "What", **fields: Any) -> GroupedOption:
    return GroupedOption(list(names), group=group, show_default=fields.get("default") is not None, **fields)


# fmt: off
OPTIONS = [
    _option("-m", "--models", required=True, multiple=True, metavar="NAMES",
            help="Networks by name or path, with commas between; all, all-mri-x2, all-astro-x4, ...; or classical."),
    _option("--forward", type=click.Choice(["kspace", "gaussian", "detector", "bicubic"]),
            help="Degrade by this instead of each network's own forward model."),
    _option("-s", "--scale", type=click.IntRange(2, 64), metavar="S",
            help="Factor, for networks that serve several and for classical methods (2)."),
    _option("--snr", type=float, metavar="R",
            help="Add noise to the degraded images (Rician for MR magnitudes): their bright end over its sigma."),
    _option("--planes", type=click.IntRange(min=1), default=24, metavar="N",
            help="At most so many planes of each volume or cube, the central ones."),
    _option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps."),
    _option("--per-image", is_flag=True, group="Output", help="All scores of all methods for every image."),
    _option("--markdown", is_flag=True, group="Output", help="Tables in Markdown."),
    _option("--json", is_flag=True, group="Output", help="One JSON document on stdout, all else on stderr."),
    _option("-q", "--quiet", is_flag=True, group="Output", help="Only warnings and errors."),
    _option("-v", "--verbose", count=True, group="Output", help="More; -vv for everything."),
]
# fmt: on


def _build() -> click.Command:
    inputs = click.Argument(["inputs"], nargs=-1, required=True, type=click.Path(), metavar="INPUTS...")
    command = GroupedCommand("evaluate", params=[inputs, *OPTIONS], callback=run, help=HELP)
    add_format_options(command, adapters(), reading_only=True)
    return command


command = _build()
