"""Simulated skies with noiseless truth: stars, galaxies and nebulae through optics, pixels and a detector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from sciSR.forward import psf
from sciSR.forward.noise import expose

OVER = 3
"""Samples for each fine pixel and axis on which the optics act."""


@dataclass(frozen=True)
class Scene:
    """A simulated field.

    Parameters
    ----------
    truth : ndarray, float64 ``[s H, s W]``
        Noiseless mean over each fine pixel, in electrons for each *coarse* pixel area (a density: block
        means compare).
    observed : ndarray, float64 ``[H, W]``
        Block mean of the truth with Poisson and read noise, electrons.
    read_noise, sky : float
        Electrons; the sky is part of truth and observed.
    frames : float
        Exposures averaged; the noise variance of a pixel is ``(electrons + read_noise^2) / frames``.
    fwhm : float
        Of the optics, coarse pixels.
    stars : ndarray ``[M, 3]``
        Fine-pixel y, x (centre of the first pixel is 0) and flux in electrons.
    """

    truth: NDArray[np.float64]
    observed: NDArray[np.float64]
    read_noise: float
    sky: float
    frames: float
    fwhm: float
    stars: NDArray[np.float64]


def simulate(seed: int, size: int = 256, scale: int = 2, fixed: dict[str, float] | None = None) -> Scene:
    """A random field; everything follows from the seed.

    Parameters
    ----------
    seed : int
        Training uses seeds below 1,000,000; tests and cards others.
    size : int
        Coarse pixels in each axis.
    scale : int
        Fine pixels for each coarse pixel and axis.
    fixed : dict, optional
        Values that replace random ones: sky, read_noise, frames, fwhm, stars, galaxies, nebula, faint, bright.
    """
    g = np.random.default_rng(seed)
    pick = {
        "sky": 10 ** g.uniform(0.7, 3.5),
        "read_noise": 10 ** g.uniform(0.0, 1.2),
        "frames": 10 ** g.uniform(0.5, 4.0) if g.random() < 0.5 else 1.0,
        "fwhm": math.exp(g.uniform(math.log(0.8), math.log(4.0))),
        "stars": 10 ** g.uniform(1.3, 3.6) * (size / 256) ** 2,
        "galaxies": g.integers(0, 60) * (size / 256) ** 2,
        "nebula": 10 ** g.uniform(-0.5, 2.0) if g.random() < 0.6 else 0.0,
        "faint": 10 ** g.uniform(0.5, 1.5),  # faintest star, in sky sigmas x pixels
        "bright": 10 ** g.uniform(3.0, 5.5),  # brightest
    } | (fixed or {})
    noise = math.sqrt(pick["sky"] + pick["read_noise"] ** 2)
    step, side = scale * OVER, size * scale * OVER
    canvas = np.zeros((side, side))
    stars = _add_stars(canvas, g, int(pick["stars"]), pick["faint"] * noise, pick["bright"] * noise, step)
    for _ in range(int(pick["galaxies"])):
        _add_galaxy(canvas, g, noise, step)
    if pick["nebula"] > 0:
        canvas += _nebula(g, side) * (pick["nebula"] * noise)
    kernel = _optics(g, pick["fwhm"] * step)
    canvas = _convolve(canvas, kernel)
    truth = canvas.reshape(size * scale, OVER, size * scale, OVER).mean((1, 3)) + pick["sky"]
    coarse = truth.reshape(size, scale, size, scale).mean((1, 3))
    stars[:, :2] = (stars[:, :2] + 0.5) / OVER - 0.5
    n = pick["frames"]
    observed = expose(coarse * n, pick["read_noise"] * math.sqrt(n), g) / n
    return Scene(truth, observed, pick["read_noise"], pick["sky"], n, pick["fwhm"], stars)


def _add_stars(
    canvas: NDArray, g: np.random.Generator, count: int, faint: float, bright: float, step: int
) -> NDArray:
    """Power-law fluxes between two limits, electrons; the canvas is a density for each coarse pixel (step^2
    samples)."""
    slope = g.uniform(0.5, 1.1)  # N(> f) ~ f^-slope
    u = g.random(count)
    flux = (faint**-slope + u * (bright**-slope - faint**-slope)) ** (-1 / slope)
    y, x = g.integers(0, canvas.shape[0], count), g.integers(0, canvas.shape[1], count)
    if count > 50 and g.random() < 0.25:  # a cluster
        middle, width = g.uniform(0.3, 0.7, 2) * canvas.shape[0], g.uniform(0.03, 0.12) * canvas.shape[0]
        member = g.random(count) < 0.5
        place = np.clip(
            middle[:, None] + width * g.standard_normal((2, count)), 0, canvas.shape[0] - 1
        ).astype(int)
        y, x = np.where(member, place[0], y), np.where(member, place[1], x)
    np.add.at(canvas, (y, x), flux * step**2)
    return np.stack([y.astype(float), x.astype(float), flux], 1)


def _add_galaxy(canvas: NDArray, g: np.random.Generator, noise: float, step: int) -> None:
    """A Sersic profile with random axis ratio; large ones may have spiral arms, a bar of dust, or clumps."""
    index, radius = (
        g.choice([0.5, 1.0, 1.0, 2.0, 3.0]),
        math.exp(g.uniform(math.log(0.5), math.log(12.0))) * step,
    )
    half = int(min(6 * radius, canvas.shape[0] // 2 - 1))
    middle = g.integers(0, canvas.shape[0], 2)
    shape = {"ellipticity": g.uniform(0, 0.75), "angle": g.uniform(0, math.pi)}
    r = psf.radius_grid(2 * half + 1, **shape)
    profile = np.exp(-(2 * index - 0.324) * ((np.maximum(r, 0.3 * step) / radius) ** (1 / index) - 1))
    if radius > 3 * step and g.random() < 0.6:
        axis = np.arange(-half, half + 1)
        phase = np.arctan2(axis[:, None], axis[None]) * g.choice([1, 2, 2, 3]) + g.uniform(2, 9) * np.log(
            r + radius / 5
        )
        profile *= 1 + g.uniform(0.3, 0.95) * np.cos(phase) ** int(g.choice([1, 3, 5]))
    profile *= noise * 10 ** g.uniform(0.0, 2.2)
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half + 1, canvas.shape)
    canvas[low[0] : high[0], low[1] : high[1]] += profile[
        low[0] - middle[0] + half : high[0] - middle[0] + half,
        low[1] - middle[1] + half : high[1] - middle[1] + half,
    ]


def _nebula(g: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Power-law random field made filamentary, 99.5 % quantile 1, >= 0."""
    small = side // OVER
    ky, kx = np.fft.fftfreq(small)[:, None] * small, np.fft.rfftfreq(small)[None] * small
    k = np.hypot(ky, kx)
    k[0, 0] = 1
    field = irfft2(
        rfft2(g.standard_normal((small, small))) * k ** (-0.5 * g.uniform(2.4, 3.6)), s=(small, small)
    )
    field = (field - field.mean()) / field.std()
    kind = g.integers(3)
    if kind == 0:
        field = np.exp(g.uniform(0.5, 1.3) * field)
    elif kind == 1:  # ridges
        field = np.exp(-np.abs(field) / g.uniform(0.05, 0.4))
    else:
        field = np.maximum(field + g.uniform(0, 1.5), 0)
    field -= field.min()
    field /= max(np.quantile(field, 0.995), 1e-9)
    return np.repeat(np.repeat(field, OVER, 0), OVER, 1)


def _optics(g: np.random.Generator, fwhm: float) -> NDArray[np.float64]:
    """A random Moffat, Gaussian or Airy kernel, slightly elliptical; sum 1 over its grid."""
    size = 2 * int(min(12 * fwhm, 190)) + 1
    shape = {"ellipticity": abs(g.normal(0, 0.06)), "angle": g.uniform(0, math.pi)}
    kind = g.random()
    if kind < 0.55:
        return psf.moffat(size, fwhm, beta=g.uniform(2.2, 5.0), **shape)
    if kind < 0.8:
        return psf.gaussian(size, fwhm, **shape)
    return psf.airy(size, fwhm, obscuration=g.uniform(0, 0.4), **shape)


def _convolve(image: NDArray, kernel: NDArray) -> NDArray:
    """Linear convolution, same size; the border is mirrored, as in a field that goes on."""
    half = kernel.shape[0] // 2
    padded = np.pad(image, half, mode="symmetric")
    shape = [next_fast_len(n + kernel.shape[0] - 1, real=True) for n in padded.shape]
    full = irfft2(rfft2(padded, shape, workers=1) * rfft2(kernel, shape, workers=1), shape, workers=1)
    return full[2 * half : 2 * half + image.shape[0], 2 * half : 2 * half + image.shape[1]]
