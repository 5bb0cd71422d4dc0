"""``scisr-bids BIDS_DIR OUT_DIR participant``: a BIDS dataset in, a BIDS derivative out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
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
from sciSR.cli.upscale import OPTIONS as UPSCALE_OPTIONS
from sciSR.cli.upscale import SETTINGS, check_in_plane, isotropic_plan
from scisr_medical.nifti_adapter import adapter as nifti

HELP = """Upscale the images of a BIDS dataset into a BIDS derivative.

OUT_DIR gets a dataset of its own, with sidecars that say what was done; BIDS_DIR is never written to.
Subjects that are finished are skipped on a rerun.

\b
  scisr-bids data/ out/ participant --suffix T2w --scale 2
  scisr-bids data/ out/ participant --suffix T2w FLAIR --isotropic
  scisr-bids data/ out/ participant --participant-label 01 02 --suffix dwi

Exit code: 0 all good, 2 usage, 3 the one image asked for was refused, 4 some of several failed,
5 out of memory or disk.

Research use only, not for diagnosis.
"""

SUFFIXES = ("T1w", "T2w", "T2starw", "PDw", "FLAIR", "inplaneT1", "inplaneT2")
"""What is upscaled if no suffix was given: anatomical contrasts."""
LISTS = ("--participant-label", "--session-label", "--suffix", "--datatype")
"""Options that take several words, as BIDS apps have it: ``--participant-label 01 02``."""
NOT_OFFERED = ("uncertainty", "gain", "read_noise")
"""A derivative has no place for a deviation yet."""
METHOD = [option for option in UPSCALE_OPTIONS if option.group != "Output" and option.name not in NOT_OFFERED]
"""Those of ``scisr upscale``: the same words mean the same."""
NO_MATTER = ("device", "tile", "strict", "scale", "isotropic")
"""Options that change where, how fast and whether, not what; and the two that are remembered anyway."""


class BidsCommand(GroupedCommand):
    """Understands ``--suffix T1w T2w`` and names with underscores."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(args: Sequence[str]) -> list[str]:
    """``--suffix T1w T2w`` as ``--suffix T1w --suffix T2w``.

    Only after the analysis level: before it, the words that follow may be the folders.
    """
    result: list[str] = []
    current, first = "", True
    for word in args:
        head = word.partition("=")[0]
        if word.startswith("-"):
            plain = head.replace("_", "-")
            current, first = (plain if plain in LISTS and head == word else ""), True
            result.append(plain + word[len(head) :] if plain in LISTS else word)
            continue
        if current and not first and "participant" in result:
            result.append(current)
        first = False
        result.append(word)
    return result


def run(ctx: click.Context, **given: Any) -> int:
    """Find what was asked for, work through it, print one line a subject (or one JSON document for all)."""
    quiet, as_json = given["quiet"], given["json"]
    configure(-1 if quiet else given["verbose"])
    explain(ctx, given)
    from scisr_medical.bids_check import validate
    from scisr_medical.bids_folder import check_out_dir
    from scisr_medical.bids_layout import BidsDataset
    from scisr_medical.bids_run import check_collisions, exit_code, run_subjects

    dataset = BidsDataset(Path(given["bids_dir"]))
    out_dir = Path(given["output_dir"])
    check_out_dir(dataset, out_dir)
    request = plan(ctx, dataset, out_dir, given)
    images = choose(dataset, given)
    for own in images.values():
        check_collisions(own, request.resolution)
    if not given["skip_bids_validation"]:
        validate(dataset.root)
    results = []
    for result in run_subjects(request, images, progress=lambda job: shown(job.input.name, quiet=quiet)):
        results.append(result)
        if not (quiet or as_json):
            print_line(result.line)
        failed = sum(image.error is not None for image in result.images)
        # The line above tells the only failure of a subject; it is not said twice.
        in_full = quiet or as_json or given["verbose"] or failed > 1
        for image in result.images:
            if image.error is not None:
                if in_full:
                    print_error(image.error)
            elif given["verbose"]:
                click.echo(f"  {image.input}: {image.status} {image.reason}".rstrip(), err=True)
    if as_json:
        document = {"software": f"sciSR {__version__}", "results": [each.as_dict() for each in results]}
        print_json(document)
    return exit_code(results)


def plan(ctx: click.Context, dataset: Any, out_dir: Path, given: dict[str, Any]) -> Any:
    """The request: which plan each image gets, and what of it has to be remembered.

    Raises
    ------
    UsageError
        Settings that make no sense, alone or together.
    """
    from sciSR.inference import plan_upscale
    from sciSR.inference.choose import parse_scale, scale_text
    from scisr_medical.bids_derivative import resolution_label
    from scisr_medical.bids_run import Request

    check_model(given["model"])
    options = given_format_options(given)
    settings: dict[str, Any]
    if given["isotropic"] or given["spacing"] is not None:
        make_plan = isotropic_plan(ctx, given)
        settings, label = {"isotropic": True}, resolution_label(None, given["spacing"])
    else:
        check_in_plane(ctx)
        scale = parse_scale(given["scale"])
        make_plan = partial(plan_upscale, scale=scale, **{name: given[name] for name in SETTINGS})
        settings, label = {"scale": scale_text(scale)}, resolution_label(scale_text(scale))
    settings = json.loads(json.dumps(settings | remembered(given) | options))  # as it is read back: no tuples
    return Request(dataset, out_dir, make_plan, settings, label, options, given["overwrite"])


def check_model(name: str) -> None:
    """Refuse a model that there is not once, and not for every image.

    Raises
    ------
    ModelError
    """
    from sciSR.inference.choose import CLASSICAL
    from sciSR.models.files import load_model
    from sciSR.throughplane.method import CLASSICAL as ACROSS

    if name not in ("auto", "scratch", *CLASSICAL, *ACROSS):
        load_model(name)


def remembered(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the method that were given and decide what comes out; a file stands for its content."""
    from sciSR.provenance import file_sha256

    kept = {}
    for option in METHOD:
        name = str(option.name)
        value = given[name]
        if name in NO_MATTER or value is None or value == option.default:
            continue
        is_file = isinstance(value, str) and Path(value).is_file()
        kept[name] = f"sha256 {file_sha256(value)}" if is_file else value
    return kept


def choose(dataset: Any, given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The images that were asked for, by subject.

    Raises
    ------
    UsageError
        An unknown label; nothing at all fits.
    """
    from sciSR.errors import UsageError

    subjects = dataset.chosen_subjects(given["participant_label"])
    sessions = dataset.chosen_sessions(subjects, given["session_label"])
    suffixes = given["suffix"] or SUFFIXES
    images = {
        subject: dataset.images(subject, sessions=sessions, datatypes=given["datatype"], suffixes=suffixes)
        for subject in subjects
    }
    if not any(images.values()):
        there = {image.name.suffix for subject in subjects for image in dataset.images(subject)}
        raise UsageError(
            f"no image with the suffix {' or '.join(suffixes)} fits",
            where=given["bids_dir"],
            remedy=f"there are {', '.join(sorted(there))}" if there else "there are no images at all",
        )
    return images


def _which(*names: str, **fields: Any) -> GroupedOption:
    return GroupedOption(list(names), group="Which images", **fields)


def _output(*names: str, **fields: Any) -> GroupedOption:
    return GroupedOption(list(names), group="Output", **fields)


# fmt: off
OPTIONS = [
    _which("--participant-label", "--participant_label", multiple=True, metavar="LABEL...",
           help="Subjects, with or without sub-; all by default."),
    _which("--session-label", "--session_label", multiple=True, metavar="LABEL...",
           help="Sessions, with or without ses-; all by default."),
    _which("--suffix", multiple=True, metavar="SUFFIX...",
           help=f"Kinds of images, e.g. T2w, bold, dwi, mask; by default {', '.join(SUFFIXES)}."),
    _which("--datatype", multiple=True, metavar="TYPE...", help="anat, func, dwi, fmap or perf; all by default."),
    _which("--skip-bids-validation", "--skip_bids_validation", is_flag=True,
           help="Don't run the bids-validator on BIDS_DIR first (it is run if it is installed)."),
    *METHOD,
    _output("--overwrite", is_flag=True,
            help="Redo results of another input, other settings or another version; what is up to date stays."),
    _output("--json", is_flag=True, help="One JSON document on stdout, all else on stderr."),
    _output("-q", "--quiet", is_flag=True, help="Only warnings and errors."),
    _output("-v", "--verbose", count=True, help="More; -vv for everything."),
    click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, help="Show the version and exit.",
                 callback=lambda ctx, _, wanted: _show_version(ctx) if wanted else None),
]
# fmt: on


def _show_version(ctx: click.Context) -> None:
    click.echo(f"sciSR, version {__version__}")
    ctx.exit()


def _build() -> click.Command:
    arguments = [
        click.Argument(["bids_dir"], type=click.Path()),
        click.Argument(["output_dir"], type=click.Path(), metavar="OUT_DIR"),
        click.Argument(["analysis_level"], type=click.Choice(["participant"]), metavar="participant"),
    ]
    command = BidsCommand(
        "scisr-bids",
        params=[*arguments, *OPTIONS],
        callback=click.pass_context(run),
        help=HELP,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    add_format_options(command, {nifti.name: nifti})
    return command


command = _build()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. See :func:`sciSR.cli.main.main`."""
    from sciSR.cli.main import run_command

    return run_command(command, list(sys.argv[1:] if arguments is None else arguments), "scisr-bids")
