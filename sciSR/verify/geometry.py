"""Places of pixels by the engine's own grids, for formats without a judge of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sciSR.errors import SciSRError
from sciSR.grid import AffineGrid, Grid, PixelGrid, coarse_index
from sciSR.verify.result import Check, Pair

TOLERANCE = 1e-4
"""Output pixels."""
_RANDOM = 64


def grid_checks(pair: Pair) -> list[Check]:
    """Corners, centres and random pixels of the output against the input's grid; and the field's edges."""
    part = pair.before.part
    before, after = pair.before.grid, pair.after.grid
    if isinstance(before, PixelGrid) and isinstance(after, PixelGrid):
        return [
            Check("geometry", "pixels", "skipped", "neither file has coordinates of the world", part=part)
        ]
    if isinstance(before, AffineGrid) and isinstance(after, AffineGrid):
        after = after.toward(before.world_axes)
    if type(before) is not type(after):
        what = f"{type(before).__name__} became {type(after).__name__}: the places of pixels in the world are not kept"
        return [Check("geometry", "corners", "failed", what, part=part)]
    points = landmarks(pair.after.shape)
    try:
        off = apart(before, after, points, [float(f) for f in pair.factors])
    except SciSRError as error:
        return [Check("geometry", "corners", "failed", str(error), part=part)]
    worst = int(np.nanargmax(off)) if np.isfinite(off).any() else 0
    value = float(off[worst]) if np.isfinite(off).any() else np.nan
    if not np.isfinite(value):
        return [Check("geometry", "corners", "skipped", "no landmark lies on the world", part=part)]
    where = ", ".join(f"{v:g}" for v in points[worst])
    message = f"{value:.3g} output pixels at most, at [{where}]"
    good = value <= TOLERANCE
    return [
        Check(
            "geometry",
            "corners",
            "passed" if good else "failed",
            message,
            value,
            TOLERANCE,
            "output pixels",
            part,
        )
    ]


def landmarks(shape: Sequence[int]) -> np.ndarray:
    """Outer corners, centre and random pixels, ``(n, ndim)`` indices from 0; no more than some hundred."""
    ndim = len(shape)
    ends = [(-0.5, n - 0.5) for n in shape]
    corners = (
        np.array(np.meshgrid(*ends, indexing="ij")).reshape(ndim, -1).T if ndim <= 6 else np.array([ends]).T
    )
    middle = [[(n - 1) / 2 for n in shape]]
    random = np.random.default_rng(0).uniform(0, 1, (_RANDOM, ndim)) * shape - 0.5
    return np.vstack([corners.reshape(-1, ndim), middle, random])


def apart(before: Grid, after: Grid, points: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    """Distance in output pixels of where output pixels lie from where they should; NaN where neither has a place."""
    factor = np.array(factors)
    inside = np.stack([coarse_index(points[:, axis], f) for axis, f in enumerate(factors)], axis=-1)
    wanted = before.world(inside)
    found = after.world(points)
    if wanted.shape != found.shape:
        return np.full(len(points), np.inf)
    back = before.index(found)
    off = np.abs((back - inside) * factor)
    # Axes without a place in the world (time, a single plane) come back as they went or as 0.
    known = [a for a in range(points.shape[1]) if not isinstance(before, AffineGrid) or a < 3]
    distance: np.ndarray = off[:, known].max(axis=1) if known else np.zeros(len(points))
    lost = np.isnan(wanted).any(-1) != np.isnan(found).any(-1)
    distance[lost] = np.inf
    return distance
