"""Decimation after an ideal low-pass filter, for planes that do not repeat at their border."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sciSR.forward.border import mirrored, require_multiple
from sciSR.forward.kspace import crop_axis, fill_axis


@dataclass(frozen=True)
class LowPassDecimation:
    """Ideal anti-aliasing filter at the coarse Nyquist frequency, sampled at the centres of the coarse pixels.

    Parameters
    ----------
    scale : int
        Ratio of fine to coarse size, >= 1.

    Notes
    -----
    Linear and separable; acts on the last two axes ``[..., H, W]``; constants are kept. It is the crop of k-space
    (`sciSR.forward.kspace`) of the plane mirrored about its pixel edges, in other words of its type-II cosine
    transform, so that nothing wraps around from the opposite border. Sharp edges ring.
    """

    scale: int = 2
    name = "lowpass"

    def apply(self, x: Tensor) -> Tensor:
        """Fine ``[..., sH, sW]`` -> coarse ``[..., H, W]``."""
        require_multiple(x.shape, self.scale, "low-pass decimation")
        return self._down(self._down(x).transpose(-1, -2)).transpose(-1, -2)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator, coarse ``[..., H, W]`` -> fine ``[..., sH, sW]``."""
        return self.pinv(y) / self.scale**2

    def pinv(self, y: Tensor) -> Tensor:
        """Cosine interpolation, the exact pseudo-inverse: ``A A^T`` is the identity over ``scale**2``."""
        return self._up(self._up(y).transpose(-1, -2)).transpose(-1, -2)

    def _down(self, x: Tensor) -> Tensor:
        size = x.shape[-1]
        both = x[..., mirrored(size, size, x.device)[size:]]  # the signal and then its mirror image
        return crop_axis(both, self.scale)[..., : size // self.scale]

    def _up(self, y: Tensor) -> Tensor:
        size = y.shape[-1]
        both = y[..., mirrored(size, size, y.device)[size:]]
        return fill_axis(both, self.scale, gain=float(self.scale), nyquist=0.5)[..., : size * self.scale]
