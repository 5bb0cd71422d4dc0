"""Windows on k-space: less ringing at sharp edges, paid for with resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def tukey(n: int, taper: float) -> Tensor:
    """Tukey (tapered cosine) window over the `n` lines of k-space, float64 ``[n]`` in the order of ``fft``.

    Parameters
    ----------
    n : int
        Lines, >= 1.
    taper : float
        Share of the band that is tapered, 0 to 1: 0 a rectangle (as acquired), 1 a full Hann window.

    Notes
    -----
    Harris, Proc. IEEE 66, 51 (1978), doi:10.1109/PROC.1978.10837, with the zero half a line beyond the last one
    (``r = 2 |k| / (n + 1)``), so that every acquired line keeps a positive weight and the centre has weight 1.
    """
    k = torch.fft.fftfreq(n, d=1.0 / n, dtype=torch.float64).abs()
    r = 2 * k / (n + 1)
    if taper <= 0:
        return torch.ones(n, dtype=torch.float64)
    over = ((r - (1 - taper)) / taper).clamp_min(0)
    return 0.5 * (1 + torch.cos(math.pi * over))


@dataclass(frozen=True)
class Apodisation:
    """Separable Tukey window on the k-space of a plane, as an operator on images.

    Parameters
    ----------
    taper : float
        0 (no window) to 1 (Hann), see :func:`tukey`.

    Notes
    -----
    Linear; acts on the last two axes ``[..., H, W]`` of a real or complex tensor, taken as periodic. The window is
    real and even: the operator is its own adjoint, and keeps constants and real images real. The window is alike on
    both axes; a scanner may use a radial one instead.
    """

    taper: float = 1.0
    name = "apodisation"

    def apply(self, x: Tensor) -> Tensor:
        """Image ``[..., H, W]`` -> windowed image of the same shape and dtype."""
        return x if self.taper <= 0 else self._weigh(x, invert=False)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator: the same one."""
        return self.apply(y)

    def pinv(self, y: Tensor) -> Tensor:
        """Inverse: divides by the window. It amplifies noise in the outer lines, up to ``n^2`` for a Hann window."""
        return y if self.taper <= 0 else self._weigh(y, invert=True)

    def _weigh(self, x: Tensor, invert: bool) -> Tensor:
        rows, columns = (tukey(n, self.taper) for n in x.shape[-2:])
        window = (rows[:, None] * columns).to(x.device)
        wide = torch.fft.fft2(x.to(torch.complex128 if x.dtype in _DOUBLE else torch.complex64))
        weighed = torch.fft.ifft2(wide / window if invert else wide * window)
        return (weighed if x.is_complex() else weighed.real).to(x.dtype)


_DOUBLE = (torch.float64, torch.complex128)
