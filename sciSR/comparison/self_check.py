"""The self-check of an image and a model: degraded once more, upscaled, correlated with itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRWarning, UsageError
from sciSR.image import Image
from sciSR.metrics.pixel_scale import pixel_scale
from sciSR.metrics.self_resolution import SelfResolution, self_ring_correlation

MOST = 512
"""Pixels a side of the window that is looked at."""


def self_resolution(
    image: Image,
    scale: int = 2,
    model: str = "auto",
    *,
    forward: str = "auto",
    most: int = MOST,
    **options: Any,
) -> SelfResolution:
    """How much of an image's own finest detail a model brings back; see :mod:`sciSR.metrics.self_resolution`.

    Parameters
    ----------
    image : Image
        The input, not the result. Of a cube or volume the central plane is taken, of a large plane the central window.
    scale : int
    model : str
        As for :func:`sciSR.upscale`.
    forward : str
        How the image is degraded, as for :func:`sciSR.degrade`; by default as the domain's instruments do.
    most : int
        Pixels a side of the window at most.
    **options
        As for :func:`sciSR.upscale`.

    Returns
    -------
    SelfResolution

    Raises
    ------
    SciSRError
        An image too small or of a kind that is not upscaled by interpolation, or an unknown model.
    """
    from sciSR.api import degrade, upscale

    if image.kind != "intensity":
        raise UsageError(f"a self-check is of intensities, not of {image.kind}", where=image.where)
    window = central_window(image, scale, most)
    fields: dict[str, Any] = {"domain": image.domain, "quantity": image.quantity, "unit": image.unit}
    told: dict[str, str] = {}

    def make(values: NDArray[np.float64]) -> Image:
        return Image.from_array(values.astype(np.float32), **fields)

    def coarser(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = degrade(make(values), scale, forward)
        told["forward"] = str(out.provenance.steps[-1]["forward"].get("kind", forward))
        return np.asarray(out.data, np.float64)

    def finer(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = upscale(make(values), scale, model, **options)
        told["method"] = str(out.provenance.steps[-1].get("model", model))
        return np.asarray(out.data, np.float64)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)  # of an image that the user never sees
        found = self_ring_correlation(window, finer, scale, degrade=coarser)
    size = pixel_scale(image)
    return SelfResolution(found.curve, scale, told["method"], told["forward"], size.mean, size.unit)


def central_window(image: Image, multiple: int = 1, most: int = MOST) -> NDArray[np.float64]:
    """The central window of the central plane, float64 ``[H, W]``, NaN where bad; sides a multiple of `multiple`."""
    index: list[int | slice] = []
    for axis, size in enumerate(image.shape):
        if axis not in image.spatial_axes:
            index.append(size // 2)
            continue
        side = min(size, most) // multiple * multiple
        index.append(slice((size - side) // 2, (size - side) // 2 + side))
    values = np.array(image.data[tuple(index)], np.float64)
    if image.mask is not None:
        values[np.asarray(image.mask[tuple(index)], bool)] = np.nan
    return np.where(np.isfinite(values), values, np.nan)
