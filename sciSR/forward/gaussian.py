"""Gaussian blur and decimation: the usual model of an MR voxel's profile, on an edge-aligned coarser grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.forward.border import require_multiple
from sciSR.forward.inverse import least_norm
from sciSR.forward.strided import down, up


@dataclass(frozen=True)
class GaussianDecimation:
    """Gaussian point spread function, sampled at the centres of the coarse pixels.

    Parameters
    ----------
    scale : int
        Ratio of fine to coarse size, >= 1.
    fwhm : float, optional
        Full width at half maximum in *fine* pixels, > 0; ``scale`` (one coarse pixel) if not given.
    truncate : float
        Radius of the kernel in standard deviations.

    Notes
    -----
    Linear and separable; acts on the last two axes ``[..., H, W]``. Coarse pixel i has its centre at the
    fine position ``s i + (s - 1)/2``; the taps are the Gaussian's values at the fine pixel centres,
    normalised to sum 1, so constants are kept. Beyond the border the image is mirrored about the pixel edge
    ("symmetric").
    """

    scale: int = 2
    fwhm: float | None = None
    truncate: float = 4.0
    name = "gaussian"

    def __post_init__(self) -> None:
        if self.fwhm is not None and not (math.isfinite(self.fwhm) and self.fwhm > 0):
            raise UsageError(f"a Gaussian of FWHM {self.fwhm:g}", remedy="give a width above 0")

    def taps(self) -> tuple[Tensor, int]:
        """Kernel (float64, 1-D) and the number of fine pixels it reaches before the coarse pixel's first
        one."""
        width = float(self.scale) if self.fwhm is None else self.fwhm
        sigma = width / (2 * math.sqrt(2 * math.log(2)))
        centre = 0.5 * (self.scale - 1)
        before = max(0, math.ceil(self.truncate * sigma - centre))
        distance = torch.arange(-before, self.scale + before, dtype=torch.float64) - centre
        # Relative to the nearest tap, so that a kernel far narrower than a pixel does not underflow to nothing.
        kernel = torch.exp(-0.5 * (distance**2 - (distance**2).min()) / sigma**2)
        return kernel / kernel.sum(), before

    def apply(self, x: Tensor) -> Tensor:
        """Fine ``[..., sH, sW]`` -> coarse ``[..., H, W]``."""
        require_multiple(x.shape, self.scale, "Gaussian decimation")
        kernel = self.taps()[0]
        return down(down(x, kernel, self.scale).transpose(-1, -2), kernel, self.scale).transpose(-1, -2)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator, coarse ``[..., H, W]`` -> fine ``[..., sH, sW]``."""
        kernel = self.taps()[0]
        return up(up(y, kernel, self.scale).transpose(-1, -2), kernel, self.scale).transpose(-1, -2)

    def pinv(self, y: Tensor, damping: float = 0.0, iterations: int = 40) -> Tensor:
        """Least-norm inverse ``A^T (A A^T + damping/s^2)^-1 y`` by conjugate gradients.

        ``A A^T`` is well conditioned here (condition about 10 for fwhm = scale = 2), so a few iterations
        reach float rounding; noise at the coarse Nyquist frequency is amplified by about 1.5 in each axis,
        which ``damping`` > 0 limits.
        """
        return least_norm(self, y, damping / self.scale**2, iterations)
