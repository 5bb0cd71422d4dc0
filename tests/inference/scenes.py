"""Small images for the engine's tests: a sky with a range of 1e5, an MR-like slice, bad pixels."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter

from sciSR.image import Image


def sky(shape: tuple[int, int] = (73, 58), seed: int = 0, *, peak: float = 1e5) -> np.ndarray:
    """Noise of 1 around 0 with stars up to `peak`; float64."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(0.0, 1.0, shape)
    for flux in np.geomspace(10, peak, 12):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        image += flux * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * 0.9**2))
    return image


def brain(shape: tuple[int, int] = (64, 52), seed: int = 0) -> np.ndarray:
    """Ellipses with an exactly zero background, as after skull stripping; float64, up to about 1000."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    yy, xx = 2 * yy / shape[0] - 1, 2 * xx / shape[1] - 1
    image = 700.0 * (yy**2 / 0.7 + xx**2 / 0.5 < 1)
    for _ in range(8):
        y, x, a, b = rng.uniform(-0.4, 0.4, 2).tolist() + rng.uniform(0.05, 0.25, 2).tolist()
        image += rng.uniform(-300, 300) * (((yy - y) / a) ** 2 + ((xx - x) / b) ** 2 < 1)
    return np.where(image > 0, image, 0.0)


def astro_image(data: np.ndarray, **fields: object) -> Image:
    return Image.from_array(data, domain="astronomy", **fields)


def mr_image(data: np.ndarray, **fields: object) -> Image:
    return Image.from_array(data, domain="mr", **fields)


def assert_same_to_rounding(a: np.ndarray, b: np.ndarray, eps: float = 4e-6) -> None:
    """float32 rounding: relative to the brightest pixel near by (whose mean is shared out) and to the noise."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert np.array_equal(np.isfinite(a), np.isfinite(b))
    a, b = np.nan_to_num(a, nan=0, posinf=0, neginf=0), np.nan_to_num(b, nan=0, posinf=0, neginf=0)
    near = maximum_filter(np.abs(b), size=9)
    worst = np.max(np.abs(a - b) / (near + 1.0), initial=0.0)
    assert worst <= eps, f"differs by {worst:.3g} of the values near by"
