"""Sources of a sky image: found with SExtractor's method (sep), matched, and how well they are placed.

Bertin and Arnouts, Astron. Astrophys. Suppl. 117, 393 (1996); Barbary, J. Open Source Softw. 1, 58 (2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UsageError

MESH = 64
LEAST_AREA = 5
MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True, eq=False)
class Sources:
    """Detections in one image.

    Attributes
    ----------
    points : ndarray, (M, 2)
        y, x in pixels, brightest first; the centre of the first pixel is 0.
    flux : ndarray, (M,)
        Above the background, within the isophote, in the image's unit.
    sizes : ndarray, (M,)
        Full width at half maximum of a Gaussian of each source's moments, pixels.
    noise : float
        Standard deviation of a background pixel that the threshold was a multiple of.
    background : ndarray, (rows, columns)
        The smooth level, in the image's unit.
    """

    points: NDArray[np.float64]
    flux: NDArray[np.float64]
    sizes: NDArray[np.float64]
    noise: float
    background: NDArray[np.float64]

    @classmethod
    def of_catalogue(cls, points: NDArray, flux: NDArray) -> Sources:
        """Known places ``[M, 2]`` (y, x in pixels) and fluxes, as a truth to count against."""
        order = np.argsort(-np.asarray(flux, np.float64), kind="stable")
        places, fluxes = (np.asarray(each, np.float64)[order] for each in (points, flux))
        return cls(places.reshape(-1, 2), fluxes, np.full(len(fluxes), np.nan), math.nan, np.zeros((0, 0)))

    def __len__(self) -> int:
        return len(self.points)

    @property
    def fwhm(self) -> float:
        """Median of the sizes; NaN without sources."""
        return float(np.median(self.sizes)) if len(self.sizes) else math.nan

    @property
    def alike(self) -> NDArray[np.bool_]:
        """Sources about as wide as the brighter half are: most likely stars, if there are stars."""
        typical = float(np.median(self.sizes[: max(1, (len(self) + 1) // 2)])) if len(self) else 0.0
        return np.abs(self.sizes - typical) <= 0.35 * typical


def detect_sources(
    image: NDArray,
    *,
    threshold: float = 5.0,
    noise: float | None = None,
    mask: NDArray | None = None,
    least_area: int = LEAST_AREA,
    mesh: int = MESH,
) -> Sources:
    """Find sources in a plane.

    Parameters
    ----------
    image : ndarray, (rows, columns)
        NaN and infinite pixels are bad.
    threshold : float
        In units of the noise.
    noise : float, optional
        Standard deviation of a background pixel, in the image's unit; measured by default. Give the truth's, so that
        the threshold is one level for all images: an image whose noise was smoothed away has no lower one by right.
    mask : ndarray of bool, optional
        True where pixels count.
    least_area : int
        Pixels above the threshold that make a source.
    mesh : int
        Pixels a side of the background's mesh.

    Returns
    -------
    Sources
        None of whose centres lie on a bad pixel.

    Raises
    ------
    UsageError
        No plane of 16 pixels or more, or no good pixel.
    """
    import sep

    values = np.asarray(image, np.float64)
    if values.ndim != 2 or min(values.shape) < 16:
        raise UsageError(f"sources are found in planes of 16 pixels or more a side, not {values.shape}")
    bad = ~np.isfinite(values)
    if mask is not None:
        bad |= ~np.asarray(mask, bool)
    if bad.all():
        raise UsageError("no pixel is good")
    level = float(np.median(values[~bad]))  # sep works in float32 here and there
    clean = np.ascontiguousarray(np.where(bad, 0.0, values - level))
    side = min(mesh, *values.shape)
    found_background = sep.Background(clean, mask=bad, bw=side, bh=side)
    background = found_background.back()
    flat = clean - background
    sigma = _noise(flat[~bad], float(found_background.globalrms)) if noise is None else float(noise)
    if not sigma > 0:  # a noiseless truth: anything that stands out of it by rounding
        sigma = 1e-6 * float(np.ptp(clean))
    found = _extract(flat, threshold * sigma, bad, least_area) if sigma > 0 else None
    if found is None or not len(found):
        return Sources(np.zeros((0, 2)), np.zeros(0), np.zeros(0), sigma, background + level)
    points = np.column_stack([found["y"], found["x"]])
    at = np.clip(np.round(points).astype(int), 0, np.array(values.shape) - 1)
    keep = ~bad[at[:, 0], at[:, 1]] & (found["flux"] > 0)
    order = np.argsort(-found["flux"][keep], kind="stable")
    sizes = 2 * np.sqrt(np.log(2) * (np.square(found["a"]) + np.square(found["b"])))[keep][order]
    return Sources(points[keep][order], found["flux"][keep][order], sizes, sigma, background + level)


def _noise(values: NDArray, mesh_noise: float) -> float:
    """The lesser of the meshes' noise and of the robust width of all pixels: sources widen either."""
    width = MAD * float(np.median(np.abs(values - np.median(values))))
    return min([v for v in (width, mesh_noise) if v > 0], default=0.0)


def _extract(flat: NDArray, level: float, bad: NDArray, least_area: int) -> Any:
    """sep's detections; where they are more than its buffers hold, those above a higher threshold."""
    import sep

    sep.set_extract_pixstack(max(300_000, flat.size // 4))
    for _ in range(6):
        try:
            return sep.extract(flat, level, mask=bad, minarea=least_area)
        except Exception:  # sep raises a bare Exception when its buffers are full
            level *= 2
    return None


def match_points(a: NDArray, b: NDArray, radius: float) -> NDArray[np.intp]:
    """Pairs of points closer than `radius`, closest first, each point in one pair at most.

    Parameters
    ----------
    a, b : ndarray, (M, 2) and (N, 2)
    radius : float

    Returns
    -------
    ndarray of int, (pairs, 2)
        Indices into `a` and `b`.
    """
    if not len(a) or not len(b):
        return np.zeros((0, 2), np.intp)
    from scipy.spatial import cKDTree

    near = cKDTree(a).sparse_distance_matrix(cKDTree(b), radius, output_type="coo_matrix")
    order = np.lexsort((near.col, near.row, near.data))
    used_a, used_b, pairs = np.zeros(len(a), bool), np.zeros(len(b), bool), []
    for i, j in zip(near.row[order], near.col[order], strict=True):
        if not (used_a[i] or used_b[j]):
            used_a[i] = used_b[j] = True
            pairs.append((i, j))
    return np.array(pairs, np.intp).reshape(-1, 2)


@dataclass(frozen=True)
class Offsets:
    """Where sources lie in an image less where they lie in the truth.

    Attributes
    ----------
    bias : (float, float)
        Median along y and x, pixels.
    scatter : float
        1.4826 times the median absolute deviation, mean of both axes, pixels.
    n : int
        Sources that count.
    """

    bias: tuple[float, float]
    scatter: float
    n: int

    @property
    def size(self) -> float:
        """Length of the bias."""
        return math.hypot(*self.bias)


def centroid_offsets(
    truth: NDArray, image: NDArray, points: NDArray, fwhm: float, mask: NDArray | None = None
) -> Offsets:
    """Bias and scatter of windowed centroids (SExtractor's ``XWIN_IMAGE``) against the truth's.

    Parameters
    ----------
    truth, image : ndarray, (rows, columns)
        Without their background.
    points : ndarray, (M, 2)
        Where to begin, y and x.
    fwhm : float
        Of the window, pixels.
    mask : ndarray of bool, optional
        True where pixels count. A source with a pixel that does not count within one `fwhm` is left out.

    Returns
    -------
    Offsets
        NaN where fewer than three sources can be measured.
    """
    import sep

    good = np.isfinite(truth) & np.isfinite(image)
    if mask is not None:
        good &= np.asarray(mask, bool)
    points = points[_clear(points, good, fwhm)]
    if not len(points) or not fwhm > 0:
        return Offsets((math.nan, math.nan), math.nan, 0)
    places, fine = [], np.ones(len(points), bool)
    for values in (truth, image):
        clean = np.ascontiguousarray(np.where(good, values, 0.0), np.float64)
        x, y, flag = sep.winpos(clean, points[:, 1].copy(), points[:, 0].copy(), fwhm / 2.3548)
        place = np.column_stack([y, x])
        fine &= (flag == 0) & (np.abs(place - points) < max(fwhm, 1.0)).all(axis=1)
        places.append(place)
    shift = (places[1] - places[0])[fine]
    if len(shift) < 3:
        return Offsets((math.nan, math.nan), math.nan, len(shift))
    bias = np.median(shift, axis=0)
    scatter = MAD * np.median(np.abs(shift - bias), axis=0)
    return Offsets((float(bias[0]), float(bias[1])), float(scatter.mean()), len(shift))


def _clear(points: NDArray, good: NDArray, radius: float) -> NDArray[np.bool_]:
    """Points whose surroundings are good, and lie inside the image."""
    from scipy.ndimage import distance_transform_edt

    free = distance_transform_edt(np.pad(good, 1))[1:-1, 1:-1]
    at = np.round(points).astype(int)
    inside = ((at >= 0) & (at < np.array(good.shape))).all(axis=1)
    out = np.zeros(len(points), bool)
    out[inside] = free[at[inside, 0], at[inside, 1]] > max(radius, 1.0)
    return out
