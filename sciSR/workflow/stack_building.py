"""From images to what the fusion takes: stacks with a thickness, a profile, and voxels that are known to be bad."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRWarning, UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.workflow.stack_geometry import MILLIMETRES, Placed, check_overlap, match, place, warn_of_parallel
from sciSR.workflow.stack_names import distinct_names

if TYPE_CHECKING:
    from sciSR.stacks import Stack

PROFILES = ("rect", "gaussian", "sinc")
_KINDS = {
    "labels": ("a label map", "fuse the images it was drawn on, and segment the result"),
    "probability": ("a probability map", "fuse the images it was made of"),
    "phase": ("a phase, whose wraps can't be averaged", "fuse magnitudes"),
}


def build_stacks(
    images: Sequence[Image],
    *,
    masks: Sequence[Image | None] = (),
    volume: int | Sequence[int] | None = None,
    thickness: float | Sequence[float] | None = None,
    profile: str | Any = "gaussian",
) -> list[Stack]:
    """Stacks of images, checked: what they are, where they lie, and that they belong together.

    Parameters
    ----------
    images : sequence of Image
        Two volumes of slices or more, in any order of axes, RAS+ or LPS+, in mm, m or um.
    masks : sequence of Image or None
        What to use of each stack (not 0), in the order of the stacks; fewer masks than stacks leave the rest whole.
    volume : int or sequence of int, optional
        Of images that hold several volumes, from 0; one for all or one each.
    thickness : float or sequence of float, optional
        Full width at half maximum of the slices in mm; one for all or one each. Taken from the header where None.
    profile : str or table
        Their shape: "rect", "gaussian", "sinc"; or distances in mm and weights, as two sequences.

    Returns
    -------
    list of Stack
        float32, axes named x, y, z in this order, affine to RAS+ mm.

    Raises
    ------
    UsageError
        Fewer than two stacks; more masks, volumes or thicknesses than stacks.
    UnsupportedError
        No intensities, a single slice, several volumes and none chosen, nothing but bad voxels or one value.
    GeometryError
        A mask on another grid than its stack; a stack that does not overlap the first.
    """
    if len(images) < 2:
        raise UsageError(
            "one stack of slices: nothing to fuse it with",
            where=images[0].where if images else None,
            remedy="use scisr upscale --isotropic",
        )
    volumes = _each(volume, len(images), "volume")
    widths = _each(thickness, len(images), "slice thickness")
    if len(masks) > len(images):
        raise UsageError(
            f"{len(masks)} masks for {len(images)} stacks", remedy="give one for each stack, or for the first"
        )
    for image in images:
        _check_kind(image)
    placed = [place(image, which) for image, which in zip(images, volumes, strict=True)]
    for each in placed:
        _check_slices(each)
    check_overlap(placed)
    warn_of_parallel(placed)
    wanted = [*masks, *[None] * (len(images) - len(masks))]
    regions = [None if m is None else _region(m, p) for m, p in zip(wanted, placed, strict=True)]
    names = distinct_names(images)
    return [
        _stack(each, region, thickness_mm(each, width), profile, name)
        for each, region, width, name in zip(placed, regions, widths, names, strict=True)
    ]


def _each(value: Any, count: int, what: str) -> list[Any]:
    """One value a stack."""
    values = [value] if value is None or isinstance(value, int | float) else list(value)
    if len(values) in (0, 1):
        return [values[0] if values else None] * count
    if len(values) != count:
        raise UsageError(
            f"a {what} was given {len(values)} times for {count} stacks", remedy="give one, or one for each"
        )
    return values


def _check_kind(image: Image) -> None:
    if image.kind in _KINDS:
        name, remedy = _KINDS[image.kind]
        raise UnsupportedError(f"is {name}, not an image to fuse", where=image.where, remedy=remedy)
    if image.dtype.kind == "c":
        raise UnsupportedError(
            "holds complex values", where=image.where, remedy="fuse magnitudes: give --complex magnitude"
        )


def _check_slices(stack: Placed) -> None:
    count = stack.shape[stack.slice_axis]
    if count < 2:
        raise UnsupportedError("is a single slice, no stack", where=stack.image.where, remedy="leave it out")
    if min(stack.shape) < 2:
        raise UnsupportedError(
            f"is a volume of {' x '.join(map(str, stack.shape))} voxels: too thin to place",
            where=stack.image.where,
            remedy="leave it out",
        )


def thickness_mm(stack: Placed, given: float | None = None) -> float:
    """Width of the slices in mm: as given, as the header says, or else their distance, with a warning.

    Raises
    ------
    UsageError
        A width that is given and not above 0.
    """
    where, spacing = stack.image.where, float(stack.spacing[stack.slice_axis])
    if given is not None:
        if not (math.isfinite(given) and given > 0):
            raise UsageError(f"a slice thickness of {given:g} mm", where=where, remedy="give a width above 0")
        return float(given)
    unit = getattr(stack.image.grid, "unit", "mm")
    header = stack.image.slice_thickness
    if header is not None and math.isfinite(header) and header > 0:
        return float(header) * MILLIMETRES[unit]
    warnings.warn(
        f"{where}: the thickness of its slices is not known; their distance is taken, {spacing:.4g} mm "
        "(--slice-thickness says otherwise)",
        SciSRWarning,
        stacklevel=3,
    )
    return spacing


def _region(mask: Image, stack: Placed) -> NDArray[np.bool_]:
    """Which voxels of a stack to use."""
    if mask.dtype.kind == "c":
        raise UnsupportedError("a mask is not complex", where=mask.where)
    values = match(place(mask), stack).values()
    region = np.isfinite(values) & (values != 0) if values.dtype.kind == "f" else values != 0
    if not region.any():
        raise UnsupportedError(
            f"the mask leaves nothing of {stack.image.where}: it is 0 everywhere", where=mask.where
        )
    return region


def _stack(
    placed: Placed, region: NDArray[np.bool_] | None, thickness: float, profile: Any, name: str
) -> Stack:
    from sciSR.stacks import Stack

    values = np.ascontiguousarray(placed.values(), dtype=np.float32)
    bad = placed.bad() | ~np.isfinite(values)
    if region is not None:
        bad |= ~region
    good = values[~bad]
    if good.size == 0:
        raise UnsupportedError("has no good voxel", where=placed.image.where, remedy="leave it out")
    if good.min() == good.max():
        raise UnsupportedError(
            f"is {good[0]:g} everywhere: nothing to fuse", where=placed.image.where, remedy="leave it out"
        )
    values = np.where(np.isfinite(values), values, np.float32(0))
    if not isinstance(profile, str):
        profile = table_in_widths(profile, thickness)
    return Stack(
        data=values,
        affine=placed.affine,
        slice_axis=placed.slice_axis,
        thickness=thickness,
        profile=profile,
        bad=bad if bad.any() else None,
        name=name,
    )


def table_in_widths(profile: Any, thickness: float) -> Any:
    """A measured profile, distances in mm, as a table in units of the thickness."""
    from sciSR.forward.slice_sampling import table_of

    distance, weight = (np.asarray(column, float) for column in profile)
    return table_of((distance / thickness).tolist(), weight.tolist())


def described(stack: Stack) -> Mapping[str, Any]:
    """A stack in plain numbers, for the record."""
    spacing = np.linalg.norm(np.asarray(stack.affine)[:3, :3], axis=0)
    return {
        "name": stack.name,
        "shape": [int(n) for n in stack.data.shape],
        "spacing_mm": [round(float(d), 6) for d in spacing],
        "slice_axis": int(stack.slice_axis),
        "slice_thickness_mm": float(stack.thickness),
    }
