"""Point spread functions as kernels on a pixel grid."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from sciSR.errors import UsageError


def radius_grid(
    size: int, ellipticity: float = 0.0, angle: float = 0.0, centre: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float64]:
    """Elliptical radius of each pixel centre from the middle of an odd ``size`` x ``size`` grid.

    Parameters
    ----------
    size : int
        Odd number of pixels.
    ellipticity : float
        1 - b/a; the mean radius ``sqrt(a b)`` is kept.
    angle : float
        Of the major axis from +x to +y, radians.
    centre : (y, x)
        Offset of the centre from the middle pixel, pixels.
    """
    if size % 2 == 0:
        raise UsageError(f"a point spread function needs an odd size, not {size}")
    axis = np.arange(size, dtype=np.float64) - size // 2
    y, x = np.meshgrid(axis - centre[0], axis - centre[1], indexing="ij")
    u, v = x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)
    q = math.sqrt(1 - ellipticity)
    return np.hypot(u * q, v / q)


def gaussian(size: int, fwhm: float, **shape: float) -> NDArray[np.float64]:
    """Gaussian of a full width at half maximum in pixels; ``[size, size]``, sum 1; `shape` as in
    `radius_grid`."""
    kernel = np.exp(-4 * math.log(2) * (radius_grid(size, **shape) / fwhm) ** 2)
    return kernel / kernel.sum()


def moffat(size: int, fwhm: float, beta: float = 3.5, **shape: float) -> NDArray[np.float64]:
    """Moffat profile ``(1 + (r/alpha)^2)^-beta`` (A&A 3, 455, 1969): the seeing of telescopes on the
    ground."""
    alpha = fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))
    kernel = (1 + (radius_grid(size, **shape) / alpha) ** 2) ** -beta
    return kernel / kernel.sum()


def airy(size: int, fwhm: float, obscuration: float = 0.0, **shape: float) -> NDArray[np.float64]:
    """Airy pattern of a circular aperture with a central obscuration (share of the diameter); fwhm is that
    of the clear one."""
    v = radius_grid(size, **shape) * (
        3.2326 / fwhm
    )  # the clear Airy pattern falls to half its peak at v = 1.6163

    def jinc(t: NDArray[np.float64]) -> NDArray[np.float64]:
        safe = np.where(t < 1e-8, 1.0, t)
        j1 = torch.special.bessel_j1(
            torch.from_numpy(safe)
        ).numpy()  # torch's: no SciPy where networks are trained
        return np.where(t < 1e-8, 1.0, 2 * j1 / safe)

    amplitude = jinc(v) - obscuration**2 * jinc(obscuration * v)
    kernel = amplitude**2
    return kernel / kernel.sum()
