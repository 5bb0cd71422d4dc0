"""OME-Zarr groups made with zarr alone, as other software writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

AXES = {
    "t": {"name": "t", "type": "time", "unit": "second"},
    "c": {"name": "c", "type": "channel"},
    "z": {"name": "z", "type": "space", "unit": "micrometer"},
    "y": {"name": "y", "type": "space", "unit": "micrometer"},
    "x": {"name": "x", "type": "space", "unit": "micrometer"},
}
OMERO = {
    "channels": [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 0, "end": 1000, "min": 0, "max": 65535}}
    ]
}
COLOURS = {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}]}


def scale_of(ndim: int) -> list[float]:
    return [0.5 + 0.1 * axis for axis in range(ndim)]


def translation_of(ndim: int) -> list[float]:
    return [3.0 * axis - 1 for axis in range(ndim)]


def make(
    path: Path,
    version: str,
    shape: Sequence[int],
    axes: str,
    dtype: str = "u2",
    *,
    label: bool = False,
    labels: Sequence[str] = (),
    common: Sequence[dict] = (),
    chunks: Sequence[int] | None = None,
) -> Path:
    """One image with metadata; labels over its last two axes."""
    form: Any = 2 if version == "0.4" else 3
    group = zarr.open_group(str(path), mode="w", zarr_format=form)
    array = group.create_array(
        "0", shape=tuple(shape), chunks=tuple(chunks or (min(64, n) for n in shape)), dtype=dtype
    )
    values = np.random.default_rng(len(shape)).random(shape) * (6 if label else 1000)
    array[...] = values.astype(dtype)
    steps = [
        {"type": "scale", "scale": scale_of(len(shape))},
        {"type": "translation", "translation": translation_of(len(shape))},
    ]
    image: dict[str, Any] = {
        "axes": [AXES[name] for name in axes],
        "datasets": [{"path": "0", "coordinateTransformations": steps}],
        "name": "cells",
    }
    if common:
        image["coordinateTransformations"] = list(common)
    extra = {"image-label": COLOURS} if label else {"omero": OMERO}
    attributes(path, version, {"multiscales": [image], **extra}, {"mine": 3})
    for name in labels:
        make(path / "labels" / name, version, shape[-2:], axes[-2:], "u2", label=True)
    if labels:
        zarr.open_group(str(path / "labels"), mode="a", zarr_format=form)
        attributes(path / "labels", version, {"labels": list(labels)}, {})
    return path


def attributes(path: Path, version: str, ome: dict[str, Any], others: dict[str, Any]) -> None:
    if version == "0.4":
        for image in ome.get("multiscales", []):
            image["version"] = "0.4"
        content = {**ome, **others}
    else:
        content = {"ome": {"version": version, **ome}, **others}
    zarr.open_group(str(path), mode="a", zarr_format=2 if version == "0.4" else 3).attrs.put(content)
