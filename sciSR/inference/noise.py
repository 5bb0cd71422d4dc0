"""How noisy an image is, from the image itself: for networks that are told.

Every estimate is a scale that follows the image exactly under ``x -> a x + b`` (a > 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.image import Image
from sciSR.inference.gate import central_window
from sciSR.inference.normalise import Normaliser
from sciSR.inference.selfcheck import sky_level_and_noise
from sciSR.inference.statistics import bad_pixels, plane_indices, read_rows

BLOCK = 8
"""Pixels a side of the blocks in which MR noise is looked for: 16 independent differences each."""
RAYLEIGH = (2 - np.pi / 2) ** 0.5
"""Standard deviation of a magnitude without signal, in units of the noise of its real and imaginary part."""
_AIR = 2.5
"""Blocks whose mean lies this many of their own spreads above the image's 1 % quantile may hold no signal (Rayleigh's
distribution: 1.7)."""
_SKEWED = 0.07
"""Skewness (of the 10, 50 and 90 % quantiles: Kelly's) from which on the values there are magnitudes: 0.15 for
Rayleigh's distribution, 0 for a normal one."""
_QUANTILE = 0.1
_EXPECTED = 0.763
"""What that quantile of the root mean square of 16 normal values is, in units of their standard deviation."""
_PLANES = 5
_SIDE = 1024


def noise_of(image: Image, normaliser: Normaliser) -> tuple[float, str]:
    """Standard deviation of an image's noise, in its own unit.

    Parameters
    ----------
    image : Image
    normaliser : Normaliser
        Fitted to the image; its kind says which noise is meant: "sky" that of the empty sky, otherwise that of the
        quiet parts (for MR magnitudes, of the real and imaginary part: sigma of Rice's distribution).

    Returns
    -------
    sigma : float
        0 if nothing can be found.
    origin : str
        "uncertainty" if the image came with it, otherwise "estimated".
    """
    told = _told(image, normaliser)
    if told > 0:
        return told, "uncertainty"
    if normaliser.kind == "sky":
        return sky_level_and_noise(central_window(image))[1], "estimated"
    found = [
        sigma
        for plane in _planes(image)
        if (sigma := quiet_noise(plane, normaliser, image.domain == "mr")) > 0
    ]
    return (float(np.median(found)) if found else 0.0), "estimated"


def quiet_noise(plane: NDArray[np.float64], normaliser: Normaliser, magnitude: bool) -> float:
    """Noise in the quietest blocks of a plane, from diagonal differences.

    ``(a - b - c + d)/2`` of two by two pixels has the noise's own standard deviation and sees no slopes; the blocks
    with the least of it show the noise alone. Where a magnitude has no signal its spread is `RAYLEIGH` times
    smaller, which is made up for.

    Parameters
    ----------
    plane : ndarray, float64 ``[H, W]``
        NaN where bad.
    normaliser : Normaliser
        Whose offset tells air from tissue.
    magnitude : bool
        Whether values may be magnitudes of complex ones.

    Returns
    -------
    float
        0 if there are no blocks with noise.
    """
    height, width = (n // BLOCK * BLOCK for n in plane.shape)
    if min(height, width) == 0 or normaliser.scale <= 0:
        return 0.0
    blocks = plane[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).swapaxes(1, 2)
    blocks = blocks.reshape(-1, BLOCK, BLOCK)
    lowest = np.nanmin(plane) if np.isfinite(plane).any() else 0.0
    # Masked-out air holds one value again and again, and no noise.
    usable = np.isfinite(blocks).all((1, 2)) & ((blocks == lowest).mean((1, 2)) < 0.1)
    blocks = blocks[usable]
    step = (blocks[:, ::2, ::2] - blocks[:, 1::2, ::2] - blocks[:, ::2, 1::2] + blocks[:, 1::2, 1::2]) / 2
    spread = np.sqrt(np.mean(step**2, axis=(1, 2)))
    if magnitude:
        air = (spread > 0) & (blocks.mean((1, 2)) - normaliser.offset < _AIR * spread)
        if _skewness(blocks[air]) > _SKEWED:
            spread = np.where(air, spread / RAYLEIGH, spread)
    spread = spread[spread > 0]
    return float(np.quantile(spread, _QUANTILE)) / _EXPECTED if spread.size else 0.0


def _skewness(blocks: NDArray[np.float64]) -> float:
    """Kelly's, of all values relative to their block's mean; 0 if there are none."""
    if not blocks.size:
        return 0.0
    low, middle, high = np.quantile(blocks - blocks.mean((1, 2), keepdims=True), [0.1, 0.5, 0.9])
    return float((high + low - 2 * middle) / (high - low)) if high > low else 0.0


def _told(image: Image, normaliser: Normaliser) -> float:
    """Median of the image's own uncertainty where it is neither bad nor far above the sky."""
    if image.uncertainty is None:
        return 0.0
    planes = plane_indices(image)
    values, mask, error = (
        _middle(image, planes[len(planes) // 2], what) for what in ("data", "mask", "uncertainty")
    )
    good = ~bad_pixels(values, mask) & np.isfinite(error) & (error > 0)
    if normaliser.kind == "sky":
        good &= np.abs(values - normaliser.offset) <= 2 * normaliser.scale
    return float(np.median(error[good])) if good.any() else 0.0


def _planes(image: Image) -> list[NDArray[np.float64]]:
    """A few planes from the middle half, NaN where bad."""
    planes = plane_indices(image)
    middle = planes[len(planes) // 4 : max(len(planes) // 4 + 1, 3 * len(planes) // 4)]
    found = []
    for index in middle[:: max(1, len(middle) // _PLANES)][:_PLANES]:
        values, mask = (_middle(image, index, what) for what in ("data", "mask"))
        found.append(np.where(bad_pixels(values, mask), np.nan, values))
    return found


def _middle(image: Image, plane: tuple[slice | int, ...], what: str) -> Any:
    """The middle of a plane of data, mask or uncertainty, up to `_SIDE` pixels a side; None if there is none."""
    if getattr(image, what) is None:
        return None
    rows, columns = (
        slice(max(0, (image.shape[axis] - _SIDE) // 2), (image.shape[axis] + _SIDE) // 2)
        for axis in image.spatial_axes
    )
    values = read_rows(image, plane, rows, what)[:, columns]
    return values if what == "mask" else values.astype(np.float64)
