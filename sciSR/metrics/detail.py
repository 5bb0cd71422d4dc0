"""How well edges and fine structure are kept: high-frequency error norm, gradient correlation."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from sciSR.metrics.fidelity import counted, whole_windows

HFEN_SIZE = 15
HFEN_SIGMA = 1.5


@functools.cache
def log_kernel(size: int = HFEN_SIZE, sigma: float = HFEN_SIGMA) -> NDArray[np.float64]:
    """Laplacian of a Gaussian on `size` x `size` pixels, its sum exactly 0 (as MATLAB's ``fspecial('log')``)."""
    x = np.arange(size) - (size - 1) / 2
    square = x[:, None] ** 2 + x[None, :] ** 2
    gaussian = np.exp(-square / (2 * sigma**2))
    kernel = gaussian / gaussian.sum() * (square - 2 * sigma**2) / sigma**4
    kernel -= kernel.mean()
    kernel.setflags(write=False)
    return kernel


def hfen_sums(
    truth: NDArray, image: NDArray, mask: NDArray | None = None, *, whole: bool = True
) -> tuple[float, float]:
    """Sums of squares of the filtered error and of the filtered truth: planes of a volume add up.

    Parameters
    ----------
    truth, image, mask, whole
        As for `hfen`.
    """
    from scipy.signal import oaconvolve

    if min(np.shape(truth)) < HFEN_SIZE:
        return 0.0, 0.0
    reach = HFEN_SIZE // 2
    good, middles = _windows(truth, image, mask, reach, whole)
    inside = middles[reach:-reach, reach:-reach]
    level = float(np.asarray(truth, np.float64)[good].mean()) if good.any() else 0.0
    a = np.where(good, np.asarray(truth, np.float64) - level, 0.0)
    b = np.where(good, np.asarray(image, np.float64) - level, 0.0)
    error, reference = (oaconvolve(each, log_kernel(), mode="valid")[inside] for each in (b - a, a))
    return float((error**2).sum()), float((reference**2).sum())


def _windows(
    truth: NDArray, image: NDArray, mask: NDArray | None, reach: int, whole: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pixels that may be looked at, and the middles of windows that count."""
    good = counted(truth, image, mask if whole else None)
    middles = whole_windows(good, reach)
    return good, middles if whole or mask is None else middles & np.asarray(mask, bool)


def hfen(truth: NDArray, image: NDArray, mask: NDArray | None = None, *, whole: bool = True) -> float:
    """High-frequency error norm: ``|LoG(image - truth)| / |LoG(truth)|``, Euclidean norms.

    The filter is that of Ravishankar and Bresler, IEEE Trans. Med. Imaging 30, 1028 (2011): a rotationally symmetric
    Laplacian of a Gaussian, 15 x 15 pixels, sigma 1.5. Their norm is that of the error alone and in the images' unit;
    it is divided by the truth's here, as has become usual, so that it compares between images.

    Parameters
    ----------
    truth, image : ndarray, (rows, columns)
        At least 15 pixels a side. Filter windows that reach beyond the image, or hold a NaN or infinite pixel, don't
        count.
    mask : ndarray of bool, optional
        True where pixels count.
    whole : bool
        Count only windows with all of their pixels in the mask, so that nothing outside has any say; else those with
        their middle in it.

    Returns
    -------
    float
        No unit; 0 is perfect, 1 what a constant image scores; NaN if no window counts.
    """
    error, reference = hfen_sums(truth, image, mask, whole=whole)
    return math.sqrt(error / reference) if reference > 0 else math.nan


def gradient_correlation(
    truth: NDArray, image: NDArray, mask: NDArray | None = None, *, whole: bool = True
) -> float:
    """Mean over both axes of the correlation coefficient of the images' Sobel gradients.

    Penney et al., IEEE Trans. Med. Imaging 17, 586 (1998). It sees whether edges lie where they should, whatever the
    contrast: a gain and an offset change nothing.

    Parameters
    ----------
    truth, image : ndarray, (rows, columns)
        Sobel windows that reach beyond the image, or hold a NaN or infinite pixel, don't count.
    mask, whole
        As for `hfen`.

    Returns
    -------
    float
        -1 to 1; NaN if no window counts, or either image has no gradient.
    """
    from scipy.ndimage import sobel

    good, inside = _windows(truth, image, mask, 1, whole)
    if not inside.any():
        return math.nan
    a, b = (np.where(good, np.asarray(v, np.float64), 0.0) for v in (truth, image))
    found = []
    for axis in (0, 1):
        u, v = (sobel(each, axis)[inside] for each in (a, b))
        u, v = u - u.mean(), v - v.mean()
        norm = math.sqrt(float((u**2).sum()) * float((v**2).sum()))
        found.append(float((u * v).sum()) / norm if norm > 0 else math.nan)
    return float(np.mean(found))
