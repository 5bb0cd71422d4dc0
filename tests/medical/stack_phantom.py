"""A small body in the world, and stacks of thick slices of it: NIfTI files with a known place, profile and motion."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SIDE = 40.0  # mm of the field
TILT = np.array([[0.9848, -0.1736, 0.0], [0.1710, 0.9698, -0.1736], [0.0301, 0.1710, 0.9848]])
"""A rotation by ten degrees about two axes, nearly; see `_orthonormal`."""


def body(points: np.ndarray) -> np.ndarray:
    """Brightness at world points ``(..., 3)``, mm, RAS+: a head-like ellipsoid with lobes of several sizes inside."""
    x, y, z = np.moveaxis(points, -1, 0)

    def blob(
        cx: float, cy: float, cz: float, rx: float, ry: float, rz: float, soft: float = 0.6
    ) -> np.ndarray:
        r = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
        return 1 / (1 + np.exp((r - 1) * min(rx, ry, rz) / soft))

    value = 300 * blob(0, 0, 0, 15, 17, 14) + 200 * blob(5, 4, 3, 4, 5, 3) - 180 * blob(-5, 2, -2, 3, 6, 4)
    value += (
        250 * blob(-3, -8, 4, 2.0, 2.5, 2.2)
        - 150 * blob(4, -7, -5, 3, 2, 2.5)
        + 150 * blob(0, 9, -6, 2, 2, 2)
    )
    return value + 40 * np.sin(0.9 * x + 0.4 * y) * blob(0, 0, 0, 12, 14, 11)


def turned(vector_deg: Sequence[float], shift_mm: Sequence[float]) -> np.ndarray:
    """A rigid motion of the world about its origin, 4x4."""
    from scipy.spatial.transform import Rotation

    out = np.eye(4)
    out[:3, :3] = Rotation.from_rotvec(np.radians(vector_deg)).as_matrix()
    out[:3, 3] = shift_mm
    return out


def affine_of(
    direction: str,
    spacing: Sequence[float],
    shape: Sequence[int],
    centre: Sequence[float] = (0, 0, 0),
    tilt: bool = True,
) -> np.ndarray:
    """Index to world of a stack around `centre`; slices are the third axis."""
    columns = {
        "axial": [(-1, 0, 0), (0, 1, 0), (0, 0, 1)],
        "sagittal": [(0, 1, 0), (0, 0, 1), (-1, 0, 0)],
        "coronal": [(-1, 0, 0), (0, 0, 1), (0, 1, 0)],
    }[direction]
    turn = _orthonormal(TILT) if tilt else np.eye(3)
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array(columns, float).T @ np.diag(spacing)
    affine[:3, 3] = np.asarray(centre, float) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    u, _, v = np.linalg.svd(matrix)
    return u @ v


def sample(
    affine: np.ndarray,
    shape: Sequence[int],
    thickness: float,
    motion: np.ndarray | None = None,
    noise: float = 2.0,
    seed: int = 0,
) -> np.ndarray:
    """What a scanner sees: a Gaussian profile across the third axis, float32.

    `motion` (world to world) carries a point of where the stack's header says it is to where the body is.
    """
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).astype(float)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    motion = np.eye(4) if motion is None else motion
    steps = np.linspace(-1.2, 1.2, 13) * thickness
    weights = np.exp(-4 * math.log(2) * (steps / thickness) ** 2)
    total = np.zeros(tuple(shape))
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        total += weight * body((world + step * normal) @ motion[:3, :3].T + motion[:3, 3])
    return (total + np.random.default_rng(seed).normal(0, noise, total.shape)).astype(np.float32)


def write_stack(
    path: Path,
    direction: str,
    *,
    spacing: Sequence[float] = (1.25, 1.25, 4.0),
    thickness: float = 4.0,
    motion: np.ndarray | None = None,
    centre: Sequence[float] = (0, 0, 0),
    seed: int = 0,
    scale: float = 1.0,
    sidecar: bool = True,
    edit: Any = None,
    tilt: bool = True,
) -> Path:
    """A NIfTI file of one stack, with the thickness in a BIDS sidecar; `edit` gets the voxels and returns others."""
    shape = tuple(round(SIDE / d) for d in spacing)
    affine = affine_of(direction, spacing, shape, centre, tilt)
    data = sample(affine, shape, thickness, motion, seed=seed) * np.float32(scale)
    data = data if edit is None else edit(data)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    nib.save(image, path)
    if sidecar:
        path.with_name(path.name.split(".")[0] + ".json").write_text(
            json.dumps({"SliceThickness": thickness})
        )
    return path


def three_stacks(folder: Path, **fields: Any) -> list[Path]:
    """Axial, sagittal and coronal, the latter two moved a little."""
    motions = [None, turned((1.0, -0.8, 1.2), (0.9, -0.7, 0.5)), turned((-0.9, 1.1, 0.7), (-0.6, 0.8, 0.9))]
    names = ["axial", "sagittal", "coronal"]
    return [
        write_stack(folder / f"{name[:3]}.nii.gz", name, motion=motion, seed=k, **fields)
        for k, (name, motion) in enumerate(zip(names, motions, strict=True))
    ]
