"""A network over a volume: along planes across the slices, seen from several sides, tile by tile.

Planes run across the slices and along one axis of theirs. Each thin voxel lies in one plane along the first axis and
one along the second; both, and their mirror images, are run and averaged. How much they differ is kept: it is what the
network is unsure of. Every tile holds all slices, and a halo of the network's reach along each plane, so that tiles
equal the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sciSR.forward.slice_sampling import SliceSampling
from sciSR.throughplane.detail import propose

View = tuple[int, bool, bool]
"""Axis of the slices along which the planes run (0 or 1); mirrored along it; mirrored across the slices."""
VIEWS: dict[str, tuple[View, ...]] = {
    "few": ((0, False, False), (1, True, True)),
    "many": tuple((axis, a, b) for axis in (0, 1) for a in (False, True) for b in (False, True)),
}
_TILE_VOXELS = 16_000_000
"""Thin voxels of a tile; a few float32 arrays of this size are held."""
_PLANE_PIXELS = 12_000
"""Thick pixels of the planes that are run together: their activations stay in the processor's cache."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of the slices' plane: ``[start, stop)`` along its two axes."""

    rows: tuple[int, int]
    columns: tuple[int, int]


def tiles(shape: tuple[int, int], fine: int, halo: int, size: int | None = None) -> list[Tile]:
    """Tiles that cover a slice.

    Parameters
    ----------
    shape : pair of int
        Of a slice.
    fine : int
        Thin slices.
    halo : int
        Pixels that a tile is enlarged by.
    size : int, optional
        Side in pixels; as large as memory allows by default.
    """
    side = size or max(64, int((_TILE_VOXELS / fine) ** 0.5) - 2 * halo)
    return [Tile(rows, columns) for rows in _equal(shape[0], side) for columns in _equal(shape[1], side)]


def _equal(length: int, most: int) -> Iterator[tuple[int, int]]:
    parts = -(-length // most)
    for k in range(parts):
        yield length * k // parts, length * (k + 1) // parts


def enlarged(tile: Tile, shape: tuple[int, int], halo: int) -> Tile:
    """A tile with its halo, cut at the slice's border."""
    return Tile(
        *(
            (max(0, a - halo), min(n, b + halo))
            for (a, b), n in zip((tile.rows, tile.columns), shape, strict=True)
        )
    )


@torch.no_grad()
def detail(
    network: nn.Module,
    y: Tensor,
    operator: SliceSampling,
    core: Tile,
    views: tuple[View, ...] = VIEWS["few"],
    *,
    bf16: bool = False,
) -> tuple[Tensor, Tensor]:
    """Detail of one tile, and how much the views differ.

    Parameters
    ----------
    network : sciSR.models.through_plane.ThroughPlane
    y : Tensor, float32 ``[X, Y, coarse]``
        Normalised thick slices of the tile with its halo.
    operator : SliceSampling
    core : Tile
        The part of it without the halo.
    views : tuple of View
    bf16 : bool

    Returns
    -------
    mean, variance : Tensor, float32 ``[x, y, fine]``
        Over the views, of the core; the variance is that of a single view.
    """
    total = square = None
    for view in views:
        one = _seen(network, y, operator, core, view, bf16)
        total = one if total is None else total.add_(one)
        square = one.square() if square is None else square.addcmul_(one, one)
        del one
    assert total is not None
    assert square is not None
    n = len(views)
    mean = total.div_(n)
    variance = square.div_(n).sub_(mean.square()).clamp_min_(0).mul_(n / max(1, n - 1))
    return mean, variance


def _seen(
    network: nn.Module, y: Tensor, operator: SliceSampling, core: Tile, view: View, bf16: bool
) -> Tensor:
    """Detail of a tile's core along the planes of one view, ``[x, y, fine]``."""
    axis, flip, turn = view
    (r0, r1), (c0, c1) = core.rows, core.columns
    # Planes [B, slices, along]: the halo is needed along the plane only.
    planes = y[:, c0:c1].permute(1, 2, 0) if axis == 0 else y[r0:r1].permute(0, 2, 1)
    start, stop = core.rows if axis == 0 else core.columns
    dims = [d for d, wanted in ((2, turn), (3, flip)) if wanted]
    batch = max(1, _PLANE_PIXELS // (planes.shape[1] * planes.shape[2]))
    out = y.new_empty(planes.shape[0], operator.fine, stop - start)
    for first in range(0, len(planes), batch):
        x = planes[first : first + batch, None]
        x = x.flip(dims) if dims else x
        z = propose(network, x, operator, bf16=bf16)
        z = z.flip(dims) if dims else z
        out[first : first + batch] = z[:, 0, :, start:stop]
    return out.permute(2, 0, 1) if axis == 0 else out.permute(0, 2, 1)


def as_tensor(block: np.ndarray, device: torch.device) -> Tensor:
    """A block of normalised values on the device of the network."""
    return torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32)).to(device)
