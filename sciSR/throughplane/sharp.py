"""Where sharp planes come from: the slices of the volume itself, or a prepared file of patches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from sciSR.errors import UnreadableError, UsageError

FOREGROUND = 0.1
"""Of the range: where a plane is brighter, there is something to learn from."""
LEAST_SIDE = 24
"""Pixels a side of a plane below which nothing is learned from it."""


class SharpPlanes(Protocol):
    """Planes that are sharp along both axes, normalised to about 0 to 1."""

    @property
    def side(self) -> tuple[int, int]:
        """Rows and columns that every patch can have at most, whichever way it is turned."""
        ...

    def draw(self, rng: np.random.Generator, count: int, rows: int, columns: int) -> np.ndarray:
        """Patches ``[count, rows, columns]``, float32: turned and mirrored at random."""
        ...


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
    def side(self) -> tuple[int, int]:
        return min(self.slices.shape[1:]), min(self.slices.shape[1:])

    def draw(self, rng: np.random.Generator, count: int, rows: int, columns: int) -> np.ndarray:
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


@dataclass(eq=False)
class PatchFile:
    """Patches of many volumes.

    Parameters
    ----------
    patches : ndarray, float16 ``[n, side, side]``
    """

    patches: np.ndarray

    @classmethod
    def open(cls, path: Path) -> PatchFile:
        """Read a file that `sciSR.throughplane.prepare` wrote.

        Raises
        ------
        UnreadableError
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                patches = file["sharp"]
        except (OSError, KeyError, ValueError) as error:
            raise UnreadableError(f"no file of sharp patches ({error})", where=path) from error
        if patches.ndim != 3 or not len(patches):
            raise UnreadableError(f"patches of shape {patches.shape}", where=path)
        return cls(patches)

    @property
    def side(self) -> tuple[int, int]:
        return self.patches.shape[1], self.patches.shape[2]

    def draw(self, rng: np.random.Generator, count: int, rows: int, columns: int) -> np.ndarray:
        out = np.empty((count, rows, columns), np.float32)
        side = self.patches.shape[1:]
        for k in range(count):
            patch = self.patches[rng.integers(len(self.patches))].astype(np.float32)
            patch = patch.T if rng.random() < 0.5 else patch
            i, j = (int(rng.integers(n - m + 1)) for n, m in zip(side, (rows, columns), strict=True))
            out[k] = _mirrored(patch[i : i + rows, j : j + columns], rng)
        return out


def _mirrored(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    patch = patch[::-1] if rng.random() < 0.5 else patch
    return patch[:, ::-1] if rng.random() < 0.5 else patch
