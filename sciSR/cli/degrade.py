"""``scisr degrade``: sharp files in, what an instrument would have made of them out."""

from __future__ import annotations

from typing import Any

import click

from sciSR import __version__
from sciSR.cli.options import (
    GroupedCommand,
    GroupedOption,
    add_format_options,
    explain,
    given_format_options,
)
from sciSR.cli.output import configure, print_error, print_json, print_line
from sciSR.cli.progress import shown
from sciSR.plugins import adapters

HELP = """Degrade FITS, NIfTI or DICOM files: the same field on coarser pixels, as an instrument would have seen it.

The forward model is the one that the networks are trained with. Geometry, units and metadata are kept, totals are
summed and densities averaged, errors and bad pixels follow, and the header says all parameters and the seed.

\b
  scisr degrade sharp.fits                                          writes sharp_x0.5.fits
  scisr degrade sharp.fits -o low.fits --scale 3 --psf moffat --fwhm 1.5 --noise poisson --gain 2 --read-noise 5
  scisr degrade T1w.nii.gz -o low.nii.gz --forward kspace --set partial_fourier=0.75 --noise rician --snr 40
  scisr degrade sharp/*.fits --out-dir low/ --config degrade.yaml --seed 7

Exit code: 0 all good, 2 usage, 3 unreadable or refused input, 4 some of a batch failed,
5 out of memory or disk.

Research use only, not for diagnosis.
"""
KEYS = ("scale", "kind", "psf", "fwhm", "ellipticity", "noise", "snr", "sigma", "gain", "read_noise", "seed")


def run(ctx: click.Context, **given: Any) -> int:
    """Plan all jobs, run them, print one line each (or one JSON document for all)."""
    quiet, as_json = given["quiet"], given["json"]
    configure(-1 if quiet else given["verbose"])
    explain(ctx, given)
    from fractions import Fraction

    from sciSR.workflow.degrade_settings import settings_of
    from sciSR.workflow.outputs import plan_jobs
    from sciSR.workflow.run import Outcome, exit_code, run_jobs

    settings = settings_of(given["config"], {key: given[key] for key in KEYS}, given["set"])
    factor = Fraction(1, settings.scale)
    jobs = plan_jobs(
        given["inputs"],
        output=given["output"],
        out_dir=given["out_dir"],
        scale=(factor, factor),
        overwrite=given["overwrite"],
        options=given_format_options(given),
    )
    results = []
    for result in run_jobs(
        jobs,
        make_plan=settings.plan,
        overwrite=given["overwrite"],
        progress=lambda job: shown(job.input.name, quiet=quiet),
    ):
        results.append(result)
        if not isinstance(result, Outcome):
            print_error(result.error)
        elif not (quiet or as_json):
            _print_outcome(result)
    if as_json:
        print_json({"software": f"sciSR {__version__}", "results": [result.as_dict() for result in results]})
    return exit_code(results)


def _print_outcome(outcome: Any) -> None:
    from sciSR.provenance import parameters

    print_line(f"{outcome.input} -> {outcome.output}  ({outcome.seconds:.1f} s)")
    for part in outcome.parts:
        shapes = f"{'x'.join(map(str, part.shape_in))} -> {'x'.join(map(str, part.shape_out))}"
        click.echo(f"  {part.part or 'image'}: {shapes}, {parameters(part.step['forward'])}", err=True)
        for message in part.messages:
            click.echo(f"    {message}", err=True)


class Range(click.ParamType):
    """A number, or two with a comma between which it is drawn."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """``1.2`` -> 1.2, ``0.8,1.6`` -> [0.8, 1.6]."""
        try:
            numbers = [float(part) for part in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2):
            self.fail(f"{value!r} is no number, nor two with a comma", param, ctx)
        return numbers[0] if len(numbers) == 1 else numbers


def _grouped(group: str, *names: str, **fields: Any) -> GroupedOption:
    return GroupedOption(list(names), group=group, **fields)


# fmt: off
OPTIONS = [
    _grouped("Forward model", "-s", "--scale", type=click.IntRange(1, 64), metavar="N",
             help="Fine pixels for each coarse pixel and axis; 1 for blur and noise alone.  [default: 2]"),
    _grouped("Forward model", "--forward", "kind",
             type=click.Choice(["auto", "kspace", "gaussian", "detector", "bicubic"]),
             help="Truncated k-space, a Gaussian profile, optics and the pixels of a detector, MATLAB's bicubic. "
                  "By default detector for astronomy, kspace for MR, else gaussian."),
    _grouped("Forward model", "--fwhm", type=Range(), metavar="W",
             help="Width of the PSF in coarse pixels (gaussian, detector); like each number W,W for a random one."),
    _grouped("Forward model", "--psf", type=click.Choice(["gaussian", "moffat", "airy"]),
             help="Profile of the PSF (detector)."),
    _grouped("Forward model", "--ellipticity", type=Range(), metavar="E",
             help="Of the PSF, 1 - b/a, at a random angle (detector)."),
    _grouped("Forward model", "--config", type=click.Path(),
             help="YAML with these and the other parameters, or a training configuration."),
    _grouped("Forward model", "--set", multiple=True, metavar="KEY=VALUE",
             help="Any parameter of the configuration, e.g. partial_fourier=0.75; may be repeated."),
    _grouped("Noise", "--noise", type=click.Choice(["none", "gaussian", "poisson", "rician"]),
             help="Kind of noise added to the coarse pixels."),
    _grouped("Noise", "--snr", type=Range(), metavar="R",
             help="Signal to noise of a bright pixel (99.5 % quantile)."),
    _grouped("Noise", "--sigma", type=float, metavar="S",
             help="Standard deviation in the image's unit, instead of --snr (gaussian, rician)."),
    _grouped("Noise", "--gain", type=float, metavar="G",
             help="Electrons for each unit of the image's values, instead of --snr (poisson)."),
    _grouped("Noise", "--read-noise", type=float, metavar="E", help="Electrons (poisson)."),
    _grouped("Noise", "--seed", type=click.IntRange(min=0), metavar="N",
             help="Of everything random. Each file of a batch gets draws of its own.  [default: 0]"),
    _grouped("Output", "-o", "--output", type=click.Path(), help="Name of the result (one input)."),
    _grouped("Output", "--out-dir", type=click.Path(), help="Folder for the results; made if missing."),
    _grouped("Output", "--overwrite", is_flag=True, help="Replace existing outputs."),
    _grouped("Output", "--json", is_flag=True, help="One JSON document on stdout, all else on stderr."),
    _grouped("Output", "-q", "--quiet", is_flag=True, help="Only warnings and errors."),
    _grouped("Output", "-v", "--verbose", count=True, help="More; -vv for everything."),
]
# fmt: on


def _build() -> click.Command:
    inputs = click.Argument(["inputs"], nargs=-1, required=True, type=click.Path(), metavar="INPUTS...")
    command = GroupedCommand(
        "degrade", params=[inputs, *OPTIONS], callback=click.pass_context(run), help=HELP
    )
    add_format_options(command, adapters())
    return command


command = _build()
