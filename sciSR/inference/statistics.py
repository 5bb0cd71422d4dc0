"""Statistics of a whole image: a sample of its good pixels, read once, block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sciSR.errors import UnsupportedError
from sciSR.image import Image

MAX_SAMPLE = 1_000_000
_BAND_BYTES = 32 << 20


@dataclass(frozen=True)
class Sample:
    """Good pixels spread evenly over the whole image, and how many are bad.

    Attributes
    ----------
    values : ndarray, 1-D, float64
        Every pixel for images up to a million; beyond that every k-th along both spatial axes, of all planes.
    n_bad : int
        NaN, infinite or masked pixels in the whole image.
    n_pixels : int
    """

    values: np.ndarray
    n_bad: int
    n_pixels: int


def plane_indices(image: Image) -> list[tuple[slice | int, ...]]:
    """One index per plane along the spatial axes, in storage order of the other axes."""
    spatial = image.spatial_axes
    outer = tuple(1 if axis in spatial else n for axis, n in enumerate(image.shape))
    return [
        tuple(slice(None) if axis in spatial else int(i) for axis, i in enumerate(index))
        for index in np.ndindex(*outer)
    ]


def read_rows(
    image: Image,
    plane: tuple[slice | int, ...],
    rows: slice,
    what: str = "data",
    columns: slice = slice(None),
) -> np.ndarray:
    """Rows (the first spatial axis) of one plane in the file's values, of full width or some columns."""
    first, second = image.spatial_axes
    index = tuple(
        rows if axis == first else columns if axis == second else entry for axis, entry in enumerate(plane)
    )
    return np.asarray(getattr(image, what)[index])


def bad_pixels(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """True where a pixel can't be used: not finite, or masked."""
    bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
    return bad if mask is None else bad | mask.astype(bool)


def sample(image: Image, limit: int = MAX_SAMPLE) -> Sample:
    """Read the whole image once and keep an evenly spread sample of its good pixels.

    Raises
    ------
    UnsupportedError
        Complex or structured pixels.
    """
    if image.dtype.kind not in "fiub":
        raise UnsupportedError(
            f"pixels of type {image.dtype} can't be upscaled",
            where=image.where,
            remedy="give the magnitude, or one channel",
        )
    first, second = image.spatial_axes
    rows, columns = image.shape[first], image.shape[second]
    planes = plane_indices(image)
    stride = max(1, math.ceil(math.sqrt(len(planes) * rows * columns / limit)))
    height = max(1, _BAND_BYTES // max(1, columns * 8))
    kept, n_bad = [], 0
    for plane in planes:
        for start in range(0, rows, height):
            band = slice(start, min(start + height, rows))
            values = read_rows(image, plane, band)
            mask = None if image.mask is None else read_rows(image, plane, band, "mask")
            bad = bad_pixels(values, mask)
            n_bad += int(np.count_nonzero(bad))
            phase = -start % stride
            good = ~bad[phase::stride, ::stride]
            kept.append(values[phase::stride, ::stride][good].astype(np.float64))
    return Sample(np.concatenate(kept) if kept else np.empty(0), n_bad, len(planes) * rows * columns)
