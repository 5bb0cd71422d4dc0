"""Which grid an isotropic volume has: equal spacing along all three axes, over exactly the field of the slices."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sciSR.errors import GeometryError, NothingToDo, SciSRWarning, UsageError
from sciSR.grid import AffineGrid
from sciSR.image import Image

MILLIMETRES = {"mm": 1.0, "m": 1e3, "um": 1e-3}
SAME = 0.02
"""Spacings that differ by less than this, relatively, are equal: in-plane pixels are then left alone."""
SHEAR = 0.01
"""Sideways step from slice to slice at most, in units of their distance (0.6 degrees): more is a tilt."""
MOST = 64
"""Thin slices for each thick one at most."""
THICKEST = 3.0
"""Slice thickness over spacing at most: beyond it noise would be amplified a hundredfold, or a header is wrong."""


@dataclass(frozen=True)
class Target:
    """What changes along each axis of the data.

    Attributes
    ----------
    in_plane : pair of Fraction
        Factors along the two axes of a slice, in data order; below 1 where pixels become larger.
    across : Fraction
        Thin slices for each thick one.
    before, after : tuple of three float
        Spacing in mm along the first slice axis, the second, and across the slices.
    """

    in_plane: tuple[Fraction, Fraction]
    across: Fraction
    before: tuple[float, float, float]
    after: tuple[float, float, float]

    def message(self) -> str:
        """The change of spacing in a line."""
        return f"{_text(self.before)} -> {_text(self.after)} mm (in the plane, across)"


def _text(spacing: tuple[float, float, float]) -> str:
    return " x ".join(f"{d:.4g}" for d in spacing)


def target_of(image: Image, spacing: float | None = None) -> Target:
    """The isotropic grid of a volume.

    Parameters
    ----------
    image : Image
        With an `AffineGrid` and an axis across its slices.
    spacing : float, optional
        In mm; the finest of the three by default.

    Raises
    ------
    GeometryError
        No volume, or only one slice.
    UsageError
        An impossible spacing.
    NothingToDo
        All spacings are equal to the target already.
    """
    axis = image.slice_axis
    if axis is None or not isinstance(image.grid, AffineGrid):
        raise GeometryError(
            "is no volume of parallel slices on one grid",
            where=image.where,
            remedy="leave --isotropic out to upscale slice by slice",
        )
    mm = MILLIMETRES.get(image.grid.unit, 1.0)
    d = image.grid.spacing * mm
    first, second = image.spatial_axes
    before = (float(d[first]), float(d[second]), float(d[axis]))
    shape = (image.shape[first], image.shape[second], image.shape[axis])
    if shape[2] < 2:
        raise GeometryError(
            "holds one slice: nothing is known across it",
            where=image.where,
            remedy="leave --isotropic out to upscale in the plane",
        )
    _check_no_shear(image, (first, second, axis))
    wish = min(before) if spacing is None else float(spacing)
    if not (math.isfinite(wish) and wish > 0):
        raise UsageError(f"a spacing of {wish:g} mm", remedy="give a length above 0, in mm")
    factors = tuple(_factor(n, each, wish) for n, each in zip(shape, before, strict=True))
    _check(image, before, wish, factors)
    after = tuple(each / float(f) for each, f in zip(before, factors, strict=True))
    return Target(factors[:2], factors[2], before, after)  # type: ignore[arg-type]


def _check_no_shear(image: Image, axes: tuple[int, int, int]) -> None:
    """Slices must follow each other along their normal, where their profile lies; a gantry tilt shears them."""
    columns = image.grid.affine[:3, :3].T  # type: ignore[attr-defined]
    first, second, step = (columns[axis] / np.linalg.norm(columns[axis]) for axis in axes)
    normal = np.cross(first, second)
    sideways = np.linalg.norm(np.cross(step, normal / np.linalg.norm(normal)))
    if sideways > SHEAR:
        raise GeometryError(
            f"its slices are sheared: each lies {np.degrees(np.arcsin(min(sideways, 1.0))):.2f} degrees off the line "
            "along their normal",
            where=image.where,
            remedy="resample it to straight slices first (dcm2niix does so for CT), or leave --isotropic out",
        )


def _factor(size: int, spacing: float, wish: float) -> Fraction:
    """A whole number of pixels over exactly the same field, as near to the wish as possible."""
    if abs(spacing / wish - 1) < SAME:
        return Fraction(1)
    return Fraction(max(1, math.floor(size * spacing / wish + 0.5)), size)


def _check(image: Image, before: tuple[float, ...], wish: float, factors: tuple[Fraction, ...]) -> None:
    if all(f == 1 for f in factors):
        raise NothingToDo(f"already isotropic ({_text(before)} mm): nothing to do", where=image.where)  # type: ignore[arg-type]
    if factors[2] < 1:
        raise UsageError(
            f"slices are {before[2]:.4g} mm apart, finer than the {wish:.4g} mm asked for",
            where=image.where,
            remedy=f"give --spacing {before[2]:.4g} or finer, or use scisr degrade for a coarser volume",
        )
    if max(factors) > MOST:
        raise UsageError(
            f"{wish:.4g} mm from {max(before):.4g} mm is more than {MOST} times finer",
            where=image.where,
            remedy="give a coarser --spacing",
        )


def all_factors(image: Image, in_plane: tuple[Fraction, Fraction], across: Fraction) -> tuple[Fraction, ...]:
    """One factor per axis of the data."""
    first, second = image.spatial_axes
    axis = image.slice_axis
    told = {first: in_plane[0], second: in_plane[1], axis: across}
    return tuple(told.get(k, Fraction(1)) for k in range(len(image.shape)))


def relative_thickness(image: Image, spacing: float, thickness: float | None) -> tuple[float, str]:
    """Width of the slice profile over the spacing of slices, and where it comes from.

    Parameters
    ----------
    image : Image
    spacing : float
        Of slices, mm.
    thickness : float, optional
        In mm; the image's own by default, the spacing if it has none.

    Raises
    ------
    UsageError
        A thickness that is no length.
    """
    told = thickness
    if told is None and image.slice_thickness is not None:
        told = image.slice_thickness * MILLIMETRES.get(getattr(image.grid, "unit", "mm"), 1.0)
    if told is None:
        return 1.0, f"slice thickness unknown: taken as the spacing, {spacing:.4g} mm"
    if not (math.isfinite(told) and told > 0):
        raise UsageError(f"a slice thickness of {told:g} mm", remedy="give a length above 0, in mm")
    relative = told / spacing
    if abs(relative - 1) < SAME:
        return 1.0, f"slices of {told:.4g} mm, contiguous"
    gap = f"gaps of {spacing - told:.3g} mm" if relative < 1 else f"overlapping by {told - spacing:.3g} mm"
    return float(np.round(relative, 6)), f"slices of {told:.4g} mm, {spacing:.4g} mm apart: {gap}"


def check_overlap(image: Image, thickness: float) -> None:
    """Refuse a profile so wide that nothing between the slices can be told.

    Parameters
    ----------
    image : Image
    thickness : float
        Over the spacing of slices.

    Raises
    ------
    UsageError
    """
    if thickness > THICKEST:
        raise UsageError(
            f"slices {thickness:.4g} times as thick as they are apart",
            where=image.where,
            remedy="give their width with --slice-thickness MM",
        )


def warn_of_overlap(image: Image, thickness: float) -> None:
    """Say that slices overlap so far that they are not reproduced exactly: see `SliceSampling.exact`."""
    warnings.warn(
        f"{image.where}: slices {thickness:.3g} times as thick as they are apart can't be undone exactly, and their "
        "noise is amplified",
        SciSRWarning,
        stacklevel=3,
    )
