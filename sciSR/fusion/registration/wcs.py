"""First guesses from world coordinates."""

from __future__ import annotations

import numpy as np

from sciSR.errors import GeometryError
from sciSR.fusion.transforms import Affine, GridWarp, Transform
from sciSR.grid import Grid

EXACT = 2e-4
"""Pixels by which an affine map may differ from the world coordinates that it stands for."""


def has_sky(grid: Grid) -> bool:
    """True where the grid tells a direction in the sky for each pixel."""
    try:
        told = grid.describe()
    except Exception:  # a grid that can't even be described is no guide
        return False
    types = [str(c) for c in told.get("ctype", ())]
    return told.get("type") == "wcs" and sum("-" in c for c in types) >= 2


def warp(reference: Grid, frame: Grid) -> Transform | None:
    """The transform through the sky, as an affine map where it is one to `EXACT`; None where there is none.

    Parameters
    ----------
    reference, frame : Grid
    """
    if not (has_sky(reference) and has_sky(frame)):
        return None
    if _axes(reference) != _axes(frame):
        return None  # equatorial and galactic coordinates have no common world here
    through = GridWarp(reference, frame)
    rows, columns = frame.shape[-2:]
    nodes = np.stack(
        np.meshgrid(np.linspace(0, rows - 1, 9), np.linspace(0, columns - 1, 9), indexing="ij"), axis=-1
    ).reshape(-1, 2)
    try:
        there = through.inverse(nodes)
        back = through(there)
    except GeometryError:
        return None
    if not np.isfinite(there).all() or np.abs(back - nodes).max() > 1e-3:
        return None
    terms = np.column_stack([there, np.ones(len(there))])
    matrix = np.linalg.lstsq(terms - [*there.mean(axis=0), 0], nodes, rcond=None)[0].T
    matrix[:, 2] -= matrix[:, :2] @ there.mean(axis=0)
    affine = Affine(matrix)
    if abs(np.linalg.det(affine.linear)) < 1e-6:
        return None
    return affine if np.abs(affine(there) - nodes).max() < EXACT else through


def _axes(grid: Grid) -> list[str]:
    """What the world's axes are, whatever the projection: ``["RA", "DEC"]``."""
    return [str(c).split("-")[0] for c in grid.describe().get("ctype", ())]
