"""Photometry with a point spread function: fluxes of all stars at once, by least squares.

The model of an image without background is ``sum_k f_k P(y - y_k, x - x_k)``, linear in the fluxes f for known places
and a known P of sum 1; stars that overlap share their pixels as the fit decides (Stetson, PASP 99, 191 (1987)). P comes
from the stars of the image itself, moved onto one centre with cubic splines: right for images whose stars are at least
about two pixels wide, as upscaled ones are; narrower ones need an oversampled P (Anderson and King 2000).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UnsupportedError, UsageError
from sciSR.metrics.sources import MAD

FEWEST = 3
MOST = 40


def empirical_psf(
    image: NDArray,
    points: NDArray,
    half: int,
    *,
    mask: NDArray | None = None,
    most: int = MOST,
) -> NDArray[np.float64]:
    """The mean star: those of `points` that stand alone, moved onto one centre, scaled to one flux, weighted by it.

    Parameters
    ----------
    image : ndarray, (rows, columns)
        Without its background.
    points : ndarray, (M, 2)
        Places y, x of the stars, brightest first.
    half : int
        Half the side of the result, which has ``2 half + 1`` pixels.
    mask : ndarray of bool, optional
        True where pixels count; stars with one that does not, or a NaN, are left out.
    most : int
        Stars used.

    Returns
    -------
    ndarray, float64 ``[2 half + 1, 2 half + 1]``
        Its sum is 1.

    Raises
    ------
    UnsupportedError
        Fewer than three stars stand alone.
    """
    from scipy.ndimage import map_coordinates, spline_filter

    good = np.isfinite(image)
    if mask is not None:
        good &= np.asarray(mask, bool)
    spline = spline_filter(np.where(good, image, 0.0).astype(np.float64), 3, mode="mirror")
    offsets = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    stamps, fluxes = [], []
    for number in _alone(points, half):
        middle = np.round(points[number]).astype(int)
        low, high = middle - half - 1, middle + half + 2
        if (low < 0).any() or (high > np.array(image.shape)).any():
            continue
        if not good[low[0] : high[0], low[1] : high[1]].all():
            continue
        stamp = map_coordinates(
            spline, offsets + points[number][:, None, None], order=3, mode="mirror", prefilter=False
        )
        flux = float(stamp.sum())
        if flux > 0:
            stamps.append(stamp / flux)
            fluxes.append(flux)
        if len(stamps) == most:
            break
    if len(stamps) < FEWEST:
        raise UnsupportedError(
            f"only {len(stamps)} stars stand alone: too few for a point spread function", remedy="give one"
        )
    stack, weight = np.stack(stamps), np.array(fluxes)[:, None, None]
    middle_of = np.median(stack, axis=0)
    spread = MAD * np.median(np.abs(stack - middle_of), axis=0)
    kept = np.abs(stack - middle_of) <= 4 * spread + 0.02 * np.abs(middle_of)
    total = (weight * kept).sum(axis=0)
    mean = np.where(total > 0, (weight * kept * stack).sum(axis=0) / np.where(total > 0, total, 1), middle_of)
    return mean / mean.sum()


def _alone(points: NDArray, half: int) -> NDArray[np.intp]:
    """Stars without another one on their cutout."""
    if len(points) < 2:
        return np.arange(len(points))
    from scipy.spatial import cKDTree

    nearest = cKDTree(points).query(points, k=2, p=math.inf)[0][:, 1]
    return np.flatnonzero(nearest > half)


def psf_fluxes(
    image: NDArray,
    points: NDArray,
    psf: NDArray,
    *,
    radius: float | None = None,
    mask: NDArray | None = None,
) -> NDArray[np.float64]:
    """Fluxes of stars at known places.

    Parameters
    ----------
    image : ndarray, (rows, columns)
        Without its background. Pixels that are not finite don't count.
    points : ndarray, (M, 2)
        y, x in pixels; the centre of the first pixel is 0.
    psf : ndarray ``[2n + 1, 2m + 1]``
        On the image's pixels, centred, of sum 1.
    radius : float, optional
        Pixels around each star that are fitted; half the side of `psf` by default.
    mask : ndarray of bool, optional
        True where pixels count.

    Returns
    -------
    ndarray, float64 ``[M]``
        In the image's unit; NaN for a star of which less than half of the point spread function can be seen.

    Raises
    ------
    UsageError
        The point spread function has no middle pixel, or no positive sum.
    """
    from scipy.ndimage import map_coordinates, spline_filter
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import spsolve

    psf = np.asarray(psf, np.float64)
    if psf.ndim != 2 or not all(n % 2 for n in psf.shape) or not psf.sum() > 0:
        raise UsageError("a point spread function has an odd number of pixels a side and a positive sum")
    good = np.isfinite(image)
    if mask is not None:
        good &= np.asarray(mask, bool)
    middle = np.array(psf.shape) // 2
    reach = float(min(middle) if radius is None else min(radius, *middle))
    spline = spline_filter(np.pad(psf, 2), 3, mode="mirror")
    rows, columns, shares, seen = [], [], [], np.zeros(len(points))
    for number, point in enumerate(np.asarray(points, np.float64)):
        low = np.maximum(np.ceil(point - reach).astype(int), 0)
        high = np.minimum(np.floor(point + reach).astype(int) + 1, image.shape)
        if (low >= high).any():
            continue
        y, x = np.mgrid[low[0] : high[0], low[1] : high[1]]
        off = np.stack([y - point[0], x - point[1]])
        inside = good[y, x] & (np.hypot(*off) <= reach)
        share = map_coordinates(
            spline, off[:, inside] + (middle + 2)[:, None], order=3, mode="mirror", prefilter=False
        )
        seen[number] = share.sum()
        rows.append((y * image.shape[1] + x)[inside])
        columns.append(np.full(int(inside.sum()), number))
        shares.append(share)
    fluxes = np.full(len(points), np.nan)
    fit = np.flatnonzero(seen > 0.5 * psf.sum())
    if not len(fit):
        return fluxes
    pixels, compact = np.unique(np.concatenate(rows), return_inverse=True)
    matrix = csr_array(
        (np.concatenate(shares), (compact, np.concatenate(columns))), shape=(len(pixels), len(points))
    )[:, fit]
    values = np.where(good, image, 0.0).astype(np.float64).ravel()[pixels]
    normal = (matrix.T @ matrix).tocsc()
    normal.setdiag(
        normal.diagonal() * (1 + 1e-10)
    )  # two stars at one place share their flux instead of failing
    fluxes[fit] = spsolve(normal, matrix.T @ values)
    return fluxes
