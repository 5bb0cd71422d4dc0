"""Skies: variants of real images, resampled mosaics, and simulated scenes as a training patch needs them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciSR.training.scenes import simulate

FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
SCENES = 1_000_000
"""Seeds of scenes below this one are for training."""

FINE = 512


def block_mean(x: NDArray, scale: int) -> NDArray:
    """``[.., sH, sW] -> [.., H, W]`` means of blocks; a rest at the far edge is cut."""
    height, width = x.shape[-2] // scale, x.shape[-1] // scale
    blocks = x[..., : height * scale, : width * scale].reshape(*x.shape[:-2], height, scale, width, scale)
    return blocks.mean((-3, -1))


@dataclass(frozen=True)
class Mosaic:
    """An image as a mosaic shows it: seen through larger detector pixels and interpolated back.

    Parameters
    ----------
    pixel : float
        Side of the detector's pixel in pixels of the image.
    order : int
        Of the interpolating spline, 1 to 5.
    """

    pixel: float
    order: int

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Mosaic:
        """Pixels of 1 to 2.4, linear to quintic interpolation."""
        return cls(float(generator.uniform(1.0, 2.4)), int(generator.choice([1, 3, 3, 5])))

    def apply(
        self, image: NDArray[np.float64], noise: float = 0.0, generator: np.random.Generator | None = None
    ) -> NDArray[np.float64]:
        """``[H, W] -> [H, W]``, finite values; `noise` is the standard deviation on a detector pixel."""
        shape = tuple(max(4, round(n / self.pixel)) for n in image.shape)
        zoom = tuple(m / n for m, n in zip(shape, image.shape, strict=True))
        smooth = ndimage.gaussian_filter(image, 0.29 * self.pixel)  # about a box of one detector pixel
        seen = ndimage.zoom(smooth, zoom, order=3, mode="reflect", grid_mode=True)
        if noise and generator is not None:
            seen = seen + noise * generator.standard_normal(seen.shape)
        back = tuple(n / m for m, n in zip(seen.shape, image.shape, strict=True))
        return ndimage.zoom(seen, back, order=self.order, mode="reflect", grid_mode=True)


@dataclass(frozen=True)
class Variant:
    """What is done to a real sky image before it is degraded, so that one image stands for several samplings.

    Parameters
    ----------
    reduce : int
        Side of the blocks whose means are taken first.
    blur : float
        FWHM of a Gaussian, pixels; 0 for none.
    mosaic : Mosaic, optional
    """

    reduce: int = 1
    blur: float = 0.0
    mosaic: Mosaic | None = None

    @classmethod
    def draw(cls, scale: int, resampled: float, generator: np.random.Generator) -> Variant:
        """The image itself or its block mean, equally likely; a share `resampled` blurred (1/4) or a mosaic (3/4)."""
        kind, blur, mosaic = generator.random(), generator.uniform(1.2, 3.5), Mosaic.draw(generator)
        if kind < resampled:
            return cls(mosaic=mosaic) if kind < 0.75 * resampled else cls(blur=blur)
        return cls(reduce=1 if kind < resampled + (1 - resampled) / 2 else scale)

    def apply(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """``[H, W] -> [H / reduce, W / reduce]``, finite values."""
        if self.reduce > 1:
            return block_mean(image, self.reduce)
        if self.mosaic is not None:
            return self.mosaic.apply(image)
        return ndimage.gaussian_filter(image, self.blur / FWHM) if self.blur else image


@dataclass(frozen=True)
class SimulatedSky:
    """A simulated field for training.

    Parameters
    ----------
    truth : ndarray, float64 ``[s H, s W]``
        Electrons for each coarse pixel area; noiseless, but for the noise of a mosaic, which belongs to the image.
    observed : ndarray, float64 ``[H, W]``
        With noise: what the normaliser is fitted to.
    frames, read_noise : float
        Variance of the noise to be added to the block mean x: ``(x + read_noise^2) / frames``.
    """

    truth: NDArray[np.float64]
    observed: NDArray[np.float64]
    frames: float
    read_noise: float


def simulated_sky(seed: int, scale: int, resampled: float, patch: int = 0) -> SimulatedSky:
    """A random field, a share `resampled` of them as a mosaic; everything follows from the arguments.

    It has `FINE` fine pixels a side, but room for two patches of `patch` coarse pixels at least.
    """
    scene = simulate(seed % SCENES, size=max(FINE // scale, 2 * patch), scale=scale)
    generator = np.random.default_rng([seed, 1])
    truth, frames, observed = scene.truth, scene.frames, scene.observed
    if generator.random() < resampled:  # the noise is part of the image, correlated; hardly any is added
        noise = observed - block_mean(truth, scale)
        level = noise.std() * generator.uniform(0.3, 2.0)
        if generator.random() < 0.4:
            truth = truth + level * smooth_noise(truth.shape, generator.uniform(1.0, 5.0), generator)
        else:
            truth = Mosaic.draw(generator).apply(truth, level, generator)
        added = 10 ** -generator.uniform(0.5, 2.0)
        frames /= added
        observed = block_mean(truth, scale) + math.sqrt(added) * noise
    return SimulatedSky(truth, observed, frames, scene.read_noise)


def smooth_noise(shape: tuple[int, ...], fwhm: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Gaussian noise of unit variance, correlated over `fwhm` pixels."""
    field = ndimage.gaussian_filter(generator.standard_normal(shape), fwhm / FWHM, mode="wrap")
    return field / field.std()
