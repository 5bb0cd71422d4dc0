"""Outliers: pixels of a frame that its own prediction can't explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def gradient_magnitude(predicted: np.ndarray) -> np.ndarray:
    """Largest absolute difference to the four neighbours, as ``drizzlepac``'s ``quickDeriv``; float32."""
    predicted = np.asarray(predicted, dtype=np.float32)
    out = np.zeros_like(predicted)
    for axis in (0, 1):
        step = np.abs(np.diff(predicted, axis=axis))
        ahead = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        behind = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        np.maximum(out[ahead], step, out=out[ahead])
        np.maximum(out[behind], step, out=out[behind])
    return out


@dataclass(frozen=True)
class Thresholds:
    """When a pixel is an outlier: ``|residual| > snr * noise + scale * gradient``.

    Attributes
    ----------
    snr : (float, float)
        For a pixel on its own, and for one beside such a pixel.
    scale : (float, float)
        The same for the gradient of the prediction: what a small error of position or sharpness may do.
    faint : float
        Pixels beside an outlier go with it from this many sigma of noise on, where their residual has its sign:
        the dim end of a track. 0 for none.
    steps : int
        How many pixels far from an outlier that may go.
    """

    snr: tuple[float, float] = (5.0, 4.0)
    scale: tuple[float, float] = (1.2, 0.7)
    faint: float = 2.5
    steps: int = 2


FIRST = Thresholds()
"""Against a coarse stack, interpolated twice: drizzlepac's own numbers."""

MODEL = Thresholds(snr=(4.5, 3.5), scale=(0.1, 0.06), faint=2.0)
"""Against a converged model's prediction: its positions are good to hundredths of a pixel."""


def find_outliers(
    values: np.ndarray,
    variance: np.ndarray,
    bad: np.ndarray,
    predicted: np.ndarray,
    gradient: np.ndarray | None = None,
    *,
    snr: tuple[float, float] = FIRST.snr,
    scale: tuple[float, float] = FIRST.scale,
    faint: float = FIRST.faint,
    steps: int = FIRST.steps,
    model_error: np.ndarray | float | None = None,
) -> np.ndarray:
    """Outliers of a frame against the model's own prediction of it, of both signs.

    The recipe of ``drizzlepac``'s ``driz_cr`` (Gonzaga et al., The DrizzlePac Handbook, 2012, 4.2.8): a pixel must
    differ by more than its noise and the prediction's gradient allow; a second, lower threshold holds beside one
    that does. The gradient lets star cores survive, however undersampled: there the prediction is least certain.

    Parameters
    ----------
    values, variance, predicted : ndarray, (rows, columns)
        In one unit. `variance` from the expected signal: from the noisy pixel itself it would hide hits on faint sky.
    bad : ndarray of bool
        Known already; neither tested nor counted as a seed.
    gradient : ndarray, optional
        Of `predicted`; :func:`gradient_magnitude` by default.
    snr, scale, faint, steps
        See :class:`Thresholds`; ``find_outliers(..., **vars(MODEL))`` takes a set of them.
    model_error : ndarray or float, optional
        One standard deviation of `predicted`, added to the noise in quadrature.

    Returns
    -------
    ndarray of bool
        True where an outlier was found (never where `bad`).
    """
    gradient = gradient_magnitude(predicted) if gradient is None else gradient
    total = variance if model_error is None else variance + np.square(np.float32(model_error))
    noise = np.sqrt(total)
    left = np.where(bad, np.float32(0), values - predicted)
    size = np.abs(left)
    found = size > np.float32(snr[0]) * noise + np.float32(scale[0]) * gradient
    found &= ~bad
    if not found.any():
        return found
    beside = size > np.float32(snr[1]) * noise + np.float32(scale[1]) * gradient
    found |= grow(found) & beside & ~bad
    if faint > 0:
        dim = np.float32(faint) * noise + np.float32(scale[1]) * gradient
        for sign in (1, -1):
            grown = found & (sign * left > 0)
            able = (sign * left > dim) & ~bad
            for _ in range(steps):
                grown |= grow(grown) & able
            found |= grown
    return found


def grow(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight neighbours."""
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    rows = out.copy()
    out[:, 1:] |= rows[:, :-1]
    out[:, :-1] |= rows[:, 1:]
    return out
