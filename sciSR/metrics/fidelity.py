"""How close an image is to the truth: PSNR, SSIM, NRMSE."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def _select(values: NDArray, mask: NDArray | None) -> NDArray[np.float64]:
    chosen = np.asarray(values, np.float64)
    return chosen.ravel() if mask is None else chosen[np.asarray(mask, bool)]


def psnr(truth: NDArray, image: NDArray, data_range: float, mask: NDArray | None = None) -> float:
    """Peak signal-to-noise ratio, ``20 log10(data_range / rms error)``.

    Parameters
    ----------
    truth, image : ndarray
        Same shape, any number of axes; nothing is clipped.
    data_range : float
        The peak, in the images' unit.
    mask : ndarray of bool, optional
        True where pixels count.

    Returns
    -------
    float
        Decibel; infinite for equal images, NaN if no pixel counts.
    """
    error = _select(np.asarray(image, np.float64) - np.asarray(truth, np.float64), mask)
    if error.size == 0:
        return math.nan
    mean_square = float(np.mean(error**2))
    return math.inf if mean_square == 0 else 10 * math.log10(data_range**2 / mean_square)


def nrmse(truth: NDArray, image: NDArray, mask: NDArray | None = None) -> float:
    """Root mean square error over the truth's standard deviation; 0 is perfect, 1 what the mean level would
    score."""
    reference = _select(truth, mask)
    error = _select(np.asarray(image, np.float64) - np.asarray(truth, np.float64), mask)
    spread = float(reference.std()) if reference.size else 0.0
    return float(np.sqrt(np.mean(error**2))) / spread if spread > 0 else math.nan


def ssim(truth: NDArray, image: NDArray, data_range: float, mask: NDArray | None = None) -> float:
    """Structural similarity (Wang et al. 2004: Gaussian window of sigma 1.5), averaged over the mask.

    Parameters
    ----------
    truth, image : ndarray
        Same shape, two axes or more; at least 11 pixels in each.
    data_range : float
        The peak, in the images' unit.
    mask : ndarray of bool, optional
        True where the similarity map counts.
    """
    from skimage.metrics import structural_similarity

    _, similarity = structural_similarity(
        np.asarray(truth, np.float64),
        np.asarray(image, np.float64),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    chosen = _select(similarity, mask)
    return float(chosen.mean()) if chosen.size else math.nan
