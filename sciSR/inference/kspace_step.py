"""The k-space consistency step on two-dimensional spectra: half the transforms of the operator applied axis by axis.

Only those of columns that are kept, and none between the two halves of the step.

The same operator as :class:`sciSR.forward.kspace.KSpaceCrop`, whose conventions these are: the coefficients at plus and
minus the coarse Nyquist frequency are added on the way down and halved on the way up.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from sciSR.forward.border import require_multiple


def coarse_spectrum(x: Tensor, scale: int) -> Tensor:
    """Spectrum of the coarse plane that a fine one predicts.

    Parameters
    ----------
    x : Tensor, shape (s H, s W), float32 or float64
    scale : int

    Returns
    -------
    Tensor, complex, shape (H, W // 2 + 1)
        As `torch.fft.rfft2` has it of the coarse plane.
    """
    height, width = x.shape[0] // scale, x.shape[1] // scale
    # The columns that are cut off anyway need no transform.
    spectrum = torch.fft.fft(torch.fft.rfft(x)[:, : width // 2 + 1].contiguous(), dim=0)
    down = _ramp(height, scale, +1, x)
    columns = spectrum * (_half(_ramp(width, scale, +1, x), width) / scale**2)
    if width % 2 == 0:  # of a real plane: the coefficient of -k, -l is the conjugate of that of k, l
        last = columns[:, -1]
        mirrored = torch.roll(last.flip(0), 1)
        columns[:, -1] = last + mirrored.conj()
    top, half = (height + 1) // 2, height // 2
    out = columns.new_empty((height, columns.shape[1]))
    out[:top] = columns[:top] * down[:top, None]
    if half:
        out[height - half :] = columns[columns.shape[0] - half :] * down[height - half :, None]
    if height % 2 == 0:
        out[half] += columns[half] * down[half].conj()
    return out


def fine_plane(spectrum: Tensor, shape: tuple[int, int], scale: int) -> Tensor:
    """Zero-filled Fourier interpolation: the smallest fine plane with this coarse spectrum.

    Parameters
    ----------
    spectrum : Tensor, complex, shape (H, W // 2 + 1)
    shape : pair of int
        H and W.
    scale : int

    Returns
    -------
    Tensor, shape (s H, s W)
    """
    height, width = shape
    real = spectrum.real
    along = _half(_ramp(width, scale, -1, real), width) * scale**2
    if width % 2 == 0:
        along[-1] *= 0.5
    down = _ramp(height, scale, -1, real)
    top, half = (height + 1) // 2, height // 2
    wide = spectrum.new_zeros((scale * height, spectrum.shape[1]))
    wide[:top] = spectrum[:top] * along * down[:top, None]
    if half:
        wide[scale * height - half :] = spectrum[height - half :] * along * down[height - half :, None]
    if height % 2 == 0:
        wide[scale * height - half] *= 0.5
        wide[half] += 0.5 * spectrum[half] * along * down[half].conj()
    return torch.fft.irfft(torch.fft.ifft(wide, dim=0), n=scale * width)


def _ramp(size: int, scale: int, sign: int, like: Tensor) -> Tensor:
    dtype = torch.complex128 if like.dtype == torch.float64 else torch.complex64
    return _ramp_of(size, scale, sign, dtype, like.device)


@functools.lru_cache(maxsize=32)  # the planes of a volume have them in common
def _ramp_of(size: int, scale: int, sign: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``exp(sign 2 pi i k delta / N)`` for k in the order of `torch.fft.fftfreq`, delta = (s - 1)/2 fine pixels.

    At the Nyquist frequency of an even size k is -size/2.
    """
    k = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    phase = sign * 2 * math.pi * k * (0.5 * (scale - 1)) / (scale * size)
    return torch.polar(torch.ones_like(k), phase).to(device=device, dtype=dtype)


def _half(ramp: Tensor, size: int) -> Tensor:
    """The ramp for k = 0 .. size // 2, as a half spectrum has them."""
    half = ramp[: size // 2 + 1].clone()
    if size % 2 == 0:
        half[-1] = half[-1].conj()  # k = +size/2 there
    return half


class KSpaceSamples:
    """Central crop of the spectrum with its pseudo-inverse, on whole planes ``[H, W]``.

    Parameters
    ----------
    scale : int
    """

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def apply(self, x: Tensor) -> Tensor:
        """Fine ``[s H, s W]`` -> coarse ``[H, W]``, in the precision of `x`."""
        require_multiple(x.shape, self.scale, "k-space crop")
        if self.scale == 1:
            return x
        lines = torch.fft.ifft(coarse_spectrum(x, self.scale), dim=0)
        return torch.fft.irfft(lines, n=x.shape[1] // self.scale)

    def pinv(self, y: Tensor) -> Tensor:
        """The smallest fine plane with these acquired coefficients."""
        if self.scale == 1:
            return y
        return fine_plane(torch.fft.rfft2(y), (y.shape[0], y.shape[1]), self.scale)

    def correction(self, x: Tensor, y: Tensor) -> Tensor:
        """``A+ (y - A x)``, float32: a correction's rounding is relative to itself."""
        if self.scale == 1:
            return (y - x).float()
        missing = torch.fft.rfft2(y) - coarse_spectrum(x, self.scale)
        return fine_plane(missing.to(torch.complex64), (y.shape[0], y.shape[1]), self.scale)
