"""Small pictures of every kind, made by hand or by other libraries than those that are tested."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Adam7: first row, first column, step of rows, step of columns."""


def scene(rows: int = 41, columns: int = 37, channels: int = 3, top: int = 255) -> np.ndarray:
    """A smooth colourful field with noise and saturated stars, ``[rows, columns, channels]``; 8 or 16 bits by `top`."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:rows, :columns]
    base = 0.4 + 0.3 * np.sin(x / 5) * np.cos(y / 7)
    stars = sum(
        np.exp(-((y - a) ** 2 + (x - b) ** 2) / 1.5) for a, b in rng.uniform(0, min(rows, columns), (6, 2))
    )
    planes = [base * tint + 1.5 * stars for tint in np.linspace(1.0, 0.4, channels)]
    light = np.stack(planes, axis=-1) + rng.normal(0, 0.01, (rows, columns, channels))
    return np.clip(np.rint(light * top), 0, top).astype(np.uint8 if top == 255 else np.uint16)


def opacity(rows: int = 41, columns: int = 37, top: int = 255) -> np.ndarray:
    """Opaque, but for a clear corner and a half-clear square."""
    alpha = np.full((rows, columns, 1), top)
    alpha[:5, :6], alpha[10:20, 10:20] = 0, top // 2
    return alpha.astype(np.uint8 if top == 255 else np.uint16)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_bytes(
    pixels: np.ndarray,
    colour_type: int,
    *,
    interlaced: bool = False,
    paeth: bool = False,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG by the book, ``pixels [rows, columns, channels]``; rows without a filter, or all with Paeth's."""
    rows, columns, channels = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    step = channels * pixels.dtype.itemsize
    parts = [pixels[a::c, b::d] for a, b, c, d in PASSES] if interlaced else [pixels]
    raw = b"".join(_rows(part, step, paeth=paeth) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", columns, rows, depth, colour_type, 0, 0, interlaced)
    body = png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", zlib.compress(raw)) + after
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def _rows(part: np.ndarray, step: int, *, paeth: bool) -> bytes:
    lines = np.frombuffer(np.ascontiguousarray(part, part.dtype.newbyteorder(">")).tobytes(), np.uint8)
    lines = lines.reshape(part.shape[0], -1).astype(int)
    if not paeth:
        return b"".join(b"\0" + line.astype(np.uint8).tobytes() for line in lines)
    out, above = [], np.zeros_like(lines[0])
    for line in lines:
        left, corner = (np.concatenate([np.zeros(step, int), a[:-step]]) for a in (line, above))
        guess = left + above - corner
        far = [np.abs(guess - each) for each in (left, above, corner)]
        best = np.where(
            (far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner)
        )
        out.append(b"\4" + ((line - best) % 256).astype(np.uint8).tobytes())
        above = line
    return b"".join(out)


def read_png_16(path: Path) -> np.ndarray:
    """The pixels of a 16-bit PNG, undoing the filters one byte after the other: slow, and nobody else's code."""
    content, at, packed = path.read_bytes(), 8, b""
    columns, rows, colour_type = 0, 0, 0
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        if name == b"IHDR":
            columns, rows, _, colour_type = struct.unpack(">IIBB", body[:10])
        packed += body if name == b"IDAT" else b""
        at += 12 + length
    step = 2 * {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    raw, width, out = zlib.decompress(packed), columns * step, []
    above = bytearray(width)
    for row in range(rows):
        start = row * (width + 1)
        kind, line = raw[start], bytearray(raw[start + 1 : start + 1 + width])
        for i in range(width):
            a, b, c = (line[i - step] if i >= step else 0), above[i], (above[i - step] if i >= step else 0)
            p = a + b - c
            pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
            paeth = a if pa <= pb and pa <= pc else b if pb <= pc else c
            line[i] = (line[i] + (0, a, b, (a + b) // 2, paeth)[kind]) % 256
        out.append(bytes(line))
        above = line
    return np.frombuffer(b"".join(out), ">u2").reshape(rows, columns, -1).astype(np.uint16)


def exif_bytes(columns: int, rows: int, order: str = "<") -> bytes:
    """Exif with XResolution 72/1 in its first directory and the pixels' dimensions in the second."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    first = struct.pack(f"{order}H", 2)
    first += struct.pack(f"{order}HHII", 0x011A, 5, 1, 38) + struct.pack(f"{order}HHII", 0x8769, 4, 1, 46)
    first += struct.pack(f"{order}I", 0) + struct.pack(f"{order}II", 72, 1)
    second = struct.pack(f"{order}H", 2)
    second += struct.pack(f"{order}HHIHH", 0xA002, 3, 1, columns, 0)
    second += struct.pack(f"{order}HHII", 0xA003, 4, 1, rows) + struct.pack(f"{order}I", 0)
    return head + first + second
