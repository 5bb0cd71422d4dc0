"""A banded planet through moving air: a short clip of a fast camera, with the sharp scene it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIZE = 64  # detector pixels a side
FRAMES = 32
OVERSAMPLING = 4  # samples of the scene per detector pixel and axis
RADIUS = 23.0  # of the equator, detector pixels
FLATTENING = 0.065
PEAK = 2600.0  # steps of the camera at the brightest place, of 4095
PEDESTAL = 40.0  # steps
GAIN = 6.0  # electrons per step
READ_NOISE = 3.0  # electrons
TELESCOPE = 0.55  # sigma of the diffraction disc, detector pixels
SEED = 20260402


@dataclass(frozen=True)
class PlanetClip:
    """The truth and the frames.

    Attributes
    ----------
    fine : ndarray, float64, (128, 128)
        Steps of the camera on pixels of half the size, through the telescope but without air, noise or pedestal.
    frames : ndarray, uint16, (32, 64, 64)
        12 bits, in the low bits.
    shifts : ndarray, float64, (32, 2)
        Where each frame's disc lies, (row, column), relative to the truth.
    blur : ndarray, float64, (32,)
        Sigma of the air's blur, detector pixels.
    """

    fine: np.ndarray
    frames: np.ndarray
    shifts: np.ndarray
    blur: np.ndarray


def scene() -> np.ndarray:
    """The disc without any blur, one sample per 1/4 detector pixel, 0 to 1; (256, 256)."""
    size = SIZE * OVERSAMPLING
    places = (np.arange(size) + 0.5) / OVERSAMPLING - SIZE / 2
    y, x = np.meshgrid(places / (RADIUS * (1 - FLATTENING)), places / RADIUS, indexing="ij")
    height = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
    longitude = np.arctan2(x, np.maximum(height, 1e-6))
    latitude = np.arcsin(np.clip(y, -1, 1)) + 0.02 * np.sin(9 * longitude)  # the belts' edges are wavy
    belts = (
        0.80
        + 0.10 * np.cos(13 * latitude)
        + 0.06 * np.cos(31 * latitude + 0.7)
        + 0.03 * np.cos(71 * latitude)
    )
    spot = np.exp(-(((latitude - 0.38) / 0.11) ** 2 + ((longitude + 0.35) / 0.2) ** 2))
    ovals = sum(
        np.exp(-(((latitude + 0.55) / 0.045) ** 2 + ((longitude - where) / 0.06) ** 2))
        for where in (-0.5, 0.0, 0.5)
    )
    return (belts - 0.3 * spot + 0.15 * ovals) * height**0.75


def make_planet() -> PlanetClip:
    """The clip; the same in every run."""
    from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

    rng = np.random.default_rng(SEED)
    sharp = gaussian_filter(scene(), TELESCOPE * OVERSAMPLING)
    sharp *= PEAK / sharp.max()
    drift = np.cumsum(rng.normal(0, 0.25, (FRAMES, 2)), axis=0)
    shifts = drift - drift[0] + rng.normal(0, 0.3, (FRAMES, 2))
    shifts[0] = 0
    # Most moments are poor, a few are good.
    blur = 0.35 + rng.gamma(2.0, 0.28, FRAMES)
    rows, columns = np.mgrid[: sharp.shape[0], : sharp.shape[1]].astype(float)
    wide = gaussian_filter1d(np.eye(len(sharp)), 40, axis=0)  # as a matrix: far faster than 321 taps a pixel
    frames = []
    for shift, width in zip(shifts, blur, strict=True):
        # Air bends different parts of the disc differently: a smooth field of a few tenths of a pixel.
        bend = [wide @ rng.normal(size=sharp.shape) @ wide.T for _ in range(2)]
        bend = [OVERSAMPLING * 0.3 * width * each / each.std() for each in bend]
        where = [axis - OVERSAMPLING * s + b for axis, s, b in zip((rows, columns), shift, bend, strict=True)]
        seen = gaussian_filter(map_coordinates(sharp, where, order=3), width * OVERSAMPLING)
        light = np.clip(binned(seen, OVERSAMPLING), 0, None)
        electrons = rng.poisson(light * GAIN) + rng.normal(0, READ_NOISE, light.shape)
        frames.append(np.clip(np.rint(electrons / GAIN + PEDESTAL), 0, 4095))
    return PlanetClip(binned(sharp, OVERSAMPLING // 2), np.array(frames, dtype=np.uint16), shifts, blur)


def binned(image: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of ``factor x factor``."""
    rows, columns = image.shape
    return image.reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))
