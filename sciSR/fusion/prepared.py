"""What a solver is given: frames on one scale of flux, each with its transform, on their own pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from sciSR.fusion.transforms import Transform


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """One frame, matched to the reference: background subtracted, gain applied, bad pixels known.

    Attributes
    ----------
    name : str
    values : ndarray, (rows, columns), float32
        In the level of the reference frame, per native pixel, without its background: a star has the same flux in
        all frames. Zero where bad.
    variance : ndarray, (rows, columns), float32
        Of `values`, from the expected (not the noisy) signal. Anything positive where bad.
    bad : ndarray, (rows, columns), bool
    transform : Transform
        Reference pixel -> this frame's pixel.
    exposure : float
        Relative weight for :attr:`Solution.weight` where a solver has no better one.
    """

    name: str
    values: np.ndarray
    variance: np.ndarray
    bad: np.ndarray
    transform: Transform
    exposure: float = 1.0


class PreparedFrames(Protocol):
    """Prepared frames, one at a time: only one need be in memory. Can be gone through any number of times."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[PreparedFrame]: ...


@dataclass(frozen=True)
class Target:
    """The fine grid: the reference frame's field, edge to edge.

    A reference position ``p`` (row, column) lies at ``(p + 0.5) * factor - 0.5`` on it, per axis.

    Attributes
    ----------
    native : (int, int)
        The reference frame's shape.
    factors : (Fraction, Fraction)
        Fine pixels per native pixel, per axis; ``native * factors`` is whole.
    """

    native: tuple[int, int]
    factors: tuple[Fraction, Fraction]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the fine grid."""
        return int(self.native[0] * self.factors[0]), int(self.native[1] * self.factors[1])

    def fine(self, points: np.ndarray) -> np.ndarray:
        """Fine-grid indices of reference positions ``(..., 2)``."""
        factors = np.array([float(f) for f in self.factors])
        return (np.asarray(points, dtype=np.float64) + 0.5) * factors - 0.5


@dataclass(frozen=True, eq=False)
class Solution:
    """What every solver returns, on the fine grid.

    Attributes
    ----------
    image : ndarray, float32
        In the level of a *native* pixel (surface brightness): a flat field of value v in the frames gives v. The
        caller shares totals out. NaN where no frame contributes.
    std : ndarray, float32
        One standard deviation of `image`. NaN or inf where `image` is NaN.
    weight : ndarray, float32
        Inverse-variance weight: the sum over frames of 1/variance falling on each fine pixel.
    coverage : ndarray, float32
        Number of frames that contribute to each fine pixel.
    context : ndarray of int32 (planes, rows, columns), or None
        Bit k of plane k//32 set where frame k contributes.
    notes : tuple of str
        For the user and HISTORY.
    extras : mapping
        Numbers worth recording: iterations, prior strength, ...
    """

    image: np.ndarray
    std: np.ndarray
    weight: np.ndarray
    coverage: np.ndarray
    context: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)


class Solver(Protocol):
    """One method of fusion. Settings are keyword arguments with defaults."""

    def __call__(
        self, frames: PreparedFrames, target: Target, *, device: str = "cpu", **settings: Any
    ) -> Solution: ...
