"""Which frames are sharp where, and the weights that follow.

A frame's detail is ``s`` times the reference picture's, in the pass band of the Laplacian, around each point of a
lattice. Averaging with weights ``w`` (sum 1) loses the share ``1 - sum(w s)/s_top`` of the detail D and keeps the
noise ``sum(w^2) sigma^2``. The weights that minimise ``(1 - sum(w s)/s_top)^2 D^2 + sum(w^2) sigma^2`` with none
negative are ``w ~ max(s - c, 0)`` (the Karush-Kuhn-Tucker conditions leave one unknown, c, which is searched): noisy
clips take all frames alike, bright ones only the sharpest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.planetary.lattice import Lattice
from sciSR.fusion.planetary.local import Box, Fit, LocalAligner

_SPREAD = 0.15  # usual scatter of s across the field and from frame to frame: what noise is weighed against
_WORST = 100.0


@dataclass(frozen=True, eq=False)
class SharpnessWeights:
    """Variance multipliers of all frames, on a lattice.

    Attributes
    ----------
    lattice : Lattice
        Of the box.
    box : Box
    multipliers : dict of int to ndarray
        Frame index to values at the lattice points, 1 for the best, 100 at most.
    shifts : dict of int to ndarray
    """

    lattice: Lattice
    box: Box
    multipliers: dict[int, np.ndarray]
    shifts: dict[int, np.ndarray]

    def variance_multiplier(self, index: int, shape: tuple[int, int]) -> np.ndarray:
        """What to multiply the variance of a frame's pixels by, ``(rows, columns)`` float32, on its own pixels.

        Warps of a pixel or two are ignored: the lattice is far coarser.
        """
        nodes = np.log(self.multipliers[index])
        axes = []
        for axis in (0, 1):
            at = np.arange(shape[axis]) - self.shifts[index][axis] - self.box.start[axis]
            inside = np.clip(at, 0, self.box.shape[axis] - 1)
            basis = self.lattice.basis(axis, inside)
            axes.append(basis / basis.sum(axis=1, keepdims=True))
        return np.exp(axes[0] @ nodes.astype(np.float32) @ axes[1].T)


class SharpnessMeter:
    """Collects each frame's local sharpness against the reference picture of an aligner."""

    def __init__(self, aligner: LocalAligner) -> None:
        self.box = aligner.box
        self.lattice = Lattice(aligner.box.shape, 2 * aligner.lattice.spacing)
        every = (np.arange(0, n, aligner.stride) for n in aligner.box.shape)
        self._bases = tuple(self.lattice.basis(axis, at) for axis, at in enumerate(every))
        self._mask = aligner.mask
        self._detail = np.where(aligner.mask, aligner.laplacian, 0)
        self._area = self._window(aligner.mask.astype(np.float32))
        self._power = self._window(self._detail**2)
        self.sharp: dict[int, np.ndarray] = {}
        self._noise: list[float] = []

    def _window(self, picture: np.ndarray) -> np.ndarray:
        return (self._bases[0].T @ picture.astype(np.float32) @ self._bases[1]).astype(np.float64)

    def add(self, index: int, fit: Fit) -> None:
        """Measure one aligned frame."""
        from scipy.ndimage import laplace

        own = np.where(self._mask, laplace(fit.aligned, mode="nearest"), 0)
        product = self._window(own * self._detail)
        overall = float(product.sum() / max(self._power.sum(), 1e-30))
        left = (own - np.float32(overall) * self._detail)[self._mask]
        noise = (1.4826 * float(np.median(np.abs(left)))) ** 2
        # Where noise drowns the detail, the frame's overall sharpness is the best guess.
        pull = noise / _SPREAD**2
        self.sharp[index] = (product + pull * overall) / (self._power + pull)
        self._noise.append(noise)

    def weights(self, indices: list[int], shifts: dict[int, np.ndarray]) -> SharpnessWeights:
        """Weights among these frames."""
        s = np.array([self.sharp[k] for k in indices])
        noise = float(np.median(self._noise))
        detail = self._power / np.maximum(self._area, 1e-30)
        w = best_weights(s, np.where(self._area > 1, detail, 0.0), noise)
        multipliers = np.minimum(w.max(axis=0) / np.maximum(w, 1e-12), _WORST)
        return SharpnessWeights(
            self.lattice,
            self.box,
            dict(zip(indices, multipliers, strict=True)),
            {k: shifts[k] for k in indices},
        )


def best_weights(sharp: np.ndarray, detail: np.ndarray, noise: float) -> np.ndarray:
    """Weights ``(n, ...)``, summing to 1 over the first axis, that lose least detail for the noise they leave.

    Parameters
    ----------
    sharp : ndarray, (n, ...)
        Detail of each frame relative to the reference picture's.
    detail : ndarray, (...)
        Mean square of the reference picture's detail.
    noise : float
        Mean square of a frame's noise in the same pass band.
    """
    top = np.percentile(sharp, 95, axis=0) if len(sharp) > 1 else sharp[0]
    top = np.maximum(top, 1e-6)
    spread = sharp.max(axis=0) - sharp.min(axis=0)
    best = np.full(sharp.shape, 1 / len(sharp))
    cost = _cost(best, sharp, top, detail, noise)
    for level in (-3.0, -1.0, -0.3, 0.0, 0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        cut = sharp.min(axis=0) + level * spread
        w = np.maximum(sharp - cut, 0)
        total = w.sum(axis=0)
        w = np.where(total > 0, w / np.where(total > 0, total, 1), 1 / len(sharp))
        now = _cost(w, sharp, top, detail, noise)
        better = now < cost
        best, cost = np.where(better, w, best), np.where(better, now, cost)
    return best


def _cost(w: np.ndarray, sharp: np.ndarray, top: np.ndarray, detail: np.ndarray, noise: float) -> np.ndarray:
    lost = np.maximum(1 - np.sum(w * sharp, axis=0) / top, 0)
    return lost**2 * detail + noise * np.sum(w**2, axis=0)
