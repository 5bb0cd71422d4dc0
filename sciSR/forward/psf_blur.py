"""Blur by a point spread function, on one grid."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.forward import psf
from sciSR.forward.border import fold, mirrored

Family = Literal["gaussian", "moffat", "airy"]
FAMILIES = ("gaussian", "moffat", "airy")

TAIL = 0.002
"""Share of the flux that a kernel may leave out at its edge, where the profile says so (it is normalised after)."""
WIDEST = 5.0
"""Largest radius of a kernel, in FWHM: Moffat and Airy wings go on, ever fainter."""
DIRECT = 11
"""Kernels up to this side are applied by sums, larger ones through the Fourier transform."""


@dataclass(frozen=True)
class PsfBlur:
    """Convolution with an elliptical point spread function, mirrored at the border.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels of the grid it acts on (geometric mean of both axes); 0: no blur.
    family : {"gaussian", "moffat", "airy"}
        Profile, see `sciSR.forward.psf`.
    beta : float
        Moffat's exponent, > 1.
    obscuration : float
        Airy's central obscuration, share of the diameter.
    ellipticity : float
        1 - b/a, in [0, 1).
    angle : float
        Of the major axis from +x to +y, radians.

    Notes
    -----
    Linear; acts on the last two axes ``[..., H, W]``, float32 or float64. The kernel is sampled at pixel centres and
    has sum 1 and an odd side, so constants are kept and nothing moves; below about 1.5 pixels the sampled kernel is
    narrower than its name, and none at all in the limit. It reaches as far as it needs to hold all but 0.2 % of the
    flux, at most 5 FWHM. "Mirrored" is about the pixel's edge: no flux leaves the plane (but for a little
    at the corners, where the ellipse is tilted). There is no `pinv`: a blur has no stable inverse (`sciSR.fusion`
    solves with a prior instead).
    """

    fwhm: float
    family: Family = "gaussian"
    beta: float = 3.5
    obscuration: float = 0.0
    ellipticity: float = 0.0
    angle: float = 0.0
    name = "psf"

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise UsageError(
                f"no point spread function is called {self.family!r}", remedy=f"use {', '.join(FAMILIES)}"
            )
        if not (math.isfinite(self.fwhm) and self.fwhm >= 0):
            raise UsageError(f"a point spread function of FWHM {self.fwhm:g}", remedy="give 0 or more pixels")
        if not 0 <= self.ellipticity < 1:
            raise UsageError(
                f"an ellipticity (1 - b/a) of {self.ellipticity:g}", remedy="give 0 or more, below 1"
            )
        if self.family == "moffat" and self.beta <= 1:
            raise UsageError(
                f"a Moffat exponent of {self.beta:g} holds no finite flux", remedy="give one above 1"
            )

    @property
    def radius(self) -> int:
        """Pixels that the kernel reaches beyond its centre."""
        if self.fwhm == 0:
            return 0
        reach = min(_reach(self.family, self.beta), WIDEST) * self.fwhm
        return max(1, math.ceil(reach / math.sqrt(1 - self.ellipticity)))

    def kernel(self) -> Tensor:
        """Kernel ``[2 radius + 1, 2 radius + 1]``, float64, sum 1."""
        return _kernel(self)

    def apply(self, x: Tensor) -> Tensor:
        """Sharp ``[..., H, W]`` -> blurred ``[..., H, W]``."""
        if self.radius == 0:
            return x
        r = self.radius
        rows, columns = (mirrored(n, r, x.device) for n in x.shape[-2:])
        padded = x[..., rows[:, None], columns]
        return correlate(padded, self.kernel().flip(0, 1))

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator, ``[..., H, W]`` -> ``[..., H, W]``."""
        if self.radius == 0:
            return y
        r = self.radius
        spread = correlate(F.pad(y, (2 * r, 2 * r, 2 * r, 2 * r)), self.kernel())
        half = fold(spread, y.shape[-1], r)
        return fold(half.transpose(-1, -2), y.shape[-2], r).transpose(-1, -2)


def _reach(family: Family, beta: float) -> float:
    """Radius in FWHM that holds all but `TAIL` of a round profile's flux (Airy's falls too slowly: infinite)."""
    if family == "gaussian":
        return math.sqrt(math.log(1 / TAIL) / (4 * math.log(2)))
    if family == "moffat":
        return math.sqrt(TAIL ** (1 / (1 - beta)) - 1) / (2 * math.sqrt(2 ** (1 / beta) - 1))
    return math.inf


@functools.lru_cache(maxsize=64)
def _kernel(blur: PsfBlur) -> Tensor:
    size, shape = 2 * blur.radius + 1, {"ellipticity": blur.ellipticity, "angle": blur.angle}
    if blur.fwhm == 0:
        return torch.ones(1, 1, dtype=torch.float64)
    if blur.family == "gaussian":
        return torch.from_numpy(psf.gaussian(size, blur.fwhm, **shape))
    if blur.family == "moffat":
        return torch.from_numpy(psf.moffat(size, blur.fwhm, blur.beta, **shape))
    return torch.from_numpy(psf.airy(size, blur.fwhm, blur.obscuration, **shape))


def correlate(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlation without padding, ``[..., H + k - 1, W + k - 1]`` -> ``[..., H, W]``."""
    side = kernel.shape[-1]
    if side <= DIRECT:
        flat = x.reshape(-1, 1, *x.shape[-2:])
        out = F.conv2d(flat, kernel.to(x)[None, None])
        return out.reshape(*x.shape[:-2], *out.shape[-2:])
    # In float64 whatever the input: a star's rounding error would otherwise lie on the faintest pixel of the plane.
    height, width = x.shape[-2:]
    spectrum = torch.fft.rfft2(x.double(), s=(height, width))
    transfer = torch.fft.rfft2(kernel.to(x.device), s=(height, width))
    out = torch.fft.irfft2(spectrum * transfer.conj(), s=(height, width))
    return out[..., : height - side + 1, : width - side + 1].to(x.dtype)
