"""The image checks the network: is it better than the classical methods at undoing a block mean of this very image?

The input is block-averaged once more and every method has to recover it. An image unlike anything the network was
trained on (resampled mosaics, correlated noise, another sampling) shows up as a loss here, before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Upscaler = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""``[H, W]`` float64 without bad pixels -> ``[s H, s W]``, in the image's unit, consistency included."""

LEAST_GAIN = -0.1
"""Decibel; below this gain on its own block mean an image counts as outside the network's training range.

Chosen on 31 real images (benchmarks/RESULTS.md): the block mean of an image is sharper and less noisy than the
image, so the two gains differ by a few tenths near 0, where network and classical methods are equally limited by
noise and a switch would gain nothing; clear failures show clearly.
"""


def sky_level_and_noise(plane: NDArray[np.float64]) -> tuple[float, float]:
    """Level of the sky by iterated 3-sigma clipping, and its noise.

    Parameters
    ----------
    plane : ndarray ``[H, W]``
        NaN where bad.

    Returns
    -------
    level : float
        Clipped median.
    noise : float
        The lesser of the clipped width and the width of differences of neighbouring pixels / sqrt(2), both
        1.4826 x a median absolute deviation; 0 only if the plane is constant.
    """
    values = plane[np.isfinite(plane)].astype(np.float64)
    if values.size == 0:
        return math.nan, 0.0
    kept, width = values, 0.0
    for _ in range(8):
        level = float(np.median(kept))
        width = 1.4826 * float(np.median(np.abs(kept - level)))
        if width == 0:
            break
        kept = kept[np.abs(kept - level) <= 3 * width]
    level = float(np.median(kept))
    step = (plane[:, 1:] - plane[:, :-1])[:, ::2] / math.sqrt(2)
    step = step[np.isfinite(step)]
    local = 1.4826 * float(np.median(np.abs(step - np.median(step)))) if step.size else 0.0
    found = [v for v in (local, width) if v > 0]
    return level, min(found) if found else float(values.std())


def errors_on_own_downsample(
    plane: NDArray[np.float64], methods: Mapping[str, Upscaler], scale: int = 2, rim: int = 8
) -> dict[str, float]:
    """Rms error of each method at recovering the plane from its own block mean.

    Parameters
    ----------
    plane : ndarray, float64 ``[H, W]``
        A plane of the input, or a large window of it (512 pixels a side say enough); NaN where bad.
    methods : mapping of name to callable
        Each takes the block mean ``[H/s, W/s]`` (bad blocks filled) and returns ``[H, W]``, as the engine would:
        normalisation refitted, consistency included.
    scale : int
        Of the block mean.
    rim : int
        Pixels left out at the border.

    Returns
    -------
    dict
        Rms of the difference of ``asinh((x - sky) / 2 sigma)``, sigma being the noise of the block mean's sky; NaN for
        all if fewer than 1000 pixels can be compared, or all are equal.
    """
    height, width = (n // scale * scale for n in plane.shape)
    truth = np.asarray(plane[:height, :width], np.float64)
    coarse = truth.reshape(height // scale, scale, width // scale, scale).mean((1, 3))
    bad = ~np.isfinite(coarse)
    good = np.repeat(np.repeat(~_near(bad, 6), scale, 0), scale, 1)
    good[:rim], good[height - rim :], good[:, :rim], good[:, width - rim :] = False, False, False, False
    level, noise = sky_level_and_noise(np.where(bad, np.nan, coarse))
    if good.sum() < 1000 or not noise > 0:
        return dict.fromkeys(methods, math.nan)
    filled = np.where(bad, level, coarse)
    target = np.arcsinh((truth[good] - level) / (2 * noise))
    result = {}
    for name, method in methods.items():
        image = np.asarray(method(filled), np.float64)[good]
        result[name] = float(np.sqrt(np.mean((np.arcsinh((image - level) / (2 * noise)) - target) ** 2)))
    return result


def gain_on_own_downsample(
    plane: NDArray[np.float64],
    upscale_network: Upscaler,
    upscale_classical: Mapping[str, Upscaler],
    scale: int = 2,
) -> tuple[float, str]:
    """What the network gains over the best classical method on this image's own block mean.

    Parameters
    ----------
    plane, scale
        As in `errors_on_own_downsample`.
    upscale_network : callable
    upscale_classical : mapping of name to callable

    Returns
    -------
    gain : float
        Decibel; NaN if the plane is too small or constant. Below `LEAST_GAIN` the classical method should be used.
    best : str
        The classical method with the least error: the fallback for this image.
    """
    errors = errors_on_own_downsample(plane, {**upscale_classical, "": upscale_network}, scale)
    network = errors.pop("")
    if not all(map(math.isfinite, (network, *errors.values()))):
        return math.nan, next(iter(upscale_classical))
    best = min(errors, key=errors.__getitem__)
    tiny = 1e-12
    return 20 * math.log10(max(errors[best], tiny) / max(network, tiny)), best


def _near(bad: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Pixels within a square of `distance` around a bad one."""
    if not bad.any():
        return bad
    from scipy.ndimage import maximum_filter

    return maximum_filter(bad, size=2 * distance + 1)
