"""Fourier (zero-filled, sinc) resampling on edge-aligned grids, to any finer size.

The same convention as :class:`sciSR.forward.kspace.KSpaceCrop`, of which this is the inverse where the factor is a
whole number: the coefficient at the Nyquist frequency of an even size is halved between plus and minus, and a phase
ramp moves the samples from pixel 0 to edge alignment (zero filling alone would keep pixel 0 in place).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fourier_resample(x: Tensor, size: int) -> Tensor:
    """Resample the last axis to `size` pixels over the same field, taken as periodic.

    Parameters
    ----------
    x : Tensor, real, (..., n)
    size : int
        At least n.

    Returns
    -------
    Tensor, (..., size)
        ``y[o] = sum_k X[k] exp(2 pi i k x_o / n) / n`` at ``x_o = (o + 0.5) n/size - 0.5``.
    """
    n = x.shape[-1]
    if size == n:
        return x
    spectrum = torch.fft.rfft(x, dim=-1)
    k = torch.arange(spectrum.shape[-1], dtype=torch.float64)
    shift = 0.5 * n / size - 0.5  # position of fine pixel 0, in coarse pixels
    ramp = torch.polar(torch.full_like(k, size / n), 2 * math.pi * k * shift / n)
    if n % 2 == 0:
        # The one coefficient stands for both +n/2 and -n/2: half to each.
        ramp[-1] *= 0.5
    return torch.fft.irfft(spectrum * ramp.to(spectrum.dtype).to(x.device), n=size, dim=-1)
