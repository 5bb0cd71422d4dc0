"""Still pictures of a page as small PNGs: previews, maps, thumbnails."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.report.page_layout import block_mean
from sciSR.report.page_stretch import grey

SEQUENTIAL = (
    "440154",
    "482878",
    "3e4a89",
    "31688e",
    "26828e",
    "1f9e89",
    "35b779",
    "6ece58",
    "b5de2b",
    "fde725",
)
DIVERGING = ("0b3c6f", "2f79b5", "8fc0de", "f4f4f2", "f0a582", "c9443f", "730f1f")
"""The same colours as in ``source.js`` and ``page.css``."""


def preview(values: NDArray, shown: dict[str, Any], side: int = 420, ratio: float = 1.0) -> str:
    """A picture in the first stretch, no side longer than `side`; base64 of a PNG.

    `ratio` is the height of a pixel over its width: pixels are repeated where they are not square.
    """
    return _png(grey(_shaped(values, side, ratio), shown))


def coloured(values: NDArray, low: float, high: float, kind: str, side: int = 420, ratio: float = 1.0) -> str:
    """A map of values from `low` to `high` in colours (``"sequential"``, ``"diverging"``); bad pixels transparent."""
    values = _shaped(values, side, ratio)
    points = np.array(
        [
            [int(c[k : k + 2], 16) for k in (0, 2, 4)]
            for c in (SEQUENTIAL if kind == "sequential" else DIVERGING)
        ]
    )
    place = np.linspace(0, len(points) - 1, 255)
    palette = np.stack([np.interp(place, np.arange(len(points)), points[:, c]) for c in range(3)], -1)
    good = np.isfinite(values)
    scaled = (np.where(good, values, low) - low) / ((high - low) or 1.0)
    codes = np.where(good, 1 + np.clip(np.round(scaled * 254), 0, 254), 0).astype(np.uint8)
    colours = np.vstack([[[0, 0, 0]], np.round(palette)]).astype(np.uint8)
    return _png(codes, colours)


def _shaped(values: NDArray, side: int, ratio: float) -> NDArray:
    step = max(1, math.ceil(max(values.shape[:2]) / side))
    values = block_mean(values, step, step)
    if ratio > 1.2:
        values = np.repeat(values, round(ratio), axis=0)
    elif ratio < 1 / 1.2:
        values = np.repeat(values, round(1 / ratio), axis=1)
    return values


def _png(codes: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> str:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(codes))
    options: dict[str, Any] = {}
    if palette is not None:
        picture.putpalette(palette.tobytes())
        options["transparency"] = 0
    stream = io.BytesIO()
    picture.save(stream, format="png", optimize=True, **options)
    return base64.b64encode(stream.getvalue()).decode("ascii")
