"""Astronomical patches: simulated skies with noiseless truth, and real images whose input is their own block
mean."""

from __future__ import annotations

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
    files: list[Path], scale: int, patch: int, count: int, simulated: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Truth in stretched units and the noise that the detector adds.

    Returns
    -------
    truth : ndarray, float32 ``[M, s patch, s patch]``
        ``asinh((x - offset) / scale)`` with the "sky" normaliser of the whole observed image.
    variance : ndarray, float32 ``[M, 2]``
        (v0, v1): an input pixel of normalised linear value u has the variance ``v0 + v1 u``; 0 for real
        images.
    """
    generator = np.random.default_rng(seed)
    truths: list[NDArray] = []
    variances: list[tuple[float, float]] = []
    number, scene_seed = round(count * simulated), seed * 1000
    while len(truths) < number:
        scene = simulate(scene_seed, scale=scale)
        scene_seed += 1
        normaliser = fit(scene.observed.ravel(), "sky")
        truth, frames = scene.truth, scene.frames
        if (
            generator.random() < 0.35
        ):  # a resampled mosaic: noise that is part of the image, correlated over pixels
            noise = scene.observed - block_mean(truth, scale)
            truth = truth + smooth_noise(truth.shape, generator.uniform(1.0, 5.0), generator) * (
                noise.std() * generator.uniform(0.3, 2.0)
            )
            frames = frames * 10 ** generator.uniform(0.5, 2.0)
            normaliser = fit((block_mean(truth, scale) + 0.2 * noise).ravel(), "sky")
        v = (
            (normaliser.offset + scene.read_noise**2) / normaliser.scale**2 / frames,
            1 / normaliser.scale / frames,
        )
        _cut(truths, normaliser.forward(truth), patch * scale, min(4, number - len(truths)), generator)
        variances += [v] * (len(truths) - len(variances))
    share = -(-(count - number) // len(files))
    for path in files:
        plane, start = load_plane(path), len(truths)
        blurred = ndimage.gaussian_filter(
            plane, generator.uniform(1.2, 3.5) / 2.3548
        )  # oversampled, correlated noise
        for image, part in ((plane, 0.4), (block_mean(plane, scale), 0.3), (blurred, 0.3)):
            coarse = block_mean(image, scale)
            normaliser = fit(coarse[np.isfinite(coarse)], "sky")
            z = normaliser.forward(image)
            number = max(1, round(share * part)) if min(z.shape) >= patch * scale else 0
            _cut(truths, z, patch * scale, number, generator)
        variances += [(0.0, 0.0)] * (len(truths) - start)
    return np.stack(truths)[:count], np.asarray(variances, np.float32)[:count]


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
