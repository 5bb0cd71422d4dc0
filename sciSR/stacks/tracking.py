"""What is known so far of each stack: its motion, its slices' own, its intensities, and how far it is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sciSR.stacks.canvas import Canvas
from sciSR.stacks.likelihood import Observed
from sciSR.stacks.operator import StackOperator
from sciSR.stacks.rigid import Rigid
from sciSR.stacks.stack import Stack

BLOCK = 8
"""Voxels a side of the blocks of a slice in which noise is looked for."""
_QUANTILE, _EXPECTED = 0.1, 0.763
"""Which of the blocks, and what that quantile of the root mean square of 16 normal values is."""
LEAST_NOISE = 2e-3
"""Of the intensities' range: what interpolation and the model of the profile leave open in data without noise."""


LEAST_GAIN = 0.3
"""Of the present gain: a step to less than this comes from images that do not match yet."""


@dataclass(eq=False)
class Track:
    """One stack's state; motions are 4x4 matrices, world to world.

    Attributes
    ----------
    stack : Stack
        Its intensities in the common unit.
    whole : ndarray, 4x4
    each : ndarray, ``[slices, 4, 4]``
    own : ndarray of bool, ``[slices]``
        True where a slice has a motion of its own.
    gain, offset : float
    trust : ndarray, ``[slices]``
        0 to 1.
    noise : float
        Standard deviation of a voxel.
    """

    stack: Stack
    whole: np.ndarray
    each: np.ndarray
    own: np.ndarray
    gain: float
    offset: float
    trust: np.ndarray
    noise: float
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def of(cls, stack: Stack) -> Track:
        """Where the header says."""
        slices = len(stack.slices)
        each = np.repeat(np.eye(4)[None], slices, axis=0)
        noise = max(noise_of(stack), LEAST_NOISE)
        return cls(stack, np.eye(4), each, np.zeros(slices, bool), 1.0, 0.0, np.ones(slices), noise)

    def move(self, step: np.ndarray) -> None:
        """The stack and all its slices, by a 4x4 matrix."""
        self.whole = step @ self.whole
        self.each = step @ self.each

    @property
    def rigid(self) -> Rigid:
        """The stack's motion about the centre of its field."""
        return Rigid.of_matrix(self.whole, self.stack.centre)

    def slice_centre(self, k: int) -> np.ndarray:
        """Of slice `k`, where the header puts it."""
        middle = np.array([k, *((n - 1) / 2 for n in self.stack.slices.shape[1:])])
        return self.stack.slice_affine[:3, :3] @ middle + self.stack.slice_affine[:3, 3]

    def deviations(self) -> np.ndarray:
        """Of the slices from their stack: degrees and millimetres, about where they lie, ``[slices, 6]``."""
        back = np.linalg.inv(self.whole)
        out = np.zeros((len(self.each), 6))
        for k in np.flatnonzero(self.own):
            at = self.whole[:3, :3] @ self.slice_centre(k) + self.whole[:3, 3]
            out[k] = Rigid.of_matrix(self.each[k] @ back, at).parameters
        return out

    def operator(self, canvas: Canvas, stack: Stack | None = None, *, keep: bool = True) -> StackOperator:
        """The forward operator on a canvas, with the present motions; of a coarser version of the stack if given."""
        return StackOperator(canvas, stack or self.stack, self.each, keep=keep)

    def change_intensities(self, gain: float, offset: float) -> None:
        """Add to gain and offset; a gain that would vanish or turn its sign is no gain, and left as it is."""
        if self.gain + gain > LEAST_GAIN * self.gain:
            self.gain, self.offset = self.gain + gain, self.offset + offset

    def observed(self, operator: StackOperator, voxel_weights: torch.Tensor | None = None) -> Observed:
        """As data for the solver."""
        values = (operator.measured - self.offset) / self.gain
        weights = torch.from_numpy(self.trust[operator.slice_of].astype(np.float32)).to(values.device)
        weights = weights * (self.gain / self.noise) ** 2
        return Observed(operator, values, weights if voxel_weights is None else weights * voxel_weights)


def noise_of(stack: Stack) -> float:
    """Noise of a stack where it has signal, from diagonal differences within slices.

    ``(a - b - c + d)/2`` of two by two voxels has the noise's own standard deviation and sees no slopes; the blocks
    with the least of it show the noise alone.
    """
    values, good = stack.slices, stack.good
    n, m = (size // BLOCK * BLOCK for size in values.shape[1:])
    if not n or not m:
        return 0.0
    values, good = values[:, :n, :m], good[:, :n, :m]

    def blocks(v: np.ndarray) -> np.ndarray:
        shape = (len(v), n // BLOCK, BLOCK // 2, 2, m // BLOCK, BLOCK // 2, 2)
        return v.reshape(shape)

    v = blocks(np.where(good, values, np.float32(0)))
    difference = 0.5 * (v[:, :, :, 0, :, :, 0] - v[:, :, :, 0, :, :, 1])
    difference -= 0.5 * (v[:, :, :, 1, :, :, 0] - v[:, :, :, 1, :, :, 1])
    spread = np.sqrt((difference.astype(np.float64) ** 2).mean(axis=(2, 4)))
    level = v.mean(axis=(2, 3, 5, 6))
    whole = blocks(good).all(axis=(2, 3, 5, 6))
    signal = whole & (level > 0.1 * np.quantile(np.abs(values[good]), 0.99))
    chosen = spread[signal] if signal.sum() >= 10 else spread[whole]
    return float(np.quantile(chosen, _QUANTILE)) / _EXPECTED if chosen.size else 0.0


def match_intensities(tracks: Sequence[Track]) -> None:
    """First gains and offsets: the same mean and spread as the first stack's."""
    means, spreads = [], []
    for track in tracks:
        values = track.stack.slices[track.stack.good].astype(np.float64)
        means.append(float(values.mean()))
        spreads.append(float(values.std()))
    for track, mean, spread in zip(tracks, means, spreads, strict=True):
        track.gain = spread / spreads[0]
        track.offset = mean - track.gain * means[0]
