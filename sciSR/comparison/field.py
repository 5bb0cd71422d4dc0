"""A truth and images on its grid, read plane by plane with what counts in all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UnsupportedError, UsageError
from sciSR.image import Image, LazyArray

Index = tuple[slice | int, ...]

MOST_PIXELS = 16 << 20
"""Of a plane that is looked at whole; of a larger one sums are taken of all, band by band, the rest of its middle."""
_SAMPLE = 1 << 21
_SAMPLED_PLANES = 16


class Block(NamedTuple):
    """Pixels of the truth and of all images, float64 ``[H, W]``, NaN where any of them has none that counts."""

    truth: NDArray[np.float64]
    images: list[NDArray[np.float64]]
    whole: bool
    """Whether it is a whole plane, or what stands for it."""
    summed: bool
    """Whether it has a part in sums: a window that stands for a plane has been summed already, in bands."""


@dataclass(frozen=True, eq=False)
class Field:
    """What is compared.

    Attributes
    ----------
    truth : Image
    images : tuple of Image
        Of the truth's shape.
    region : tuple of slice
        One per axis.
    mask : LazyArray, optional
        Not 0 where pixels count; of the truth's shape, or of one plane's.
    """

    truth: Image
    images: tuple[Image, ...]
    region: tuple[slice, ...]
    mask: LazyArray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels along each axis within the region."""
        return tuple(len(range(*s.indices(n))) for s, n in zip(self.region, self.truth.shape, strict=True))

    @property
    def plane_shape(self) -> tuple[int, int]:
        first, second = self.truth.spatial_axes
        return self.shape[first], self.shape[second]

    @cached_property
    def planes(self) -> list[Index]:
        """One index per plane within the region."""
        spans = [
            [span] if axis in self.truth.spatial_axes else range(*span.indices(n))
            for axis, (span, n) in enumerate(zip(self.region, self.truth.shape, strict=True))
        ]
        return list(itertools.product(*spans))

    def blocks(self, plane: Index) -> Iterator[Block]:
        """A plane; or of a very large one its bands of rows, then its middle."""
        rows, columns = self.plane_shape
        if rows * columns <= MOST_PIXELS:
            yield self.read(plane, whole=True)
            return
        first, second = self.truth.spatial_axes
        height = max(1, MOST_PIXELS // 4 // columns)
        top, left = (self.region[axis].start or 0 for axis in (first, second))
        for start in range(0, rows, height):
            band = slice(top + start, top + min(start + height, rows))
            yield self.read(_with(plane, {first: band}), whole=False)
        side = int(math.sqrt(MOST_PIXELS))
        middle = {
            axis: slice(at + max(0, (n - side) // 2), at + max(0, (n - side) // 2) + min(n, side))
            for axis, at, n in ((first, top, rows), (second, left, columns))
        }
        yield self.read(_with(plane, middle), whole=True, summed=False)

    def read(self, index: Index, *, whole: bool = True, summed: bool = True) -> Block:
        """Truth and images at one index, with NaN where any of them, or the mask, has a pixel that does not count."""
        values = [read_values(each, index) for each in (self.truth, *self.images)]
        good = np.logical_and.reduce([np.isfinite(each) for each in values])
        if self.mask is not None:
            good &= self._mask(index)
        values = [np.where(good, each, np.nan) for each in values]
        return Block(values[0], values[1:], whole, summed)

    def _mask(self, index: Index) -> NDArray[np.bool_]:
        assert self.mask is not None
        if len(self.mask.shape) != len(index):
            index = tuple(index[axis] for axis in self.truth.spatial_axes)
        found = np.asarray(self.mask[index])
        return np.isfinite(found) & (found != 0)

    def sample(self) -> NDArray[np.float64]:
        """Values of the truth that count, spread evenly over planes and pixels."""
        chosen = evenly(self.planes, _SAMPLED_PLANES)
        step = max(1, math.ceil(math.sqrt(len(chosen) * math.prod(self.plane_shape) / _SAMPLE)))
        kept = [
            found[np.isfinite(found)]
            for plane in chosen
            for block in self.blocks(plane)
            if block.summed
            for found in [block.truth[::step, ::step]]
        ]
        return np.concatenate(kept) if kept else np.zeros(0)


def read_values(image: Image, index: Index) -> NDArray[np.float64]:
    """Pixels as float64, NaN where bad."""
    values = np.array(image.data[index], np.float64)
    if image.mask is not None:
        values[np.asarray(image.mask[index], bool)] = np.nan
    values[~np.isfinite(values)] = np.nan
    return values


def evenly(items: Sequence[Index], most: int) -> list[Index]:
    """At most so many, spread evenly."""
    if len(items) <= most:
        return list(items)
    return [items[round((k + 0.5) * len(items) / most - 0.5)] for k in range(most)]


def _with(index: Index, changes: dict[int, slice]) -> Index:
    return tuple(changes.get(axis, entry) for axis, entry in enumerate(index))


def check_kind(image: Image) -> None:
    """Refuse what errors and correlations mean nothing for.

    Raises
    ------
    UnsupportedError
        Labels, phases, complex or structured pixels.
    """
    if image.kind not in ("intensity", "probability"):
        raise UnsupportedError(
            f"images of {image.kind} are not compared by these measures", where=image.where
        )
    if image.dtype.kind not in "fiub":
        raise UnsupportedError(
            f"pixels of type {image.dtype} can't be compared", where=image.where, remedy="give the magnitude"
        )


def parse_region(text: str | None, image: Image) -> tuple[slice, ...]:
    """``"100:400,:256"``: ranges of pixels, first included, last not, along the spatial axes, or one per axis.

    Raises
    ------
    UsageError
        No such ranges, or one that holds no pixel.
    """
    whole = tuple(slice(0, n) for n in image.shape)
    if text is None:
        return whole
    parts = [part.split(":") for part in text.replace(" ", "").split(",")]
    axes = range(len(image.shape)) if len(parts) == len(image.shape) else image.spatial_axes
    axes = list(axes)
    try:
        if len(parts) != len(axes):
            raise ValueError
        spans = []
        for part in parts:
            start, stop = part if len(part) == 2 else (part[0], str(int(part[0]) + 1))
            spans.append(slice(int(start) if start else None, int(stop) if stop else None))
    except ValueError:
        names = ", ".join(image.axes)
        raise UsageError(
            f"{text!r} is no region of an image with axes {names}",
            remedy="give A:B,C:D in pixels from 0, for the plane or for all axes",
        ) from None
    out = list(whole)
    for axis, span in zip(axes, spans, strict=True):
        start, stop, _ = span.indices(image.shape[axis])
        if stop <= start:
            raise UsageError(
                f"the region {text!r} holds no pixel along {image.axes[axis]} (0:{image.shape[axis]})",
                where=image.where,
            )
        out[axis] = slice(start, stop)
    return tuple(out)
