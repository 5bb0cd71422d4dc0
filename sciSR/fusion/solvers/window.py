"""Where the fine pixels lie in a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sciSR.fusion.prepared import Target
from sciSR.fusion.transforms import Affine, Transform

STEP = 16
"""Native pixels between the points where a transform that is not affine is evaluated."""


@dataclass(frozen=True)
class Window:
    """A rectangle of fine pixels, which may reach beyond the target.

    Attributes
    ----------
    target : Target
    rows, columns : (int, int)
        First and one past the last fine index; negative ones lie before the reference frame's edge.
    """

    target: Target
    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def whole(cls, target: Target) -> Window:
        """All of the target."""
        return cls(target, (0, target.shape[0]), (0, target.shape[1]))

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def reference(self) -> tuple[np.ndarray, np.ndarray]:
        """Reference rows (rows,) and columns (columns,) of the fine pixels' centres, float64."""
        rows, columns = (
            (np.arange(*span) + 0.5) / float(factor) - 0.5
            for span, factor in zip((self.rows, self.columns), self.target.factors, strict=True)
        )
        return rows, columns


def by_axes(transform: Transform) -> bool:
    """Whether a frame's row depends on the reference's row only, and its column on the column."""
    return isinstance(transform, Affine) and transform.linear[0, 1] == 0 == transform.linear[1, 0]


def frame_coordinates(transform: Transform, window: Window, device: torch.device) -> tuple[Tensor, Tensor]:
    """Frame row and column of each fine pixel's centre.

    Returns
    -------
    (Tensor, Tensor), float64
        They broadcast to the window's shape: ``(rows, 1)`` and ``(1, columns)`` for a pure shift or scaling, which
        is then interpolated axis by axis; two full planes otherwise.
    """
    rows, columns = window.reference()
    if isinstance(transform, Affine):
        r = torch.from_numpy(rows).to(device)[:, None]
        c = torch.from_numpy(columns).to(device)[None, :]
        (a, b), (d, e) = transform.linear
        row = a * r + transform.offset[0]
        column = e * c + transform.offset[1]
        return (row + b * c if b else row), (column + d * r if d else column)
    points = _smooth_positions(transform, rows, columns)
    return tuple(torch.from_numpy(np.ascontiguousarray(points[..., k])).to(device) for k in (0, 1))  # type: ignore[return-value]


def _smooth_positions(transform: Transform, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A transform on a lattice, by cubic splines between every sixteenth pixel; (rows, columns, 2)."""
    from scipy.interpolate import RectBivariateSpline

    nodes = [_nodes(axis[0], axis[-1]) for axis in (rows, columns)]
    values = np.asarray(transform(np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)))
    return np.stack([RectBivariateSpline(*nodes, values[..., k])(rows, columns) for k in (0, 1)], axis=-1)


def _nodes(first: float, last: float) -> np.ndarray:
    """At least four nodes that enclose an interval, at the same places for every interval."""
    start = (int(np.floor(first)) // STEP - 1) * STEP
    stop = (int(np.ceil(last)) // STEP + 3) * STEP
    return np.arange(start, stop, STEP, dtype=np.float64)


def nearest(row: Tensor, column: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flat index of the frame pixel that holds each point, and whether there is one; both broadcast."""
    i, j = torch.floor(row + 0.5).long(), torch.floor(column + 0.5).long()
    inside = ((i >= 0) & (i < shape[0])) & ((j >= 0) & (j < shape[1]))
    index = i.clamp(0, shape[0] - 1) * shape[1] + j.clamp(0, shape[1] - 1)
    return index, inside
