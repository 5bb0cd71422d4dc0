"""Ring and shell correlation of two images of a file: of a plane, or of a block of a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sciSR.comparison.field import Field
from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.metrics.pixel_scale import PixelScale, pixel_scale
from sciSR.metrics.resolution import Threshold, curve_report, fourier_ring_correlation
from sciSR.metrics.shells import central_block, fourier_shell_correlation

MOST_VOXELS = 160**3
MOST_SIDE = 4096
ALL = "all"


@dataclass(frozen=True)
class Resolved:
    """Correlation of an image with the truth, or with another half.

    Attributes
    ----------
    kind : {"ring", "shell"}
    curves : mapping of str to mapping
        By direction ("all", or the name of an axis), JSON-ready; see
        :func:`sciSR.metrics.resolution.curve_report`.
    length_unit : str
    where : str
        What of the image was looked at, in a few words.
    """

    kind: str
    curves: dict[str, dict[str, Any]]
    length_unit: str
    where: str

    def period(self, threshold: Threshold, direction: str = ALL) -> float:
        """Length of the finest wave in common, in `length_unit`; NaN where there is none."""
        if direction not in self.curves:
            return math.nan
        value = self.curves[direction]["resolution"][threshold]["period"]
        return math.nan if value is None else float(value)

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "length_unit": self.length_unit,
            "of": self.where,
            "curves": self.curves,
        }


def volume_axes(image: Image) -> tuple[int, ...]:
    """The three axes of a volume in space with enough slices for shells; empty for planes."""
    across = image.slice_axis
    if across is None or image.shape[across] < 8:
        return ()
    return (0, 1, 2)


def resolve(field: Field, thresholds: Sequence[Threshold]) -> list[Resolved | str]:
    """Each image of a field against the truth, or why that can't be said.

    Parameters
    ----------
    field : Field
    thresholds : sequence of str
    """
    axes = volume_axes(field.truth)
    volume = bool(axes) and all(field.shape[axis] >= 8 for axis in axes)
    return _volume(field, axes, thresholds) if volume else _plane(field, thresholds)


def _plane(field: Field, thresholds: Sequence[Threshold]) -> list[Resolved | str]:
    scale = pixel_scale(field.truth)
    spatial = field.truth.spatial_axes
    index = list(field.planes[len(field.planes) // 2])
    cut = min(field.plane_shape) > MOST_SIDE or math.prod(field.plane_shape) > MOST_SIDE**2
    if cut:
        block = central_block(field.plane_shape, MOST_SIDE**2)
        for axis, span in zip(spatial, block, strict=True):
            start = field.region[axis].start or 0
            index[axis] = slice(start + span.start, start + span.stop)
    read = field.read(tuple(index))
    where = "the central plane" if len(field.planes) > 1 else "the plane"
    where += f", central {read.truth.shape[0]} x {read.truth.shape[1]} pixels" if cut else ""
    out: list[Resolved | str] = []
    for image in read.images:
        try:
            curve = fourier_ring_correlation(read.truth, image, spacing=scale.sizes)
        except UsageError as error:
            out.append(error.what)
            continue
        limit = 0.5 / min(scale.sizes)
        told = curve_report(curve, limit=limit, length_unit=scale.unit, thresholds=thresholds)
        out.append(Resolved("ring", {ALL: told}, scale.unit, where))
    return out


def _volume(field: Field, axes: Sequence[int], thresholds: Sequence[Threshold]) -> list[Resolved | str]:
    scale: PixelScale = pixel_scale(field.truth, axes)
    sides = tuple(field.shape[axis] for axis in axes)
    block = central_block(sides, MOST_VOXELS)
    index: list[slice | int] = [
        (span.start or 0) + n // 2 for span, n in zip(field.region, field.shape, strict=True)
    ]
    for axis, span in zip(axes, block, strict=True):
        start = field.region[axis].start or 0
        index[axis] = slice(start + span.start, start + span.stop)
    read = field.read(tuple(index))
    shape = read.truth.shape
    where = "the volume" if shape == sides else f"the central {' x '.join(map(str, shape))} voxels"
    if math.prod(field.shape) > math.prod(sides):
        where += " of the middle one"
    names = [field.truth.axes[axis] for axis in axes]
    out: list[Resolved | str] = []
    for image in read.images:
        try:
            found = fourier_shell_correlation(read.truth, image, spacing=scale.sizes, length_unit=scale.unit)
        except UsageError as error:
            out.append(error.what)
            continue
        out.append(Resolved("shell", found.as_dict(names, thresholds)["curves"], scale.unit, where))
    return out
