"""Truncation of MR k-space: the central part of the spectrum is kept, on an edge-aligned coarser grid.

The operator is separable; in one dimension, with fine size ``N = s n``, spectrum ``X`` of the fine signal
and coarse samples at the fine positions ``s i + (s - 1)/2`` (edge alignment: ``i_in = (i_out + 0.5)/s -
0.5``)::

    y[i] = 1/N * sum_{|k| < n/2} X[k] exp(2 pi i k (s i + (s - 1)/2) / N)      (+ Nyquist term, n even)

For even ``n`` the coefficients at ``k = +n/2`` and ``k = -n/2`` fall on the same coarse frequency. They are
*added* on the way down and *halved* on the way up (the convention of ``scipy.signal.resample``): with this
the zero-filled interpolation is the exact Moore-Penrose inverse, real images stay real, and ``apply(pinv(y))
== y`` to float rounding for even and odd sizes. In pixel units: constants are kept (no change of level).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sciSR.forward.border import require_multiple


def _ramp(n: int, scale: int, sign: int, like: Tensor) -> Tensor:
    """Phase ramp exp(sign 2 pi i k delta / N), delta = (s - 1)/2 fine pixels, for k = 0 .. n//2, complex."""
    k = torch.arange(n // 2 + 1, dtype=torch.float64)
    phase = torch.polar(torch.ones_like(k), sign * 2 * math.pi * k * (0.5 * (scale - 1)) / (scale * n))
    return phase.to(
        device=like.device, dtype=torch.complex128 if like.dtype == torch.float64 else torch.complex64
    )


def crop_axis(x: Tensor, scale: int) -> Tensor:
    """1-D operator along the last axis: [..., N] -> [..., n]."""
    n = x.shape[-1] // scale
    spectrum = torch.fft.rfft(x, dim=-1)[..., : n // 2 + 1] * _ramp(n, scale, +1, x) / scale
    if n % 2 == 0:
        nyquist = 2 * spectrum[..., -1:].real
        spectrum = torch.cat([spectrum[..., :-1], torch.complex(nyquist, torch.zeros_like(nyquist))], -1)
    return torch.fft.irfft(spectrum, n=n, dim=-1)


def fill_axis(y: Tensor, scale: int, gain: float, nyquist: float) -> Tensor:
    """1-D zero filling along the last axis: [..., n] -> [..., s n], with a gain for all and one for the
    Nyquist term."""
    n = y.shape[-1]
    spectrum = torch.fft.rfft(y, dim=-1) * (_ramp(n, scale, -1, y) * gain)
    if n % 2 == 0:
        spectrum = torch.cat([spectrum[..., :-1], spectrum[..., -1:] * nyquist], -1)
    return torch.fft.irfft(spectrum, n=scale * n, dim=-1)


@dataclass(frozen=True)
class KSpaceCrop:
    """Central crop of the 2-D spectrum by a factor ``scale`` in both axes, as an operator on real images.

    Parameters
    ----------
    scale : int
        Ratio of fine to coarse size, >= 1.

    Notes
    -----
    Linear; acts on the last two axes ``[..., H, W]`` of a float32 or float64 tensor, any other axes are
    batch. The plane is taken as periodic (as a scanner's discrete Fourier transform does), so the *whole*
    plane must be given.
    """

    scale: int = 2
    name = "kspace"

    def apply(self, x: Tensor) -> Tensor:
        """Fine ``[..., sH, sW]`` -> coarse ``[..., H, W]``."""
        require_multiple(x.shape, self.scale, "k-space crop")
        if self.scale == 1:
            return x
        return crop_axis(crop_axis(x, self.scale).transpose(-1, -2), self.scale).transpose(-1, -2)

    def pinv(self, y: Tensor) -> Tensor:
        """Zero-filled Fourier interpolation, coarse ``[..., H, W]`` -> fine ``[..., sH, sW]``; the exact
        pseudo-inverse."""
        return self._both(y, gain=float(self.scale), nyquist=0.5)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator, coarse ``[..., H, W]`` -> fine ``[..., sH, sW]``."""
        return self._both(y, gain=1.0, nyquist=1.0)

    def out_of_band(self, x: Tensor) -> Tensor:
        """The part of a fine image that the measurement does not see, ``x - pinv(apply(x))``."""
        return x - self.pinv(self.apply(x))

    def _both(self, y: Tensor, gain: float, nyquist: float) -> Tensor:
        if self.scale == 1:
            return y
        rows = fill_axis(y, self.scale, gain, nyquist).transpose(-1, -2)
        return fill_axis(rows, self.scale, gain, nyquist).transpose(-1, -2)
