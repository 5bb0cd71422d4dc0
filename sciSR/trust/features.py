"""What tells one kind of image from another: its noise, spectrum, sharpness, and traces of what was done to it.

Every feature is a number that does not change under ``x -> a x + b`` (a > 0), and is measured on a window of one plane.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 16
"""Pixels a side of the blocks in which the noise is looked at."""
QUIET = 0.25
"""Share of the blocks, those that vary least, that count as quiet."""
FEWEST_BLOCKS = 4
STARS = 60
"""Brightest local maxima whose width is measured."""
FEWEST_STARS = 5
_CLEAR = 15.0  # noise sigmas above its surroundings from which on a maximum is a source
_RING = 6  # pixels from a source to where its background is taken
_EDGES = 0.01  # share of the steepest steps of an image that count as edges
_FEWEST_EDGES = 100
_TISSUE = 0.15  # of the range from the 1 % to the 99.5 % quantile
_SAME = 0.1  # share of equal values from which on a block is filled with a constant
_LEAST_SPREAD = 1e-3
GRID = 8
"""Period of JPEG's blocks."""


NAMES = (
    "signal_to_noise", "correlation", "sharpening", "fine_noise", "width", "grid_of_8", "quantisation", "saturation",
    "turned_grid", "noise_band", "noise_1", "noise_2", "noise_3", "noise_4", "noise_axes",
)  # fmt: skip
_BANDS = (
    (1, 3),
    (3, 5),
    (5, 7),
    (7, 9),
)  # of the nine frequencies that a block's rows have; the first is its mean
_FLOOR = 1e-5
_FALL = 8.0


def measure(window: NDArray[np.float64], domain: str) -> dict[str, float]:
    """All features of a window.

    Parameters
    ----------
    window : ndarray, float64 ``[H, W]``
        NaN where bad.
    domain : str
        The network's: widths are those of sources in astronomy and those of edges elsewhere.

    Returns
    -------
    dict of str to float
        NaN for what can't be measured here:

        - ``signal_to_noise``: the 0.5 % brightest above the median, over the noise.
        - ``correlation``: of the noise of neighbours, along the axis where it is higher; 0 for a detector's own.
        - ``sharpening``: the same along the axis where it is lower.
        - ``fine_noise``: power of the noise at 0.9 to 1 of Nyquist over that at 0.4 to 0.5, dB, along the axis where it
          is lower; 0 for white noise.
        - ``width``: full width at half maximum of the sharper sources, or distance over which edges rise, pixels.
        - ``grid_of_8``: how far steps at every eighth pixel stand out, in their own standard errors.
        - ``quantisation``: step between values over the noise.
        - ``saturation``: share of pixels at the greatest value.
        - ``turned_grid``: how far the spectrum is turned against the pixels' axes, in standard errors; the sign is the
          sense of turning.
        - ``noise_band``: share of Nyquist up to which the noise reaches (8 dB below its lower frequencies), along the
          axis where it is less.
        - ``noise_1`` to ``noise_4``: power of the noise in four bands up to Nyquist over all of it, dB, mean of both
          axes; ``noise_axes``: the most that a band differs between the axes.
    """
    good = np.isfinite(window)
    found = dict.fromkeys(NAMES, math.nan)
    if good.sum() < 4 * BLOCK**2 or min(window.shape) < 2 * BLOCK:
        return found
    low, level, high = np.quantile(window[good], [0.01, 0.5, 0.995])
    if not np.ptp(window[good]) > 0:
        return found
    # Of anatomy the tissue: air is often masked, and what is left of it is no noise.
    quiet = quiet_blocks(window, -math.inf if domain == "astronomy" else low + _TISSUE * (high - low))
    if len(quiet) >= FEWEST_BLOCKS:
        sigma = float(np.sqrt(np.median(quiet.var((1, 2)))))
        base = level if domain == "astronomy" else low
        found["signal_to_noise"] = float(high - base) / sigma
        near = [neighbours(quiet, axis) for axis in (1, 2)]
        found["correlation"], found["sharpening"] = max(near), min(near)
        power = np.stack([noise_spectrum(quiet, axis) for axis in (1, 2)])
        found["fine_noise"] = float((_decibel(power[:, -2:].mean(1)) - _decibel(power[:, 3:5].mean(1))).min())
        found["noise_band"] = min(_reach(_decibel(p)) for p in power)
        bands = np.maximum([[_decibel(p[a:b].mean()) for a, b in _BANDS] for p in power], _decibel(_FLOOR))
        found |= {f"noise_{k + 1}": float(v) for k, v in enumerate(bands.mean(0))}
        found["noise_axes"] = float(np.abs(bands[0] - bands[1]).max())
        found["quantisation"] = value_step(window[good]) / sigma
        if domain == "astronomy":
            found["width"] = source_width(np.where(good, window, level), sigma)
    if domain != "astronomy":
        found["width"] = edge_width(window)
    found["grid_of_8"] = grid_of_8(window)
    found["turned_grid"] = turned_grid(window)
    found["saturation"] = _saturation(window[good])
    return found


def quiet_blocks(
    window: NDArray[np.float64], least: float = -math.inf, share: float = QUIET
) -> NDArray[np.float64]:
    """The blocks that vary least, each minus its plane; float64 ``[N, BLOCK, BLOCK]``.

    Blocks with bad pixels, those that are filled with one value (masked air), and those of a mean below `least` do not
    count; `share` of the others are taken.
    """
    rows, columns = (n // BLOCK for n in window.shape)
    cut = window[: rows * BLOCK, : columns * BLOCK]
    blocks = cut.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)
    blocks = blocks[np.isfinite(blocks).all((1, 2))]
    blocks = blocks[blocks.mean((1, 2)) >= least]
    if not len(blocks):
        return blocks
    flat = blocks.reshape(len(blocks), -1)
    blocks = blocks[(flat == flat.min(1, keepdims=True)).mean(1) < _SAME]
    ramp = np.arange(BLOCK) - (BLOCK - 1) / 2
    weight = float(BLOCK * (ramp**2).sum())
    blocks = blocks - blocks.mean((1, 2), keepdims=True)
    slope_y = (blocks * ramp[:, None]).sum((1, 2), keepdims=True) / weight
    slope_x = (blocks * ramp[None]).sum((1, 2), keepdims=True) / weight
    blocks = blocks - slope_y * ramp[:, None] - slope_x * ramp[None]
    spread = blocks.var((1, 2))
    blocks, spread = blocks[spread > 0], spread[spread > 0]
    keep = max(FEWEST_BLOCKS, math.ceil(share * len(blocks)))
    return blocks[np.argsort(spread, kind="stable")[:keep]]


def neighbours(blocks: NDArray[np.float64], axis: int) -> float:
    """Correlation of next neighbours; the median over blocks."""
    moved = np.moveaxis(blocks, axis, -1)
    products = (moved[..., 1:] * moved[..., :-1]).mean((1, 2))
    return float(np.median(products / moved.var((1, 2))))


def noise_spectrum(blocks: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Power of the noise along an axis at 0, 1/8, ... 1 of Nyquist, over the sum; the median over blocks, so that a
    star in one does not count."""
    moved = np.moveaxis(blocks, axis, -1)
    taper = np.hanning(BLOCK + 2)[1:-1]
    power = (np.abs(np.fft.rfft(moved * taper, axis=-1)) ** 2).mean(1)
    return np.median(power / power.sum(-1, keepdims=True), axis=0)


def _reach(spectrum: NDArray[np.float64]) -> float:
    """Where a spectrum in dB at 0, 1/8, ... 1 of Nyquist has fallen by 8 dB for the first time."""
    level = spectrum[1:3].mean() - _FALL
    below = np.flatnonzero(spectrum[2:] < level)
    if not len(below):
        return 1.0
    k = int(below[0]) + 2
    return float(
        (k - 1 + (spectrum[k - 1] - level) / max(spectrum[k - 1] - spectrum[k], 1e-9)) / (BLOCK // 2)
    )


def _decibel(power: Any) -> Any:
    return 10 * np.log10(np.maximum(power, 1e-12))


def source_width(window: NDArray[np.float64], sigma: float) -> float:
    """Full width at half maximum of the sharper ones among the clear sources, pixels; NaN where there are few.

    Of a Gaussian ``ln p0 - (ln p- + ln p+) / 2 = 1 / (2 s^2)`` holds wherever in its pixel the maximum lies.
    """
    from scipy.ndimage import maximum_filter

    inner = window[_RING:-_RING, _RING:-_RING]
    if min(inner.shape) < 1:
        return math.nan
    smooth = maximum_filter(window, 5)[_RING:-_RING, _RING:-_RING]
    y, x = np.nonzero((inner == smooth) & (inner > np.median(window) + _CLEAR * sigma))
    y, x = y + _RING, x + _RING
    order = np.argsort(-window[y, x], kind="stable")[: 4 * STARS]
    y, x = y[order], x[order]
    angle = np.arange(16) * math.pi / 8
    ring_y, ring_x = (np.rint(_RING * f(angle)).astype(int) for f in (np.sin, np.cos))
    ring = np.sort(window[y[:, None] + ring_y, x[:, None] + ring_x], axis=1)
    base = ring[:, :8].mean(1)
    peak = window[y, x] - base
    curvature = np.zeros(len(y))
    usable = peak > _CLEAR * sigma
    for step_y, step_x in ((1, 0), (0, 1)):
        sides = [window[y + k * step_y, x + k * step_x] - base for k in (-1, 1)]
        usable &= (np.minimum(*sides) > 0) & (np.maximum(*sides) < peak)
        with np.errstate(divide="ignore", invalid="ignore"):
            curvature += 0.5 * (np.log(peak) - 0.5 * (np.log(sides[0]) + np.log(sides[1])))
    curvature = curvature[usable][:STARS]
    if len(curvature) < FEWEST_STARS:
        return math.nan
    widths = 2 * math.sqrt(2 * math.log(2)) / np.sqrt(2 * curvature)
    return float(np.quantile(widths, 0.3))


def edge_width(window: NDArray[np.float64]) -> float:
    """Distance over which the steepest edges rise: range of ten pixels over the greatest slope."""
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    level = np.where(np.isfinite(window), window, np.nanmedian(window))
    widths = []
    for axis in (0, 1):
        x = np.moveaxis(level, axis, -1)
        if x.shape[-1] < 12:
            continue
        slope = np.abs(x[:, 1:] - x[:, :-1])
        inner = slope[:, 4:-4]
        rise = (maximum_filter1d(x, 10, axis=-1) - minimum_filter1d(x, 10, axis=-1))[:, 5:-4]
        steepest = (inner >= slope[:, 3:-5]) & (inner > slope[:, 5:-3])
        if steepest.sum() < _FEWEST_EDGES:
            continue
        inner, rise = inner[steepest], rise[steepest]
        edges = inner >= np.quantile(inner, 1 - 5 * _EDGES)
        widths.append(np.median(rise[edges] / inner[edges]))
    return float(max(widths)) if widths else math.nan


def grid_of_8(window: NDArray[np.float64]) -> float:
    """How far steps at every eighth pixel stand out from the others, wherever the grid begins; both axes together.

    For each place between pixels the absolute step there minus the mean of those beside it, averaged along the other
    axis; of the eight phases the one that stands out most, in standard errors.
    """
    total = 0.0
    for axis in (0, 1):
        x = np.moveaxis(window, axis, -1)
        step = np.abs(x[:, 1:] - x[:, :-1])
        known = step[np.isfinite(step)]
        if known.size < 1000 or not known.any():
            return math.nan
        beside = step[:, :-2] + step[:, 2:]
        # relative to how busy the place is, so that bright and quiet parts count alike
        excess = (step[:, 1:-1] - 0.5 * beside) / (step[:, 1:-1] + beside + 0.02 * float(known.mean()))
        count = np.isfinite(excess).sum(0)
        profile = np.where(count > 0, np.nansum(excess, 0) / np.maximum(count, 1), 0.0)
        phases = [profile[k::GRID] for k in range(GRID)]
        if min(map(len, phases)) < 3:
            return math.nan
        means = np.array([np.median(p) for p in phases])
        best = int(means.argmax())
        others = np.delete(means, best)
        spread = 1.4826 * np.median(
            np.abs(np.concatenate([p - m for p, m in zip(phases, means, strict=True)]))
        )
        error = 1.2533 * max(spread, _LEAST_SPREAD) / math.sqrt(len(phases[best]))
        total += (means[best] - np.median(others)) / error
    return float(total / math.sqrt(2))


def turned_grid(window: NDArray[np.float64]) -> float:
    """How far the spectrum is turned against the pixels' axes, in standard errors; NaN of few blocks.

    What was resampled on a turned grid has lost its fine detail along that grid's axes: the power at frequencies
    (k, l) and (k, -l) differs, with opposite signs where k > l and where k < l. An elongated profile alone differs with
    the same sign in both, and cancels.
    """
    blocks = quiet_blocks(window, share=1.0)
    if len(blocks) < 2 * FEWEST_BLOCKS:
        return math.nan
    taper = np.hanning(BLOCK + 2)[1:-1]
    power = np.log(np.abs(np.fft.fft2(blocks * taper[:, None] * taper)) ** 2 + np.finfo(float).tiny)
    k = np.arange(1, BLOCK // 2)
    differs = power[:, k[:, None], k] - power[:, k[:, None], -k]
    each = (differs * np.sign(k[:, None] - k)).sum((1, 2))
    error = each.std(ddof=1) / math.sqrt(len(each))
    return float(each.mean() / error) if error > 0 else math.nan


def value_step(values: NDArray[np.float64]) -> float:
    """Distance between the values that occur; 0 where hardly any value comes twice."""
    distinct = np.unique(values)
    if len(distinct) > 0.5 * len(values) or len(distinct) < 2:
        return 0.0
    low, high = np.searchsorted(distinct, np.quantile(values, [0.02, 0.9]))
    common = np.diff(distinct[low : max(high, low + 2)])
    return float(np.median(common)) if len(common) else 0.0


def _saturation(values: NDArray[np.float64]) -> float:
    return float((values == values.max()).mean())
