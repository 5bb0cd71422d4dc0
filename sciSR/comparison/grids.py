"""Whether two images lie on one grid, and by how much they miss each other if not."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UsageError
from sciSR.grid import AffineGrid, Grid, PixelGrid
from sciSR.image import Image
from sciSR.metrics.pixel_scale import pixel_scale

TOLERANCE = 0.01
"""Pixels that corners may lie apart: less than any measure here can see."""


def check_same_grid(truth: Image, image: Image) -> str | None:
    """Check that an image's pixels are the truth's.

    Returns
    -------
    str or None
        What could not be checked, in a line.

    Raises
    ------
    UsageError
        They are not; saying by how much.
    """
    if not _has_world(truth.grid) or not _has_world(image.grid):
        if truth.shape != image.shape:
            raise _other_shape(truth, image, "")
        if _has_world(truth.grid) == _has_world(image.grid):
            return None
        silent = image if _has_world(truth.grid) else truth
        return f"{silent.where} does not tell where it lies; taken to lie on the other's pixels"
    if len(truth.shape) != len(image.shape):
        raise _other_shape(truth, image, "")
    apart = _apart(truth, image)
    if truth.shape == image.shape and float(np.abs(apart).max()) <= TOLERANCE:
        return None
    if truth.shape != image.shape:
        raise _other_shape(truth, image, _field(truth, image))
    middle, worst = apart[-1], float(np.linalg.norm(apart, axis=-1).max())
    shift = ", ".join(f"{v + 0.0:+.3g}" for v in np.round(middle, 4))
    size = pixel_scale(truth)
    physical = (
        f" ({float(np.linalg.norm([middle[a] for a in truth.spatial_axes])) * size.mean:.3g} {size.unit})"
        if size.known
        else ""
    )
    raise UsageError(
        f"lies on another grid than {truth.where}: its centre is {shift} pixels off{physical}, "
        f"its corners by up to {worst:.3g}",
        where=image.where,
        remedy="register it, or give --resample",
    )


def is_part_of(truth: Image, image: Image) -> bool:
    """Whether an image is smaller than the truth and lies on whole pixels of it: a cutout, or without a last row.

    One of the same size that lies some pixels off is none: most likely its header is wrong.
    """
    if not _has_world(truth.grid) or not _has_world(image.grid) or len(truth.shape) != len(image.shape):
        return False
    if truth.shape == image.shape or any(n > m for n, m in zip(image.shape, truth.shape, strict=True)):
        return False
    offset = _apart(truth, image)
    same = np.abs(offset - np.round(offset[-1])).max() <= TOLERANCE
    low, high = np.round(offset[-1]), np.array(truth.shape) - np.array(image.shape)
    return bool(same and (low >= 0).all() and (low <= high).all())


def indices_of(truth: Image, image: Image, index: NDArray) -> NDArray[np.float64]:
    """Where the truth's pixels lie in an image.

    Parameters
    ----------
    truth, image : Image
    index : ndarray, (..., truth's axes)

    Returns
    -------
    ndarray, (..., image's axes)

    Raises
    ------
    UsageError
        The two grids have no world in common.
    """
    if _has_world(truth.grid) and _has_world(image.grid):
        return _index(image.grid, _world(truth.grid, index), len(image.shape))
    if len(truth.shape) != len(image.shape):
        raise _other_shape(truth, image, "")
    # Without a world, both cover the same field, edge to edge.
    ratio = np.array(image.shape) / np.array(truth.shape)
    return (np.asarray(index, np.float64) + 0.5) * ratio - 0.5


def _has_world(grid: Grid) -> bool:
    if isinstance(grid, PixelGrid):
        return False
    told = grid.describe()
    return told.get("type") != "wcs" or any(str(kind).strip() for kind in told.get("ctype", []))


def _world(grid: Grid, index: NDArray) -> NDArray[np.float64]:
    if isinstance(grid, AffineGrid):  # NIfTI's and DICOM's worlds point to opposite sides
        return grid.toward("RAS+").world(index)
    return np.asarray(grid.world(index), np.float64)


def _index(grid: Grid, world: NDArray, ndim: int) -> NDArray[np.float64]:
    try:
        grid = grid.toward("RAS+") if isinstance(grid, AffineGrid) else grid
        found = np.asarray(grid.index(world), np.float64)
    except (ValueError, IndexError) as error:
        raise UsageError(f"the two grids have no world in common ({error})") from error
    return found[..., :ndim]


def _corners(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Corner pixels and the centre, last."""
    ends = [(0.0, n - 1.0) for n in shape]
    return np.array([*itertools.product(*ends), tuple((n - 1) / 2 for n in shape)])


def _apart(truth: Image, image: Image) -> NDArray[np.float64]:
    """How far the image's corners and centre lie from where the truth has the same, in the truth's pixels."""
    own = _corners(image.shape)
    there = _index(truth.grid, _world(image.grid, own), len(truth.shape))
    if own.shape != there.shape:
        return np.full((len(own), len(truth.shape)), math.inf)
    apart = there - own
    if len(truth.shape) > 3 and isinstance(truth.grid, AffineGrid):
        apart[:, 3:] = 0.0  # time and the like have no place in the world
    # Far from its reference point a projection may have no value: what lies there can't be compared, nor differ.
    return (
        np.where(np.isfinite(apart), apart, 0.0) if np.isfinite(apart).any() else np.full_like(apart, np.inf)
    )


def _field(truth: Image, image: Image) -> str:
    """Whether the two cover the same field all the same."""
    if len(truth.shape) != len(image.shape):
        return ""
    edges = np.array([[-0.5] * len(image.shape), [n - 0.5 for n in image.shape]])
    there = _index(truth.grid, _world(image.grid, edges), len(truth.shape))
    wanted = np.array([[-0.5] * len(truth.shape), [n - 0.5 for n in truth.shape]])
    apart = np.abs(there - wanted)[:, list(truth.spatial_axes)]
    if not np.isfinite(apart).all():
        return ""
    worst = float(apart.max())
    return " of the same field" if worst <= 0.5 else f"; its edges lie up to {worst:.3g} pixels apart"


def _other_shape(truth: Image, image: Image, field: str) -> UsageError:
    own, other = ("x".join(map(str, each.shape)) for each in (image, truth))
    remedy = "give --resample" if len(truth.shape) == len(image.shape) else "choose the part to compare"
    return UsageError(f"has {own} pixels, {truth.where} has {other}{field}", where=image.where, remedy=remedy)
