"""Frames without stars: a windowed, masked, whitened cross-correlation with a test of significance.

Each frame's spectrum is divided by its own power, and weighted by how much of that is scene and not noise (Knapp &
Carter, IEEE Trans. Acoust. Speech Signal Process. 24, 320, 1976). Two frames that have nothing in common then give
a surface of uncorrelated normal values, whatever they show, and a peak can be judged against it. Plain phase
correlation would let the noise of the finest detail vote; plain correlation, the clouds of the coarsest.

Rotation and scale, where there is no other hint of them, from the magnitudes of the spectra in log-polar coordinates
(Reddy & Chatterji, IEEE Trans. Image Process. 5, 1266, 1996).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.registration.models import robust_sigma
from sciSR.fusion.registration.stars import pixel_noise, sharp_pixels
from sciSR.fusion.transforms import Affine, Transform, frame_positions

SIGNIFICANT = 7.5
"""A peak must stand out of the correlation's own scatter by this many standard deviations."""
UNIQUE = 1.3
"""And be this many times as high as the next one elsewhere."""
LEAST_OVERLAP = 0.15
"""Displacements that leave less of the smaller frame are not considered."""
COARSE = (128, 512)
"""Frames are binned to about these sizes for the search; small ones forgive a rotation, large ones find detail."""
ALIKE = 0.3
"""Correlation of two frames of one scene, their noise allowed for, must be at least this."""
EVIDENCE = 5.5
"""Student's t that a correlation must reach over the patches of the overlap: chance does so once in 10^7."""
PATCH = 8
"""Pixels a side of a patch: larger than a star, so that one star is one patch."""
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
    whole : ndarray, float32, or None
        The same with what is smooth left in: near the border the smooth part is not the same for the same piece of
        scene in two frames, so a fit must not have it taken away beforehand.
    """

    values: np.ndarray
    good: np.ndarray
    whole: np.ndarray | None = None


def plane(values: np.ndarray, bad: np.ndarray) -> Plane:
    """A frame without background, hot pixels and cosmic rays, in units of its noise, compressed."""
    noise = pixel_noise(values, bad)
    if not noise > 0:
        return Plane(np.zeros(values.shape, np.float32), np.zeros(values.shape, bool))
    level = np.float32(np.median(values[~bad]))
    signal = (values - level) / np.float32(noise)
    wide = max(16.0, max(values.shape) / 10)
    smooth = blurred(np.clip(signal, -20, 20), ~bad, wide)
    good = ~bad & ~sharp_pixels((signal - smooth).astype(np.float32), bad, 1.0)
    detail = signal - blurred(np.where(good, signal, 0), good, wide)
    return Plane(_compressed(detail, good), good, _compressed(signal, good))


def _compressed(signal: np.ndarray, good: np.ndarray) -> np.ndarray:
    """A star of 1000 sigma must not outweigh the rest of the field."""
    return np.where(good, 3 * np.arcsinh(signal / 3), 0).astype(np.float32)


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
    middle = float(np.median(surface[usable]))
    spread = robust_sigma(surface[usable])
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
    """Whitened correlation, the displacements along both axes, and which of them are considered."""
    from scipy.fft import irfft2, next_fast_len, rfft2

    shapes = frame.values.shape, reference.values.shape
    full = [a + b - 1 for a, b in zip(*shapes, strict=True)]
    size = [next_fast_len(n, real=True) for n in full]
    radius = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None, :])
    one, one_weight = _white(rfft2(_windowed(frame), size), radius, min(shapes[0]))
    other, other_weight = _white(rfft2(_windowed(reference), size), radius, min(shapes[1]))
    surface = irfft2(one * np.conj(other) * one_weight * other_weight, size)
    faded = [rfft2(np.square(_fade(i.values.shape)) * i.good, size) for i in (frame, reference)]
    overlap = irfft2(faded[0] * np.conj(faded[1]), size)
    lags = [np.arange(k) for k in size]
    lags = [np.where(lag >= a, lag - k, lag) for lag, a, k in zip(lags, shapes[0], size, strict=True)]
    order = [np.argsort(lag) for lag in lags]
    lags = [lag[o] for lag, o in zip(lags, order, strict=True)]
    surface, overlap = surface[np.ix_(*order)], overlap[np.ix_(*order)]
    usable = overlap >= max(LEAST_OVERLAP * overlap.max(), 32)
    # Where there is noise alone, the sum over fewer pixels scatters less.
    surface = surface / np.sqrt(np.maximum(overlap, 1))
    if reach is not None:
        usable &= (np.abs(lags[0]) <= reach)[:, None] & (np.abs(lags[1]) <= reach)[None, :]
    return surface, (lags[0], lags[1]), usable


def _windowed(image: Plane) -> np.ndarray:
    """Bad pixels at the mean of the good, the border faded out: no edges in the spectrum but the scene's."""
    mean = image.values[image.good].mean() if image.good.any() else 0.0
    return np.where(image.good, image.values - mean, 0) * _fade(image.values.shape)


def _fade(shape: tuple[int, int]) -> np.ndarray:
    from scipy.signal.windows import tukey

    return np.outer(tukey(shape[0], 0.25), tukey(shape[1], 0.25))


def _white(spectrum: np.ndarray, radius: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum over the root of its mean power at that frequency, and the part of that power that is scene."""
    power = np.square(np.abs(spectrum))
    # Rings as narrow as the data resolve; a ring's mean over hundreds of modes is all but free of their noise.
    rings = max(8, side // 2)
    ring = np.minimum((radius / np.hypot(0.5, 0.5) * rings).astype(int), rings - 1)
    count = np.maximum(np.bincount(ring.ravel(), minlength=rings), 1)
    mean = np.bincount(ring.ravel(), power.ravel(), minlength=rings) / count
    mean = np.convolve(np.pad(mean, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    # Noise is white; its level is that of the finest detail, which the optics do not pass.
    noise = float(np.median(mean[int(0.6 * rings) :]))
    scene = np.clip(1 - noise / np.maximum(mean, 1e-30), 0, 1)
    # Less than three periods over the frame is background.
    scene[(np.arange(rings) + 0.5) / rings * np.hypot(0.5, 0.5) * side < 3] = 0
    return spectrum / np.sqrt(mean[ring] + 1e-30), (scene + 0.02)[ring] * (scene > 0)[ring]


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
    factors = sorted({max(1, round(size / coarse)) for coarse in COARSE}, reverse=True)
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
    factor = max(1, round(size / 256))
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


@dataclass(frozen=True, eq=False)
class Likeness:
    """How far two images show the same scene.

    Attributes
    ----------
    correlation : float
        Noise allowed for: 1 for the same scene; 0 where either image shows nothing but noise.
    evidence : float
        Student's t of the correlation over patches of the overlap. Without a common scene it is a standard normal
        value, whatever the images hold; two bright stars that coincide give no more than the root of two.
    """

    correlation: float
    evidence: float


def likeness(reference: Plane, frame: Plane, transform: Transform) -> Likeness:
    """Correlation of the two scenes where they overlap, and what it rests on."""
    seen = warped(reference, transform, frame.values.shape)
    both = seen.good & frame.good
    if both.sum() < 256:
        return Likeness(0.0, 0.0)
    one, other = Plane(seen.values, both), Plane(frame.values, both)
    return Likeness(_attenuated(one, other), _evidence(one, other))


def _attenuated(one: Plane, other: Plane, sigma: float = 1.5) -> float:
    """Spearman's correction for attenuation: the correlation of two noisy measurements, over the root of the parts
    of their variances that are not noise."""
    both = one.good
    patch = 4 * np.pi * sigma**2
    x, y = (blurred(i.values, both, sigma)[both].astype(np.float64) for i in (one, other))
    x, y = x - x.mean(), y - y.mean()
    noise = 1 / patch
    # The scatter of a variance that is all noise: as many values as blurs fit into the overlap.
    doubt = noise * np.sqrt(2 * patch / both.sum())
    parts = [np.mean(np.square(v)) - noise for v in (x, y)]
    if min(parts) < 4 * doubt:
        return 0.0
    return float(np.mean(x * y) / np.sqrt(parts[0] * parts[1]))


def _evidence(one: Plane, other: Plane) -> float:
    """The whitened images' product, summed over patches: the sum over the root of the sum of squares."""
    from scipy.fft import irfft2, rfft2

    shape = one.values.shape
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    white = []
    for image in (one, other):
        spectrum, weight = _white(rfft2(_windowed(image)), radius, min(shape))
        white.append(irfft2(spectrum * weight, shape))
    product = np.where(one.good, white[0] * white[1], 0)
    rows, columns = (n // PATCH * PATCH for n in shape)
    sums = product[:rows, :columns].reshape(rows // PATCH, PATCH, columns // PATCH, PATCH).sum(axis=(1, 3))
    return float(sums.sum() / np.sqrt(np.square(sums).sum() + 1e-30))
