"""Upscales what a layer shows, and places the result where the layer lies."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.image import Image
from sciSR.napari.layers import KEY, LayerData, placed_layers
from sciSR.napari.placement import Placement, matrix_of


def upscaled_layers(
    layer: Any, scale: float = 2.0, model: str = "auto", *, uncertainty: bool = False
) -> list[LayerData]:
    """The upscaled layer, and with `uncertainty` its standard deviation, as layer data tuples.

    Parameters
    ----------
    layer : napari layer
        Of an image. One that sciSR read is upscaled as that image, with its unit, domain and mask; of any other, the
        last two axes are upscaled. The result lies where the layer lies now, edge to edge, moved or not.
    scale : float
    model : str
        See :func:`sciSR.inference.plan_upscale`.

    Raises
    ------
    SciSRError
        The layer has no pixels to upscale, or the model does not fit.
    """
    from sciSR.api import upscale

    image = image_of(layer)
    result = upscale(image, scale, model, uncertainty=uncertainty)
    before = Placement.of(image)
    factors = [Fraction(fine, coarse) for fine, coarse in zip(result.shape, image.shape, strict=True)]
    matrix = matrix_of(layer) @ before.refined(factors)
    return placed_layers(result, f"{layer.name} x{scale:g}", matrix)


def image_of(layer: Any) -> Image:
    """The image behind a layer, or one made of the layer's pixels.

    Raises
    ------
    UsageError
        A layer of fewer than two axes.
    """
    from sciSR.errors import UsageError

    kept = dict(layer.metadata).get(KEY)
    if isinstance(kept, Image) and _shows(layer, kept):
        return kept
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    data = np.asarray(data)
    if getattr(layer, "rgb", False):
        if data.shape[-1] == 4:
            data = data[..., :3]
        axes = (*(f"n{k}" for k in range(data.ndim - 3)), "y", "x", "rgb")
        return Image(data=data, axes=axes, spatial=("y", "x"))
    if data.ndim < 2:
        raise UsageError(f"the layer {layer.name!r} has no plane of pixels to upscale")
    return Image.from_array(data)


def _shows(layer: Any, image: Image) -> bool:
    """Whether the layer still has the pixels that were read for it: not cropped, not replaced."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return getattr(data, "source", None) is image.data
