"""Noise of detectors and scanners: photons, read-out, magnitudes of complex signals, defect pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UsageError

HOT = 0.75
"""Share of the defect pixels that are too bright; the rest is dead."""
HOT_DECADES = (0.7, 2.5)
"""A hot pixel's excess in units of the noise is log-uniform between these powers of ten: 5 to 300."""


def expose(
    electrons: NDArray[np.float64],
    read_noise: float,
    generator: np.random.Generator,
    read_generator: np.random.Generator | None = None,
) -> NDArray[np.float64]:
    """One exposure of a noiseless image.

    Parameters
    ----------
    electrons : ndarray
        Expected electrons in each pixel, sky included, >= 0.
    read_noise : float
        Standard deviation of the read-out, electrons.
    generator : numpy.random.Generator
        Source of randomness.
    read_generator : numpy.random.Generator, optional
        For the read-out alone, so that an image exposed in pieces comes out as if exposed at once.

    Returns
    -------
    ndarray, float64
        Poisson counts plus Gaussian read-out noise, same shape.
    """
    counts = generator.poisson(np.maximum(electrons, 0)).astype(np.float64)
    return gaussian(counts, read_noise, read_generator or generator)


def variance(electrons: NDArray[np.float64], read_noise: float) -> NDArray[np.float64]:
    """Variance of `expose` in electrons squared: the expected electrons plus the read noise squared."""
    return np.maximum(electrons, 0) + read_noise**2


def gain_for(snr: float, level: float, read_noise: float) -> float:
    """Electrons for each unit of the image at which a pixel of value `level` has this signal to noise.

    With e electrons ``snr = e / sqrt(e + read_noise^2)``.

    Raises
    ------
    UsageError
        The level is not positive: no exposure gives it a signal.
    """
    if not (math.isfinite(level) and level > 0):
        raise UsageError(f"a level of {level:g} has no signal to noise", remedy="give a gain instead")
    electrons = 0.5 * snr * (snr + math.hypot(snr, 2 * read_noise))
    return electrons / level


def gaussian(image: NDArray[np.float64], sigma: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """The image plus white Gaussian noise of this standard deviation, same shape, float64."""
    return image + sigma * generator.standard_normal(image.shape)


def rician(
    magnitude: NDArray[np.float64],
    sigma: float,
    generator: np.random.Generator,
    imaginary: np.random.Generator | None = None,
) -> NDArray[np.float64]:
    """Magnitude of a complex signal with Gaussian noise in both channels, the noise of MR magnitude images.

    Parameters
    ----------
    magnitude : ndarray
        Noiseless, >= 0.
    sigma : float
        Standard deviation in each channel. Where there is no signal the mean becomes ``1.25 sigma`` and the standard
        deviation ``0.66 sigma``.
    generator : numpy.random.Generator
    imaginary : numpy.random.Generator, optional
        For the imaginary channel alone.

    Notes
    -----
    Gudbjartsson & Patz, Magn. Reson. Med. 34, 910 (1995), doi:10.1002/mrm.1910340618.
    """
    other = (imaginary or generator).standard_normal(magnitude.shape)
    return np.hypot(gaussian(magnitude, sigma, generator), sigma * other)


def hot_and_dead(
    image: NDArray[np.float64], share: float, noise: float, zero: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Some pixels far too bright, some without any signal.

    Parameters
    ----------
    image : ndarray
    share : float
        Of all pixels that are defect, 0 to 1; three in four of them are hot.
    noise : float
        Standard deviation of the noise; a hot pixel stands 5 to 300 times this above its value.
    zero : float
        Value of a pixel without signal.
    generator : numpy.random.Generator
        Two numbers are drawn for every pixel, defect or not.
    """
    luck, height = np.moveaxis(generator.random((*image.shape, 2)), -1, 0)
    bright = image + noise * 10 ** (HOT_DECADES[0] + (HOT_DECADES[1] - HOT_DECADES[0]) * height)
    return np.where(luck < HOT * share, bright, np.where(luck < share, zero, image))
