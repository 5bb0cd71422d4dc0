"""From pixel values to what is shown: one asinh stretch, so that pictures of one field can be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Stretch:
    """``asinh((value - sky) / softening)``, from `low` to `high` of that scale as 0 to 1.

    Lupton et al., PASP 116, 133 (2004): linear in the noise, logarithmic in the bright.
    """

    softening: float
    low: float
    high: float

    @classmethod
    def of(cls, image: NDArray, noise: float | None = None) -> Stretch:
        """Of an image: softening at twice its noise, from 3 sigma below the sky to the brightest 0.05 %."""
        values = _sampled(image)
        if not values.size:
            return cls(1.0, 0.0, 1.0)
        values = values - np.median(values)
        softening = 2 * (noise or scatter(values)) or float(np.ptp(values)) / 10 or 1.0
        scaled = np.arcsinh(values / softening)
        low = float(np.arcsinh(-1.5))
        high = float(np.quantile(scaled, 0.9995))
        return cls(float(softening), low, max(high, low + 1e-3))

    def __call__(self, image: NDArray, sky: float | None = None) -> NDArray[np.float32]:
        """0 to 1, NaN where the image is; the sky (the median by default) is taken off first."""
        values = np.asarray(image, np.float64) - (median(image) if sky is None else sky)
        scaled = (np.arcsinh(values / self.softening) - self.low) / (self.high - self.low)
        return np.clip(scaled, 0, 1).astype(np.float32)


def scatter(values: NDArray) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation; 0 where nothing is finite."""
    values = _sampled(values)
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def median(image: NDArray) -> float:
    """Of the finite pixels; 0 where there are none."""
    values = _sampled(image)
    return float(np.median(values)) if values.size else 0.0


def _sampled(image: NDArray, limit: int = 1 << 22) -> NDArray[np.float64]:
    """Finite values; of large images every n-th pixel of every n-th row, which is plenty for statistics."""
    image = np.asarray(image)
    step = math.ceil(math.sqrt(image.size / limit)) if image.ndim == 2 and image.size > limit else 1
    values = image[::step, ::step] if step > 1 else image
    values = values.astype(np.float64).ravel()
    return values[np.isfinite(values)]


def reduced(image: NDArray, limit: int = 1000) -> NDArray[np.float64]:
    """Means over blocks (of finite pixels), so that no side is longer than `limit`; the last block may be short.

    A band of rows at a time: a large image is never held twice.
    """
    image = np.asarray(image)
    step = max(1, -(-max(image.shape) // limit))
    if step == 1:
        return image.astype(np.float64)
    rows, columns = (-(-n // step) for n in image.shape)
    out = np.empty((rows, columns))
    for row in range(rows):
        band = np.full((step, columns * step), np.nan)
        piece = image[row * step : (row + 1) * step]
        band[: len(piece), : image.shape[1]] = piece
        blocks = band.reshape(step, columns, step)
        good = np.isfinite(blocks)
        count = good.sum(axis=(0, 2))
        total = np.where(good, blocks, 0).sum(axis=(0, 2))
        out[row] = np.divide(total, count, out=np.full(columns, np.nan), where=count > 0)
    return out
