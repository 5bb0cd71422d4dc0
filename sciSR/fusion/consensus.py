"""When most frames call one place of the sky an outlier, it is the model that is wrong there, not the frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sciSR.fusion.transforms import Transform


@dataclass(eq=False)
class Consensus:
    """Counts, for each native pixel of the reference, the frames that have an outlier there or beside it.

    Cosmic rays fall at random and a detector's defects move against the sky: neither strikes the same place in many
    frames. An undersampled star's core, a variable star, or a model that is still too soft does.

    Parameters
    ----------
    native : (int, int)
        The reference's shape.
    share : float
        Of all frames: from so many on an outlier is taken back.
    least : int
        But not from fewer frames than these.
    """

    native: tuple[int, int]
    share: float = 0.3
    least: int = 3
    frames: int = 0
    _count: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._count = np.zeros(self.native, dtype=np.uint16)

    def add(self, transform: Transform, outliers: np.ndarray) -> None:
        """One frame's outliers, (rows, columns) bool."""
        self.frames += 1
        at = self._places(transform, outliers)
        here = np.zeros(self.native, dtype=bool)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                moved = at + np.array([dy, dx])
                inside = ((moved >= 0) & (moved < np.array(self.native))).all(axis=1)
                here[tuple(moved[inside].T)] = True
        self._count += here

    def doubtful(self, transform: Transform, outliers: np.ndarray) -> np.ndarray:
        """Those outliers of a frame that too many others share; bool, the frame's shape."""
        limit = max(self.least, round(self.share * self.frames))
        out = np.zeros_like(outliers)
        at = self._places(transform, outliers)
        inside = ((at >= 0) & (at < np.array(self.native))).all(axis=1)
        pixels = np.argwhere(outliers)[inside]
        shared = self._count[tuple(at[inside].T)] >= limit
        out[tuple(pixels[shared].T)] = True
        return out

    @staticmethod
    def _places(transform: Transform, mask: np.ndarray) -> np.ndarray:
        """Nearest reference pixels of a frame's marked pixels, (n, 2)."""
        pixels = np.argwhere(mask).astype(np.float64)
        if not len(pixels):
            return np.zeros((0, 2), dtype=np.intp)
        where = transform.inverse(pixels)
        return np.rint(np.where(np.isfinite(where), where, -9)).astype(np.intp)
