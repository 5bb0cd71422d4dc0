"""What lies outside a network's training, in words: a line each, with the value, the range, what it looks like."""

from __future__ import annotations

import math
from collections.abc import Mapping

Ranges = Mapping[str, tuple[float, float]]

COARSEST_STEP = 1.0
"""Steps between values as large as the noise add a twelfth to its variance: below this, quantisation does no harm."""
MOST_SATURATED = 1e-3
GRID_CLEAR = 6.0
"""Standard errors; no training input reaches it."""
TURNED_CLEAR = 4.0
"""Standard errors; 1 in 200 training inputs reaches 2.8."""
_EMPTY = -30.0
"""Decibel: images with less noise near Nyquist than this have been interpolated or smoothed."""


def unfamiliar(
    measured: Mapping[str, float], ranges: Ranges, outside: Mapping[str, float], nearest: tuple[float, float]
) -> list[str]:
    """Notes on what is unfamiliar.

    Parameters
    ----------
    measured, ranges, outside : mapping
        By feature; `outside` those beyond their ranges.
    nearest : (float, float)
        Distance from the nearest training inputs, and the most that is familiar.
    """
    found = [
        _grid(measured, ranges),
        _turned(measured),
        _steps(measured),
        _saturated(measured),
        _spectrum(measured, ranges, outside, nearest),
        _sharpened(outside, ranges),
        _noise(outside, ranges),
        _width(outside, ranges),
    ]
    return [note for note in found if note]


def _grid(measured: Mapping[str, float], ranges: Ranges) -> str:
    value = measured.get("grid_of_8", 0.0)
    limit = max(GRID_CLEAR, ranges.get("grid_of_8", (0, 0))[1])
    if (
        value <= limit or measured.get("fine_noise", 0.0) < -35
    ):  # of upsampled images every block has some grid
        return ""
    return (
        f"steps at every 8th pixel stand out by {value:.0f} standard errors (familiar up to {limit:.0f}): "
        "looks JPEG-compressed"
    )


def _turned(measured: Mapping[str, float]) -> str:
    value = abs(measured.get("turned_grid", 0.0))
    if value <= TURNED_CLEAR:
        return ""
    return (
        f"its spectrum is turned against the pixels by {value:.0f} standard errors (familiar up to "
        f"{TURNED_CLEAR:.0f}): looks drizzled or resampled on a turned grid, or trailed"
    )


def _steps(measured: Mapping[str, float]) -> str:
    value = measured.get("quantisation", 0.0)
    if value <= COARSEST_STEP:
        return ""
    return (
        f"values lie {value:.2g} noise sigmas apart (familiar up to {COARSEST_STEP:g}): "
        "coarsely quantised, or few counts"
    )


def _saturated(measured: Mapping[str, float]) -> str:
    value = measured.get("saturation", 0.0)
    if value <= MOST_SATURATED:
        return ""
    return f"{value:.2%} of the pixels have the greatest value (familiar up to {MOST_SATURATED:.2%}): looks clipped"


def _spectrum(
    measured: Mapping[str, float], ranges: Ranges, outside: Mapping[str, float], nearest: tuple[float, float]
) -> str:
    """What the spectrum of the noise says, by itself or together with all else."""
    distance, reach = nearest
    is_empty = outside.get("fine_noise", math.inf) < ranges.get("fine_noise", (-math.inf, 0))[0]
    too_correlated = outside.get("correlation", -math.inf) > ranges.get("correlation", (0, math.inf))[1]
    if not (is_empty or too_correlated or distance > reach):
        return ""
    if is_empty:
        low = ranges["fine_noise"][0]
        what = f"the finest noise is {-outside['fine_noise']:.0f} dB below the middle (familiar down to {-low:.0f} dB)"
    elif too_correlated:
        what = (
            f"the noise of neighbours correlates by {measured['correlation']:.2f} "
            f"(familiar up to {ranges['correlation'][1]:.2f})"
        )
    else:
        what = (
            "noise, spectrum and width together are "
            f"{distance / reach:.1f} times as far from any training input as familiar"
        )
    return f"{what}: {_looks(measured)}"


def _looks(measured: Mapping[str, float]) -> str:
    """What most likely was done to the image, from how its noise falls with frequency."""
    fine, band = measured.get("fine_noise", 0.0), measured.get("noise_band", 1.0)
    if fine < _EMPTY or (fine < 0.5 * _EMPTY and band < 0.6):
        factor = max(1.5, round(2.1 / max(band, 0.05)) / 2)
        return f"looks already upsampled by about {factor:g}, or smoothed as much"
    return "looks resampled or filtered" if fine < 0.3 * _EMPTY else "unlike the images that it learned from"


def _sharpened(outside: Mapping[str, float], ranges: Ranges) -> str:
    value = outside.get("sharpening", 0.0)
    if "sharpening" not in outside or value > ranges["sharpening"][0]:
        return ""
    low = ranges["sharpening"][0]
    looks = "looks sharpened or deconvolved" if value < -0.1 else "rougher, or more of it noise"
    return f"the noise of neighbours correlates by {value:.2f} (familiar down to {low:.2f}): {looks}"


def _noise(outside: Mapping[str, float], ranges: Ranges) -> str:
    if "signal_to_noise" not in outside:
        return ""
    value, (low, high) = outside["signal_to_noise"], ranges["signal_to_noise"]
    sense = "much noisier" if value < low else "much less noisy, or its noise was taken out"
    return (
        f"the bright pixels stand {value:.2g} noise sigmas above the rest "
        f"(familiar {low:.2g} to {high:.2g}): {sense}"
    )


def _width(outside: Mapping[str, float], ranges: Ranges) -> str:
    if "width" not in outside:
        return ""
    value, (low, high) = outside["width"], ranges["width"]
    sense = "undersampled, or single hot pixels" if value < low else "blurred, or upsampled before"
    return f"the sharpest details are {value:.2g} pixels wide (familiar {low:.2g} to {high:.2g}): {sense}"
