"""``scisr fuse``: many frames of one field, or several stacks of slices of one body, in; one finer image out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

from sciSR import __version__
from sciSR.adapter import Adapter
from sciSR.cli.fuse_stacks import OPTIONS as STACK_OPTIONS
from sciSR.cli.fuse_stacks import check_given, run_stacks
from sciSR.cli.options import (
    GroupedCommand,
    GroupedOption,
    add_format_options,
    explain,
    given_format_options,
)
from sciSR.cli.output import configure, print_json, print_line
from sciSR.cli.progress import shown
from sciSR.errors import UsageError
from sciSR.plugins import adapters

HELP = """Fuse many frames of one field, or stacks of slices of one body, into one finer image.

The result covers the reference frame's field, has the level of one frame of its exposure, and comes with its
error, weight, coverage and a table of all frames. FRAMES are files, patterns, or folders; cubes and video hold
many frames each. Frames that can't be read or registered are named and left out.

\b
  scisr fuse frames/*.fits -o m13_x2.fits                            register, match, reject, solve
  scisr fuse jupiter.ser -o jupiter.fits --scale 1.5 --keep-best 30%   lucky imaging
  scisr fuse *.fits -o out.fits --method drizzle --pixfrac 0.6       the reference drizzle
  scisr fuse *.fits -o out.fits --report                             and how good it is: out.html

Volumes of thick slices (NIfTI files, DICOM series) in several orientations become one isotropic volume in the
frame of the first, corrected for motion. Research use only, not for diagnosis.

\b
  scisr fuse ax.nii.gz sag.nii.gz cor.nii.gz -o iso.nii.gz           and iso_std.nii.gz, iso.json, iso.png
  scisr fuse export/ --series 4,5,6 -o iso.nii.gz --spacing 1        three series of one DICOM folder

Exit code: 0 done (frames left out are warned of), 2 usage, 3 unreadable or refused input,
with --strict also for a single frame, 5 out of memory or disk.
"""

METHODS = ("map", "spectral", "drizzle", "mean", "median", "ibp", "pocs")
KERNELS = ("square", "point", "turbo", "gaussian", "lanczos2", "lanczos3")
SETTINGS = (
    "reference",
    "register",
    "model",
    "background",
    "device",
    "deconvolve",
    "psf",
    "context",
)
# Settings of single methods: passed on only when given, so that the method's own defaults hold.
OF_METHODS = {
    "pixfrac": ("drizzle",),
    "kernel": ("drizzle",),
    "prior": ("map",),
    "positive": ("map", "pocs"),
}


def run(ctx: click.Context, **given: Any) -> int:
    """Fuse, and print what came of it (or one JSON document)."""
    quiet, as_json = given["quiet"], given["json"]
    configure(-1 if quiet else given["verbose"])
    explain(ctx, given)
    from sciSR.workflow.stack_inputs import find_stacks

    stacks = find_stacks(given["frames"], given_format_options(given))
    if stacks is not None:
        return run_stacks(ctx, given, stacks)
    check_given(ctx, stacks=False)
    settings = settings_of(given)
    from sciSR.inference.choose import parse_scale
    from sciSR.workflow.fusing import fuse_files

    report: Any = given["report"]
    with shown("fuse", quiet=quiet) as progress:
        outcome = fuse_files(
            given["frames"],
            given["output"],
            scale=parse_scale(given["scale"], native=True),
            method=given["method"],
            contact_sheet=given["contact_sheet"],
            report=False if report is None else report or True,
            overwrite=given["overwrite"],
            strict=given["strict"],
            options={**given_format_options(given), **calibration_of(given)},
            progress=progress,
            **settings,
        )
    if as_json:
        print_json({"software": f"sciSR {__version__}", **outcome.as_dict()})
    elif not quiet:
        _print_outcome(outcome)
    return 0


def settings_of(given: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of :func:`sciSR.fuse`.

    Raises
    ------
    UsageError
        A setting that the method does not have, or a value that can't be understood.
    """
    settings = {name: given[name] for name in SETTINGS}
    settings["reference"] = parse_reference(given["reference"])
    settings["keep_best"] = parse_share(given["keep_best"])
    if given["psf"] is not None and not given["deconvolve"]:
        raise UsageError("--psf is used by --deconvolve only", remedy="give --deconvolve too")
    for name, methods in OF_METHODS.items():
        if given[name] is None:
            continue
        if given["method"] not in methods:
            raise UsageError(
                f"--{name} means nothing to --method {given['method']}",
                remedy=f"leave it out, or use {' or '.join(methods)}",
            )
        settings[name] = given[name]
    return settings


def calibration_of(given: dict[str, Any]) -> dict[str, Any]:
    """What raw frames are calibrated with, as options of :func:`sciSR.read_sequence`."""
    return {name: given[name] for name in ("dark", "flat", "bias", "bad_pixels") if given[name]}


def parse_reference(text: str) -> str | int:
    """``auto``, a frame's number from 0, or its name."""
    return int(text) if re.fullmatch(r"\d+", text.strip()) else text.strip()


def parse_share(text: str | None) -> float | None:
    """``30%`` or ``0.3``.

    Raises
    ------
    UsageError
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    share = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < share <= 1:
        raise UsageError(f"the share of frames to keep is {text!r}", remedy="give a percentage like 30%")
    return share


def _print_outcome(outcome: Any) -> None:
    shapes = f"{'x'.join(map(str, outcome.shape_in))} -> {'x'.join(map(str, outcome.shape_out))}"
    print_line(
        f"{outcome.used} of {outcome.frames} frames -> {outcome.outputs.product}  ({outcome.seconds:.1f} s)"
    )
    click.echo(f"  {shapes}, method {outcome.settings.get('method', '?')}", err=True)
    left_out = [f"left out: {name}: {reason}" for name, reason in outcome.left_out]
    for line in [*left_out, *outcome.notes]:
        if line not in outcome.warnings:  # told already
            click.echo(f"  {line}", err=True)
    found = (outcome.report.get("frc") or {}).get("resolution", {}).get("1/7", {})
    if found.get("period_px"):
        end = " or finer" if found.get("reached_end") else ""
        click.echo(
            f"  the two half-sets share detail down to {found['period_px']:.2f} native pixels{end}"
            " (ring correlation 1/7)",
            err=True,
        )
    for path in outcome.outputs.all()[1:]:
        click.echo(f"  {path}", err=True)


def _option(group: str, *names: str, **fields: Any) -> GroupedOption:
    shows = fields.get("default") is not None and not fields.get("is_flag")
    return GroupedOption(list(names), group=group, show_default=shows, **fields)


def choice(*words: str) -> click.Choice:
    """A choice of words."""
    return click.Choice(words)


# fmt: off
def registration_options(*guesses: str) -> list[GroupedOption]:
    """Options that both commands have; `guesses` are the words of ``--register``."""
    return [
        _option("Registration", "--reference", default="auto", metavar="FRAME",
                help="Frame that defines grid and level: auto (a sharp one), its number from 0, or its name."),
        _option("Registration", "--register", type=choice(*guesses), default="auto",
                help="First guess from world coordinates, star patterns, or correlation"
                     + ("; planetary: a lattice of points." if "planetary" in guesses else ".")),
        _option("Registration", "--model", type=choice("auto", "shift", "euclidean", "similarity", "affine", "wcs"),
                default="auto", help="What may differ between frames; auto: the simplest that the stars allow."),
    ]


OPTIONS = [
    _option("Method", "-s", "--scale", default="2", metavar="S", help="Factor: 2, 1.5, 3/2, or rows,columns: 2,1."),
    _option("Method", "-m", "--method", type=choice(*METHODS), default="map",
            help="map: the likeliest scene, any warp; spectral: closed form for shifts; drizzle; mean and median: "
                 "shift-and-add; ibp, pocs: for study."),
    _option("Method", "--prior", type=choice("auto", "huber", "tikhonov", "tv", "none"),
            help="What a likely scene is (map; stacks)."),
    _option("Method", "--positive", is_flag=True, default=None, help="The scene is nowhere negative (map, pocs)."),
    _option("Method", "--pixfrac", type=click.FloatRange(0, 1, min_open=True), metavar="F",
            help="Side of a drop in native pixels (drizzle)."),
    _option("Method", "--kernel", type=choice(*KERNELS), help="Shape of a drop (drizzle)."),
    _option("Method", "--deconvolve", is_flag=True, help="Reduce the blur of the optics too; said in the header."),
    _option("Method", "--psf", type=click.Path(), metavar="FILE",
            help="Image of a star, sampled like the result, for --deconvolve; measured from stars by default."),
    _option("Method", "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps."),
    *registration_options("auto", "wcs", "stars", "phase", "planetary"),
    _option("Frames", "--keep-best", metavar="SHARE", help="Use the sharpest frames only: 30%."),
    _option("Frames", "--background", type=choice("auto", "offset", "plane", "mesh", "none"), default="auto",
            help="Shape of the sky that is matched between frames; the result has the reference's."),
    _option("Frames", "--dark", type=click.Path(), multiple=True, metavar="FILE", help="Dark frame, or several."),
    _option("Frames", "--flat", type=click.Path(), multiple=True, metavar="FILE", help="Flat field, or several."),
    _option("Frames", "--bias", type=click.Path(), multiple=True, metavar="FILE", help="Bias frame, or several."),
    _option("Frames", "--bad-pixels", type=click.Path(), metavar="FILE", help="Map of the detector's bad pixels."),
    _option("Frames", "--strict", is_flag=True, help="Stop at the first frame that can't be used."),
    *STACK_OPTIONS,
    _option("Output", "-o", "--output", type=click.Path(), required=True, help="Name of the result."),
    _option("Output", "--contact-sheet/--no-contact-sheet", default=True, is_flag=True,
            help="A picture beside it: NAME.png. [default: yes]"),
    _option("Output", "--report", is_flag=False, flag_value="", metavar="[FILE]",
            help="A page on how good it is, NAME.html, and its numbers, NAME.json."),
    _option("Output", "--context", is_flag=True, help="Write which frames contribute to each pixel (CTX)."),
    _option("Output", "--overwrite", is_flag=True, help="Replace existing outputs."),
    _option("Output", "--json", is_flag=True, help="One JSON document on stdout, all else on stderr."),
    _option("Output", "-q", "--quiet", is_flag=True, help="Only warnings and errors."),
    _option("Output", "-v", "--verbose", count=True, help="More; -vv for everything."),
]
# fmt: on


def build(
    name: str,
    callback: Any,
    options: list[GroupedOption],
    text: str,
    formats: Mapping[str, Adapter] | None = None,
) -> click.Command:
    """A command over FRAMES with these options and those of the formats (of frames, if not given)."""
    frames = click.Argument(["frames"], nargs=-1, required=True, type=click.Path(), metavar="FRAMES...")
    command = GroupedCommand(
        name, params=[frames, *options], callback=click.pass_context(callback), help=text
    )
    add_format_options(command, frame_formats() if formats is None else formats, reading_only=True)
    return command


def frame_formats() -> dict[str, Adapter]:
    """Formats that hold frames of a sky, with their options for reading."""
    return {
        name: adapter
        for name, adapter in adapters().items()
        if hasattr(adapter, "read_frames") or hasattr(adapter, "write_fused")
    }


command = build("fuse", run, OPTIONS, HELP, adapters())
