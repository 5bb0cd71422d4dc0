"""What goes in and what comes out: stacks of slices, the fused volume, and the motions that were found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.errors import GeometryError, UsageError
from sciSR.forward.slice_sampling import ProfileTable
from sciSR.stacks.rigid import Rigid


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in one orientation.

    Parameters
    ----------
    data : ndarray, float32, three axes
        In the order of the file.
    affine : ndarray, 4x4
        Voxel index to world, millimetres. All stacks of a fusion share one world (RAS+ or LPS).
    slice_axis : int
        Position of the axis across the slices.
    thickness : float
        Full width at half maximum of the slice profile, millimetres.
    profile : {"gaussian", "rect", "sinc"} or ProfileTable
        See :func:`sciSR.forward.slice_profile.profile_density`.
    bad : ndarray of bool, as `data`, optional
        True where a voxel is not to be used. Voxels that are not finite are never used.
    name : str
        For messages.

    Raises
    ------
    GeometryError
        Not three axes, a singular affine, a mask of another shape.
    UsageError
        A thickness that is no length, a slice axis that does not exist.
    """

    data: np.ndarray
    affine: np.ndarray
    slice_axis: int
    thickness: float
    profile: str | ProfileTable = "gaussian"
    bad: np.ndarray | None = None
    name: str = "stack"

    def __post_init__(self) -> None:
        data = np.asarray(self.data, dtype=np.float32)
        affine = np.array(self.affine, dtype=np.float64)
        if data.ndim != 3 or not data.size:
            raise GeometryError(
                f"a stack has three axes, not the shape {data.shape}",
                where=self.name,
                remedy="give one volume of slices",
            )
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or _volume(affine) < 1e-6:
            raise GeometryError(
                "the affine does not place the voxels in space", where=self.name, remedy="check the header"
            )
        if self.bad is not None and np.shape(self.bad) != data.shape:
            raise GeometryError(
                f"the mask's shape {np.shape(self.bad)} is not the stack's {data.shape}",
                where=self.name,
                remedy="give a mask on the stack's own grid",
            )
        if not (math.isfinite(self.thickness) and self.thickness > 0):
            raise UsageError(
                f"a slice thickness of {self.thickness:g} mm", where=self.name, remedy="give a width above 0"
            )
        if self.slice_axis not in (0, 1, 2, -1, -2, -3):
            raise UsageError(f"there is no axis {self.slice_axis} across the slices", where=self.name)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "slice_axis", self.slice_axis % 3)

    @property
    def spacing(self) -> np.ndarray:
        """Distance of neighbours along the three axes, millimetres."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(0))

    @property
    def in_plane(self) -> tuple[int, int]:
        """Positions of the two axes within a slice."""
        first, second = (axis for axis in range(3) if axis != self.slice_axis)
        return first, second

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slices, in the world, towards later slices."""
        first, second = self.in_plane
        across = np.cross(self.affine[:3, first], self.affine[:3, second])
        across /= np.linalg.norm(across)
        return across if across @ self.affine[:3, self.slice_axis] > 0 else -across

    @property
    def centre(self) -> np.ndarray:
        """Centre of the field in the world."""
        middle = (np.array(self.data.shape) - 1) / 2
        return self.affine[:3, :3] @ middle + self.affine[:3, 3]

    @property
    def slices(self) -> np.ndarray:
        """View with the slices first: ``[slices, rows, columns]``."""
        return np.moveaxis(self.data, self.slice_axis, 0)

    @property
    def slice_affine(self) -> np.ndarray:
        """Index of `slices` to world."""
        order = (self.slice_axis, *self.in_plane)
        return self.affine[:, [*order, 3]]

    @property
    def good(self) -> np.ndarray:
        """True where a voxel of `slices` may be used."""
        good = np.isfinite(self.slices)
        if self.bad is not None:
            good &= ~np.moveaxis(np.asarray(self.bad, dtype=bool), self.slice_axis, 0)
        return good


def _volume(affine: np.ndarray) -> float:
    """Of the voxel relative to a box with its sides: 0 for a singular matrix, 1 for right angles."""
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    return float(abs(np.linalg.det(affine[:3, :3])) / sides.prod()) if (sides > 0).all() else 0.0


@dataclass(frozen=True)
class SliceMotion:
    """How one slice moved, in the frame of the first stack.

    Attributes
    ----------
    slice : int
        Along the stack's slice axis.
    rigid : Rigid
        World to world: from where the header puts the slice to where the body was.
    own : bool
        False where the slice has its stack's motion, because nothing else could be made out.
    """

    slice: int
    rigid: Rigid
    own: bool


@dataclass(frozen=True)
class StackMotion:
    """How one stack moved, in the frame of the first.

    Attributes
    ----------
    name : str
    rigid : Rigid
        World to world: from where the header puts the stack to where the body was while the first was taken.
    slices : tuple of SliceMotion
    """

    name: str
    rigid: Rigid
    slices: tuple[SliceMotion, ...] = ()

    @property
    def matrix(self) -> np.ndarray:
        """World to world, 4x4."""
        return self.rigid.matrix


@dataclass(frozen=True, eq=False)
class FusedVolume:
    """An isotropic volume in the frame of the first stack.

    Attributes
    ----------
    volume : ndarray, float32, three axes
        In the order of the first stack's axes, and in its intensities; NaN where no stack says anything.
    std : ndarray, as `volume`
        One standard deviation.
    weight : ndarray, as `volume`
        Voxels of the stacks for each voxel of the volume, weighted with their reliability.
    affine : ndarray, 4x4
        Index to world, edge to edge the field of the first stack.
    motions : tuple of StackMotion
    gains : tuple of (float, float)
        Gain and offset of each stack: its data are ``gain * body + offset``; (1, 0) for the first.
    slice_weights : tuple of ndarray
        0 (left out) to 1 (trusted) for each slice of each stack.
    report : mapping
        JSON-ready: convergence, residuals, noise, what was left out and why.
    """

    volume: np.ndarray
    std: np.ndarray
    weight: np.ndarray
    affine: np.ndarray
    motions: tuple[StackMotion, ...]
    gains: tuple[tuple[float, float], ...]
    slice_weights: tuple[np.ndarray, ...]
    report: Mapping[str, Any]


def check(stacks: Sequence[Stack]) -> None:
    """Refuse what can't be fused before any work is done.

    Raises
    ------
    UsageError
        Fewer than two stacks, one without a usable voxel, or one without any contrast.
    """
    if len(stacks) < 2:
        raise UsageError(
            f"{'one stack' if stacks else 'no stack'} can't be fused",
            remedy="give two or more; for a single one use: scisr upscale --isotropic",
        )
    for stack in stacks:
        good = stack.slices[stack.good]
        if not good.size:
            raise UsageError("no voxel can be used", where=stack.name, remedy="check the mask and the data")
        if float(good.max()) == float(good.min()):
            raise UsageError(
                f"the stack is constant ({float(good.min()):g} everywhere)",
                where=stack.name,
                remedy="leave it out",
            )
