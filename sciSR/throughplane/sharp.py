"""Where sharp planes come from: the slices of the volume itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.errors import UsageError

FOREGROUND = 0.1
"""Of the range: where a plane is brighter, there is something to learn from."""
LEAST_SIDE = 24
"""Pixels a side of a plane below which nothing is learned from it."""


@dataclass(eq=False)
class VolumeSlices:
    """The measured slices of one volume.

    Parameters
    ----------
    slices : ndarray, float32 ``[n, X, Y]``
        Normalised; finite.
    """

    slices: np.ndarray

    def __post_init__(self) -> None:
        _, x, y = self.slices.shape
        if min(x, y) < LEAST_SIDE:
            raise UsageError(f"slices of {x}x{y} pixels are too small to learn from")
        bright = self.slices > FOREGROUND
        self._where = np.argwhere(bright[:, ::4, ::4]) * [1, 4, 4]
        if len(self._where) < 64:  # nothing but air, or a constant
            self._where = np.argwhere(np.ones_like(bright[:, ::4, ::4])) * [1, 4, 4]

    @property
    def side(self) -> int:
        """Rows and columns that a patch can have at most, whichever way it is turned."""
        return min(self.slices.shape[1:])

    def draw(self, rng: np.random.Generator, count: int, rows: int, columns: int) -> np.ndarray:
        """Patches ``[count, rows, columns]``, float32: turned and mirrored at random."""
        out = np.empty((count, rows, columns), np.float32)
        for k in range(count):
            at, i, j = self._where[rng.integers(len(self._where))]
            plane = self.slices[at]
            if rng.random() < 0.5:
                plane, i, j = plane.T, j, i
            first = _start(rng, i, rows, plane.shape[0])
            second = _start(rng, j, columns, plane.shape[1])
            out[k] = _mirrored(plane[first : first + rows, second : second + columns], rng)
        return out


def _start(rng: np.random.Generator, centre: int, size: int, whole: int) -> int:
    """Where a patch begins that lies inside the plane and holds `centre`."""
    low, high = max(0, centre - size + 1), min(centre, whole - size)
    return int(rng.integers(low, high + 1)) if high >= low else max(0, whole - size)


def _mirrored(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    patch = patch[::-1] if rng.random() < 0.5 else patch
    return patch[:, ::-1] if rng.random() < 0.5 else patch
