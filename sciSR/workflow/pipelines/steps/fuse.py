"""The step ``fuse``: many frames of one field, or stacks of slices of one body, into one finer image."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sciSR.adapter import Adapter
from sciSR.errors import UsageError
from sciSR.workflow.pipelines.products import (
    CALIBRATION,
    images_of,
    input_file,
    pixels,
    plain,
    sequence_options,
    still_fitting,
    suffix_of,
    target_of,
)
from sciSR.workflow.pipelines.steps.register import NAMED, share
from sciSR.workflow.pipelines.values import NativeScale
from sciSR.workflow.pipelines.work import InputPath, Product, Work

OF_STACKS = (
    "spacing",
    "mask",
    "slice_thickness",
    "slice_profile",
    "volume",
    "no_registration",
    "no_slice_motion",
    "weight",
)
"""Parameters that mean something to stacks of slices only."""
OF_FRAMES = (
    "scale",
    "method",
    "positive",
    "pixfrac",
    "kernel",
    "deconvolve",
    "psf",
    "reference",
    "register",
    "model",
    "keep_best",
    "background",
    "strict",
    "context",
)
"""To frames only."""
OF_METHODS = {
    "pixfrac": ("drizzle",),
    "kernel": ("drizzle",),
    "prior": ("map",),
    "positive": ("map", "pocs"),
}


def fuse(
    work: Work,
    *,
    scale: NativeScale = 2,
    method: Literal["map", "spectral", "drizzle", "mean", "median", "ibp", "pocs"] = "map",
    prior: Literal["auto", "huber", "tikhonov", "tv", "none"] | None = None,
    positive: bool | None = None,
    pixfrac: float | None = None,
    kernel: Literal["square", "point", "turbo", "gaussian", "lanczos2", "lanczos3"] | None = None,
    deconvolve: bool = False,
    psf: InputPath | None = None,
    reference: int | str = "auto",
    register: Literal["auto", "wcs", "stars", "phase", "planetary"] = "auto",
    model: Literal["auto", "shift", "euclidean", "similarity", "affine", "wcs"] = "auto",
    keep_best: str | float | None = None,
    background: Literal["auto", "offset", "plane", "mesh", "none"] = "auto",
    strict: bool = False,
    context: bool = False,
    spacing: float | None = None,
    mask: InputPath | list[InputPath] | None = None,
    slice_thickness: float | list[float] | None = None,
    slice_profile: str | None = None,
    volume: int | list[int] | None = None,
    no_registration: bool = False,
    no_slice_motion: bool = False,
    weight: bool = False,
    device: str = "auto",
    contact_sheet: bool = True,
    report: bool = False,
    seed: int | None = None,
) -> Product:
    """Fuse the item's frames, or its stacks of slices, into one image, as ``scisr fuse`` does.

    Research use only, not for diagnosis.

    Parameters
    ----------
    scale : number or str
        Frames: 2, 1.5, "3/2", "rows,columns"; 1 keeps the grid.
    method : str
        Frames. map: the likeliest scene, any warp; spectral: closed form for shifts; drizzle; mean and median:
        shift-and-add; ibp, pocs: for study.
    prior : str
        What a likely scene is (map; stacks).
    positive : bool
        Frames: the scene is nowhere negative (map, pocs).
    pixfrac : float
        Frames: side of a drop in native pixels (drizzle).
    kernel : str
        Frames: shape of a drop (drizzle).
    deconvolve : bool
        Frames: reduce the blur of the optics too.
    psf : str
        Frames: image of a star below the inputs, sampled like the result, for deconvolve.
    reference : number or str
        Frames: auto (a sharp one), a frame's number from 0, or its name.
    register : str
        Frames: where the first guess of their places comes from. A step register before decides, if this is auto.
    model : str
        Frames: what may differ between them.
    keep_best : number or str
        Frames: use the sharpest only, 30%.
    background : str
        Frames: shape of the sky that is matched between them.
    strict : bool
        Frames: fail at the first one that can't be used.
    context : bool
        Frames: write which contribute to each pixel.
    spacing : float
        Stacks: voxel size of the result in mm; the finest in-plane spacing by default.
    mask : str or list of str
        Stacks: what to use of them (not 0), below the inputs; for each in their order, or for the first.
    slice_thickness : float or list of float
        Stacks: width of the slices in mm, where the header does not say or is wrong.
    slice_profile : str
        Stacks: gaussian (default), rect, sinc, or a file below the inputs with two columns, mm and weight.
    volume : int or list of int
        Stacks that hold several volumes: which one, from 0.
    no_registration : bool
        Stacks: take the headers' word for where they lie.
    no_slice_motion : bool
        Stacks may have moved, single slices not.
    weight : bool
        Stacks: write NAME_weight too.
    device : str
        auto, cpu, cuda, cuda:N or mps.
    contact_sheet : bool
        Put a picture NAME.png into the output folder.
    report : bool
        Put a page on how good the fusion is, NAME.html, into the output folder.
    seed : int
        Stacks: of the random numbers; the item's by default.

    Raises
    ------
    SciSRError
        Naming the file, what is wrong and what to do.
    """
    from sciSR.workflow.stack_inputs import find_stacks

    given = {name: value for name, value in locals().items() if name not in ("work", "find_stacks")}
    product, paths = work.product, list(work.product.files)
    if not paths:
        raise UsageError("there is no file to fuse", where=work.key)
    options = sequence_options(product)
    known = [name for name in options if name not in CALIBRATION]
    stacks = find_stacks(paths, {name: options[name] for name in known})
    if stacks is None:
        _refuse(given, OF_STACKS, "stacks of slices, and these are frames")
        return _fuse_frames(work, given)
    _refuse(given, OF_FRAMES, "frames, and these are stacks of slices")
    if len(known) < len(options):
        raise UsageError("stacks of slices are not calibrated", where=work.key, remedy="skip 'calibrate'")
    return _fuse_stacks(work, given, stacks)


def _refuse(given: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    parameters = inspect.signature(fuse).parameters
    for name in names:
        if given[name] != parameters[name].default:
            raise UsageError(f"'{name}' is for {what}", remedy="leave it out")


def _fuse_frames(work: Work, given: Mapping[str, Any]) -> Product:
    from sciSR.inference.choose import parse_scale
    from sciSR.workflow.fusing import fuse_files

    product = work.product
    target = target_of(work, _suffix(product.files[0], "write_fused"))
    own = {name: given[name] for name in ("reference", "register", "model")}
    handed = dict.fromkeys(("sequence", "registration"))
    if set(own.values()) == {"auto"}:
        handed = {name: product.state.get(name) for name in handed}
    outcome = fuse_files(
        product.files,
        target,
        scale=parse_scale(given["scale"], native=True),
        method=given["method"],
        contact_sheet=given["contact_sheet"],
        report=given["report"],
        strict=given["strict"],
        options=sequence_options(product),
        progress=work.progress,
        **{name: given[name] for name in ("background", "device", "deconvolve", "context")},
        **own,
        **_of_method(work, given),
        **handed,
    )
    [image, *_] = images_of(target, {})
    steps = image.provenance.steps
    told = outcome.as_dict()
    record = {name: told[name] for name in ("shape_in", "shape_out", "frames", "used", "settings")}
    record |= {"left_out": told["left_out"][:NAMED], "measured": _small(told["measured"])}
    return _product(work, target, outcome.outputs, record, (*outcome.warnings, *outcome.notes), steps)


def _of_method(work: Work, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that only some methods have, those that were given."""
    if given["psf"] is not None and not given["deconvolve"]:
        raise UsageError("'psf' is used by 'deconvolve' only", remedy="give 'deconvolve: true' too")
    found: dict[str, Any] = {"keep_best": share(given["keep_best"])}
    if given["psf"] is not None:
        found["psf"] = input_file(work, given["psf"], "psf")
    for name, methods in OF_METHODS.items():
        if given[name] is None:
            continue
        if given["method"] not in methods:
            raise UsageError(
                f"'{name}' means nothing to the method {given['method']}",
                remedy=f"leave it out, or use {' or '.join(methods)}",
            )
        found[name] = given[name]
    return found


def _fuse_stacks(work: Work, given: Mapping[str, Any], stacks: list[Any]) -> Product:
    from sciSR.workflow.fusing_stacks import fuse_stack_files

    target = target_of(work, _suffix(work.product.files[0], "writes_volumes"))
    masks = [given["mask"]] if isinstance(given["mask"], str) else given["mask"] or []
    profile = given["slice_profile"] or "gaussian"
    file = work.input / profile
    outcome = fuse_stack_files(
        stacks,
        target,
        masks=[input_file(work, each, "mask") for each in masks],
        weight=given["weight"],
        contact_sheet=given["contact_sheet"],
        report=given["report"],
        progress=work.progress,
        spacing=given["spacing"],
        slice_thickness=given["slice_thickness"],
        slice_profile=file if file.is_file() else profile,
        volume=given["volume"],
        register=not given["no_registration"],
        slice_motion=not given["no_slice_motion"],
        prior=given["prior"] or "auto",
        seed=given["seed"] or 0,
        device=given["device"],
    )
    told = outcome.as_dict()
    record = {name: told[name] for name in ("shape_out", "spacing_mm", "settings")}
    names = ("name", "direction", "motion", "gain", "slices", "down_weighted")
    record["stacks"] = [{name: stack[name] for name in names} for stack in told["stacks"][:NAMED]]
    record["measured"] = _small(told["measured"])
    [image, *_] = images_of(target, {})
    return _product(
        work, target, outcome.outputs, record, (*outcome.warnings, *outcome.notes), image.provenance.steps
    )


def _product(
    work: Work, target: Path, outputs: Any, record: Mapping[str, Any], messages: tuple[str, ...], steps: Any
) -> Product:
    """Pictures and pages are about the fusion, and are ready; deviations and records belong to the image."""
    pictures = [outputs.contact_sheet, outputs.report, getattr(outputs, "report_json", None)]
    ready = {
        str(Path(work.name).parent / path.name): path
        for path in pictures
        if path is not None and path.exists()
    }
    others = [path for path in outputs.all() if path != target and path not in ready.values()]
    kind = "frames" if hasattr(outputs, "report_json") else "stacks"
    state = {"steps": tuple(steps), "fused": kind, "fused_of": pixels(work.product)}
    if steps and steps[-1].get("reference"):
        state["reference"] = str(steps[-1]["reference"])
    return replace(
        work.product,
        files=(target,),
        sequence=False,
        options=still_fitting(target, sequence_options(work.product)),
        beside=tuple(path for path in others if path.exists()),
        ready=ready,
        record=plain(record),
        messages=tuple(dict.fromkeys(messages)),
        state=state,
    )


def _suffix(first: Path, ability: str) -> str:
    """Of the first file's format if it can hold the result, else of the first that can."""
    from sciSR.plugins import adapter_for, adapters

    own = adapter_for(first)
    able = [each for each in (own, *adapters().values()) if getattr(each, ability, None)]
    if not able:
        raise UsageError("no installed format can hold a fusion", where=first)
    chosen: Adapter = able[0]
    return suffix_of(chosen, first if chosen is own else Path(f"x{chosen.suffixes[0]}"))


def _small(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Single numbers and words, without curves."""
    found: dict[str, Any] = {}
    for name, value in measured.items():
        if isinstance(value, Mapping):
            inner = _small(value)
            if inner:
                found[name] = inner
        elif isinstance(value, str | int | float | bool):
            found[name] = value
    return found
