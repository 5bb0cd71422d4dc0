"""How a page shows values at first: asinh or zscale for the sky, a window for MR, CT and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.report.stretch import Stretch, median


def first_stretch(values: NDArray, domain: str, noise: float = 0.0) -> dict[str, Any]:
    """Curve, black and white of a picture, with the ranges of other choices; JSON-ready, in the image's unit.

    Returns
    -------
    dict
        ``curve`` (asinh, linear), ``black``, ``white``, ``softening`` and ``zero`` (of the asinh), and ``presets``: a
        list of the same, named.
    """
    values = np.asarray(values, np.float64)
    good = values[np.isfinite(values)]
    if not good.size:
        good = np.array([0.0, 1.0])
    zero, soft = median(values), 1.0
    presets = []
    if values.ndim == 3:  # colours are meant to be seen as they are
        presets.append(_preset("as it is", "linear", min(float(good.min()), 0.0), float(good.max())))
    if domain == "astronomy":
        stretch = Stretch.of(values if values.ndim == 2 else values.reshape(len(values), -1))
        soft = stretch.softening
        low, high = (zero + soft * float(np.sinh(v)) for v in (stretch.low, stretch.high))
        presets.append(_preset("asinh", "asinh", low, high))
        presets.append(_preset("zscale", "linear", *_zscale(good)))
    else:
        low, high = (float(v) for v in np.quantile(good, (0.005, 0.995)))
        presets.append(_preset("window", "linear", low, high))
    presets.append(_preset("full range", "linear", float(good.min()), float(good.max())))
    first = presets[0]
    return {
        **{k: first[k] for k in ("curve", "black", "white")},
        "zero": zero,
        "softening": soft or 1.0,
        "presets": presets,
    }


def _preset(name: str, curve: str, low: float, high: float) -> dict[str, Any]:
    if not high > low:
        high = low + (abs(low) or 1.0)
    return {"name": name, "curve": curve, "black": float(low), "white": float(high)}


def _zscale(values: NDArray) -> tuple[float, float]:
    """The range of IRAF's display task."""
    from astropy.visualization import ZScaleInterval

    step = max(1, values.size // 100_000)
    low, high = ZScaleInterval().get_limits(values[::step])
    return float(low), float(high)


def grey(values: NDArray, shown: dict[str, Any]) -> NDArray[np.uint8]:
    """A picture as the browser shows it at first: 0 to 255, bad pixels 0. The same formula as in ``page.js``."""
    low, high = shown["black"], shown["white"]
    values = np.asarray(values, np.float64)
    t = (values - low) / (high - low)
    if shown["curve"] == "asinh":
        steep = (high - low) / shown["softening"]
        t = np.arcsinh(np.maximum(t, 0) * steep) / np.arcsinh(steep)
    return np.where(np.isfinite(values), np.clip(np.round(255 * t), 0, 255), 0).astype(np.uint8)
