"""PNG: every chunk checked by its CRC before anything is believed, pixels decoded by Pillow (PNG, third edition)."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sciSR.errors import UnreadableError, UnsupportedError
from sciSR.files import check_regular_file
from scisr_astronomy.picture import Attachments, DecodedPixels, Page, Picture, check_size, decoding

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORD = "sciSR"
"""Of the text that holds our record."""

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
_MAX_KEPT = 64 << 20  # bytes of one chunk besides the pixels
_MAX_TEXT = 16 << 20  # bytes of a text when inflated
_CHUNK = 1 << 20
_DEFLATE_RATIO = 1032  # deflate can't shrink by more (zlib's technical details)


@dataclass(frozen=True)
class PngHeader:
    """IHDR."""

    columns: int
    rows: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def bytes(self) -> int:
        """Of the pixels, before they are compressed and without the filters' bytes."""
        samples = {_RGB: 3, _GREY_ALPHA: 2, _RGB_ALPHA: 4}.get(self.colour, 1)
        return self.rows * -(-self.columns * samples * self.depth // 8)


def open_png(path: Path, limit: int) -> Picture:
    """Check a PNG file and describe it; pixels are decoded when they are asked for.

    Raises
    ------
    SciSRError
    """
    size = check_regular_file(path)
    with open(path, "rb") as stream:
        header, chunks, compressed = _walk(stream, path, size)
    by_name: dict[str, list[bytes]] = {}
    for name, content in chunks:
        by_name.setdefault(name, []).append(content)
    colour = header.colour in (_RGB, _PALETTE, _RGB_ALPHA)
    clear = "tRNS" in by_name
    alpha = header.colour in (_GREY_ALPHA, _RGB_ALPHA) or clear
    wide = header.depth == 16
    channels = (3 if colour else 1) + alpha
    check_size(path, header.rows, header.columns, channels, 1 + wide, limit)
    if header.bytes > compressed * _DEFLATE_RATIO:  # Pillow would make room for them all the same
        raise UnreadableError(
            f"is damaged: {header.columns}x{header.rows} pixels can't be in {compressed} compressed bytes",
            where=path,
        )
    dtype = np.dtype(np.uint16 if wide else np.uint8)
    decode = partial(_decode, path, header, _key(header, by_name), channels)
    notes = []
    if header.colour == _PALETTE:
        notes.append("its palette is resolved: finer pixels have colours between those of the palette")
    if header.depth < 8 and header.colour == _GREY:
        notes.append(f"{header.depth}-bit grey is read as 8 bits")
    if clear and header.colour != _PALETTE:
        notes.append("its transparent colour becomes a channel of opacity")
    alarms = ("it is animated (APNG): only its still picture is read",) if "acTL" in by_name else ()
    page = Page(
        header.rows,
        header.columns,
        colour,
        "straight" if alpha else "",
        dtype,
        DecodedPixels(decode, (header.rows, header.columns, channels), dtype, path),
        65535 if wide else 255,
        attachments=_attachments(by_name),
        record=_record(by_name),
        native=tuple(chunks),
        notes=tuple(notes),
        warnings=alarms,
    )
    return Picture(path, "png", (page,))


def _walk(stream: BinaryIO, path: Path, size: int) -> tuple[PngHeader, list[tuple[str, bytes]], int]:
    """All chunks with their CRC checked; the contents of all but the pixels', and the compressed bytes of those."""
    if stream.read(8) != SIGNATURE:
        raise UnreadableError("is no PNG file", where=path)
    header: PngHeader | None = None
    chunks: list[tuple[str, bytes]] = []
    pixels = 0
    while True:
        head = stream.read(8)
        if len(head) < 8:
            raise UnreadableError("is cut off: its last chunk, IEND, is missing", where=path)
        length, kind = struct.unpack(">I4s", head)
        if not kind.isalpha() or not kind.isascii() or stream.tell() + length + 4 > size:
            raise UnreadableError(f"is damaged or cut off at byte {stream.tell() - 8}", where=path)
        name = kind.decode("ascii")
        if header is None and name != "IHDR":
            raise UnreadableError("is damaged: its first chunk is not IHDR", where=path)
        content = _checked(stream, kind, length, keep=name not in ("IDAT", "fdAT"), path=path)
        if name == "IHDR":
            header = _header(content, path)
        elif name == "IEND":
            break
        elif name == "IDAT":
            pixels += length
        elif name not in ("fdAT", "fcTL"):
            chunks.append((name, content))
    if not pixels:
        raise UnreadableError("holds no pixels", where=path)
    if header.colour == _PALETTE and "PLTE" not in dict(chunks):
        raise UnreadableError("is damaged: its palette is missing", where=path)
    return header, chunks, pixels


def _checked(stream: BinaryIO, kind: bytes, length: int, *, keep: bool, path: Path) -> bytes:
    if keep and length > _MAX_KEPT:
        raise UnreadableError(
            f"its chunk {kind.decode()} has {length} bytes", where=path, remedy="save it anew"
        )
    crc, kept, left = zlib.crc32(kind), [], length
    while left:
        part = stream.read(min(left, _CHUNK))
        if not part:
            raise UnreadableError("is cut off", where=path)
        crc, left = zlib.crc32(part, crc), left - len(part)
        if keep:
            kept.append(part)
    if stream.read(4) != struct.pack(">I", crc):
        raise UnreadableError(f"is damaged: the CRC of its chunk {kind.decode()} is wrong", where=path)
    return b"".join(kept)


def _header(content: bytes, path: Path) -> PngHeader:
    if len(content) != 13:
        raise UnreadableError("is damaged: its header has a wrong length", where=path)
    columns, rows, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", content)
    if not (0 < rows < 1 << 31 and 0 < columns < 1 << 31) or depth not in _DEPTHS.get(colour, ()):
        raise UnreadableError(
            f"its header is impossible: {columns}x{rows} pixels, {depth} bits, colour type {colour}",
            where=path,
        )
    if compression or filtering or interlace > 1:
        raise UnsupportedError("uses a compression that PNG does not define", where=path)
    return PngHeader(columns, rows, depth, colour, bool(interlace))


# -- pixels -----------------------------------------------------------------------------------------------------------


def _decode(path: Path, header: PngHeader, key: tuple[int, ...] | None, channels: int) -> np.ndarray:
    """All pixels, ``[rows, columns, channels]``."""
    with decoding(path):
        pixels = _decode_8(path, header, channels) if header.depth < 16 else _decode_16(path, header)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if key is None:
        return pixels
    clear = (pixels == np.array(key, pixels.dtype)).all(axis=-1)
    opaque = np.where(clear, 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    return np.concatenate([pixels, opaque[..., None]], axis=-1)


def _decode_8(path: Path, header: PngHeader, channels: int) -> np.ndarray:
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        if header.colour == _PALETTE:
            image = image.convert("RGBA" if channels == 4 else "RGB")
        elif image.mode == "1":
            image = image.convert("L")
        return np.asarray(image)


def _decode_16(path: Path, header: PngHeader) -> np.ndarray:
    """16 bits, of which Pillow keeps only the high byte where there are several channels.

    So it is asked twice, once with each byte of a pair taken for the high one.
    """
    from PIL import Image

    if header.colour == _GREY:
        with Image.open(path, formats=("PNG",)) as image:
            return np.asarray(image).astype(np.uint16)
    if header.colour == _GREY_ALPHA:  # four bytes a pixel, which is what RGBA has at 8 bits
        with Image.open(io.BytesIO(_as_rgba(path.read_bytes(), header)), formats=("PNG",)) as image:
            return np.ascontiguousarray(image).view(">u2").astype(np.uint16)
    mode = "RGB" if header.colour == _RGB else "RGBA"
    halves = []
    for order in ("B", "L"):
        with Image.open(path, formats=("PNG",)) as image:
            codec, extents, offset, _ = image.tile[0]
            image.tile = [(codec, extents, offset, f"{mode};16{order}")]
            halves.append(np.asarray(image).astype(np.uint16))
    return (halves[0] << 8) | halves[1]


def _as_rgba(content: bytes, header: PngHeader) -> bytes:
    """The same file with a header that says 8-bit RGBA, and without what would not fit that (tRNS, sBIT, bKGD)."""
    interlace = int(header.interlaced)
    out = [
        SIGNATURE,
        chunk("IHDR", struct.pack(">IIBBBBB", header.columns, header.rows, 8, _RGB_ALPHA, 0, 0, interlace)),
    ]
    at = 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if content[at + 4 : at + 8] in (b"IDAT", b"IEND"):
            out.append(content[at : at + 12 + length])
        at += 12 + length
    return b"".join(out)


def _key(header: PngHeader, by_name: dict[str, list[bytes]]) -> tuple[int, ...] | None:
    """The one colour that is transparent (tRNS of grey or RGB), in the decoded values."""
    if "tRNS" not in by_name or header.colour not in (_GREY, _RGB):
        return None
    content = by_name["tRNS"][0]
    count = 1 if header.colour == _GREY else 3
    if len(content) != 2 * count:
        return None
    values = struct.unpack(f">{count}H", content)
    scale = 255 // ((1 << header.depth) - 1) if header.depth < 8 else 1
    return tuple(value * scale for value in values)


# -- what else it holds -----------------------------------------------------------------------------------------------


def chunk(name: str, content: bytes) -> bytes:
    """A whole chunk: length, name, content, CRC."""
    kind = name.encode("ascii")
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
    )


def text_of(name: str, content: bytes) -> tuple[str, str] | None:
    """Keyword and text of a tEXt, zTXt or iTXt chunk; None where it is damaged or inflates beyond bounds."""
    keyword, _, rest = content.partition(b"\0")
    try:
        if name == "tEXt":
            return keyword.decode("latin-1"), rest.decode("latin-1")
        if name == "zTXt":
            return keyword.decode("latin-1"), inflate_text(rest[1:]).decode("latin-1")
        packed, _, rest = rest[0:1], b"", rest[2:]
        _, _, rest = rest.partition(b"\0")
        _, _, rest = rest.partition(b"\0")
        return keyword.decode("latin-1"), (inflate_text(rest) if packed == b"\1" else rest).decode("utf-8")
    except (zlib.error, ValueError):
        return None


def inflate_text(content: bytes) -> bytes:
    """Inflated bytes; ValueError where they are more than anyone writes."""
    inflater = zlib.decompressobj()
    out = inflater.decompress(content, _MAX_TEXT)
    if inflater.unconsumed_tail or not inflater.eof:
        raise ValueError("too long or cut off")
    return out


def _texts(by_name: dict[str, list[bytes]]) -> Iterator[tuple[str, str]]:
    for name in ("tEXt", "zTXt", "iTXt"):
        for content in by_name.get(name, ()):
            found = text_of(name, content)
            if found is not None:
                yield found


def _record(by_name: dict[str, list[bytes]]) -> str:
    return next((text for keyword, text in _texts(by_name) if keyword == KEYWORD), "")


def _attachments(by_name: dict[str, list[bytes]]) -> Attachments:
    icc, density, xmp, texts = b"", None, b"", []
    if "iCCP" in by_name:
        _, _, packed = by_name["iCCP"][0].partition(b"\0")
        with contextlib.suppress(zlib.error, ValueError):
            icc = inflate_text(packed[1:])
    if "pHYs" in by_name and len(by_name["pHYs"][0]) == 9:
        x, y, unit = struct.unpack(">IIB", by_name["pHYs"][0])
        density = (float(x), float(y)) if unit == 1 and x and y else None
    for keyword, text in _texts(by_name):
        if keyword == "XML:com.adobe.xmp":
            xmp = text.encode("utf-8")
        elif keyword != KEYWORD:
            texts.append((keyword, text))
    return Attachments(icc, by_name.get("eXIf", [b""])[0], xmp, density, tuple(texts))
