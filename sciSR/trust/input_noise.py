"""The noise of an input, pixel by pixel where the file says so, and how its neighbours are correlated."""

from __future__ import annotations

import numpy as np

from sciSR.image import Image
from sciSR.inference.selfcheck import sky_level_and_noise
from sciSR.trust.features import FEWEST_BLOCKS, neighbours, quiet_blocks
from sciSR.trust.templates import Array, Noise

_LEAST_CORRELATION = 0.05  # below this it may be chance
_MOST_CORRELATION = 0.85


def noise_model(
    image: Image, plane: tuple[slice | int, ...], rows: slice, values: Array, given: float | None = None
) -> Noise:
    """The noise of some rows of a plane.

    Parameters
    ----------
    image : Image
    plane : tuple
        Index of the plane.
    rows : slice
    values : ndarray, float64 ``[h, w]``
        Its pixels there; NaN where bad.
    given : float, optional
        One standard deviation, in the image's unit.
    """
    correlation = correlation_of(values)
    if given is not None:
        return Noise(float(given), correlation)
    if image.uncertainty is not None:
        from sciSR.inference.statistics import read_rows

        told = read_rows(image, plane, rows, "uncertainty").astype(np.float64)
        told = np.where(np.isfinite(told) & (told > 0), told, np.nan)
        if np.isfinite(told).any():
            return Noise(told, correlation)
    return Noise(_estimated(image, values, correlation), correlation)


def correlation_of(values: Array) -> tuple[float, float]:
    """Correlation of next neighbours in the quietest blocks, along rows and columns; 0 where it may be chance."""
    blocks = quiet_blocks(values)
    if len(blocks) < FEWEST_BLOCKS:
        return 0.0, 0.0
    found = (neighbours(blocks, axis) for axis in (1, 2))
    first, second = (min(r, _MOST_CORRELATION) if r > _LEAST_CORRELATION else 0.0 for r in found)
    return first, second


def _estimated(image: Image, values: Array, correlation: tuple[float, float]) -> float:
    """Of the sky, or of the quiet parts of anatomy; differences of correlated neighbours are smaller than the noise."""
    from sciSR.inference.noise import quiet_noise
    from sciSR.inference.normalise import fit

    if image.domain == "astronomy":
        level, width = sky_level_and_noise(values)
        step = np.diff(values, axis=1)[:, ::2] / np.sqrt(2)
        step = step[np.isfinite(step)]
        local = 1.4826 * float(np.median(np.abs(step))) if step.size else 0.0
        clipped = values[np.isfinite(values) & (np.abs(values - level) < 4 * max(width, local))]
        spread = 1.4826 * float(np.median(np.abs(clipped - np.median(clipped)))) if clipped.size else width
        honest = local / np.sqrt(1 - correlation[1])
        return float(min([v for v in (spread, honest) if v > 0], default=width))
    good = values[np.isfinite(values)]
    if not good.size:
        return 0.0
    return quiet_noise(values, fit(good, "range"), image.domain == "mr")
