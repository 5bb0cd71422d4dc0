"""Writes PNG row by row: 8 and 16 bits, grey or RGB, with or without opacity (Pillow has no 16-bit RGB)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from scisr_astronomy.exif import refine_exif
from scisr_astronomy.picture import Attachments
from scisr_astronomy.png import KEYWORD, SIGNATURE, chunk, text_of

_LEVEL = 6
_CHUNK = 1 << 20
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_LIKE_BEFORE = ("cHRM", "cICP", "gAMA", "iCCP", "mDCV", "mDCv", "cLLI", "cLLi", "sRGB", "pCAL", "bKGD")
"""What is as true of finer pixels of the same colours."""
_REPLACED = ("PLTE", "tRNS", "tIME", "sBIT", "acTL")
"""What is told otherwise, or was true of the old pixels alone and misses nobody."""


def write_png(
    path: Path,
    bands: Iterable[np.ndarray],
    shape: tuple[int, int, int],
    dtype: np.dtype,
    before: bytes,
) -> None:
    """Write a PNG file.

    Parameters
    ----------
    path : Path
    bands : iterable of ndarray, ``[rows, columns, channels]``
        From top to bottom.
    shape : (rows, columns, channels)
    dtype : dtype
        uint8 or uint16.
    before : bytes
        Chunks that stand before the pixels.
    """
    rows, columns, channels = shape
    kind = np.dtype(dtype).newbyteorder(">")
    depth = 8 * kind.itemsize
    header = struct.pack(">IIBBBBB", columns, rows, depth, _COLOUR_TYPES[channels], 0, 0, 0)
    with path.open("wb") as stream:
        stream.write(SIGNATURE + chunk("IHDR", header) + before)
        for content in _deflated(bands, kind, columns * channels * kind.itemsize, channels * kind.itemsize):
            stream.write(chunk("IDAT", content))
        stream.write(chunk("IEND", b""))


def _deflated(bands: Iterable[np.ndarray], kind: np.dtype, width: int, step: int) -> Iterator[bytes]:
    """The filtered rows, deflated, in pieces for one chunk each."""
    deflater, pieces, size = zlib.compressobj(_LEVEL), [], 0
    above = np.zeros(width, np.uint8)
    for band in bands:
        raw = np.frombuffer(np.ascontiguousarray(band, kind).tobytes(), np.uint8).reshape(-1, width)
        pieces.append(deflater.compress(filtered(raw, above, step).tobytes()))
        size, above = size + len(pieces[-1]), raw[-1]
        if size >= _CHUNK:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join([*pieces, deflater.flush()])


def filtered(raw: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """Rows as PNG stores them: each with the filter (PNG 9.2) whose differences are least, and that filter's number.

    Parameters
    ----------
    raw : ndarray, uint8 ``[rows, bytes]``
    above : ndarray, uint8 ``[bytes]``
        The row before the first.
    step : int
        Bytes of a pixel.

    Returns
    -------
    ndarray, uint8 ``[rows, 1 + bytes]``
    """
    up = np.concatenate([above[None], raw[:-1]])
    left, corner = (np.pad(a[:, :-step], ((0, 0), (step, 0))) for a in (raw, up))
    a, b, c = (x.astype(np.int16) for x in (left, up, corner))
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    paeth = np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, up, corner))
    guesses = (np.zeros_like(raw), left, up, ((a + b) >> 1).astype(np.uint8), paeth)
    options = [raw - guess for guess in guesses]  # wraps around, as it must
    costs = np.stack([np.abs(option.view(np.int8).astype(np.int16)).sum(axis=1) for option in options])
    best = costs.argmin(axis=0)
    out = np.empty((len(raw), 1 + raw.shape[1]), np.uint8)
    out[:, 0] = best
    for number, option in enumerate(options):
        out[best == number, 1:] = option[best == number]
    return out


def carried_chunks(
    native: tuple[tuple[str, bytes], ...], size: tuple[int, int], factors: tuple[Fraction, Fraction]
) -> tuple[bytes, list[str]]:
    """The chunks of a PNG for its finer picture.

    Parameters
    ----------
    native : tuple of (name, content)
    size : (columns, rows)
        Of the finer picture.
    factors : (x, y)

    Returns
    -------
    bytes
        For before the pixels, in their order.
    list of str
        Names of what is left out: chunks that PNG (5.4, 14.2) does not let a program copy that does not know them.
    """
    out, dropped = [], []
    palette = any(name == "PLTE" for name, _ in native)
    for name, content in native:
        if name == "pHYs":
            content = _finer_density(content, factors)
        elif name == "sCAL":
            content = _finer_scale(content, factors)
        elif name == "eXIf":
            content = refine_exif(content, size, factors)
        elif name in ("tEXt", "zTXt", "iTXt"):
            found = text_of(name, content)
            if found is not None and found[0] == KEYWORD:
                continue
        elif name in _REPLACED or (name == "bKGD" and palette):
            continue
        elif name not in _LIKE_BEFORE and name[3].isupper():
            dropped.append(name)
            continue
        out.append(chunk(name, content))
    return b"".join(out), dropped


def new_chunks(attachments: Attachments, size: tuple[int, int], factors: tuple[Fraction, Fraction]) -> bytes:
    """The same for a picture that came from another format."""
    out = []
    if attachments.icc:
        out.append(chunk("iCCP", b"ICC profile\0\0" + zlib.compress(attachments.icc, _LEVEL)))
    if attachments.density is not None:
        x, y = (round(d * float(f)) for d, f in zip(attachments.density, factors, strict=True))
        if 0 < max(x, y) < 1 << 31:
            out.append(chunk("pHYs", struct.pack(">IIB", x, y, 1)))
    if attachments.exif:
        out.append(chunk("eXIf", refine_exif(attachments.exif, size, factors)))
    for keyword, text in attachments.texts:
        out.append(text_chunk(keyword, text))
    if attachments.xmp:
        out.append(text_chunk("XML:com.adobe.xmp", attachments.xmp.decode("utf-8", "replace")))
    return b"".join(out)


def text_chunk(keyword: str, text: str) -> bytes:
    """A text, deflated where it is long."""
    content = text.encode("utf-8")
    packed = len(content) > 1024
    head = keyword.encode("latin-1", "replace")[:79] + bytes((0, packed, 0, 0, 0))
    return chunk("iTXt", head + (zlib.compress(content, _LEVEL) if packed else content))


def _finer_density(content: bytes, factors: tuple[Fraction, Fraction]) -> bytes:
    """pHYs: pixels per unit."""
    if len(content) != 9:
        return content
    x, y, unit = struct.unpack(">IIB", content)
    x, y = (round(d * f) for d, f in zip((x, y), factors, strict=True))
    return struct.pack(">IIB", x, y, unit) if max(x, y) < 1 << 31 else content


def _finer_scale(content: bytes, factors: tuple[Fraction, Fraction]) -> bytes:
    """sCAL: units of the subject per pixel, as two texts."""
    try:
        x, y = (float(part) for part in content[1:].split(b"\0"))
        finer = (repr(v / float(f)).encode() for v, f in zip((x, y), factors, strict=True))
        return content[:1] + b"\0".join(finer)
    except ValueError:
        return content
