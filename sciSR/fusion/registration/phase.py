"""Frames without stars: masked normalised cross-correlation, with a test of significance, and a direct fit.

Correlation after Padfield (IEEE Trans. Image Process. 21, 2706, 2012): each displacement is judged by the pixels that
are good in both frames, so masks, borders and different shapes need no filling. Rotation and scale, where there is
no other hint of them, from the magnitudes of the spectra in log-polar coordinates (Reddy & Chatterji, IEEE Trans.
Image Process. 5, 1266, 1996).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.registration.stars import pixel_noise, sharp_pixels
from sciSR.fusion.transforms import Affine, Transform, frame_positions

SIGNIFICANT = 8.0
"""A peak must stand out of the correlation's own scatter by this many standard deviations."""
UNIQUE = 1.3
"""And be this many times as high as the next one elsewhere."""
LEAST_OVERLAP = 0.1
"""Displacements that leave less of the smaller frame are not considered."""
COARSE = 256
"""Frames are binned to about this size for the search."""
PATTERN = 0.3
"""A peak at no displacement whose neighbours hold less than this of it is the detector's own pattern."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A frame made ready for correlation.

    Attributes
    ----------
    values : ndarray, (rows, columns), float32
        Without what is smooth over tens of pixels, in units of the noise, bright parts compressed; zero where bad.
    good : ndarray of bool
    """

    values: np.ndarray
    good: np.ndarray


def plane(values: np.ndarray, bad: np.ndarray) -> Plane:
    """A frame without background, hot pixels and cosmic rays, in units of its noise, compressed."""
    noise = pixel_noise(values, bad)
    if not noise > 0:
        return Plane(np.zeros(values.shape, np.float32), np.zeros(values.shape, bool))
    level = np.float32(np.median(values[~bad]))
    signal = (values - level) / np.float32(noise)
    smooth = blurred(np.clip(signal, -20, 20), ~bad, 16.0)
    good = ~bad & ~sharp_pixels((signal - smooth).astype(np.float32), bad, 1.0)
    signal = signal - blurred(np.where(good, signal, 0), good, 16.0)
    # A star of 1000 sigma must not outweigh the rest of the field.
    return Plane(np.where(good, 3 * np.arcsinh(signal / 3), 0).astype(np.float32), good)


def blurred(values: np.ndarray, good: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of the good pixels."""
    from scipy.ndimage import gaussian_filter

    weight = gaussian_filter(good.astype(np.float32), sigma, truncate=3, mode="constant")
    total = gaussian_filter(np.where(good, values, 0).astype(np.float32), sigma, truncate=3, mode="constant")
    return total / np.maximum(weight, 1e-3)


def binned(image: Plane, factor: int) -> Plane:
    """Means of the good pixels of `factor` x `factor` blocks; blocks that are less than half good are bad."""
    if factor == 1:
        return image
    rows, columns = (n // factor * factor for n in image.values.shape)
    blocks = (rows // factor, factor, columns // factor, factor)
    weight = image.good[:rows, :columns].reshape(blocks).sum(axis=(1, 3))
    total = image.values[:rows, :columns].reshape(blocks).sum(axis=(1, 3))
    good = weight * 2 >= factor * factor
    return Plane(np.where(good, total / np.maximum(weight, 1), 0).astype(np.float32), good)


@dataclass(frozen=True, eq=False)
class Peak:
    """The best displacement of a correlation.

    Attributes
    ----------
    shift : ndarray, (2,)
        ``frame = reference + shift``, in the pixels that were correlated, to a fraction of one.
    height : float
        In standard deviations of the correlation surface.
    ratio : float
        To the next highest peak elsewhere.
    width : float
        Mean of the four neighbours over the peak.
    """

    shift: np.ndarray
    height: float
    ratio: float
    width: float

    @property
    def significant(self) -> bool:
        return self.height > SIGNIFICANT and self.ratio > UNIQUE


def correlate(reference: Plane, frame: Plane, reach: float | None = None) -> Peak | None:
    """The displacement at which the masked normalised cross-correlation is highest.

    Parameters
    ----------
    reference, frame : Plane
        Any shapes.
    reach : float, optional
        The largest displacement considered, per axis.

    Returns
    -------
    Peak or None
        None where the frames hold nothing.
    """
    surface, lags, usable = _surface(reference, frame, reach)
    if usable.sum() < 50:
        return None
    inside = surface[usable]
    middle = float(np.median(inside))
    spread = 1.4826 * float(np.median(np.abs(inside - middle)))
    if not spread > 0:
        return None
    score = np.where(usable, (surface - middle) / spread, -np.inf)
    r, c = np.unravel_index(int(np.argmax(score)), score.shape)
    height = float(score[r, c])
    width, shift = _top(score, int(r), int(c))
    # The peak's own skirt is not another peak: the neighbourhood that falls with it is left out.
    far = max(4, round(0.03 * max(frame.values.shape)))
    others = score.copy()
    others[max(0, r - far) : r + far + 1, max(0, c - far) : c + far + 1] = -np.inf
    second = float(others.max())
    ratio = height / max(second, 1e-6) if np.isfinite(second) else np.inf
    return Peak(np.array([lags[0][r], lags[1][c]]) + shift, height, ratio, width)


def _surface(
    reference: Plane, frame: Plane, reach: float | None
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Correlation times the root of the overlap (a normal variable where there is only noise), lags, usable lags."""
    from scipy.fft import irfft2, next_fast_len, rfft2

    shapes = frame.values.shape, reference.values.shape
    full = [a + b - 1 for a, b in zip(*shapes, strict=True)]
    size = [next_fast_len(n, real=True) for n in full]

    def spectra(image: Plane) -> list[np.ndarray]:
        values = np.where(image.good, image.values, 0).astype(np.float64)
        return [rfft2(a, size) for a in (values, image.good.astype(np.float64), np.square(values))]

    f, fm, ff = spectra(frame)
    p, pm, pp = (np.conj(s) for s in spectra(reference))

    def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return irfft2(one * other, size)

    n = np.rint(both(fm, pm))
    count = np.maximum(n, 1)
    f_sum, p_sum = both(f, pm), both(fm, p)
    top = both(f, p) - f_sum * p_sum / count
    below = (both(ff, pm) - np.square(f_sum) / count) * (both(fm, pp) - np.square(p_sum) / count)
    floor = 1e-6 * below.max()
    value = np.where(below > floor, top / np.sqrt(np.maximum(below, floor)), 0) * np.sqrt(count)
    lags = [np.arange(k) for k in size]
    lags = [np.where(lag >= a, lag - k, lag) for lag, a, k in zip(lags, shapes[0], size, strict=True)]
    order = [np.argsort(lag) for lag in lags]
    lags = [lag[o] for lag, o in zip(lags, order, strict=True)]
    value, n = value[np.ix_(*order)], n[np.ix_(*order)]
    least = LEAST_OVERLAP * min(frame.good.sum(), reference.good.sum())
    usable = n >= max(least, 64)
    if reach is not None:
        usable &= (np.abs(lags[0]) <= reach)[:, None] & (np.abs(lags[1]) <= reach)[None, :]
    return value, (lags[0], lags[1]), usable


def _top(score: np.ndarray, r: int, c: int) -> tuple[float, np.ndarray]:
    """The neighbours' mean over the peak, and the vertex of the parabolas through it."""
    if not (0 < r < score.shape[0] - 1 and 0 < c < score.shape[1] - 1):
        return 1.0, np.zeros(2)
    peak = score[r, c]
    pairs = [(score[r - 1, c], score[r + 1, c]), (score[r, c - 1], score[r, c + 1])]
    if not np.isfinite(pairs).all():
        return 1.0, np.zeros(2)
    shift = [0.5 * (a - b) / min(a - 2 * peak + b, -1e-9) for a, b in pairs]
    return float(np.mean(pairs) / peak), np.clip(shift, -0.5, 0.5)


def warped(reference: Plane, transform: Transform, shape: tuple[int, int]) -> Plane:
    """The reference as the frame would see it: sampled at each pixel of the frame."""
    from scipy.ndimage import map_coordinates

    positions = np.moveaxis(frame_positions(transform, range(shape[0]), shape[1]), -1, 0)
    share = map_coordinates(reference.good.astype(np.float32), positions, order=1, cval=0.0)
    values = map_coordinates(reference.values, positions, order=3, mode="constant")
    return Plane(np.where(share > 0.75, values, 0).astype(np.float32), share > 0.75)


def find_shift(
    reference: Plane, frame: Plane, guess: Transform | None = None, reach: float | None = None
) -> tuple[Affine | None, str]:
    """The displacement of the frame after `guess`, coarsely and then exactly to a pixel or so.

    Returns
    -------
    Affine or None
        A shift of the frame's pixels to apply after `guess`.
    str
        Why not, where there is none.
    """
    start = reference if guess is None else warped(reference, guess, frame.values.shape)
    if start.good.sum() < 64 or frame.good.sum() < 64:
        return None, "no overlap with the reference"
    size = max(*start.values.shape, *frame.values.shape)
    factors = sorted({max(1, round(size / COARSE)), max(1, round(2 * size / COARSE))}, reverse=True)
    best: Peak | None = None
    for factor in factors:
        if min(*start.values.shape, *frame.values.shape) // factor < 24:
            continue
        within = None if reach is None else max(reach / factor, 2.0)
        peak = correlate(binned(start, factor), binned(frame, factor), within)
        if peak is None:
            continue
        if peak.significant and not _only_pattern(start, frame, peak, factor):
            return Affine.shift(*(factor * peak.shift)), ""
        best = peak if best is None or peak.height > best.height else best
    if best is None:
        return None, "nothing to correlate"
    if best.significant:
        return None, "the frames share only the detector's own pattern"
    return None, (
        f"no significant correlation (peak {best.height:.1f} sigma, {best.ratio:.2f} times the next; "
        f"{SIGNIFICANT:g} and {UNIQUE:g} are needed)"
    )


def _only_pattern(reference: Plane, frame: Plane, peak: Peak, factor: int) -> bool:
    """True where the correlation at no displacement is one pixel wide: light through optics is wider."""
    if np.abs(peak.shift * factor).max() > factor:
        return False
    fine, lags, usable = _surface(reference, frame, 3.0)
    score = np.where(usable, fine, 0)
    r, c = int(np.flatnonzero(lags[0] == 0)[0]), int(np.flatnonzero(lags[1] == 0)[0])
    width, _ = _top(score, r, c)
    return bool(score[r, c] >= score.max() and width < PATTERN)


def turned(reference: Plane, frame: Plane) -> list[Affine]:
    """Rotations, scales and mirror images about the frames' centres that the spectra's magnitudes suggest."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    size = max(*reference.values.shape, *frame.values.shape)
    factor = max(1, round(size / COARSE))
    side = -(-size // factor)

    def polar(image: Plane, mirrored: bool) -> np.ndarray:
        small = binned(image, factor)
        values = np.zeros((side, side), np.float32)
        part = small.values * np.outer(np.hanning(small.values.shape[0]), np.hanning(small.values.shape[1]))
        values[: part.shape[0], : part.shape[1]] = part
        if mirrored:
            values = values[:, ::-1]
        power = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(values))))
        angle = np.arange(ANGLES) * np.pi / ANGLES
        radius = np.exp(np.linspace(np.log(4), np.log(side / 2 - 1), RADII))
        where = side // 2 + np.stack([np.outer(np.cos(angle), radius), np.outer(np.sin(angle), radius)])
        out = map_coordinates(gaussian_filter(power, 1.0), where, order=1)
        out = out - out.mean(axis=0)
        return out / np.maximum(out.std(axis=0), 1e-9)

    step = np.log((side / 2 - 1) / 4) / (RADII - 1)
    there = polar(frame, False)
    centre_r, centre_f = (_middle(i) for i in (reference, frame))
    found: list[tuple[float, Affine]] = []
    for mirrored in (False, True):
        here = polar(reference, mirrored)
        lift, weight = np.hanning(RADII), np.ones((ANGLES, 1))
        cross = np.fft.fft2(there * lift * weight, (ANGLES, 2 * RADII)) * np.conj(
            np.fft.fft2(here * lift * weight, (ANGLES, 2 * RADII))
        )
        surface = np.fft.ifft2(cross).real
        wide = int(np.ceil(np.log(1.3) / step))
        columns = np.concatenate([np.arange(wide + 1), np.arange(-wide, 0)])
        part = surface[:, columns]
        for _ in range(2):
            a, b = np.unravel_index(int(np.argmax(part)), part.shape)
            value = float(part[a, b])
            part[np.arange(a - 6, a + 7) % ANGLES] = -np.inf
            # Finer detail in the image is a wider spectrum: the scale is the other way round.
            scale = float(np.exp(-columns[b] * step))
            scale = 1.0 if abs(scale - 1) < 1.5 * step else scale
            for half in (0.0, np.pi):
                angle = a * np.pi / ANGLES + half
                found.append((value, _about(centre_r, centre_f, angle, scale, mirrored)))
    found.sort(key=lambda pair: -pair[0])
    return [transform for _, transform in found]


ANGLES, RADII = 720, 192
"""Log-polar samples: a quarter of a degree, and about two per cent of scale at 256 pixels."""


def _middle(image: Plane) -> np.ndarray:
    return (np.array(image.values.shape) - 1) / 2


def _about(reference: np.ndarray, frame: np.ndarray, angle: float, scale: float, mirrored: bool) -> Affine:
    """Centre onto centre, the columns reversed first where mirrored, then turned and scaled."""
    flip = np.diag([1.0, -1.0]) if mirrored else np.eye(2)
    linear = Affine.about((0, 0), angle, scale).linear @ flip
    return Affine(np.column_stack([linear, frame - linear @ reference]))
