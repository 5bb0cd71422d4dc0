"""Grids: where each pixel lies in the world, and the one formula that refines them.

Pixel convention everywhere: pixel ``i`` is centred on index ``i`` and spans ``[i - 0.5, i + 0.5]``. A grid
refined by ``s`` covers exactly the same field, edge to edge, so the centre of fine pixel ``i_out`` lies at

    i_in = (i_out + 0.5) / s - 0.5
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from sciSR.errors import GeometryError, UsageError


@runtime_checkable
class Grid(Protocol):
    """What every grid offers. Index arrays are ``(..., ndim)``, in the order of the data's axes, 0-based."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels along each axis of the data."""
        ...

    @property
    def factors(self) -> tuple[Fraction, ...]:
        """Refinement since the file was read, one per axis (1 where untouched)."""
        ...

    def refine(self, factors: Sequence[Fraction | int]) -> Self:
        """The finer grid over exactly the same field; a coarser one for factors of 1/n, see :func:`coarsened`."""
        ...

    def world(self, index: np.ndarray) -> np.ndarray:
        """World coordinates ``(..., n_world)`` of pixel indices ``(..., ndim)``."""
        ...

    def index(self, world: np.ndarray) -> np.ndarray:
        """Pixel indices of world coordinates: the inverse of :meth:`world`."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """A JSON-ready summary for ``scisr info``."""
        ...


def coarse_index(fine_index: np.ndarray | float, factor: Fraction | int) -> np.ndarray | float:
    """Where a fine pixel's centre lies on the coarse grid: ``(i + 0.5)/s - 0.5``."""
    return (np.asarray(fine_index, dtype=np.float64) + 0.5) / float(factor) - 0.5


def fine_index(coarse: np.ndarray | float, factor: Fraction | int) -> np.ndarray | float:
    """Where a coarse position lies on the fine grid: ``(i + 0.5)*s - 0.5``."""
    return (np.asarray(coarse, dtype=np.float64) + 0.5) * float(factor) - 0.5


def exact_factors(shape: Sequence[int], scales: Sequence[Fraction | float | int]) -> tuple[Fraction, ...]:
    """Per-axis factors that give whole numbers of pixels over exactly the same field.

    The new size is ``round(N * s)``, computed with integers, and the factor is that size over ``N``: the field
    is exact, the factor differs from the wish by less than half a pixel over the axis.

    Raises
    ------
    UsageError
        Where a factor is below 1 or not finite.
    """
    out = []
    for size, scale in zip(shape, scales, strict=True):
        wish = Fraction(scale).limit_denominator(10_000) if math.isfinite(scale) else Fraction(0)
        if wish < 1:
            raise UsageError(f"the scale must be 1 or more on every axis, not {float(scale):g}")
        # Half away from zero, in integers: Python's round() would send 2.5 to 2.
        fine = (2 * size * wish.numerator + wish.denominator) // (2 * wish.denominator)
        out.append(Fraction(fine, size) if size else wish)
    return tuple(out)


def refined_shape(shape: Sequence[int], factors: Sequence[Fraction | int]) -> tuple[int, ...]:
    """Pixels along each axis after refinement.

    Raises
    ------
    UsageError
        Where the number would not be whole, or the factors do not match the axes.
    """
    if len(shape) != len(factors):
        raise UsageError(f"{len(factors)} factors given for {len(shape)} axes")
    fine = [Fraction(n) * Fraction(f) for n, f in zip(shape, factors, strict=True)]
    if any(f.denominator != 1 for f in fine):
        raise UsageError(
            f"factors {[str(f) for f in factors]} do not give whole pixels on shape {tuple(shape)}"
        )
    return tuple(int(f) for f in fine)


def coarsened(grid: Grid, scales: Sequence[int]) -> Grid:
    """The grid of pixels that are larger by whole numbers, edge to edge from the first pixel on.

    Parameters
    ----------
    grid : Grid
    scales : sequence of int
        Fine pixels for each coarse one, one per axis of the data. A rest at the far end that fills no coarse pixel is
        left out of the field; everything else keeps its place in the world.

    Raises
    ------
    UsageError
        A scale below 1, or an axis that is shorter than one coarse pixel.
    """
    if len(scales) != len(grid.shape) or any(s < 1 for s in scales):
        raise UsageError(f"scales {tuple(scales)} do not coarsen a grid of shape {tuple(grid.shape)}")
    whole = tuple(n // s * s for n, s in zip(grid.shape, scales, strict=True))
    if 0 in whole:
        raise UsageError(
            f"{'x'.join(map(str, grid.shape))} pixels make no pixel {max(scales)} times as large",
            remedy="give a smaller scale",
        )
    return cropped(grid, whole).refine([Fraction(1, s) for s in scales])


def cropped(grid: Grid, shape: Sequence[int]) -> Grid:
    """The grid of the first `shape` pixels: by its own method ``crop(shape)``, or as a dataclass with another shape.

    Raises
    ------
    GeometryError
        The grid can't be cropped.
    """
    shape = tuple(int(n) for n in shape)
    if shape == tuple(grid.shape):
        return grid
    own = getattr(grid, "crop", None)
    if own is not None:
        out: Grid = own(shape)
        return out
    if not is_dataclass(grid) or isinstance(grid, type):
        raise GeometryError(
            f"a {type(grid).__name__} can't be cropped to {'x'.join(map(str, shape))}",
            remedy="crop the image first",
        )
    return replace(grid, shape=shape)


def compose(first: Sequence[Fraction], second: Sequence[Fraction | int]) -> tuple[Fraction, ...]:
    """The factors of two refinements in a row."""
    return tuple(Fraction(a) * Fraction(b) for a, b in zip(first, second, strict=True))


@dataclass(frozen=True)
class PixelGrid:
    """No world at all: world coordinates are pixel indices of the original grid."""

    shape: tuple[int, ...]
    factors: tuple[Fraction, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if not self.factors:
            object.__setattr__(self, "factors", (Fraction(1),) * len(self.shape))

    def refine(self, factors: Sequence[Fraction | int]) -> PixelGrid:
        return PixelGrid(refined_shape(self.shape, factors), compose(self.factors, factors))

    def world(self, index: np.ndarray) -> np.ndarray:
        return (np.asarray(index, dtype=np.float64) + 0.5) / np.array([float(f) for f in self.factors]) - 0.5

    def index(self, world: np.ndarray) -> np.ndarray:
        return (np.asarray(world, dtype=np.float64) + 0.5) * np.array([float(f) for f in self.factors]) - 0.5

    def describe(self) -> Mapping[str, Any]:
        return {"type": "pixel", "shape": list(self.shape)}


def refinement_matrix(factors: Sequence[Fraction | int]) -> np.ndarray:
    """Homogeneous matrix that maps fine indices to coarse ones: diag(1/s) with offset (1/s - 1)/2."""
    n = len(factors)
    local = np.eye(n + 1)
    for axis, factor in enumerate(factors):
        inverse = 1 / Fraction(factor)
        local[axis, axis] = float(inverse)
        local[axis, n] = float((inverse - 1) / 2)
    return local


_WORLD_AXES = ("RAS+", "LPS+")


@dataclass(frozen=True, eq=False)  # holds an array: == would have no single answer
class AffineGrid:
    """World = affine @ (i, j, k, 1) over the first three data axes; further axes are not spatial.

    Parameters
    ----------
    shape : tuple of int
        Of the data, all axes.
    affine : ndarray, shape (4, 4)
        Voxel index to world (the file's own world axes and length unit).
    unit : str
        Length unit of the world.
    factors : tuple of Fraction
        Refinement since the file was read.
    world_axes : {"RAS+", "LPS+"}
        Where the world's axes point: to the right, the front and the head (NIfTI, FreeSurfer), or to the left, the back
        and the head (DICOM, ITK).
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    unit: str = "mm"
    factors: tuple[Fraction, ...] = ()
    world_axes: str = "RAS+"

    def __post_init__(self) -> None:
        if self.world_axes not in _WORLD_AXES:
            raise GeometryError(f"world axes are {' or '.join(_WORLD_AXES)}, not {self.world_axes!r}")
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise GeometryError(f"an affine is a 4x4 matrix, not {affine.shape}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if not self.factors:
            object.__setattr__(self, "factors", (Fraction(1),) * len(self.shape))

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size along the first three axes."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    def toward(self, world_axes: str) -> AffineGrid:
        """The same grid with its world's axes as named: of ``"RAS+"`` and ``"LPS+"``, one has x and y reversed."""
        if world_axes == self.world_axes:
            return self
        reversed_ = np.diag([-1.0, -1.0, 1.0, 1.0])
        return replace(self, affine=reversed_ @ self.affine, world_axes=world_axes)

    def refine(self, factors: Sequence[Fraction | int]) -> AffineGrid:
        if any(Fraction(f) != 1 for f in factors[3:]):
            raise UsageError("only the three spatial axes of a volume can be refined")
        spatial = (*factors, 1, 1, 1)[:3]
        return replace(
            self,
            shape=refined_shape(self.shape, factors),
            affine=self.affine @ refinement_matrix(spatial),
            factors=compose(self.factors, factors),
        )

    def _spatial(self, index: np.ndarray) -> np.ndarray:
        """Indices over exactly three axes: a 2-D image lies in the plane k = 0."""
        index = np.asarray(index, dtype=np.float64)[..., :3]
        missing = 3 - index.shape[-1]
        return np.concatenate([index, np.zeros((*index.shape[:-1], missing))], axis=-1) if missing else index

    def world(self, index: np.ndarray) -> np.ndarray:
        return self._spatial(index) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def index(self, world: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(self.affine)
        index = np.asarray(world, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        extra = max(0, len(self.shape) - 3)  # time and the like have no place in the world: index 0
        index = np.concatenate([index, np.zeros((*index.shape[:-1], extra))], axis=-1)
        return index[..., : len(self.shape)]

    def describe(self) -> Mapping[str, Any]:
        return {
            "type": "affine",
            "shape": list(self.shape),
            "spacing": [float(d) for d in self.spacing],
            "unit": self.unit,
            "world_axes": self.world_axes,
            "affine": self.affine.tolist(),
        }
