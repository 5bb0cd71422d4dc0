"""Values of all kinds to try, and what tests of kinds of voxels ask of a result."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from sciSR.image import Image


def smooth(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Smooth random values of unit spread, float64."""
    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return values / values.std()


def complex_values(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return (smooth(shape, seed) + 1j * smooth(shape, seed + 1)).astype(np.complex64)


def probabilities(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """With sharp edges, so that every method but the linear one rings."""
    return np.clip(0.5 + 1.2 * smooth(shape, seed), 0, 1).astype(np.float32)


def wrapped(difference: np.ndarray, period: float) -> np.ndarray:
    """Differences around a circle, at most half a turn."""
    return difference - period * np.round(difference / period)


def last_step(image: Image) -> dict[str, Any]:
    return dict(image.provenance.steps[-1])
