"""How close an image is to the truth: PSNR, NRMSE, SSIM.

NaN and infinite pixels of either image never count. Detail and edges: :mod:`sciSR.metrics.detail`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SSIM_REACH = 5
"""Pixels from the middle to the rim of the window of `ssim`."""


def counted(truth: NDArray, image: NDArray, mask: NDArray | None = None) -> NDArray[np.bool_]:
    """True where both images are finite, and the mask, if there is one, says that pixels count."""
    good = np.isfinite(truth) & np.isfinite(image)
    return good if mask is None else good & np.asarray(mask, bool)


def whole_windows(good: NDArray, reach: int) -> NDArray[np.bool_]:
    """True in the middle of windows of ``2 reach + 1`` pixels a side that lie inside and hold good pixels only."""
    from scipy.ndimage import minimum_filter

    return minimum_filter(np.asarray(good, bool), 2 * reach + 1, mode="constant", cval=False)


def asinh_stretch(values: NDArray, sky: float, sigma: float) -> NDArray[np.float64]:
    """``asinh((x - sky) / 2 sigma)``: linear in the noise, logarithmic in the stars, so that both count.

    Lupton, Gunn and Szalay, Astron. J. 118, 1406 (1999), with their softening at twice the sky's noise `sigma`.
    """
    return np.asarray(np.arcsinh((values - sky) / (2 * sigma)))


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
    good = counted(truth, image, mask)
    error = np.asarray(image, np.float64)[good] - np.asarray(truth, np.float64)[good]
    if error.size == 0:
        return math.nan
    return _decibel(data_range, float(np.mean(error**2)))


def nrmse(truth: NDArray, image: NDArray, mask: NDArray | None = None) -> float:
    """Root mean square error over the truth's standard deviation; 0 is perfect, 1 what the mean level would
    score."""
    good = counted(truth, image, mask)
    reference = np.asarray(truth, np.float64)[good]
    error = np.asarray(image, np.float64)[good] - reference
    spread = float(reference.std()) if reference.size else 0.0
    return float(np.sqrt(np.mean(error**2))) / spread if spread > 0 else math.nan


def ssim(
    truth: NDArray,
    image: NDArray,
    data_range: float,
    mask: NDArray | None = None,
    *,
    whole: bool = False,
) -> float:
    """Structural similarity (Wang et al. 2004: Gaussian window of sigma 1.5), averaged over the mask.

    Parameters
    ----------
    truth, image : ndarray
        Same shape, two axes or more; at least 11 pixels in each. Windows that hold a NaN or infinite pixel don't count.
    data_range : float
        The peak, in the images' unit.
    mask : ndarray of bool, optional
        True where the similarity map counts.
    whole : bool
        Count only windows that lie inside the image and the mask with all of their pixels, so that nothing outside the
        mask has any say. Without it a window of a pixel that counts may look beyond.

    Returns
    -------
    float
        Up to 1; NaN if no pixel counts.
    """
    from skimage.metrics import structural_similarity

    good = counted(truth, image)
    chosen = good if mask is None else good & np.asarray(mask, bool)
    if whole or not good.all():
        chosen = chosen & whole_windows(chosen if whole else good, SSIM_REACH)
    if not chosen.any():
        return math.nan
    a, b = (np.where(good, np.asarray(v, np.float64), 0.0) for v in (truth, image))
    _, similarity = structural_similarity(
        a,
        b,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(similarity[chosen].mean())


@dataclass(frozen=True)
class ErrorSums:
    """What PSNR and NRMSE need of a block of pixels; blocks add up, so that a volume is never held whole.

    Attributes
    ----------
    n : int
        Pixels that count.
    mean : float
        Of the truth.
    squares : float
        Sum of the truth's squared differences from its mean.
    error, bias : float
        Sums of the squared error, and of the error.
    """

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0
    error: float = 0.0
    bias: float = 0.0

    @classmethod
    def of(cls, truth: NDArray, image: NDArray, mask: NDArray | None = None) -> ErrorSums:
        """Of two arrays of the same shape."""
        good = counted(truth, image, mask)
        a = np.asarray(truth, np.float64)[good]
        if a.size == 0:
            return cls()
        difference = np.asarray(image, np.float64)[good] - a
        mean = float(a.mean())
        return cls(
            a.size,
            mean,
            float(((a - mean) ** 2).sum()),
            float((difference**2).sum()),
            float(difference.sum()),
        )

    def __add__(self, other: ErrorSums) -> ErrorSums:
        """Chan, Golub and LeVeque (1983): means and squares of two blocks, without losing digits."""
        n = self.n + other.n
        if n == 0:
            return self
        apart = other.mean - self.mean
        return ErrorSums(
            n,
            self.mean + apart * other.n / n,
            self.squares + other.squares + apart**2 * self.n * other.n / n,
            self.error + other.error,
            self.bias + other.bias,
        )

    def psnr(self, data_range: float) -> float:
        """As `psnr` of all blocks together."""
        return _decibel(data_range, self.error / self.n) if self.n else math.nan

    @property
    def nrmse(self) -> float:
        """As `nrmse` of all blocks together."""
        return math.sqrt(self.error / self.squares) if self.squares > 0 else math.nan

    @property
    def mean_bias(self) -> float:
        """Mean of image minus truth, in the images' unit."""
        return self.bias / self.n if self.n else math.nan


def _decibel(data_range: float, mean_square: float) -> float:
    return math.inf if mean_square == 0 else 10 * math.log10(data_range**2 / mean_square)
