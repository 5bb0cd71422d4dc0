"""The geometry that a verifier expects: a finer grid over the same field, edge to edge.

Written down a second time on purpose: a check that used the engine's own grid would repeat its mistakes. Pixel centres
are at whole indices and pixel ``i`` reaches from ``i - 1/2`` to ``i + 1/2``, so ``i_in = (i_out + 1/2)/s - 1/2`` for a
factor ``s``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from sciSR.verify.result import Check, Group

TOLERANCE = 0.02
"""Input voxels by which a corner or a centre may lie elsewhere: headers hold 32-bit floats, or 16 digits."""


def spatial_factors(
    factors: Sequence[Fraction], before: Sequence[int], after: Sequence[int], count: int = 3
) -> tuple[float, ...]:
    """Output voxels per input voxel along the first axes: those given where the sizes follow them, else the ratio.

    A grid of coarser voxels may leave out a rest at the far end; one that is not a multiple holds a ratio of sizes.
    """
    found = []
    for axis in range(min(count, len(before), len(after))):
        given = Fraction(factors[axis]) if axis < len(factors) else Fraction(0)
        fits = given > 0 and int(before[axis] * given) == after[axis]
        found.append(float(given) if fits else after[axis] / before[axis])
    return tuple(found)


def local_matrix(factors: Sequence[float]) -> np.ndarray:
    """Output index to input index, shape (4, 4)."""
    scale = np.array([*factors, 1.0, 1.0, 1.0][:3])
    matrix = np.diag([*(1 / scale), 1.0])
    matrix[:3, 3] = (1 / scale - 1) / 2
    return matrix


def corners_and_centres(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Outer corners of a volume, shape (8, 3), and centres of its corner voxels and of the middle one, shape (9, 3)."""
    sizes = [*shape[:3], 1, 1][:3]
    outer = [(-0.5, n - 0.5) if k < len(shape) else (0.0, 0.0) for k, n in enumerate(sizes)]
    inner = [(0.0, n - 1.0) for n in sizes]
    middle = [[(n - 1) // 2 for n in sizes]]
    return (
        np.array(list(itertools.product(*outer))),
        np.array([*itertools.product(*inner), *middle], dtype=np.float64),
    )


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points, shape (..., 3), through a matrix of shape (4, 4)."""
    return points @ affine[:3, :3].T + affine[:3, 3]


def compare_affines(
    name: str, before: np.ndarray, after: np.ndarray, shape: Sequence[int], factors: Sequence[float]
) -> list[Check]:
    """Whether an output's transform is the input's on the finer grid: at the corners, and at centres of voxels.

    Parameters
    ----------
    name : str
        Of the transform, for the checks' names.
    before, after : ndarray, shape (4, 4)
        Index to mm.
    shape : sequence of int
        Of the output.
    factors : sequence of float
    """
    voxel = float(np.linalg.norm(before[:3, : min(3, len(shape))], axis=0).min())
    checks = []
    for what, points in zip(("corners", "voxel centres"), corners_and_centres(shape), strict=True):
        apart = np.linalg.norm(apply(after, points) - apply(before @ local_matrix(factors), points), axis=1)
        worst = int(np.argmax(apart)) if np.isfinite(apart).all() else int(np.argmin(np.isfinite(apart)))
        checks.append(distance_check(f"{what} by {name}", float(apart[worst]), voxel, points[worst]))
    return checks


def distance_check(name: str, apart: float, voxel: float, where: Sequence[float]) -> Check:
    """A distance in mm, held against :data:`TOLERANCE` of the smallest side of an input voxel."""
    share = apart / voxel if voxel > 0 else np.inf
    fine = bool(share <= TOLERANCE)
    place = ", ".join(f"{v:g}" for v in where)
    message = f"at most {apart:.3g} mm off, {share:.3g} of an input voxel" + (
        "" if fine else f", at index ({place})"
    )
    return Check(
        "geometry",
        name,
        "passed" if fine else "failed",
        message,
        float(f"{apart:.4g}"),
        TOLERANCE * voxel,
        "mm",
    )


def field_of_view(
    before: np.ndarray,
    after: np.ndarray,
    shapes: tuple[Sequence[int], Sequence[int]],
    factors: Sequence[float],
    axes: Sequence[str],
) -> Check:
    """Extent along each axis, edge to edge, in mm; without the rest that whole coarser voxels leave out."""
    count = min(3, len(shapes[0]), len(shapes[1]))
    voxel = np.linalg.norm(before[:3, :count], axis=0)
    old = voxel * np.array(shapes[1][:count]) / np.array(factors[:count])
    new = np.linalg.norm(after[:3, :count], axis=0) * np.array(shapes[1][:count])
    share = np.abs(new - old) / voxel
    worst = int(np.argmax(share))
    sizes = " x ".join(f"{v:.6g}" for v in new)
    if share[worst] <= TOLERANCE:
        return Check("field of view", "edge to edge", "passed", f"{sizes} mm, as the input's")
    message = (
        f"{new[worst]:.6g} mm along {axes[worst]}, of the input {old[worst]:.6g} mm: "
        f"{share[worst]:.3g} input voxels {'more' if new[worst] > old[worst] else 'less'}"
    )
    return Check(
        "field of view", "edge to edge", "failed", message, float(new[worst]), float(old[worst]), "mm"
    )


def check(group: Group, name: str, fine: bool, good: str, bad: str, **fields: float) -> Check:
    """Passed with one message, failed with another."""
    return Check(group, name, "passed" if fine else "failed", good if fine else bad, **fields)
