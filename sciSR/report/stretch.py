"""From pixel values to what is shown: one asinh stretch, so that pictures of one field can be compared."""

from __future__ import annotations

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
        values = _levelled(image)
        values = values[np.isfinite(values)]
        if not values.size:
            return cls(1.0, 0.0, 1.0)
        softening = 2 * (noise or scatter(values)) or float(np.ptp(values)) / 10 or 1.0
        scaled = np.arcsinh(values / softening)
        low = float(np.arcsinh(-1.5))
        high = float(np.quantile(scaled, 0.9995))
        return cls(float(softening), low, max(high, low + 1e-3))

    def __call__(self, image: NDArray, sky: float | None = None) -> NDArray[np.float32]:
        """0 to 1, NaN where the image is; the sky (the median by default) is taken off first."""
        values = _levelled(image) if sky is None else np.asarray(image, np.float64) - sky
        scaled = (np.arcsinh(values / self.softening) - self.low) / (self.high - self.low)
        return np.clip(scaled, 0, 1).astype(np.float32)


def scatter(values: NDArray) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation; 0 where nothing is finite."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def median(image: NDArray) -> float:
    """Of the finite pixels; 0 where there are none."""
    values = np.asarray(image)[np.isfinite(image)]
    return float(np.median(values)) if values.size else 0.0


def _levelled(image: NDArray) -> NDArray[np.float64]:
    return np.asarray(image, np.float64) - median(image)


def reduced(image: NDArray, limit: int = 1000) -> NDArray[np.float64]:
    """Means over blocks (of finite pixels), so that no side is longer than `limit`; the last block may be short."""
    image = np.asarray(image, np.float64)
    step = max(1, -(-max(image.shape) // limit))
    if step == 1:
        return image
    rows, columns = (-(-n // step) * step for n in image.shape)
    padded = np.full((rows, columns), np.nan)
    padded[: image.shape[0], : image.shape[1]] = image
    blocks = padded.reshape(rows // step, step, columns // step, step)
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, np.where(good, blocks, 0).sum(axis=(1, 3)) / count, np.nan)
