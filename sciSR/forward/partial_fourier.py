"""Partial Fourier: part of the phase-encoding lines on one side of k-space is not acquired.

A scanner leaves out up to half of the lines to save time. What stands in their place is a choice of the
reconstruction: zeros (:class:`PartialFourier`), which blurs along the phase-encoding axis, or the conjugates of the
lines on the other side after the image's slow phase was taken off (:func:`homodyne`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sciSR.errors import UsageError


def acquired(n: int, share: float) -> Tensor:
    """Which of `n` lines are acquired, bool ``[n]`` in the order of ``fft``.

    ``ceil(share n)`` lines, but always more than half of them, so that the centre is among them; those left out have
    the most negative frequencies.
    """
    if not 0.5 <= share <= 1:
        raise UsageError(
            f"partial Fourier: a share of {share:g} of the lines", remedy="give one from 0.5 to 1"
        )
    kept = min(n, max(math.ceil(share * n - 1e-9), n // 2 + 1))
    order = torch.fft.fftshift(torch.arange(n))  # from the most negative frequency to the most positive one
    mask = torch.zeros(n, dtype=torch.bool)
    mask[order[n - kept :]] = True
    return mask


@dataclass(frozen=True)
class PartialFourier:
    """Zero-filled partial Fourier acquisition of a plane.

    Parameters
    ----------
    share : float
        Of the phase-encoding lines that was acquired, 0.5 to 1.
    axis : int
        Phase-encoding axis, -2 (rows) or -1 (columns).

    Notes
    -----
    Linear; acts on ``[..., H, W]``, real or complex, taken as periodic, and gives a complex image (its magnitude is
    what a scanner stores). A projection: its own adjoint and its own pseudo-inverse. Constants are kept.
    """

    share: float = 0.75
    axis: int = -2
    name = "partial-fourier"

    def apply(self, x: Tensor) -> Tensor:
        """Image ``[..., H, W]`` -> complex image of the same shape, the missing lines zero."""
        n = x.shape[self.axis]
        mask = acquired(n, self.share).to(x.device)
        shape = [1] * x.dim()
        shape[self.axis] = n
        spectrum = torch.fft.fft(x, dim=self.axis) * mask.view(shape)
        return torch.fft.ifft(spectrum, dim=self.axis)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator: the same one. For real images take the real part."""
        return self.apply(y)

    def pinv(self, y: Tensor) -> Tensor:
        """Moore-Penrose inverse: the same one."""
        return self.apply(y)


def homodyne(y: Tensor, share: float, axis: int = -2) -> Tensor:
    """Image from partial Fourier data by homodyne detection.

    Parameters
    ----------
    y : Tensor, complex ``[..., H, W]``
        Zero-filled image, see :class:`PartialFourier`.
    share, axis
        As they were for the acquisition.

    Returns
    -------
    Tensor, real ``[..., H, W]``
        Signed magnitude; exact to rounding (but for a Nyquist line that was not acquired) where the object's phase is
        constant, blurred where the phase changes faster than the symmetric centre of k-space can tell.

    Notes
    -----
    Noll, Nishimura & Macovski, IEEE Trans. Med. Imaging 10, 154 (1991), doi:10.1109/42.79473: the lines without a
    partner count twice, those of the symmetric centre once (with a smooth step between them), the phase of an image
    from the centre alone is taken off, and the real part is kept. No iteration (POCS) follows.
    """
    n = y.shape[axis]
    mask = acquired(n, share)
    k = torch.fft.fftfreq(n, d=1.0 / n, dtype=torch.float64)
    partner = mask[(-torch.arange(n)) % n] & mask  # both k and -k were acquired
    reach = float(k[partner].abs().max())
    width = max(1.0, reach / 4)
    # Weights w(k) + w(-k) = 2 wherever k was acquired, falling from 2 to 0 across the symmetric centre.
    weight = 1 + torch.sin(0.5 * math.pi * (k / width).clamp(-1, 1))
    weight[2 * k.abs() == n] = 1  # the Nyquist line is its own partner
    centre = 0.5 * (1 + torch.cos(math.pi * (k.abs() / (reach + 1)).clamp_max(1)))
    shape = [1] * y.dim()
    shape[axis] = n
    spectrum = torch.fft.fft(y, dim=axis)
    slow = torch.fft.ifft(spectrum * centre.to(spectrum.real).view(shape), dim=axis)
    doubled = torch.fft.ifft(spectrum * weight.to(spectrum.real).view(shape), dim=axis)
    return (doubled * torch.exp(-1j * slow.angle())).real
