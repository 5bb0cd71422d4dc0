"""A body of Gaussian blobs: what a slice with a Gaussian profile sees of it is known in closed form, at any place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.stacks import Stack
from sciSR.stacks.rigid import Rigid

FWHM = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Body:
    """Blobs at ``centres`` (mm) with standard deviations ``sizes`` (mm) and peak values ``heights``."""

    centres: np.ndarray
    sizes: np.ndarray
    heights: np.ndarray

    @classmethod
    def of(cls, seed: int, extent: float, number: int = 160) -> Body:
        """A large soft ball with finer and finer blobs in it."""
        rng = np.random.default_rng(seed)
        direction = rng.normal(size=(number, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        centres = direction * (0.38 * extent * rng.uniform(0, 1, number) ** (1 / 3))[:, None]
        sizes = rng.uniform(0.9, 2.5, number)
        heights = rng.uniform(-60, 100, number)
        return cls(
            np.concatenate([np.zeros((1, 3)), centres]),
            np.concatenate([[0.2 * extent], sizes]),
            np.concatenate([[100.0], heights]),
        )

    def seen(self, points: np.ndarray, normal: np.ndarray, thickness: float) -> np.ndarray:
        """Integral over a Gaussian profile of full width `thickness` along `normal`, at points ``[n, 3]``."""
        out = np.zeros(len(points))
        along = points @ normal
        for centre, size, height in zip(self.centres, self.sizes, self.heights, strict=True):
            wide = np.sqrt(size**2 + (thickness / FWHM) ** 2)
            depth = along - centre @ normal
            square = ((points - centre) ** 2).sum(1) - depth**2
            out += height * size / wide * np.exp(-0.5 * (square / size**2 + depth**2 / wide**2))
        return out

    def at(self, points: np.ndarray) -> np.ndarray:
        """Without any profile."""
        return self.seen(points, np.array([1.0, 0, 0]), 1e-9)


def axes_for(slice_axis: int) -> np.ndarray:
    """Unit vectors of (rows, columns, slices) in the world for slices across a world axis."""
    order = [axis for axis in range(3) if axis != slice_axis]
    return np.eye(3)[:, [*order, slice_axis]]


def grid_affine(shape: tuple[int, ...], spacing: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Index to world for a grid centred on the origin."""
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def positions(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """World positions of all voxels, ``[n, 3]``."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    return index @ affine[:3, :3].T + affine[:3, 3]


def take(
    body: Body,
    extent: float,
    axes: np.ndarray,
    *,
    motion: Rigid | None = None,
    slice_motions: dict[int, Rigid] | None = None,
    in_plane: float = 1.0,
    distance: float = 4.0,
    thickness: float = 4.0,
    noise: float = 0.0,
    seed: int = 0,
    name: str = "stack",
) -> Stack:
    """A stack over a cube of side `extent`; its third axis is across the slices.

    `motion` carries the header's world to where the body's points are; `slice_motions` come after it.
    """
    shape = (round(extent / in_plane), round(extent / in_plane), round(extent / distance))
    affine = grid_affine(shape, np.array([in_plane, in_plane, distance]), axes)
    data = np.empty(shape)
    for k in range(shape[2]):
        matrix = (motion or Rigid()).matrix
        if slice_motions and k in slice_motions:
            matrix = slice_motions[k].matrix @ matrix
        here = affine.copy()
        here[:3, 3] += here[:3, 2] * k
        points = positions((*shape[:2], 1), matrix @ here)
        data[:, :, k] = body.seen(points, matrix[:3, :3] @ axes[:, 2], thickness).reshape(shape[:2])
    data += noise * np.random.default_rng(seed).normal(size=shape)
    return Stack(data.astype(np.float32), affine, 2, thickness, name=name)


def three(
    body: Body, extent: float, motions: tuple[Rigid, ...] = (), *, noise: float = 0.0, **options: object
) -> list[Stack]:
    """Axial, sagittal and coronal; motions of the second and third."""
    moves = [Rigid(), *motions, Rigid(), Rigid()][:3]
    return [
        take(body, extent, axes_for(axis), motion=move, noise=noise, seed=n, name=f"stack{n}", **options)  # type: ignore[arg-type]
        for n, (axis, move) in enumerate(zip((2, 0, 1), moves, strict=True))
    ]


def truth(body: Body, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """The body on a grid."""
    return body.at(positions(shape, affine)).reshape(shape)


def psnr(found: np.ndarray, true: np.ndarray, margin: int = 4) -> float:
    """Decibels against the truth's 99.9th percentile, without the outermost voxels."""
    core = (slice(margin, -margin),) * 3
    error = (found - true)[core]
    return float(10 * np.log10(np.percentile(true, 99.9) ** 2 / np.mean(error**2)))
