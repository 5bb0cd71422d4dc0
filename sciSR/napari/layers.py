"""Images as napari's layer data tuples: ``(data, keywords, "image" or "labels")``, with nothing read but a sample."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.colour import rgb_axis
from sciSR.image import Image, LazyArray
from sciSR.napari.arrays import LayerArray, LevelArray
from sciSR.napari.placement import Placement, relative, transform_of

LayerData = tuple[Any, dict[str, Any], str]

KEY = "sciSR"
"""Under which a layer's metadata hold the image, so that it can be upscaled as what it is."""

_LARGE = 4096  # pixels of a side, above which a plane is given in several sizes
_SAMPLES = 64  # rows that are read for the contrast


def layers_of(images: Sequence[Image]) -> list[LayerData]:
    """Layers of some images, each followed by its standard deviation (hidden) where it has one.

    Images of the sky are placed by the first one, where their coordinates say how: an input and its result lie on
    each other.
    """
    lock = threading.Lock()
    out: list[LayerData] = []
    for image in images:
        matrix = None if image is images[0] else relative(images[0], image)
        out += _layers(image, name_of(image), matrix, lock)
    return out


def name_of(image: Image) -> str:
    """How a layer is called: the file's name and part, without a name that its patient bears."""
    if image.source is None:
        return image.where
    name = Path(image.source).name
    neutral = _neutral(Path(image.source), name)
    return f"{neutral}[{image.part}]" if image.part else neutral


def _neutral(path: Path, name: str) -> str:
    from sciSR.plugins import adapter_for

    if not path.exists():
        return name
    own = getattr(adapter_for(path), "neutral_name", None)
    return name if own is None else str(own(path, name))


def _layers(image: Image, name: str, matrix: np.ndarray | None, lock: threading.Lock) -> list[LayerData]:
    placement = Placement.of(image)
    keywords = placement.metadata()
    if matrix is not None:
        keywords = {k: v for k, v in keywords.items() if k not in ("scale", "translate", "affine")}
        keywords |= transform_of(matrix)
    keywords |= {"name": name, "metadata": {KEY: image, "unit": image.unit}}
    colour = rgb_axis(image)
    if colour is not None:
        return _colours(image, colour, placement, keywords, lock)
    if image.kind == "labels":
        return [(LayerArray(_Whole(image.data), placement.order, lock), keywords, "labels")]
    out: list[LayerData] = [_grey(image, image.data, placement, keywords, lock)]
    if image.uncertainty is not None:
        std = keywords | {
            "name": f"{keywords['name']} std",
            "visible": False,
            "metadata": {"unit": image.unit},
        }
        out.append(_grey(image, image.uncertainty, placement, std | {"colormap": "magma"}, lock))
    return out


def placed_layers(image: Image, name: str, matrix: np.ndarray) -> list[LayerData]:
    """Layers of one image whose indices are mapped to the world by `matrix`, whatever its own grid says."""
    return _layers(image, name, matrix, threading.Lock())


def _grey(
    image: Image, source: LazyArray, placement: Placement, keywords: dict[str, Any], lock: threading.Lock
) -> LayerData:
    data = LayerArray(source, placement.order, lock)
    keywords = keywords | {"contrast_limits": contrast(data, centred=image.domain == "astronomy")}
    if data.ndim == 2 and max(data.shape) > _LARGE and not np.issubdtype(data.dtype, np.complexfloating):
        from sciSR.report.pyramid import PlanePyramid

        pyramid = PlanePyramid(_Plane(data))
        levels = [LevelArray(pyramid, level) for level in range(1, pyramid.levels)]
        return [data, *levels], keywords | {"multiscale": True}, "image"
    return data, keywords, "image"


class _Plane:
    """What a pyramid asks for."""

    def __init__(self, data: LayerArray) -> None:
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.data[index]


class _Whole:
    """Labels as whole numbers, which napari wants them to be."""

    def __init__(self, source: LazyArray) -> None:
        self.source, self.shape = source, source.shape
        kind = np.dtype(source.dtype).kind
        self.dtype = np.dtype(source.dtype) if kind in "iu" else np.dtype(np.int32)

    def __getitem__(self, index: Any) -> np.ndarray:
        block = np.asarray(self.source[index])
        return (np.nan_to_num(block) if block.dtype.kind == "f" else block).astype(self.dtype)


def _colours(
    image: Image, colour: int, placement: Placement, keywords: dict[str, Any], lock: threading.Lock
) -> list[LayerData]:
    """Bytes as one layer of colours; deeper ones as three that add up, so that the contrast can be set."""
    if image.dtype == np.uint8:
        data = LayerArray(image.data, (*placement.order, colour), lock)
        return [(data, keywords | {"rgb": True}, "image")]
    from sciSR.planes import PlaneView

    order = [a - (a > colour) for a in placement.order if a is not None]
    channels = [LayerArray(PlaneView(image.data, {colour: k}), order, lock) for k in range(3)]
    limits = [contrast(data) for data in channels]
    together = (min(low for low, _ in limits), max(high for _, high in limits))
    return [
        (
            data,
            keywords
            | {"name": f"{keywords['name']} {name}", "colormap": name, "blending": "additive"}
            | {"contrast_limits": together, "metadata": {"unit": image.unit}},
            "image",
        )
        for data, name in zip(channels, ("red", "green", "blue"), strict=True)
    ]


def contrast(data: LayerArray, *, centred: bool = False) -> tuple[float, float]:
    """Values for black and white, from some rows of the middle plane: 0.5 % to 99.5 % of the pixels.

    `centred` is for the sky: from 3 sigma below the background to 30 above it.
    """
    middle = tuple(n // 2 for n in data.shape[:-2])
    height, width = data.shape[-2:]
    rows = np.unique(np.linspace(0, height - 1, min(height, _SAMPLES)).astype(int))
    parts = [np.asarray(data[(*middle, int(row), slice(0, width))]) for row in rows]
    values = np.concatenate(parts) if parts else np.zeros(0)
    values = np.abs(values) if np.iscomplexobj(values) else values.astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(values, (0.005, 0.995)))
    if centred:
        sky = float(np.median(values))
        sigma = 1.4826 * float(np.median(np.abs(values - sky)))
        if sigma > 0:
            low, high = sky - 3 * sigma, sky + 30 * sigma
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + 1.0)
