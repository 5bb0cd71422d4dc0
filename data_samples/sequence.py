"""Six dithered exposures of one field with known positions: the sample for fusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHAPE = (88, 96)  # detector pixels, (rows, columns)
# (row, column): whole pixels and fractions that fill a pixel evenly, as a good observer's dither does.
DITHERS = ((0.0, 0.0), (1.52, -2.97), (-1.98, 0.49), (2.48, 1.55), (-0.77, -1.26), (0.77, 2.23))
FRAMES = len(DITHERS)
OVERSAMPLING = 6  # samples per detector pixel and axis; a fine pixel at x2 holds 3 x 3 of them
FWHM = 1.5  # of the point spread function, detector pixels: undersampled
BETA = 3.5  # of the Moffat profile
SKY = 120.0  # electrons per detector pixel
READ_NOISE = 5.0  # electrons
GAIN = 2.0  # electrons per count
BIAS = 100.0  # counts
EXPOSURE = 60.0  # seconds
CENTRE = (46.0, 55.0)  # of the galaxy, (row, column)
SEED = 20260601


@dataclass(frozen=True)
class Sequence:
    """The truth and the exposures.

    Attributes
    ----------
    frames : list of ndarray, uint16, (88, 96)
        Counts.
    matrices : list of ndarray, (2, 3)
        True transforms: frame (row, column) = matrix . (row, column, 1) of the first frame, 0-based.
    fine : ndarray, float64, (176, 192)
        Expected electrons in each pixel of half the size of the first frame, without the sky.
    positions : ndarray, float64, (n, 2)
        Stars in the first frame: (row, column).
    flux : ndarray, float64, (n,)
        Electrons.
    """

    frames: list[np.ndarray]
    matrices: list[np.ndarray]
    fine: np.ndarray
    positions: np.ndarray
    flux: np.ndarray


def make_sequence() -> Sequence:
    """The same on every machine: the legacy generator's stream is frozen for good."""
    random = np.random.RandomState(SEED)
    positions, flux = _catalogue(random)
    matrices = [_matrix(random, dither) if any(dither) else np.eye(2, 3) for dither in DITHERS]
    hot = random.randint(0, SHAPE[0], 8), random.randint(0, SHAPE[1], 8), 300 + 4000 * random.random_sample(8)
    frames = []
    for matrix in matrices:
        expected = _bin(_light(matrix, positions, flux), OVERSAMPLING) + SKY
        # Rounded, so that the last digits of a machine's mathematics don't change what is drawn.
        electrons = random.poisson(np.round(expected, 6)) + READ_NOISE * random.standard_normal(SHAPE)
        counts = electrons / GAIN + BIAS
        counts[hot[0], hot[1]] += hot[2]
        _cosmic_ray(counts, random)
        frames.append(np.clip(np.round(counts), 0, 65535).astype(np.uint16))
    fine = _bin(_light(np.eye(2, 3), positions, flux), OVERSAMPLING // 2)
    return Sequence(frames, matrices, fine, positions, flux)


def _matrix(random: np.random.RandomState, dither: tuple[float, float]) -> np.ndarray:
    """A shift of the field's centre, and a rotation of up to 0.2 degrees about it."""
    angle = np.radians(0.4 * random.random_sample() - 0.2)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (np.array(SHAPE) - 1) / 2
    return np.column_stack([linear, middle + dither - linear @ middle])


def _catalogue(random: np.random.RandomState, number: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Stars anywhere from 4 pixels outside the field, 5 pixels or more apart, many faint ones."""
    found: list[np.ndarray] = []
    while len(found) < number:
        place = -4 + random.random_sample(2) * (np.array(SHAPE) + 7)
        if all(np.hypot(*(place - other)) > 5 for other in found):
            found.append(place)
    return np.array(found), np.minimum(900.0 * (1 - random.random_sample(number)) ** -1.0, 60_000.0)


def _light(matrix: np.ndarray, positions: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Electrons in each sample of a frame whose place is `matrix`, without the sky."""
    rows, columns = ((np.arange(n * OVERSAMPLING) + 0.5) / OVERSAMPLING - 0.5 for n in SHAPE)
    # The scene is round about each star but not about the galaxy, so the galaxy is evaluated in the first frame.
    back = np.linalg.inv(matrix[:, :2])
    y, x = np.einsum(
        "ij,jrc->irc",
        back,
        np.stack(np.broadcast_arrays(rows[:, None] - matrix[0, 2], columns[None] - matrix[1, 2])),
    )
    scene = _galaxy(y - CENTRE[0], x - CENTRE[1]) / OVERSAMPLING**2
    alpha = FWHM / (2 * np.sqrt(2 ** (1 / BETA) - 1))
    peak = (BETA - 1) / (np.pi * alpha**2) / OVERSAMPLING**2
    for place, electrons in zip(positions @ matrix[:, :2].T + matrix[:, 2], flux, strict=True):
        near = [
            slice(max(0, int((p - 25) * OVERSAMPLING)), max(0, int((p + 25) * OVERSAMPLING))) for p in place
        ]
        dy, dx = rows[near[0], None] - place[0], columns[None, near[1]] - place[1]
        scene[near[0], near[1]] += electrons * peak * (1 + (dy**2 + dx**2) / alpha**2) ** -BETA
    return scene


def _galaxy(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Electrons per detector pixel: a disk with two smooth arms, inclined."""
    u, v = 0.8 * x + 0.6 * y, (0.8 * y - 0.6 * x) / 0.7
    radius, azimuth = np.hypot(u, v) + 1e-9, np.arctan2(v, u)
    arms = np.exp(1.5 * (np.cos(2 * (azimuth - np.log(radius / 3 + 0.3) / np.tan(np.radians(20)))) - 1))
    return 700 * np.exp(-radius / 7) * (0.25 + arms * (1 - np.exp(-((radius / 4) ** 2)))) + 900 * np.exp(
        -((radius / 2.2) ** 2)
    )


def _bin(image: np.ndarray, factor: int) -> np.ndarray:
    rows, columns = image.shape
    return image.reshape(rows // factor, factor, columns // factor, factor).sum(axis=(1, 3))


def _cosmic_ray(counts: np.ndarray, random: np.random.RandomState) -> None:
    """Three short tracks."""
    for _ in range(3):
        row, column = (4 + random.randint(0, n - 8) for n in SHAPE)
        slope = random.random_sample()
        for step in range(4):
            counts[row + int(slope * step), column + step] += 800 + 3000 * random.random_sample()
