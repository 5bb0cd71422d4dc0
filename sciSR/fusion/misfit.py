"""How frames differ from a prediction beyond their noise: in sharpness, and over whole neighbourhoods."""

from __future__ import annotations

import numpy as np

_SLOPE = 12.0
"""Pixels whose gradient is this many times their noise tell how far a frame's sharpness differs from the model's."""
_AROUND = 2.5
"""Pixels: radius of the neighbourhood in which a misfit is measured."""
_WILD = 25.0
"""A residual's square, in units of its variance, counts for no more than this: a track is five pixels long there."""
_BY_CHANCE = 7.0
"""Mean of these squares that a cosmic ray, a defect or the model's own error may give."""


def sharpness_error(
    values: np.ndarray, variance: np.ndarray, bad: np.ndarray, predicted: np.ndarray, gradient: np.ndarray
) -> float:
    """Typical residual on steep places, in units of the gradient: seeing that changes, a position slightly off.

    Without it a frame that is less sharp than the others would lose the cores of its stars.
    """
    steep = ~bad & (gradient > _SLOPE * np.sqrt(variance))
    if np.count_nonzero(steep) < 20:
        return 0.0
    left = np.abs(values[steep] - predicted[steep])
    beyond = np.sqrt(np.maximum(left**2 - variance[steep], 0)) / gradient[steep]
    return float(np.median(beyond))


def misfit(left: np.ndarray, variance: np.ndarray, bad: np.ndarray) -> np.ndarray | None:
    """Where a frame differs from the prediction by more than its noise over a whole neighbourhood: by which factor.

    Seeing, guiding or colour differ from frame to frame, and around bright stars that is more than the noise. It is
    no outlier, but no fine detail of the scene either: there the frame is as uncertain as it misfits. A few wild
    pixels do not count.
    """
    from scipy.ndimage import gaussian_filter

    left = np.where(bad, np.float32(0), left)  # a bad pixel may hold anything, and its square overflow
    ratio = left * left / variance
    good = np.maximum(gaussian_filter((~bad).astype(np.float32), _AROUND), np.float32(0.05))
    usual = gaussian_filter(np.minimum(ratio, np.float32(_WILD)), _AROUND) / good
    most = usual > _BY_CHANCE
    if not most.any():
        return None
    whole = gaussian_filter(np.minimum(ratio, np.float32(_WILD**2)), _AROUND) / good
    return np.where(most, np.maximum(whole, 1), np.float32(1)).astype(np.float32)
