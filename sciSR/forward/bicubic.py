"""Bicubic reduction as MATLAB's ``imresize`` does it: the degradation of the published super-resolution benchmarks.

Keys' cubic kernel (a = -0.5; Keys 1981, doi:10.1109/TASSP.1981.1163711), widened by the factor on the way down so that
it is its own anti-aliasing filter, edge-aligned, borders mirrored about the pixel edge. It reproduces the published
bicubic rows of Set5 and Set14 to 0.01 dB (``tests/forward/test_bicubic.py``, ``benchmarks/zoo.py``).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor


def keys(t: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -0.5, support [-2, 2]."""
    t = t.abs()
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return torch.where(t <= 1, near, torch.where(t <= 2, far, torch.zeros_like(t)))


@functools.lru_cache(maxsize=64)
def resize_matrix(size_in: int, size_out: int, factor: Fraction) -> Tensor:
    """Weights ``[size_out, size_in]``, float64, of a resize by `factor` (output pixels for each input pixel).

    Output pixel o lies at the input position ``(o + 0.5) / factor - 0.5``; rows sum to 1. For factors below 1 the
    kernel is stretched by ``1 / factor`` (MATLAB's antialiasing).
    """
    scale = min(1.0, float(factor))
    width = 4.0 / scale
    centre = (torch.arange(size_out, dtype=torch.float64) + 0.5) / float(factor) - 0.5
    first = torch.floor(centre - width / 2).long()
    index = first[:, None] + torch.arange(math.ceil(width) + 2)
    weights = scale * keys(scale * (centre[:, None] - index))
    weights = weights / weights.sum(1, keepdim=True)
    inside = torch.remainder(index, 2 * size_in)
    inside = torch.where(inside < size_in, inside, 2 * size_in - 1 - inside)
    matrix = torch.zeros(size_out, size_in, dtype=torch.float64)
    return matrix.scatter_add_(1, inside, weights)


def imresize(x: Tensor, factor: Fraction | int | float) -> Tensor:
    """Resize the last two axes ``[..., H, W]`` -> ``[..., ceil(H f), ceil(W f)]`` as MATLAB's ``imresize(x, f)`` does.

    Parameters
    ----------
    x : Tensor
        float32 or float64; the matrices act in its dtype.
    factor : Fraction, int or float
        Above 1 to enlarge. No rounding and no clipping: the benchmark protocol does both itself.
    """
    f = Fraction(factor).limit_denominator(1000)
    rows, columns = (resize_matrix(n, math.ceil(n * f), f).to(x) for n in x.shape[-2:])
    return rows @ x @ columns.mT


@dataclass(frozen=True)
class BicubicDecimation:
    """Bicubic reduction by a whole number, as an operator on images.

    Parameters
    ----------
    scale : int
        Ratio of fine to coarse size, >= 1.

    Notes
    -----
    Linear and separable; acts on the last two axes ``[..., H, W]``; constants are kept.
    """

    scale: int = 2
    name = "bicubic"

    def apply(self, x: Tensor) -> Tensor:
        """Fine ``[..., sH, sW]`` -> coarse ``[..., H, W]``."""
        return imresize(x, Fraction(1, self.scale))

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator, coarse ``[..., H, W]`` -> fine ``[..., sH, sW]``."""
        rows, columns = (
            resize_matrix(n * self.scale, n, Fraction(1, self.scale)).to(y) for n in y.shape[-2:]
        )
        return rows.mT @ y @ columns

    def pinv(self, y: Tensor) -> Tensor:
        """Moore-Penrose inverse: the smallest fine image that is reduced to `y`."""
        rows, columns = (
            torch.linalg.pinv(resize_matrix(n * self.scale, n, Fraction(1, self.scale))).to(y)
            for n in y.shape[-2:]
        )
        return rows @ y @ columns.mT
