"""Astronomical patches: simulated skies with noiseless truth, and real images whose input is their own block
mean."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciSR.inference.normalise import fit
from sciSR.training.scenes import simulate


def load_plane(path: Path) -> NDArray[np.float64]:
    """First 2-D image of a FITS file, float64 ``[y, x]``; NaN where it isn't finite."""
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path) as hdus:
            for hdu in hdus:
                if hdu.is_image and hdu.data is not None and hdu.data.ndim >= 2:
                    plane = np.asarray(hdu.data, np.float64)
                    while plane.ndim > 2:
                        plane = plane[0]
                    return np.where(np.isfinite(plane), plane, np.nan)
    raise ValueError(f"{path}: no image")


def block_mean(x: NDArray, scale: int) -> NDArray:
    """``[.., sH, sW] -> [.., H, W]`` means of blocks; a rest at the far edge is cut."""
    height, width = x.shape[-2] // scale, x.shape[-1] // scale
    blocks = x[..., : height * scale, : width * scale].reshape(*x.shape[:-2], height, scale, width, scale)
    return blocks.mean((-3, -1))


def astro_patches(
    files: list[Path],
    scale: int,
    patch: int,
    count: int,
    simulated: float,
    seed: int,
    resampled: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Truth in stretched units and the noise that the detector adds.

    Parameters
    ----------
    files : list of Path
        FITS images.
    scale, patch, count, seed : int
        Factor, coarse pixels of a patch, number of patches, random seed.
    simulated : float
        Share of patches from simulated skies.
    resampled : float
        Share of simulated skies, and of variants of real images, that become resampled mosaics.

    Returns
    -------
    truth : ndarray, float32 ``[M, s patch, s patch]``
        ``asinh((x - offset) / scale)`` with the "sky" normaliser of the whole observed image.
    variance : ndarray, float32 ``[M, 2]``
        (v0, v1): an input pixel of normalised linear value u has the variance ``v0 + v1 u``; 0 for real
        images.
    """
    g = np.random.default_rng(seed)
    truths: list[NDArray] = []
    variances: list[tuple[float, float]] = []
    wanted, scene_seed = round(count * simulated), seed * 1000
    while len(truths) < wanted:
        scene = simulate(scene_seed, scale=scale)
        scene_seed += 1
        truth, frames, observed = scene.truth, scene.frames, scene.observed
        if (
            g.random() < resampled
        ):  # its noise is part of the image, correlated over pixels; hardly any is added
            noise = observed - block_mean(truth, scale)
            level = noise.std() * g.uniform(0.3, 2.0)
            if g.random() < 0.4:
                truth = truth + level * smooth_noise(truth.shape, g.uniform(1.0, 5.0), g)
            else:
                truth = resample(truth, level, g)
            added = 10 ** -g.uniform(0.5, 2.0)
            frames /= added
            observed = block_mean(truth, scale) + math.sqrt(added) * noise
        normaliser = fit(observed.ravel(), "sky")
        v1 = 1 / (normaliser.scale * frames)
        v0 = (normaliser.offset + scene.read_noise**2) / (normaliser.scale**2 * frames)
        _cut(truths, normaliser.forward(truth), patch * scale, min(4, wanted - len(truths)), g)
        variances += [(v0, v1)] * (len(truths) - len(variances))
    share = -(-(count - wanted) // len(files))
    for path in files:
        plane, start = load_plane(path), len(truths)
        for image, part in _variants(plane, scale, resampled, g):
            coarse = block_mean(image, scale)
            z = fit(coarse[np.isfinite(coarse)], "sky").forward(image)
            _cut(truths, z, patch * scale, round(share * part) if min(z.shape) >= patch * scale else 0, g)
        variances += [(0.0, 0.0)] * (len(truths) - start)
    return np.stack(truths)[:count], np.asarray(variances, np.float32)[:count]


def _variants(
    plane: NDArray[np.float64], scale: int, resampled: float, g: np.random.Generator
) -> list[tuple[NDArray[np.float64], float]]:
    """A real image, its block mean, blurred and resampled versions, each with its share of the patches."""
    rest = (1 - resampled) / 2
    variants = [(plane, rest), (block_mean(plane, scale), rest)]
    blurred = ndimage.gaussian_filter(plane, g.uniform(1.2, 3.5) / 2.3548)
    variants.append((blurred, resampled / 4))
    if np.isfinite(plane).all():
        variants += [(resample(plane, 0.0, g), resampled / 4) for _ in range(3)]
    return variants


def resample(image: NDArray[np.float64], noise: float, g: np.random.Generator) -> NDArray[np.float64]:
    """The image as a mosaic shows it: seen through larger detector pixels, with white noise, and interpolated back.

    Parameters
    ----------
    image : ndarray ``[H, W]``
    noise : float
        Standard deviation on a detector pixel.
    g : numpy.random.Generator
        Draws the size of the detector's pixel (1 to 2.4 pixels of the image) and the interpolation (linear to quintic).
    """
    pixel = g.uniform(1.0, 2.4)
    order = int(g.choice([1, 3, 3, 5]))
    shape = tuple(max(4, round(n / pixel)) for n in image.shape)
    zoom = tuple(m / n for m, n in zip(shape, image.shape, strict=True))
    smooth = ndimage.gaussian_filter(image, 0.29 * pixel)  # about a box of one detector pixel
    seen = ndimage.zoom(smooth, zoom, order=3, mode="reflect", grid_mode=True)
    seen = seen + noise * g.standard_normal(seen.shape)
    back = tuple(n / m for m, n in zip(seen.shape, image.shape, strict=True))
    return ndimage.zoom(seen, back, order=order, mode="reflect", grid_mode=True)


def smooth_noise(shape: tuple[int, int], fwhm: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Gaussian noise of unit variance, correlated over `fwhm` pixels."""
    field = ndimage.gaussian_filter(generator.standard_normal(shape), fwhm / 2.3548, mode="wrap")
    return field / field.std()


def _cut(into: list[NDArray], z: NDArray, side: int, number: int, generator: np.random.Generator) -> None:
    """Append up to `number` random finite windows."""
    for _ in range(20 * number):
        if number == 0:
            return
        y, x = (int(generator.integers(n - side + 1)) for n in z.shape)
        window = z[y : y + side, x : x + side]
        if np.isfinite(window).all():
            into.append(np.ascontiguousarray(window))
            number -= 1
