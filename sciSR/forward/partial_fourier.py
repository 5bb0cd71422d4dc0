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
    real : bool
        Whether the scene is known to be real; False for one with a phase, as complex images are.

    Notes
    -----
    Linear; acts on ``[..., H, W]``, taken as periodic, and gives a complex image (its magnitude is what a scanner
    stores). Constants are kept. For complex scenes it is a projection, its own adjoint and pseudo-inverse; for real
    ones, whose spectrum is its own mirror image, the pseudo-inverse puts the conjugates of the acquired lines in the
    place of the missing ones, and so gives back the scene (but for a Nyquist line that was not acquired). With a phase
    that is unknown but slow, :func:`homodyne` does the same.
    """

    share: float = 0.75
    axis: int = -2
    real: bool = True
    name = "partial-fourier"

    def apply(self, x: Tensor) -> Tensor:
        """Image ``[..., H, W]`` -> complex image of the same shape, the missing lines zero."""
        return _weighed(x, acquired(x.shape[self.axis], self.share).double(), self.axis)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator, complex ``[..., H, W]`` -> image of the same shape, real for real scenes."""
        back = self.apply(y)
        return back.real if self.real else back

    def pinv(self, y: Tensor) -> Tensor:
        """Moore-Penrose inverse, complex ``[..., H, W]`` -> image of the same shape, real for real scenes."""
        if not self.real:
            return self.apply(y)
        mask = acquired(y.shape[self.axis], self.share).double()
        met = 0.5 * (
            mask + mask[_partners(len(mask))]
        )  # how often a line or its partner was seen, out of two
        return _weighed(y, torch.where(met > 0, mask / met, 0.0), self.axis).real


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
    partner count twice, those of the symmetric centre once (with a ramp in between), the phase of an image
    from the centre alone is taken off, and the real part is kept. No iteration (POCS) follows.
    """
    n = y.shape[axis]
    mask = acquired(n, share)
    k = torch.fft.fftfreq(n, d=1.0 / n, dtype=torch.float64)
    partner = mask[_partners(n)] & mask  # both k and -k were acquired
    reach = float(k[partner].abs().max())
    # w(k) + w(-k) = 2 wherever k was acquired, as a ramp across the whole symmetric centre: a phase that changes moves
    # the centre of k-space, and the gentler the slope, the less that matters.
    weight = 1 + (k / max(reach, 0.5)).clamp(-1, 1)
    weight[2 * k.abs() == n] = 1  # the Nyquist line is its own partner
    centre = 0.5 * (1 + torch.cos(math.pi * (k.abs() / (reach + 1)).clamp_max(1)))
    slow = _weighed(y, centre, axis)
    return (_weighed(y, weight, axis) * torch.exp(-1j * slow.angle())).real


def _partners(n: int) -> Tensor:
    """Index of the line of the opposite frequency, for each of `n` lines in the order of ``fft``."""
    return (-torch.arange(n)) % n


def _weighed(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """The image, complex, with the lines of its spectrum along `axis` multiplied by `weights` ``[n]``."""
    shape = [1] * x.dim()
    shape[axis] = x.shape[axis]
    spectrum = torch.fft.fft(x, dim=axis)
    return torch.fft.ifft(spectrum * weights.to(spectrum.real).view(shape), dim=axis)
