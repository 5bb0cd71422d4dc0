"""Stars of real frames and of their fusion, measured alike: fluxes, positions, widths, and what surrounds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sep
from scipy.ndimage import map_coordinates
from scipy.optimize import least_squares

STAMP = 2.5  # half a side of a star's stamp, in units of its width
WIDTH = 2.3548  # full width at half maximum of a Gaussian of sigma 1


@dataclass(frozen=True)
class Plane:
    """An image whose pixels have `factor` of them in a pixel of the reference frame.

    Attributes
    ----------
    values : ndarray, (rows, columns), float32
    bad : ndarray of bool
    matrix : ndarray, (2, 3)
        From a position (row, column) of the reference frame, native pixels, to one of this image.
    factor : int
    gain : float
        The image's values are this many times the reference's.
    sky : float
        One standard deviation of a pixel of empty sky.
    """

    values: np.ndarray
    bad: np.ndarray
    matrix: np.ndarray
    factor: int = 1
    gain: float = 1.0
    sky: float = np.nan

    def at(self, points: np.ndarray) -> np.ndarray:
        """Reference positions (n, 2) as positions of this image."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def back(self, points: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`at`."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    def within(self, points: np.ndarray, margin: float) -> np.ndarray:
        """Positions of this image that are farther than `margin` native pixels from all its borders."""
        margin *= self.factor
        last = np.array(self.values.shape) - 1
        return ((points >= margin) & (points <= last - margin)).all(axis=1)


def fine_matrix(factor: int) -> np.ndarray:
    """Reference positions on the refined grid: pixel centres at integers, edges shared."""
    offset = 0.5 * factor - 0.5
    return np.array([[factor, 0, offset], [0, factor, offset]], dtype=float)


def find(image: np.ndarray, bad: np.ndarray, threshold: float = 5.0) -> np.ndarray:
    """Sources of an image; ``sep``'s own table."""
    plain = np.ascontiguousarray(np.where(bad, np.nanmedian(image), image), dtype=np.float32)
    background = sep.Background(plain, mask=bad, bw=32, bh=32)
    return sep.extract(
        plain - background.back(), threshold, err=background.globalrms, mask=bad, deblend_cont=1e-3
    )


def empty_sky(image: np.ndarray, bad: np.ndarray, grow: int) -> np.ndarray:
    """Pixels far from all sources, by a low threshold and a wide margin."""
    from scipy.ndimage import binary_dilation, gaussian_filter

    plain = np.where(bad, np.nanmedian(image), image).astype(np.float32)
    smooth = gaussian_filter(plain, grow / 4)
    background = sep.Background(smooth, mask=bad, bw=64, bh=64)
    lit = smooth - background.back() > 2 * background.globalrms
    near = binary_dilation(lit, iterations=grow)
    return ~near & ~binary_dilation(bad, iterations=2)


def noise_of(image: np.ndarray, sky: np.ndarray, block: int) -> float:
    """Robust scatter of means of `block` x `block` pixels of empty sky, large structures removed."""
    from scipy.ndimage import median_filter

    filled = np.where(sky, image, np.nan)
    n, m = (k // block for k in image.shape)
    cut = filled[: n * block, : m * block].reshape(n, block, m, block)
    with np.errstate(invalid="ignore"):
        means = cut.mean(axis=(1, 3))  # NaN where one pixel is no sky
    good = np.isfinite(means)
    if good.sum() < 20:
        return np.nan
    smooth = median_filter(np.where(good, means, np.nanmedian(means)), size=max(5, 48 // block))
    left = (means - smooth)[good]
    return float(1.4826 * np.median(np.abs(left - np.median(left))))


def widths(planes: Sequence[Plane], stars: np.ndarray, guess: float) -> list[float]:
    """Median full width at half maximum of round Moffat profiles fitted to the stars of each image, native pixels."""
    out = []
    for plane in planes:
        each = [_moffat_width(plane, star, guess) for star in plane.at(stars)]
        each = [w for w in each if np.isfinite(w)]
        out.append(float(np.median(each)) / plane.factor if each else np.nan)
    return out


def _moffat_width(plane: Plane, star: np.ndarray, guess: float) -> float:
    half = int(np.ceil(STAMP * guess * plane.factor))
    row, column = (round(float(v)) for v in star)
    box = slice(row - half, row + half + 1), slice(column - half, column + half + 1)
    if min(row, column) < half or plane.values[box].shape != (2 * half + 1,) * 2:
        return np.nan
    stamp, good = plane.values[box].astype(float), ~plane.bad[box]
    if good.mean() < 0.9:
        return np.nan
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    level, top = np.median(stamp[good]), stamp[good].max()
    dy, dx = float(star[0]) - row, float(star[1]) - column

    def left(p: np.ndarray) -> np.ndarray:
        core = p[1] / 2 / np.sqrt(2 ** (1 / p[2]) - 1)
        model = p[0] * (1 + ((y - p[3]) ** 2 + (x - p[4]) ** 2) / core**2) ** -p[2] + p[5]
        return ((model - stamp) / (top - level))[good]

    first = [top - level, guess * plane.factor, 3.0, dy, dx, level]
    low = [0, 0.3 * plane.factor, 1.2, dy - 3, dx - 3, -np.inf]
    high = [np.inf, 6 * guess * plane.factor, 12, dy + 3, dx + 3, np.inf]
    fitted = least_squares(left, first, bounds=(low, high), x_scale=np.maximum(np.abs(first), 1e-3))
    return float(fitted.x[1]) if fitted.success else np.nan


def fluxes(plane: Plane, stars: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Aperture fluxes in the reference's level per native pixel, and their errors from the sky alone.

    NaN where the aperture touches a bad pixel or leaves the image. The local background is the ring's plain
    mean: neighbours in it weigh alike in sharp and noisy images, which no robust mean promises.
    """
    places = plane.at(stars)
    r = radius * plane.factor
    total, error = np.full(len(stars), np.nan), np.full(len(stars), np.nan)
    inside = plane.within(places, 2.2 * radius)
    values = np.ascontiguousarray(np.nan_to_num(plane.values), dtype=np.float32)
    bad = plane.bad.astype(np.float32)
    for k in np.flatnonzero(inside):
        local = _ring(plane, places[k], 1.4 * r, 2.2 * r)
        if local.size < 20:
            continue
        y, x = places[k, 0], places[k, 1]
        touched, _, _ = sep.sum_circle(bad, [x], [y], r + 1, subpix=1)
        if touched[0] > 0:
            continue
        light, _, _ = sep.sum_circle(values, [x], [y], r, subpix=0)
        area = np.pi * r**2
        total[k] = (light[0] - area * local.mean()) / plane.factor**2 / plane.gain
        error[k] = plane.sky * np.sqrt(area * (1 + area / (1.3 * local.size))) / plane.factor**2 / plane.gain
    return total, error


def _ring(plane: Plane, centre: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """Good pixels between two radii."""
    box, distance = _around(plane, centre, outer)
    return plane.values[box][(distance >= inner) & (distance <= outer) & ~plane.bad[box]]


def _around(plane: Plane, centre: np.ndarray, reach: float) -> tuple[tuple[slice, slice], np.ndarray]:
    low = np.maximum(np.floor(centre - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre + reach).astype(int) + 1, plane.values.shape)
    box = slice(low[0], high[0]), slice(low[1], high[1])
    y, x = np.arange(low[0], high[0])[:, None] - centre[0], np.arange(low[1], high[1]) - centre[1]
    return box, np.hypot(y, x)


def positions(plane: Plane, stars: np.ndarray, width: float) -> np.ndarray:
    """Windowed centroids (Gaussian weight as wide as the stars) as positions of the reference; NaN where none."""
    places = plane.at(stars)
    out = np.full(places.shape, np.nan)
    inside = plane.within(places, 3 * width)
    values = np.ascontiguousarray(np.nan_to_num(plane.values), dtype=np.float32)
    for k in np.flatnonzero(inside):
        ring = _ring(plane, places[k], 2 * width * plane.factor, 3 * width * plane.factor)
        core = plane.bad[_around(plane, places[k], width * plane.factor)[0]]
        if ring.size < 20 or core.any():
            continue
        sigma = width * plane.factor / WIDTH
        box, _ = _around(plane, places[k], 4 * sigma + 2)
        stamp = np.ascontiguousarray(values[box] - np.float32(np.median(ring)))
        corner = np.array([box[0].start, box[1].start])
        y, x = (places[k] - corner)[:, None]
        x, y, flag = sep.winpos(stamp, x, y, sigma, mask=np.ascontiguousarray(plane.bad[box]))
        y, x = y + corner[0], x + corner[1]
        if flag[0] == 0 and np.hypot(x[0] - places[k, 1], y[0] - places[k, 0]) < width * plane.factor:
            out[k] = y[0], x[0]
    return plane.back(out)


def rings(plane: Plane, stars: np.ndarray, width: float) -> np.ndarray:
    """How deep the mean profile of each star dips below its sky between 1 and 4 widths, relative to its peak; (n,).

    Negative where it does. The sky is that between 5 and 7 widths.
    """
    out = np.full(len(stars), np.nan)
    unit = width * plane.factor
    for k, place in enumerate(plane.at(stars)):
        far = _ring(plane, place, 5 * unit, 7 * unit)
        if far.size < 50:
            continue
        box, distance = _around(plane, place, 4 * unit)
        good = ~plane.bad[box]
        sky = float(np.median(far))
        steps = np.arange(unit, 4 * unit, 0.25 * unit)
        profile = []
        for r in steps:
            here = plane.values[box][(np.abs(distance - r) < 0.2 * unit) & good]
            profile.append(np.median(here) - sky if here.size > 4 else np.nan)
        peak = np.nanmax(np.where(good & (distance < unit), plane.values[box], np.nan)) - sky
        if np.isfinite(profile).any() and peak > 0:
            out[k] = float(np.nanmin(profile)) / peak
    return out


def resampled(plane: Plane, factor: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image on the reference's refined grid by cubic splines, in the reference's level; and where it is bad."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    native = (np.stack([rows, columns], -1).reshape(-1, 2) + 0.5) / factor - 0.5
    where = plane.at(native).T
    plain = np.where(plane.bad, np.nanmedian(plane.values[~plane.bad]), plane.values).astype(np.float32)
    values = map_coordinates(plain, where, order=3, mode="nearest").reshape(shape) / plane.gain
    bad = map_coordinates(plane.bad.astype(np.float32), where, order=1, mode="constant", cval=1.0)
    return values, bad.reshape(shape) > 0.01


def checkerboard(image: np.ndarray, bad: np.ndarray) -> float:
    """Power at the fine Nyquist frequency (both axes, and each alone) over that of frequencies somewhat below it.

    About 1, or less, without an artefact of the grid.
    """
    from scipy.fft import fft2, fftfreq

    plain = np.where(bad, np.nanmedian(image[~bad]), image)
    taper = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    power = np.abs(fft2((plain - np.mean(plain)) * taper)) ** 2
    rows, columns = np.abs(fftfreq(image.shape[0]))[:, None], np.abs(fftfreq(image.shape[1]))[None, :]
    at_limit, below = (
        [((rows > lo) & (rows <= hi) & (columns > lo) & (columns <= hi)) for lo, hi in limits]
        for limits in ([(0.485, 0.5)], [(0.42, 0.47)])
    )
    axes = []
    for a, b in ((rows, columns), (columns, rows)):
        line = (a > 0.485) & (b < 0.15) & (b > 0.02)
        near = (a > 0.42) & (a < 0.47) & (b < 0.15) & (b > 0.02)
        axes.append(float(np.median(power[line]) / np.median(power[near])))
    return max(float(np.median(power[at_limit[0]]) / np.median(power[below[0]])), *axes)
