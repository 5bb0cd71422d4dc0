"""Detector noise: photons and read-out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def expose(
    electrons: NDArray[np.float64], read_noise: float, generator: np.random.Generator
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

    Returns
    -------
    ndarray, float64
        Poisson counts plus Gaussian read-out noise, same shape.
    """
    counts = generator.poisson(np.maximum(electrons, 0)).astype(np.float64)
    return counts + read_noise * generator.standard_normal(electrons.shape)


def variance(electrons: NDArray[np.float64], read_noise: float) -> NDArray[np.float64]:
    """Variance of `expose` in electrons squared: the expected electrons plus the read noise squared."""
    return np.maximum(electrons, 0) + read_noise**2
