"""Photographs as one channel: the luminance Y that super-resolution benchmarks are measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UnreadableError, UnsupportedError

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")


def luminance(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Y of ITU-R BT.601 in studio range, as MATLAB's ``rgb2ycbcr`` computes it.

    Parameters
    ----------
    rgb : ndarray ``[..., 3]``
        0 to 1.

    Returns
    -------
    ndarray ``[...]``
        16/255 (black) to 235/255 (white).
    """
    return (16.0 + rgb @ np.array([65.481, 128.553, 24.966])) / 255.0


def read_luminance(path: Path) -> NDArray[np.float32]:
    """Luminance ``[y, x]`` of a picture, 0 to 1.

    Colours give `luminance`, rounded to the picture's own depth as MATLAB does; grey pictures are taken as they are.

    Raises
    ------
    UnreadableError
        No picture, or a damaged one.
    UnsupportedError
        Several pages, or an alpha channel that is not opaque.
    """
    pixels = _pixels(Path(path))
    depth = {"uint8": 255.0, "uint16": 65535.0, "bool": 1.0}.get(pixels.dtype.name)
    if depth is None and pixels.dtype.kind != "f":
        raise UnsupportedError(
            f"pixels of type {pixels.dtype} are no photograph", where=path, remedy="give 8 or 16 bits"
        )
    values = pixels.astype(np.float64) / (depth or 1.0)
    if values.ndim == 3 and values.shape[2] in (2, 4):
        if values[..., -1].min() < 1:
            raise UnsupportedError("has transparent pixels", where=path, remedy="flatten it first")
        values = values[..., :-1]
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim == 3 and values.shape[2] == 3:
        values = luminance(values)
        values = np.round(values * depth) / depth if depth else values
    if values.ndim != 2:
        raise UnsupportedError(f"is no single picture: its shape is {pixels.shape}", where=path)
    return values.astype(np.float32)


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image as Picture

    try:
        with Picture.open(path) as picture:
            if picture.mode == "P":
                picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
            return np.asarray(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise UnreadableError(f"can't be read as a picture: {error}", where=path) from error
