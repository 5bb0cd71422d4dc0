"""The light of the simulated sky, on a grid finer than the detector: stars, a spiral, galaxies, a nebula, optics."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft2, rfft2

OVER = 6  # samples of the sky per native pixel and axis
MARGIN = 16  # native pixels of sky around the reference frame; also keeps the periodic wrap out of sight
BETA, FWHM = 3.5, 1.3
ALPHA = FWHM / (2 * np.sqrt(2 ** (1 / BETA) - 1))


def optics(shape: tuple[int, int]) -> np.ndarray:
    """Transfer function of the Moffat profile on ``rfft2``'s frequencies.

    The Hankel transform of ``(1 + r^2)^-beta`` is ``k^(beta-1) K_(beta-1)(k)``; for beta = 3.5 an elementary one.
    """
    k = np.hypot(np.fft.fftfreq(shape[0], 1 / OVER)[:, None], np.fft.rfftfreq(shape[1], 1 / OVER)[None, :])
    t = 2 * np.pi * ALPHA * k
    return (1 + t + t**2 / 3) * np.exp(-t)


def star_light(stars: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Optical image of point sources on the fine grid, analytic, wings to 1e-2 electrons per source or better."""
    out = np.zeros(shape)
    for row, column, electrons in stars:
        # Light beyond radius r: electrons * (1 + (r/alpha)^2)^(1 - beta).
        reach = ALPHA * np.sqrt(max(electrons / 1e-2, 2.0) ** (1 / (BETA - 1)) - 1)
        centre = OVER * (np.array([row, column]) + MARGIN + 0.5) - 0.5
        half = int(np.ceil(min(reach, 40.0) * OVER))
        index = [np.arange(int(c) - half, int(c) + half + 2) for c in centre]
        d = [(i - c) / OVER for i, c in zip(index, centre, strict=True)]
        r2 = d[0][:, None] ** 2 + d[1][None, :] ** 2
        light = electrons * (BETA - 1) / (np.pi * ALPHA**2) * (1 + r2 / ALPHA**2) ** -BETA
        out[np.ix_(index[0] % shape[0], index[1] % shape[1])] += light
    return out


def coordinates(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Reference positions of the fine grid's rows and columns."""
    rows, columns = ((np.arange(n) + 0.5) / OVER - 0.5 - MARGIN for n in shape)
    return rows[:, None], columns[None, :]


def spiral(shape: tuple[int, int], centre: tuple[float, float], radius: float, peak: float) -> np.ndarray:
    """A spiral galaxy whose disc also carries concentric rings three native pixels apart; before the optics."""
    y, x = (a - c for a, c in zip(coordinates(shape), centre, strict=True))
    r = np.hypot(y, 1.25 * x)
    arms = 0.5 + 0.5 * np.cos(2 * np.arctan2(y, x) - 5.0 * np.log(r + radius / 6))
    rings = 0.5 + 0.5 * np.cos(2 * np.pi * r / 3.0)
    edge = 0.5 * (1 - np.tanh((r - radius) / 4))
    return peak * np.exp(-r / (0.4 * radius)) * (0.3 + 0.7 * arms**2) * (0.4 + 0.6 * rings) * edge


def galaxies(shape: tuple[int, int], random: np.random.Generator, number: int) -> np.ndarray:
    """Small exponential discs at random places; before the optics."""
    out = np.zeros(shape)
    for _ in range(number):
        centre = random.uniform(0, 1, 2) * np.array(shape)
        length = np.exp(random.uniform(np.log(0.5), np.log(3.0))) * OVER
        ratio, angle, electrons = (
            random.uniform(0.3, 1),
            random.uniform(0, np.pi),
            10 ** random.uniform(3.0, 4.6),
        )
        half = int(10 * length)
        index = [np.arange(int(c) - half, int(c) + half + 2) for c in centre]
        dy, dx = (i - c for i, c in zip(index, centre, strict=True))
        u = dx[None, :] * np.cos(angle) + dy[:, None] * np.sin(angle)
        v = dy[:, None] * np.cos(angle) - dx[None, :] * np.sin(angle)
        disc = np.exp(-np.hypot(u, v / ratio) / length)
        out[np.ix_(index[0] % shape[0], index[1] % shape[1])] += electrons * OVER**2 * disc / disc.sum()
    return out


def nebula(shape: tuple[int, int], random: np.random.Generator, peak: float) -> np.ndarray:
    """Filaments: the ridges of a power-law random field, brighter here and there; before the optics."""
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None] * shape[0], np.fft.rfftfreq(shape[1])[None, :] * shape[1])
    k[0, 0] = np.inf

    def gaussian_field(slope: float) -> np.ndarray:
        noise = rfft2(random.standard_normal(shape).astype(np.float32), workers=1)
        out = irfft2(noise * k ** (-slope / 2), s=shape, workers=1)
        return (out - out.mean()) / out.std()

    ridges = np.exp(-np.abs(gaussian_field(3.4)) / 0.12)
    patches = np.exp(0.8 * gaussian_field(4.0))
    out = patches * (0.6 + ridges)
    return peak * out / np.quantile(out, 0.995)
