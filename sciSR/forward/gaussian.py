"""Gaussian blur and decimation: the usual model of an MR voxel's profile, on an edge-aligned coarser grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sciSR.forward.border import fold, mirrored, require_multiple


@dataclass(frozen=True)
class GaussianDecimation:
    """Gaussian point spread function, sampled at the centres of the coarse pixels.

    Parameters
    ----------
    scale : int
        Ratio of fine to coarse size, >= 1.
    fwhm : float, optional
        Full width at half maximum in *fine* pixels; ``scale`` (one coarse pixel) if not given.
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

    def taps(self) -> tuple[Tensor, int]:
        """Kernel (float64, 1-D) and the number of fine pixels it reaches before the coarse pixel's first
        one."""
        width = float(self.scale) if self.fwhm is None else self.fwhm
        sigma = width / (2 * math.sqrt(2 * math.log(2)))
        centre = 0.5 * (self.scale - 1)
        before = max(0, math.ceil(self.truncate * sigma - centre))
        position = torch.arange(-before, self.scale + before, dtype=torch.float64)
        kernel = torch.exp(-0.5 * ((position - centre) / sigma) ** 2)
        return kernel / kernel.sum(), before

    def apply(self, x: Tensor) -> Tensor:
        """Fine ``[..., sH, sW]`` -> coarse ``[..., H, W]``."""
        require_multiple(x.shape, self.scale, "Gaussian decimation")
        return self._down(self._down(x).transpose(-1, -2)).transpose(-1, -2)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator, coarse ``[..., H, W]`` -> fine ``[..., sH, sW]``."""
        return self._up(self._up(y).transpose(-1, -2)).transpose(-1, -2)

    def pinv(self, y: Tensor, damping: float = 0.0, iterations: int = 40) -> Tensor:
        """Least-norm inverse ``A^T (A A^T + damping/s^2)^-1 y`` by conjugate gradients.

        ``A A^T`` is well conditioned here (condition about 10 for fwhm = scale = 2), so a few iterations
        reach float rounding; noise at the coarse Nyquist frequency is amplified by about 1.5 in each axis,
        which ``damping`` > 0 limits.
        """
        ridge = damping / self.scale**2
        z = torch.zeros_like(y)
        residual = y.clone()
        direction = residual
        rho = (residual * residual).sum((-1, -2), keepdim=True)
        start, tiny = rho, (16 * torch.finfo(y.dtype).eps) ** 2
        for _ in range(iterations):
            image = self.apply(self.adjoint(direction)) + ridge * direction
            step = rho / (direction * image).sum((-1, -2), keepdim=True).clamp_min(torch.finfo(y.dtype).tiny)
            z = z + step * direction
            residual = residual - step * image
            fresh = (residual * residual).sum((-1, -2), keepdim=True)
            if bool((fresh <= tiny * start).all()):
                break
            direction = residual + fresh / rho.clamp_min(torch.finfo(y.dtype).tiny) * direction
            rho = fresh
        return self.adjoint(z)

    def _down(self, x: Tensor) -> Tensor:
        kernel, before = self.taps()
        flat = x.reshape(-1, 1, x.shape[-1])
        index = mirrored(x.shape[-1], before, x.device)
        out = F.conv1d(flat[..., index], kernel.to(x)[None, None], stride=self.scale)
        return out.reshape(*x.shape[:-1], x.shape[-1] // self.scale)

    def _up(self, y: Tensor) -> Tensor:
        kernel, before = self.taps()
        size = y.shape[-1] * self.scale
        spread = F.conv_transpose1d(
            y.reshape(-1, 1, y.shape[-1]), kernel.to(y)[None, None], stride=self.scale
        )
        return fold(spread, size, before).reshape(*y.shape[:-1], size)
