"""Transforms: where a point of the reference frame lies in another frame.

Points are ``(..., 2)`` float64 arrays of (row, column) pixel indices, 0-based, pixel ``i`` centred on ``i``.
A transform called with points of the *reference* gives points of the *frame*; :meth:`inverse` goes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from sciSR.grid import Grid

MODELS = {"shift": 2, "euclidean": 3, "similarity": 4, "affine": 6}
"""Linear models and their numbers of parameters."""


@runtime_checkable
class Transform(Protocol):
    """Maps reference pixels to frame pixels."""

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Frame pixel indices of reference pixel indices, ``(..., 2)``."""
        ...

    def inverse(self, points: np.ndarray) -> np.ndarray:
        """Reference pixel indices of frame pixel indices, ``(..., 2)``."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """JSON-ready."""
        ...


@dataclass(frozen=True, eq=False)
class Affine:
    """``frame = matrix[:, :2] @ reference + matrix[:, 2]``.

    Parameters
    ----------
    matrix : ndarray, (2, 3)
        Rows: frame row, frame column. Columns: reference row, reference column, 1.
    """

    matrix: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", np.array(self.matrix, dtype=np.float64).reshape(2, 3))

    @classmethod
    def identity(cls) -> Self:
        return cls(np.eye(2, 3))

    @classmethod
    def shift(cls, rows: float, columns: float) -> Self:
        return cls(np.array([[1.0, 0.0, rows], [0.0, 1.0, columns]]))

    @classmethod
    def about(
        cls,
        centre: tuple[float, float],
        angle: float,
        scale: float = 1.0,
        shift: tuple[float, float] = (0, 0),
    ) -> Self:
        """A rotation by `angle` radians (row axis towards column axis) and scaling about `centre`, then a shift."""
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.array([[c, -s], [s, c]])
        middle = np.asarray(centre, dtype=np.float64)
        return cls(np.column_stack([linear, middle + np.asarray(shift) - linear @ middle]))

    @property
    def linear(self) -> np.ndarray:
        """The 2x2 part."""
        return self.matrix[:, :2]

    @property
    def offset(self) -> np.ndarray:
        return self.matrix[:, 2]

    @property
    def angle(self) -> float:
        """Rotation in radians, of the closest similarity."""
        a = self.linear
        return float(np.arctan2(a[1, 0] - a[0, 1], a[0, 0] + a[1, 1]))

    @property
    def mirrored(self) -> bool:
        return bool(np.linalg.det(self.linear) < 0)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(points, dtype=np.float64) @ self.linear.T + self.offset

    def inverse(self, points: np.ndarray) -> np.ndarray:
        return (np.asarray(points, dtype=np.float64) - self.offset) @ np.linalg.inv(self.linear).T

    def inverted(self) -> Affine:
        """The transform from the frame to the reference."""
        back = np.linalg.inv(self.linear)
        return Affine(np.column_stack([back, -back @ self.offset]))

    def then(self, second: Affine) -> Affine:
        """This one first, then `second`."""
        return Affine(
            np.column_stack([second.linear @ self.linear, second.linear @ self.offset + second.offset])
        )

    def describe(self) -> Mapping[str, Any]:
        return {
            "type": "affine",
            "matrix": self.matrix.tolist(),
            "rotation_deg": float(np.degrees(self.angle)),
            "scale": float(np.sqrt(abs(np.linalg.det(self.linear)))),
        }


@dataclass(frozen=True, eq=False)
class GridWarp:
    """Through the world: reference pixel -> sky -> frame pixel, with every distortion the two grids know."""

    reference: Grid
    frame: Grid

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(self.frame.index(self.reference.world(points)), dtype=np.float64)

    def inverse(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(self.reference.index(self.frame.world(points)), dtype=np.float64)

    def describe(self) -> Mapping[str, Any]:
        return {"type": "wcs"}


@dataclass(frozen=True, eq=False)
class Displacement:
    """``frame = reference + field(reference)``: a smooth local warp, cubic between the points of a lattice.

    Parameters
    ----------
    field : ndarray, (rows, columns, 2)
        Displacement (row, column) in pixels at reference pixels ``origin + spacing * (i, j)``; constant beyond.
    spacing : float
        Pixels between lattice points.
    origin : (float, float)
    """

    field: np.ndarray
    spacing: float
    origin: tuple[float, float] = (0.0, 0.0)

    def _at(self, points: np.ndarray) -> np.ndarray:
        from scipy.ndimage import map_coordinates

        points = np.asarray(points, dtype=np.float64)
        where = (points - np.asarray(self.origin)) / self.spacing
        where = where.reshape(
            -1, 2
        ).T  # one point alone is allowed, which SciPy's routine is not prepared for
        planes = [map_coordinates(self.field[..., k], where, order=3, mode="nearest") for k in (0, 1)]
        return np.stack(planes, axis=-1).reshape(points.shape)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(points, dtype=np.float64) + self._at(points)

    def inverse(self, points: np.ndarray) -> np.ndarray:
        """By fixed-point iteration: converges where the field changes by less than a pixel per pixel."""
        points = np.asarray(points, dtype=np.float64)
        guess = points - self._at(points)
        for _ in range(20):
            change = points - guess - self._at(guess)
            guess = guess + change
            if np.max(np.abs(change), initial=0.0) < 1e-6:
                break
        return guess

    def describe(self) -> Mapping[str, Any]:
        return {
            "type": "displacement",
            "spacing": self.spacing,
            "rms_px": float(np.sqrt(np.mean(np.sum(np.square(self.field), axis=-1)))),
        }


@dataclass(frozen=True, eq=False)
class Chain:
    """Several transforms, the first applied first: e.g. a WCS warp and a small correction after it."""

    steps: tuple[Transform, ...]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        for step in self.steps:
            points = step(points)
        return points

    def inverse(self, points: np.ndarray) -> np.ndarray:
        for step in reversed(self.steps):
            points = step.inverse(points)
        return points

    def describe(self) -> Mapping[str, Any]:
        return {"type": "chain", "steps": [dict(step.describe()) for step in self.steps]}


def frame_positions(
    transform: Transform, rows: slice | range, columns: int, *, step: int | None = None
) -> np.ndarray:
    """Where each pixel of some rows of a frame lies in the reference.

    Parameters
    ----------
    transform : Transform
    rows : slice or range
        Consecutive rows of the frame.
    columns : int
        Width of the frame.
    step : int, optional
        Anything but an affine transform is evaluated every `step` pixels and interpolated by cubic splines, which
        saves a million calls. Default: 16, WCS distortions are smooth on that scale (below 1e-6 px for SIP and TPV);
        a quarter of the lattice's spacing for a local warp (3e-4 px rms).

    Returns
    -------
    ndarray, (n_rows, columns, 2), float64
    """
    start, stop = (rows.start or 0), rows.stop
    if isinstance(transform, Affine):
        back = transform.inverted()
        r = np.arange(start, stop, dtype=np.float64)[:, None, None]
        c = np.arange(columns, dtype=np.float64)[None, :, None]
        return r * back.linear[:, 0] + c * back.linear[:, 1] + back.offset
    from scipy.interpolate import RectBivariateSpline

    step = step or _smooth_over(transform)
    r = _nodes(start, stop, step)
    c = _nodes(0, columns, step)
    nodes = transform.inverse(np.stack(np.meshgrid(r, c, indexing="ij"), axis=-1))
    inside = (np.arange(start, stop, dtype=np.float64), np.arange(columns, dtype=np.float64))
    return np.stack([RectBivariateSpline(r, c, nodes[..., k])(*inside) for k in (0, 1)], axis=-1)


def linear_scale(transform: Transform, shape: tuple[int, int]) -> float:
    """Frame pixels per reference pixel at the frame's centre: the root of the determinant's size."""
    if isinstance(transform, Affine):
        return float(np.sqrt(abs(np.linalg.det(transform.linear))))
    middle = (np.array(shape) - 1) / 2
    ends = transform.inverse(middle + np.array([[8.0, 0.0], [-8.0, 0.0], [0.0, 8.0], [0.0, -8.0]]))
    by_row, by_column = (ends[0] - ends[1]) / 16, (ends[2] - ends[3]) / 16
    return float(1 / np.sqrt(abs(by_row[0] * by_column[1] - by_row[1] * by_column[0])))


def _smooth_over(transform: Transform) -> int:
    """Pixels over which cubic splines follow a transform."""
    if isinstance(transform, Chain):
        return min((_smooth_over(step) for step in transform.steps), default=16)
    if isinstance(transform, Displacement):
        return int(np.clip(transform.spacing / 4, 1, 16))
    return 16


def _nodes(start: int, stop: int, step: int) -> np.ndarray:
    """At least four nodes that enclose ``start..stop - 1``, at the same places for every range of rows."""
    first = (start // step - 1) * step
    last = (-(-(stop - 1) // step) + 2) * step
    return np.arange(first, last, step, dtype=np.float64)
