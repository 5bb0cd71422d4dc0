"""Aperture photometry: the exact overlap of circles and pixels, nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def circle_weights(
    y: float, x: float, radius: float, samples: int = 64
) -> tuple[slice, slice, NDArray[np.float64]]:
    """Share of each pixel that lies in a circle.

    Parameters
    ----------
    y, x, radius : float
        Pixels; the centre of the first pixel is 0.
    samples : int
        The area is integrated exactly along y and with the midpoint rule, `samples` lines a pixel, along x.

    Returns
    -------
    rows, columns : slice
        The pixels that the circle may touch (can reach outside an image).
    weights : ndarray
        In 0..1; the sum is pi radius^2 (to about 1e-5).
    """
    top, bottom = int(np.floor(y - radius + 0.5)), int(np.floor(y + radius + 0.5)) + 1
    left, right = int(np.floor(x - radius + 0.5)), int(np.floor(x + radius + 0.5)) + 1
    line = left - 0.5 + (np.arange((right - left) * samples) + 0.5) / samples
    half = np.sqrt(np.maximum(radius**2 - (line - x) ** 2, 0.0))
    edge = np.arange(top, bottom)[:, None] - 0.5
    length = np.clip(np.minimum(edge + 1, y + half) - np.maximum(edge, y - half), 0.0, None)
    weights = length.reshape(bottom - top, right - left, samples).mean(-1)
    return slice(top, bottom), slice(left, right), weights


def aperture_sums(
    image: NDArray, positions: NDArray, radius: float, mask: NDArray | None = None
) -> NDArray[np.float64]:
    """Sums within circular apertures.

    Parameters
    ----------
    image : ndarray ``[y, x]``
        Values for each pixel (not a density).
    positions : ndarray ``[M, 2]``
        y, x in pixels; the centre of the first pixel is 0.
    radius : float
        Pixels.
    mask : ndarray of bool, optional
        True where pixels count.

    Returns
    -------
    ndarray, float64 ``[M]``
        In the image's unit; NaN where the aperture reaches outside the image, or touches a pixel that is NaN or does
        not count.
    """
    sums = np.full(len(positions), np.nan)
    for number, (y, x) in enumerate(positions):
        rows, columns, weights = circle_weights(float(y), float(x), radius)
        if rows.start < 0 or columns.start < 0 or rows.stop > image.shape[0] or columns.stop > image.shape[1]:
            continue
        if mask is not None and not np.asarray(mask[rows, columns], bool)[weights > 0].all():
            continue
        inside = np.where(weights > 0, np.asarray(image[rows, columns], np.float64), 0.0)
        sums[number] = float((inside * weights).sum())
    return sums


def flux_error(
    truth: NDArray,
    image: NDArray,
    positions: NDArray,
    radius: float,
    sky: float | NDArray,
    mask: NDArray | None = None,
) -> tuple[float, float]:
    """Bias and scatter of aperture fluxes against the truth.

    Parameters
    ----------
    truth, image : ndarray ``[y, x]``
        On the same grid, same unit.
    positions, radius, mask
        As in `aperture_sums`.
    sky : float or ndarray ``[y, x]``
        Level subtracted from both: the truth's, so that an error of the background counts.

    Returns
    -------
    bias, scatter : float
        As of `relative_error`.
    """
    reference = aperture_sums(np.asarray(truth, np.float64) - sky, positions, radius, mask)
    measured = aperture_sums(np.asarray(image, np.float64) - sky, positions, radius, mask)
    return relative_error(reference, measured)


def relative_error(true: NDArray, measured: NDArray) -> tuple[float, float]:
    """Median of the relative error of fluxes and 1.4826 x its median absolute deviation, both in per cent.

    Parameters
    ----------
    true, measured : ndarray ``[M]``
        Pairs with a NaN, or a true flux that is not positive, don't count.

    Returns
    -------
    bias, scatter : float
        NaN if no pair counts.
    """
    good = np.isfinite(true) & np.isfinite(measured) & (true > 0)
    relative = measured[good] / true[good] - 1
    if relative.size == 0:
        return float("nan"), float("nan")
    bias = float(np.median(relative))
    return 100 * bias, 100 * 1.4826 * float(np.median(np.abs(relative - bias)))
