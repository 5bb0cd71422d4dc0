"""``scisr upscale``: files in, finer files out."""

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
from sciSR.errors import UsageError
from sciSR.plugins import adapters

HELP = """Upscale FITS, NIfTI, DICOM or OME-Zarr files: the same field on finer pixels.

The result keeps the input's geometry, units and metadata, and says in its header what was done to it.
INPUTS are files, or folders that hold one DICOM series each; several DICOM files
of one folder are taken together.

\b
  scisr upscale m51.fits                           writes m51_x2.fits
  scisr upscale T1w.nii.gz -o T1w_hr.nii.gz
  scisr upscale dicom_folder/ -o out_folder/       a series in, a derived series out
  scisr upscale T2_axial.nii.gz --isotropic        thick slices in, an isotropic volume out
  scisr upscale mosaic.fits --blocks 4             a very large image over four processes
  scisr upscale *.fits --scale 4 --model cubic --out-dir hr/

Exit code: 0 all good, 2 usage, 3 unreadable or refused input, 4 some of a batch failed or a
report could not be made, 5 out of memory or disk.

Research use only, not for diagnosis.
"""


SETTINGS = (
    "model",
    "forward",
    "noise",
    "psf_fwhm",
    "consistency",
    "device",
    "precision",
    "tile",
    "label_method",
    "strict",
)
"""Options that go to :func:`sciSR.inference.plan_upscale` under their own names."""


def run(ctx: click.Context, **given: Any) -> int:
    """Plan all jobs, run them, print one line each (or one JSON document for all)."""
    quiet, as_json = given["quiet"], given["json"]
    configure(-1 if quiet else given["verbose"])
    explain(ctx, given)
    from sciSR.inference.choose import parse_scale
    from sciSR.workflow.outputs import plan_jobs
    from sciSR.workflow.reporting import check_pages, exit_code_with_pages, with_page
    from sciSR.workflow.run import Outcome, Skipped, exit_code, run_jobs

    isotropic = given["isotropic"] or given["spacing"] is not None
    make_plan = isotropic_plan(ctx, given) if isotropic else check_in_plane(ctx)
    scale = parse_scale(given["scale"])
    jobs = plan_jobs(
        given["inputs"],
        output=given["output"],
        out_dir=given["out_dir"],
        scale="iso" if isotropic else scale,
        overwrite=given["overwrite"],
        options=given_format_options(given),
    )
    settings = {name: given[name] for name in SETTINGS} | {"uncertainty": uncertain(given)}
    if given["report"]:
        jobs = check_pages(jobs, overwrite=given["overwrite"])
    results: list[Any] = []
    for result in run_jobs(
        jobs,
        scale=scale,
        make_plan=make_plan,
        overwrite=given["overwrite"],
        progress=lambda job: shown(job.input.name, quiet=quiet),
        run=by_blocks(given, scale, settings),
        **settings,
    ):
        if given["report"] and isinstance(result, Outcome):
            job, words = jobs[len(results)], ctx.find_root().obj or ()
            result = with_page(result, job, arguments=words, overwrite=given["overwrite"])
        results.append(result)
        if isinstance(result, Skipped):
            print_line(str(result.reason))
        elif not isinstance(result, Outcome):
            print_error(result.error)
        elif not (quiet or as_json):
            _print_outcome(result)
    if as_json:
        print_json({"software": f"sciSR {__version__}", "results": [result.as_dict() for result in results]})
    code = exit_code(results)
    return exit_code_with_pages(results, code) if given["report"] else code


def by_blocks(given: dict[str, Any], scale: Any, settings: dict[str, Any]) -> Any:
    """What runs a job by blocks over worker processes, where that is asked for.

    Raises
    ------
    UsageError
        Of isotropic volumes.
    """
    if given.get("blocks") is None and given.get("cluster") is None:  # not every command offers them
        return None
    from functools import partial

    from sciSR.workflow.cluster.blocks_run import run_job

    if given["isotropic"] or given["spacing"] is not None:
        raise UsageError("--blocks and --cluster mean nothing to isotropic volumes", remedy="leave them out")
    return partial(
        run_job,
        factors=scale,
        workers=given["blocks"],
        cluster=given["cluster"],
        overwrite=given["overwrite"],
        **settings,
    )


def uncertain(given: dict[str, Any]) -> Any:
    """False, or the settings of the uncertainty.

    Raises
    ------
    UsageError
        What the detector is like, though no uncertainty is asked for.
    """
    if not given.get("uncertainty"):  # not every command offers it
        for name in ("gain", "read_noise"):
            if given.get(name) is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')} is for the uncertainty", remedy="give --uncertainty too"
                )
        return False
    from sciSR.uncertainty.interface import Uncertain

    return Uncertain(gain=given["gain"], read_noise=given["read_noise"], model="auto")


ISOTROPIC = {
    "self_training": "--self-training",
    "slice_profile": "--slice-profile",
    "slice_thickness": "--slice-thickness",
    "seed": "--seed",
}
"""Options that mean something to isotropic volumes only."""
IN_PLANE = {
    "scale": "--scale",
    "forward": "--forward",
    "noise": "--noise",
    "psf_fwhm": "--psf-fwhm",
    "strict": "--strict",
}
"""Options that mean nothing to them."""


def isotropic_plan(ctx: click.Context, given: dict[str, Any]) -> Any:
    """What :func:`sciSR.throughplane.plan_isotropic` is told.

    Raises
    ------
    UsageError
        Options of the other way of upscaling.
    """
    from functools import partial

    from sciSR.throughplane import plan_isotropic

    for name, option in IN_PLANE.items():
        if _was_given(ctx, name):
            other = "" if name == "strict" else ", or give --spacing"
            raise UsageError(f"{option} means nothing to isotropic volumes", remedy=f"leave it out{other}")
    return partial(
        plan_isotropic,
        spacing=given["spacing"],
        model=given["model"],
        self_training=given["self_training"],
        profile=given["slice_profile"],
        thickness=given["slice_thickness"],
        consistency=given["consistency"],
        label_method=given.get("label_method") or "nearest",
        uncertainty=uncertain(given),
        device=given["device"],
        precision=given["precision"],
        tile=given["tile"],
        seed=given["seed"],
    )


def _was_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def check_in_plane(ctx: click.Context) -> None:
    """Refuse options of isotropic volumes where none is asked for.

    Raises
    ------
    UsageError
    """
    for name, option in ISOTROPIC.items():
        if _was_given(ctx, name):
            raise UsageError(f"{option} is for isotropic volumes", remedy="give --isotropic too")


def _print_outcome(outcome: Any) -> None:
    print_line(f"{outcome.input} -> {outcome.output}  ({outcome.seconds:.1f} s)")
    for part in outcome.parts:
        shapes = f"{'x'.join(map(str, part.shape_in))} -> {'x'.join(map(str, part.shape_out))}"
        click.echo(f"  {part.part or 'image'}: {shapes}, model {part.step.get('model', '?')}", err=True)
        agreement = part.step.get("agreement")
        if agreement:
            worst, operator = f"{agreement['max_relative_to_range']:.1e} of its range", agreement["operator"]
            sense = (
                "agrees with the input to" if agreement["enforced"] else "differs from the input by at most"
            )
            click.echo(f"    {sense} {worst} ({operator})", err=True)
        found = part.step.get("uncertainty")
        if found:
            what = "calibrated" if found["calibrated"] else "not calibrated"
            median = f"median {found['median']}" if "median" in found else "known nowhere"
            click.echo(f"    standard deviation: {median}, {what}", err=True)
        for message in part.messages:
            click.echo(f"    {message}", err=True)
    for path in outcome.uncertainty:
        click.echo(f"  standard deviation in {path}", err=True)
    if outcome.report is not None:
        click.echo(f"  report in {outcome.report}", err=True)


def _method(*names: str, **fields: Any) -> GroupedOption:
    return GroupedOption(
        list(names), group="Method", show_default=fields.get("default") is not None, **fields
    )


def _output(*names: str, **fields: Any) -> GroupedOption:
    return GroupedOption(list(names), group="Output", **fields)


def _isotropic(*names: str, **fields: Any) -> GroupedOption:
    return GroupedOption(
        list(names), group="Isotropic volumes", show_default=fields.get("default") is not None, **fields
    )


# fmt: off
OPTIONS = [
    _method("-s", "--scale", default="2", metavar="S",
            help="Factor: 2, 1.5, 3/2, or rows,columns in data order: 2,1."),
    _method("-m", "--model", default="auto",
            help="auto; nearest, linear, cubic, lanczos, fourier; or a trained model ('scisr models')."),
    _method("--forward", type=click.Choice(["auto", "kspace", "gaussian", "detector", "bicubic"]), default="auto",
            help="How the image came to its pixels, which the network undoes: truncated k-space, a Gaussian blur, "
                 "a detector, a picture made smaller. By default detector for astronomy, kspace for MR."),
    _method("--noise", type=float, metavar="SIGMA",
            help="Noise in the image's unit, for networks that are told it; by default estimated from the image."),
    _method("--psf-fwhm", type=float, metavar="PIXELS",
            help="Full width at half maximum of the PSF in input pixels, for networks and steps that are told it."),
    _method("--consistency", type=click.Choice(["auto", "block", "kspace", "gaussian", "none"]), default="auto",
            help="What the result must reproduce: the mean of each original pixel, the acquired k-space, the samples "
                 "of a Gaussian blur, nothing."),
    _method("--label-method", type=click.Choice(["nearest", "argmax"]), default="nearest",
            help="Label maps: the nearest label, or the argmax of upscaled one-hot (smooth outlines)."),
    _method("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps."),
    _method("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32",
            help="bf16 is about 1.6 times as fast, and accurate to 65 dB."),
    _method("--tile", type=click.IntRange(min=16), metavar="N",
            help="Tile size in input pixels; by default fitted to the memory at hand."),
    _method("--blocks", type=click.IntRange(min=1), metavar="N",
            help="Very large images: by blocks over N processes, to the bit the same; goes on where it was killed."),
    _method("--cluster", metavar="SPEC",
            help="The same on a Dask cluster: tcp://host:8786, local:3, or a YAML file."),
    _method("--uncertainty", is_flag=True,
            help="Also write the standard deviation of each pixel: FITS extension ERR, NAME_std.nii.gz, or a DICOM "
                 "Parametric Map."),
    _method("--gain", type=float, metavar="E",
            help="For the uncertainty: electrons per unit of the image; by default the header's, or as estimated."),
    _method("--read-noise", type=float, metavar="E", help="For the uncertainty: of the detector, in electrons."),
    _method("--strict", is_flag=True,
            help="Refuse images that are unlike what the network was trained on, instead of warning."),
    _isotropic("--isotropic", is_flag=True,
               help="Volumes of thick slices: thin slices, as far apart as the pixels of a slice."),
    _isotropic("--spacing", type=float, metavar="MM", help="The same with this spacing along all three axes."),
    _isotropic("--self-training", "--self", type=click.Choice(["0", "fast", "full"]), default="fast",
               help="How long the network learns from this very volume first: not, a minute or so, long."),
    _isotropic("--slice-profile", default="gaussian", metavar="P",
               help="gaussian, rect, sinc; estimate (from the volume's spectra); or a file of two columns, "
                    "distance in mm and weight."),
    _isotropic("--slice-thickness", type=float, metavar="MM",
               help="Width of the slice profile at half its maximum; by default the header's, or the spacing."),
    _isotropic("--seed", type=int, default=0, help="Of all that is random."),
    _output("-o", "--output", type=click.Path(), help="Name of the result (one input)."),
    _output("--out-dir", type=click.Path(), help="Folder for the results; made if missing."),
    _output("--report", is_flag=True,
            help="A page about each result beside it (m51_x2.html): before and after, uncertainty, checks, methods."),
    _output("--overwrite", is_flag=True, help="Replace existing outputs."),
    _output("--json", is_flag=True, help="One JSON document on stdout, all else on stderr."),
    _output("-q", "--quiet", is_flag=True, help="Only warnings and errors."),
    _output("-v", "--verbose", count=True, help="More; -vv for everything."),
]
# fmt: on


def _build() -> click.Command:
    inputs = click.Argument(["inputs"], nargs=-1, required=True, type=click.Path(), metavar="INPUTS...")
    command = GroupedCommand(
        "upscale", params=[inputs, *OPTIONS], callback=click.pass_context(run), help=HELP
    )
    add_format_options(command, adapters())
    return command


command = _build()
