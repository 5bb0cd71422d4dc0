"""Frames made ready to be compared pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.registration.stars import pixel_noise, sharp_pixels
from sciSR.fusion.transforms import Transform, frame_positions


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


def warped(reference: Plane, transform: Transform, shape: tuple[int, int]) -> Plane:
    """The reference as the frame would see it: sampled at each pixel of the frame."""
    from scipy.ndimage import map_coordinates

    positions = np.moveaxis(frame_positions(transform, range(shape[0]), shape[1]), -1, 0)
    share = map_coordinates(reference.good.astype(np.float32), positions, order=1, cval=0.0)
    values = map_coordinates(reference.values, positions, order=3, mode="constant")
    return Plane(np.where(share > 0.75, values, 0).astype(np.float32), share > 0.75)
