"""``scisr fuse`` of stacks of slices: its options, what they may not be given with, and what is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from sciSR import __version__
from sciSR.cli.options import GroupedOption
from sciSR.cli.output import print_json, print_line
from sciSR.cli.progress import shown
from sciSR.errors import UsageError

if TYPE_CHECKING:
    from sciSR.workflow.fusing_stacks import StackOutcome
    from sciSR.workflow.stack_inputs import Source

_GROUP = "Stacks of slices (volumes)"
# Settings of frames, and what to do instead with stacks.
_OF_FRAMES = {
    "scale": "give --spacing MM",
    "reference": "the first stack given is the reference",
    "register": "stacks are placed by their headers, then registered; --no-registration leaves out the latter",
    "strict": "a stack that can't be used always stops",
    **dict.fromkeys(
        ("method", "positive", "pixfrac", "kernel", "deconvolve", "psf", "model", "keep_best"), "leave it out"
    ),
    **dict.fromkeys(("background", "dark", "flat", "bias", "bad_pixels", "context"), "leave it out"),
}
_OF_STACKS = (
    "spacing",
    "mask",
    "slice_thickness",
    "slice_profile",
    "volume",
    "no_registration",
    "no_slice_motion",
    "seed",
    "weight",
)

OPTIONS = [
    GroupedOption(
        ["--spacing"],
        group=_GROUP,
        type=float,
        metavar="MM",
        help="Voxel size of the result; the finest in-plane spacing of all stacks by default.",
    ),
    GroupedOption(
        ["--mask"],
        group=_GROUP,
        type=click.Path(),
        multiple=True,
        metavar="FILE",
        help="What to use of a stack (not 0), on its grid: for each stack in their order, or for the first.",
    ),
    GroupedOption(
        ["--slice-thickness"],
        group=_GROUP,
        type=float,
        multiple=True,
        metavar="MM",
        help="Width of the slices, where the header does not say or is wrong; one, or one for each stack.",
    ),
    GroupedOption(
        ["--slice-profile"],
        group=_GROUP,
        metavar="NAME",
        help="Shape of the slices: gaussian (default), rect, sinc, or a file of two columns: mm, weight.",
    ),
    GroupedOption(
        ["--volume"],
        group=_GROUP,
        type=int,
        multiple=True,
        metavar="N",
        help="Of stacks that hold several volumes (4-D), which one, from 0; one, or one for each stack.",
    ),
    GroupedOption(
        ["--no-registration"], group=_GROUP, is_flag=True, help="Take the headers' word for where stacks lie."
    ),
    GroupedOption(
        ["--no-slice-motion"], group=_GROUP, is_flag=True, help="Stacks may have moved, single slices not."
    ),
    GroupedOption(
        ["--seed"], group=_GROUP, type=int, metavar="N", help="Of the random numbers: 0 by default."
    ),
    GroupedOption(["--weight"], group=_GROUP, is_flag=True, help="Write NAME_weight too."),
]


def check_given(ctx: click.Context, *, stacks: bool) -> None:
    """Refuse an option that was given and means nothing to these inputs.

    Raises
    ------
    UsageError
    """
    foreign: Mapping[str, str] = _OF_FRAMES if stacks else dict.fromkeys(_OF_STACKS, "leave it out")
    for name, remedy in foreign.items():
        source = ctx.get_parameter_source(name)
        if source in (None, click.core.ParameterSource.DEFAULT):
            continue
        inputs = "stacks of slices" if stacks else "frames that are no volumes"
        raise UsageError(f"--{name.replace('_', '-')} means nothing to {inputs}", remedy=remedy)


def run_stacks(ctx: click.Context, given: Mapping[str, Any], stacks: list[Source]) -> int:
    """Fuse, and print what came of it (or one JSON document)."""
    check_given(ctx, stacks=True)
    from sciSR.workflow.fusing_stacks import fuse_stack_files

    report: Any = given["report"]
    with shown("fuse", quiet=given["quiet"]) as progress:
        outcome = fuse_stack_files(
            stacks,
            given["output"],
            masks=given["mask"],
            weight=given["weight"],
            contact_sheet=given["contact_sheet"],
            report=False if report is None else report or True,
            overwrite=given["overwrite"],
            progress=progress,
            **settings_of_stacks(given),
        )
    if given["json"]:
        print_json({"software": f"sciSR {__version__}", **outcome.as_dict()})
    elif not given["quiet"]:
        print_outcome(outcome)
    return 0


def settings_of_stacks(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of :func:`sciSR.fuse_volumes`."""
    return {
        "spacing": given["spacing"],
        "slice_thickness": given["slice_thickness"] or None,
        "slice_profile": given["slice_profile"] or "gaussian",
        "volume": given["volume"] or None,
        "register": not given["no_registration"],
        "slice_motion": not given["no_slice_motion"],
        "prior": given["prior"] or "auto",
        "seed": given["seed"] or 0,
        "device": given["device"],
    }


def print_outcome(outcome: StackOutcome) -> None:
    """One line for the volume on stdout, one line a stack on stderr."""
    shape = "x".join(map(str, outcome.shape))
    spacing = "x".join(f"{d:.4g}" for d in outcome.spacing_mm)
    print_line(
        f"{len(outcome.stacks)} stacks -> {outcome.outputs.product}  ({shape}, "
        f"{spacing} mm, {outcome.seconds:.1f} s)"
    )
    for number, record in enumerate(outcome.stacks):
        click.echo(f"  {line_of(record, reference=number == 0)}", err=True)
    for note in outcome.notes:
        if note not in outcome.warnings:  # told already
            click.echo(f"  {note}", err=True)
    for path in outcome.outputs.all()[1:]:
        click.echo(f"  {path}", err=True)
    click.echo("  Research use only, not for diagnosis.", err=True)


def line_of(record: Mapping[str, Any], *, reference: bool = False) -> str:
    """``sag.nii.gz: sagittal, moved 2.10 mm and 1.30 deg, gain 1.020, 2 of 24 slices down-weighted``."""
    motion = record["motion"]
    moved = f"moved {motion['shift_mm']:.2f} mm and {motion['angle_deg']:.2f} deg"
    if reference and not motion["shift_mm"] and not motion["angle_deg"]:
        moved = "the reference"
    down = f"{record['down_weighted']} of {record['slices']} slices down-weighted"
    return f"{record['name']}: {record['direction']}, {moved}, gain {record['gain']:.3f}, {down}"
