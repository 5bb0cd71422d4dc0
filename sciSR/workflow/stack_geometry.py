"""Where stacks lie: one world for all, where two grids differ, which fields overlap, which way slices point."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import GeometryError, SciSRWarning, UnsupportedError, UsageError
from sciSR.grid import AffineGrid
from sciSR.image import Image

MILLIMETRES = {"mm": 1.0, "m": 1000.0, "um": 0.001, "unknown": 1.0}
"""One unit of a grid's world, in mm; a file that doesn't say is taken to mean mm, with a warning."""
SAME_PLACE = 0.05
"""Voxel centres of two grids that are apart by less, in voxels, are the same: headers round."""
_PARALLEL_DEG = 20.0


@dataclass(frozen=True, eq=False)
class Placed:
    """A volume's voxels and where they lie, with axes named x, y, z in this order where they have these names.

    Attributes
    ----------
    image : Image
    order : tuple of 3 int
        Of the image's first three axes.
    volume : tuple of int
        Indices along its further axes.
    affine : ndarray, shape (4, 4)
        Voxel index (in `order`) to world mm, RAS+.
    slice_axis : int
        Position in `order`.
    """

    image: Image
    order: tuple[int, ...]
    volume: tuple[int, ...]
    affine: NDArray[np.float64]
    slice_axis: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three axes."""
        x, y, z = (self.image.shape[axis] for axis in self.order)
        return x, y, z

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel size in mm along the three axes."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slices."""
        plane = np.delete(self.affine[:3, :3], self.slice_axis, axis=1)
        normal = np.cross(plane[:, 0], plane[:, 1])
        return normal / np.linalg.norm(normal)

    def values(self) -> NDArray:
        """The voxels, in `order`."""
        block = np.asarray(self.image.data[(slice(None),) * 3 + self.volume])
        return block.transpose(self.order)

    def bad(self) -> NDArray[np.bool_]:
        """What the file marks as bad, in `order`."""
        if self.image.mask is None:
            return np.zeros(self.shape, bool)
        block = np.asarray(self.image.mask[(slice(None),) * 3 + self.volume], bool)
        return block.transpose(self.order)


def place(image: Image, volume: int | None = None) -> Placed:
    """Put a volume into the one world of all stacks: RAS+, in mm.

    Parameters
    ----------
    image : Image
    volume : int, optional
        Which one to take where the image holds several (time, diffusion), from 0.

    Raises
    ------
    UnsupportedError
        No volume, several volumes and none chosen, more than four axes that are longer than 1.
    UsageError
        No such volume.
    """
    grid = image.grid
    if not isinstance(grid, AffineGrid) or image.slice_axis is None:
        raise UnsupportedError(
            "is no volume of slices in space",
            where=image.where,
            remedy="give stacks of parallel slices with a geometry in their headers",
        )
    scale = MILLIMETRES.get(grid.unit)
    if scale is None:
        raise UnsupportedError(
            f"its world is in {grid.unit}, not in mm, m or um", where=image.where, remedy="correct the header"
        )
    if grid.unit == "unknown":
        warnings.warn(
            f"{image.where}: does not name its unit of length; mm is taken", SciSRWarning, stacklevel=3
        )
    affine = grid.toward("RAS+").affine.copy()
    affine[:3] *= scale
    names = [image.axes[axis] for axis in range(3)]
    order = (
        tuple(sorted(range(3), key=lambda axis: names[axis])) if sorted(names) == list("xyz") else (0, 1, 2)
    )
    return Placed(image, order, _which(image, volume), affine[:, [*order, 3]], order.index(image.slice_axis))


def _which(image: Image, volume: int | None) -> tuple[int, ...]:
    """Indices along the axes beyond the third."""
    further = image.shape[3:]
    long = [axis for axis in range(3, len(image.shape)) if image.shape[axis] > 1]
    sizes = " x ".join(f"{image.shape[axis]} ({image.axes[axis]})" for axis in long)
    if len(long) > 1:
        raise UnsupportedError(
            f"holds {sizes} volumes", where=image.where, remedy="take one volume out of it first"
        )
    count = math.prod(further)
    if count > 1 and volume is None:
        raise UnsupportedError(
            f"holds {count} volumes along {image.axes[long[0]]}",
            where=image.where,
            remedy="choose one with --volume N, counted from 0",
        )
    if not 0 <= (volume or 0) < count:
        held = "one volume" if count == 1 else f"{count} volumes"
        raise UsageError(f"has no volume {volume}: it holds {held}, counted from 0", where=image.where)
    return tuple((volume or 0) if axis in long else 0 for axis in range(3, len(image.shape)))


def match(mask: Placed, stack: Placed) -> Placed:
    """A mask with its axes turned like those of its stack, where it lies on the same voxels.

    A mask of the same voxels may have been stored in another order of the axes or back to front (a DICOM series
    and the NIfTI file made of it); its values come out right.

    Raises
    ------
    GeometryError
        Another grid: which of shape, voxel size, direction and position differs, and by how much. The tolerance is
        :data:`SAME_PLACE` of a voxel, at the corners.
    """
    turned = _turned(mask, stack)
    if turned.shape == stack.shape and _apart(turned, stack) <= SAME_PLACE:
        return turned
    raise GeometryError(
        f"the mask does not lie on the grid of {stack.image.where}: {difference(turned, stack)}",
        where=mask.image.where,
        remedy="resample it onto that stack (nearest neighbour), or draw it there",
    )


def _turned(mask: Placed, stack: Placed) -> Placed:
    """The mask's axes in the order, and running the way, of the stack's that they are closest to."""
    ones, others = (p.affine[:3, :3] / p.spacing for p in (stack, mask))
    likeness = np.abs(ones.T @ others)
    order = max(itertools.permutations(range(3)), key=lambda p: sum(likeness[k, p[k]] for k in range(3)))
    affine = mask.affine[:, [*order, 3]]
    turned = replace(
        mask,
        order=tuple(mask.order[k] for k in order),
        affine=affine,
        slice_axis=order.index(mask.slice_axis),
    )
    return _flipped(turned, stack)


def _flipped(mask: Placed, stack: Placed) -> Placed:
    """Axes that run the other way, turned round."""
    back = [axis for axis in range(3) if float(mask.affine[:3, axis] @ stack.affine[:3, axis]) < 0]
    if not back:
        return mask
    affine = mask.affine.copy()
    for axis in back:
        affine[:3, 3] += (mask.shape[axis] - 1) * affine[:3, axis]
        affine[:3, axis] *= -1
    axes = tuple(mask.order[axis] for axis in back)
    return replace(mask, image=_reversed(mask.image, axes), affine=affine)


def _reversed(image: Image, axes: Sequence[int]) -> Image:
    """The same voxels, back to front along some axes; the grid is left to whoever holds the affine."""
    flip = tuple(slice(None, None, -1) if axis in axes else slice(None) for axis in range(len(image.shape)))
    return image.replace(data=np.asarray(image)[flip], mask=None)


def _apart(one: Placed, other: Placed) -> float:
    """Largest distance of the two grids' corner voxels, in the smaller voxel size."""
    corner = _corners(other.shape)
    distance = np.linalg.norm(corner @ (one.affine - other.affine)[:3].T, axis=1)
    return float(distance.max() / min(one.spacing.min(), other.spacing.min()))


def _corners(shape: Sequence[int]) -> NDArray[np.float64]:
    ends = np.array(list(itertools.product(*[(0, n - 1) for n in shape])), float)
    return np.column_stack([ends, np.ones(len(ends))])


def difference(one: Placed, other: Placed) -> str:
    """How the first grid differs from the second, in words: only what differs."""
    words = []
    if one.shape != other.shape:
        words.append(f"{_by(one.shape)} voxels, not {_by(other.shape)}")
    if not np.allclose(one.spacing, other.spacing, rtol=1e-3):
        words.append(f"of {_by(one.spacing)} mm, not {_by(other.spacing)}")
    cosine = np.einsum("ij,ij->j", one.affine[:3, :3] / one.spacing, other.affine[:3, :3] / other.spacing)
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).max())
    if angle > 0.05:
        words.append(f"its axes turned by up to {angle:.3g} degrees")
    shift = float(np.linalg.norm(one.affine[:3, 3] - other.affine[:3, 3]))
    if shift > SAME_PLACE * float(other.spacing.min()):
        words.append(f"its first voxel {shift:.3g} mm away")
    if not words:
        words.append(f"its corners up to {_apart(one, other):.3g} voxels away")
    return ", ".join(words)


def _by(sizes: Sequence[float] | NDArray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


def check_overlap(stacks: Sequence[Placed]) -> None:
    """Refuse a stack whose field does not meet the first one's: nothing could tie it to the result.

    Raises
    ------
    GeometryError
        Naming both, and how far their centres are apart.
    """
    first = stacks[0]
    for other in stacks[1:]:
        if _shares(first, other) or _shares(other, first):
            continue
        far = np.linalg.norm(_centre(first) - _centre(other))
        raise GeometryError(
            f"{first.image.where} and {other.image.where} do not overlap: their centres are {far:.0f} mm apart",
            remedy="give stacks of one session, whose headers share the scanner's coordinates",
        )


def _shares(one: Placed, other: Placed, samples: int = 24) -> bool:
    """Whether points all over the field of one lie in that of the other."""
    spread = (np.arange(samples) + 0.5) / samples
    points = np.stack(np.meshgrid(*[spread * n - 0.5 for n in one.shape], indexing="ij"), -1).reshape(-1, 3)
    world = points @ one.affine[:3, :3].T + one.affine[:3, 3]
    index = (world - other.affine[:3, 3]) @ np.linalg.inv(other.affine[:3, :3]).T
    return bool(((index > -0.5) & (index < np.array(other.shape) - 0.5)).all(axis=1).any())


def _centre(stack: Placed) -> NDArray[np.float64]:
    return stack.affine[:3, :3] @ ((np.array(stack.shape) - 1) / 2) + stack.affine[:3, 3]


def warn_of_parallel(stacks: Sequence[Placed]) -> None:
    """Warn where all stacks have their slices in one direction: what lies between slices is then gained nowhere."""
    normals = np.array([stack.normal for stack in stacks])
    cosine = np.abs(normals @ normals[0])
    if float(cosine.min()) > math.cos(math.radians(_PARALLEL_DEG)):
        warnings.warn(
            f"all {len(stacks)} stacks have slices in the same direction, within {_PARALLEL_DEG:g} degrees: there is "
            "little to gain across the slices, but less noise",
            SciSRWarning,
            stacklevel=3,
        )
