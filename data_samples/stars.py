"""A star field with known fluxes and positions: stars, a spiral galaxy and faint disks, seen by a detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHAPE = (360, 384)  # detector pixels, (rows, columns)
OVERSAMPLING = 4  # samples of the scene per detector pixel and axis
FWHM = 1.9  # of the point spread function, detector pixels
BETA = 3.0  # of the Moffat profile
SKY = 50.0  # electrons per detector pixel
READ_NOISE = 4.0  # electrons
CENTRE = (196.3, 178.6)  # of the spiral, (row, column)
SEED = 20260401


@dataclass(frozen=True)
class StarField:
    """The truth and one exposure of it.

    Attributes
    ----------
    fine : ndarray, float64, (720, 768)
        Expected electrons in each pixel of half the size, sky included, without noise.
    expected : ndarray, float64, (360, 384)
        Expected electrons in each detector pixel: sums of 2 x 2 of `fine`.
    observed : ndarray, float32, (360, 384)
        One exposure: Poisson and read noise, and the detector's defects.
    error : ndarray, float32
        One standard deviation of `observed`.
    flags : ndarray, uint8
        0 good, 1 dead column, 4 cosmic ray.
    x, y, flux : ndarray, float64
        Stars: 0-based positions in detector pixels, and electrons.
    """

    fine: np.ndarray
    expected: np.ndarray
    observed: np.ndarray
    error: np.ndarray
    flags: np.ndarray
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray


def bin_sum(image: np.ndarray, factor: int) -> np.ndarray:
    """Sums over blocks of ``factor x factor``."""
    rows, columns = image.shape
    return image.reshape(rows // factor, factor, columns // factor, factor).sum(axis=(1, 3))


def moffat(dy: np.ndarray, dx: np.ndarray, fwhm: float) -> np.ndarray:
    """Moffat profile, not normalised; offsets and width in the same unit."""
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / BETA) - 1))
    return (1 + (dy**2 + dx**2) / alpha**2) ** -BETA


def make_star_field() -> StarField:
    """The scene, the same on every machine: the legacy generator's stream is frozen for good."""
    random = np.random.RandomState(SEED)
    x, y, flux = _catalogue(random)
    sharp = _galaxies(random)
    scene = _blur(sharp)
    for position_x, position_y, electrons in zip(x, y, flux, strict=True):
        _add_star(scene, position_y, position_x, electrons)
    scene += SKY / OVERSAMPLING**2
    fine, expected = bin_sum(scene, OVERSAMPLING // 2), bin_sum(scene, OVERSAMPLING)
    counts = random.poisson(expected) + READ_NOISE * random.standard_normal(SHAPE)
    error = np.sqrt(expected + READ_NOISE**2)
    observed, flags = _defects(counts, random)
    return StarField(fine, expected, observed.astype(np.float32), error.astype(np.float32), flags, x, y, flux)


def _catalogue(random: np.random.RandomState, number: int = 220) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions at least 10 pixels from the border; fluxes as in the sky, many faint ones.

    Stars stand 6 pixels or more apart, but for the last sixteen, each 2 to 3 pixels from an earlier star.
    """
    found: list[tuple[float, float]] = []
    while len(found) < number:
        x, y = 10 + random.random_sample(2) * (np.array(SHAPE[::-1]) - 21)
        if all((x - a) ** 2 + (y - b) ** 2 > 36 for a, b in found):
            found.append((float(x), float(y)))
    for x, y in found[: number // 14 + 1]:
        apart, turn = 2.0 + random.random_sample(), 2 * np.pi * random.random_sample()
        found.append((x + apart * np.cos(turn), y + apart * np.sin(turn)))
    flux = np.minimum(1200.0 * (1 - random.random_sample(number)) ** -0.9, 200_000.0)
    companions = flux[: len(found) - number] * (0.4 + 0.5 * random.random_sample(len(found) - number))
    x, y = np.array(found).T
    return x, y, np.concatenate([flux, companions])


def _coordinates() -> tuple[np.ndarray, np.ndarray]:
    """Detector coordinates (y, x) of the scene's samples."""
    axes = [(np.arange(n * OVERSAMPLING) + 0.5) / OVERSAMPLING - 0.5 for n in SHAPE]
    return axes[0][:, None], axes[1][None, :]


def _galaxies(random: np.random.RandomState) -> np.ndarray:
    """One spiral with knots in its arms, and thirty small disks; electrons per sample, before the blur."""
    y, x = _coordinates()
    scene = _spiral(y - CENTRE[0], x - CENTRE[1], random)
    for _ in range(30):
        cx, cy = random.random_sample(2) * np.array(SHAPE[::-1])
        length, axis_ratio = 1.2 + 2.5 * random.random_sample(), 0.3 + 0.7 * random.random_sample()
        angle, electrons = np.pi * random.random_sample(), 4000 + 20000 * random.random_sample() ** 2
        window, dy, dx = _window(cy, cx, 12 * length)
        u, v = _rotate(dy, dx, angle)
        disk = np.exp(-np.hypot(u, v / axis_ratio) / length)
        scene[window] += electrons * disk / disk.sum()
    return scene


def _window(cy: float, cx: float, reach: float) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """The samples within `reach` detector pixels of a point, clipped to the scene, and their offsets from it."""
    spans, offsets = [], []
    for centre, size in zip((cy, cx), SHAPE, strict=True):
        low, high = (int((centre + side * reach + 0.5) * OVERSAMPLING) for side in (-1, 1))
        span = slice(max(low, 0), min(high, size * OVERSAMPLING))
        spans.append(span)
        offsets.append((np.arange(span.start, span.stop) + 0.5) / OVERSAMPLING - 0.5 - centre)
    return (spans[0], spans[1]), offsets[0][:, None], offsets[1][None, :]


def _rotate(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _spiral(y: np.ndarray, x: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Two logarithmic arms of pitch 17 degrees with dust lanes, a bulge, and 160 bright knots."""
    tilt, squeeze = 0.6, 0.68
    u, v = _rotate(y, x, tilt)
    v = v / squeeze
    radius, azimuth = np.hypot(u, v) + 1e-9, np.arctan2(v, u)
    phase = 2 * (azimuth - np.log(radius / 6) / np.tan(np.radians(17)))
    arms = np.exp(2.2 * (np.cos(phase) - 1)) - 0.35 * np.exp(9 * (np.cos(phase + 0.9) - 1))
    disk = np.exp(-radius / 26) * (0.30 + arms) * (1 - np.exp(-((radius / 9) ** 2)))
    bulge = 2.2 * np.exp(-7.67 * ((radius / 16) ** 0.5))
    scene = 1100.0 * (disk + 8 * bulge) / OVERSAMPLING**2 * (1 / (1 + np.exp((radius - 110) / 6)))
    for _ in range(160):
        r = 12 + 75 * random.random_sample()
        turn = (
            np.log(r / 6) / np.tan(np.radians(17))
            + np.pi * random.randint(2)
            + 0.16 * random.standard_normal()
        )
        electrons = (1500 + 6000 * random.random_sample() ** 2) * np.exp(-r / 60)
        place_u, place_v = r * np.cos(turn), squeeze * r * np.sin(turn)
        cx = CENTRE[1] + place_u * np.cos(tilt) - place_v * np.sin(tilt)
        cy = CENTRE[0] + place_u * np.sin(tilt) + place_v * np.cos(tilt)
        window, dy, dx = _window(cy, cx, 3.0)
        u, v = _rotate(dy, dx, tilt)
        knot = np.exp(-0.5 * (u**2 + (v / squeeze) ** 2) / 0.35**2)
        scene[window] += electrons * knot / max(knot.sum(), 1e-9)
    return scene


def _blur(scene: np.ndarray) -> np.ndarray:
    """Convolution with the point spread function by FFT; the galaxy and its blur lie well inside the field."""
    rows, columns = scene.shape
    dy = np.fft.fftfreq(rows, 1 / rows)[:, None] / OVERSAMPLING
    dx = np.fft.fftfreq(columns, 1 / columns)[None, :] / OVERSAMPLING
    psf = moffat(dy, dx, FWHM)
    return np.maximum(np.fft.irfft2(np.fft.rfft2(scene) * np.fft.rfft2(psf / psf.sum()), s=scene.shape), 0)


def _add_star(scene: np.ndarray, y: float, x: float, electrons: float, reach: int = 9) -> None:
    """Add a star whose electrons all lie within `reach` pixels, so that its flux is exact."""
    window, dy, dx = _window(y, x, reach)
    stamp = moffat(dy, dx, FWHM)
    scene[window] += electrons * stamp / stamp.sum()


def _defects(counts: np.ndarray, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """A dead stretch of a column (NaN) and forty pixels hit by cosmic rays, all flagged."""
    observed, flags = counts.copy(), np.zeros(SHAPE, np.uint8)
    observed[60:130, 301], flags[60:130, 301] = np.nan, 1
    rows, columns = random.randint(0, SHAPE[0], 40), random.randint(0, SHAPE[1], 40)
    observed[rows, columns] = 3000 + 20000 * random.random_sample(40)
    flags[rows, columns] = 4
    return observed, flags
