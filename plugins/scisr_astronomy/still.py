"""JPEG and BMP, as input alone: Pillow decodes them, the result is PNG or TIFF."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import UnreadableError, UnsupportedError
from sciSR.files import check_regular_file
from scisr_astronomy.picture import Attachments, DecodedPixels, Page, Picture, check_size, decoding

_MODES = {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB", "RGBA": "RGBA", "RGBX": "RGB"}
_LOSSY = (
    "JPEG is lossy: what it took away does not come back, and the traces of its 8x8 blocks are upscaled too; "
    "start from the original where there is one"
)


def open_still(path: Path, kind: str, limit: int) -> Picture:
    """Check the header of a JPEG or BMP file; pixels are decoded when they are asked for.

    Raises
    ------
    SciSRError
    """
    from PIL import Image

    size = check_regular_file(path)
    if kind == "jpeg":
        _check_end(path, size)
    with decoding(path), Image.open(path, formats=(kind.upper(),)) as image:
        mode, (columns, rows), info = image.mode, image.size, dict(image.info)
    if mode not in _MODES:
        raise UnsupportedError(
            f"its colours are {mode}, not grey or RGB", where=path, remedy="convert it to RGB"
        )
    channels = len(_MODES[mode])
    check_size(path, rows, columns, channels, 1, limit)
    decode = partial(_decode, path, kind, _MODES[mode])
    page = Page(
        rows,
        columns,
        channels >= 3,
        "straight" if channels == 4 else "",
        np.dtype(np.uint8),
        DecodedPixels(decode, (rows, columns, channels), np.uint8, path),
        255,
        attachments=_attachments(info),
        warnings=(_LOSSY,) if kind == "jpeg" else (),
    )
    return Picture(path, kind, (page,))


def _decode(path: Path, kind: str, mode: str) -> np.ndarray:
    from PIL import Image

    with decoding(path), Image.open(path, formats=(kind.upper(),)) as image:
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _check_end(path: Path, size: int) -> None:
    """A JPEG ends in EOI; decoders fill up in grey what is missing before it."""
    with open(path, "rb") as stream:
        stream.seek(max(0, size - 4096))
        if b"\xff\xd9" not in stream.read():
            raise UnreadableError("is cut off: its end marker is missing", where=path)


def _attachments(info: dict[str, Any]) -> Attachments:
    exif = bytes(info.get("exif") or b"").removeprefix(b"Exif\0\0")
    dpi = info.get("dpi")
    density = None
    if isinstance(dpi, tuple) and len(dpi) == 2 and all(float(d) > 0 for d in dpi):
        density = (float(dpi[0]) / 0.0254, float(dpi[1]) / 0.0254)
    xmp = info.get("xmp") or b""
    return Attachments(bytes(info.get("icc_profile") or b""), exif, bytes(xmp), density)
