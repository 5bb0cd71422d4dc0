"""Rigid motion in the world: six numbers, their matrix, and how far they move a body."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Rigid:
    """``x -> R (x - centre) + centre + translation``.

    Attributes
    ----------
    rotation : tuple of 3 float
        Rotation vector, degrees: its direction is the axis, its length the angle, about the world's axes.
    translation : tuple of 3 float
        Millimetres, along the world's axes.
    centre : tuple of 3 float
        Point of the world that the rotation leaves alone.
    """

    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def matrix(self) -> np.ndarray:
        """World to world, 4x4, float64."""
        turn = rotation_matrix(np.radians(self.rotation))
        out = np.eye(4)
        out[:3, :3] = turn
        out[:3, 3] = np.asarray(self.centre) + np.asarray(self.translation) - turn @ np.asarray(self.centre)
        return out

    @property
    def parameters(self) -> np.ndarray:
        """Three degrees, three millimetres."""
        return np.array([*self.rotation, *self.translation])

    @classmethod
    def of(cls, parameters: np.ndarray, centre: np.ndarray) -> Rigid:
        """From three degrees and three millimetres."""
        p, c = [float(v) for v in parameters], [float(v) for v in centre]
        return cls((p[0], p[1], p[2]), (p[3], p[4], p[5]), (c[0], c[1], c[2]))

    @classmethod
    def of_matrix(cls, matrix: np.ndarray, centre: np.ndarray) -> Rigid:
        """From a rigid 4x4 matrix."""
        turn = np.degrees(rotation_vector(matrix[:3, :3]))
        centre = np.asarray(centre, dtype=np.float64)
        shift = matrix[:3, :3] @ centre + matrix[:3, 3] - centre
        return cls.of(np.concatenate([turn, shift]), centre)

    def about(self, centre: np.ndarray) -> Rigid:
        """The same motion, written about another centre."""
        return Rigid.of_matrix(self.matrix, centre)

    def moved(self, step: np.ndarray) -> Rigid:
        """Followed by a small motion about the place to which this one carries its centre: degrees, millimetres."""
        at = np.asarray(self.centre) + np.asarray(self.translation)
        turn = Rigid.of(np.concatenate([step[:3], np.zeros(3)]), at).matrix @ self.matrix
        out = Rigid.of_matrix(turn, np.asarray(self.centre))
        shift = np.asarray(out.translation) + step[3:]
        return replace(out, translation=(float(shift[0]), float(shift[1]), float(shift[2])))


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula; the vector in radians."""
    angle = float(np.linalg.norm(vector))
    x, y, z = np.asarray(vector, dtype=np.float64)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    if angle < 1e-12:
        return np.eye(3) + cross
    return np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """The inverse of :func:`rotation_matrix`, radians; for angles below half a turn."""
    skew = 0.5 * np.array(
        [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    )
    sine, cosine = float(np.linalg.norm(skew)), 0.5 * (float(np.trace(matrix)) - 1)
    angle = float(np.arctan2(sine, cosine))
    return skew if sine < 1e-12 else skew * (angle / sine)


def displacement(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance in millimetres between where two 4x4 matrices carry points ``[n, 3]``."""
    difference = a - b
    return np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1)
