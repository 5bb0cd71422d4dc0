"""The noise of a magnitude: less than that of its real and imaginary part where there is no signal.

With signal A and noise sigma in both parts the magnitude M follows Rice's distribution, whose moments are

    mean      = sigma sqrt(pi/2) L(-A^2 / 2 sigma^2)
    variance  = 2 sigma^2 + A^2 - mean^2

with L Laguerre's function of order 1/2 (Gudbjartsson & Patz, Magn. Reson. Med. 34, 910 (1995),
doi:10.1002/mrm.1910340618; Koay & Basser, J. Magn. Reson. 179, 317 (2006), doi:10.1016/j.jmr.2006.01.016). Without
signal that is a standard deviation of sqrt(2 - pi/2) = 0.655 sigma.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

_HIGHEST = 12.0
"""Signal to noise from which on a magnitude is as good as normal: the variance lacks 0.4 % of sigma^2 there."""


def mean_and_deviation(snr: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of a magnitude in units of sigma.

    Parameters
    ----------
    snr : ndarray
        Noiseless signal in units of sigma, >= 0.
    """
    from scipy.special import i0e, i1e

    quarter = np.square(snr) / 4
    # L(-x) with x = snr^2 / 2; the scaled Bessel functions take its factor exp(-x/2).
    laguerre = (1 + 2 * quarter) * i0e(quarter) + 2 * quarter * i1e(quarter)
    mean = np.sqrt(np.pi / 2) * laguerre
    variance = 2 + np.square(snr) - np.square(mean)
    return mean, np.sqrt(variance)


@cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return mean_and_deviation(np.linspace(0, _HIGHEST, 1201))


def deviation(mean: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Standard deviation of magnitudes whose mean is known.

    Parameters
    ----------
    mean : ndarray
        In the image's unit. Where it is below what noise alone gives, there is no signal.
    sigma : float
        Of the real and imaginary part.

    Returns
    -------
    ndarray, float64
        ``0.655 sigma`` without signal, sigma with much of it.
    """
    if sigma <= 0:
        return np.zeros(np.shape(mean))
    means, deviations = _table()
    return sigma * np.interp(np.asarray(mean, dtype=np.float64) / sigma, means, deviations, right=1.0)
