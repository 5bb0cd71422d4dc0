"""The pixels of a TIFF page, strip by strip or tile by tile, each inflated to exactly the size that it must have."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import UnreadableError
from sciSR.views import full_index
from scisr_astronomy.picture import pillow_unbound

CODECS = {1: "none", 5: "lzw", 8: "deflate", 32773: "packbits", 32946: "deflate"}
"""Compressions that are read, by TIFF's number."""

_KEPT_BYTES = 64 << 20  # of decoded segments, since neighbouring regions need the same ones


@dataclass(frozen=True)
class Layout:
    """How a page's pixels are stored.

    Attributes
    ----------
    rows, columns, samples : int
    dtype : dtype
        In the file's byte order.
    segment : (rows, columns)
        Of a strip or tile.
    separate : bool
        Each channel in segments of its own.
    compression, predictor : int
        TIFF's numbers.
    padded : bool
        Segments at the border are as large as all others (tiles).
    """

    rows: int
    columns: int
    samples: int
    dtype: np.dtype
    segment: tuple[int, int]
    separate: bool
    compression: int
    predictor: int
    padded: bool

    @property
    def down(self) -> int:
        return -(-self.rows // self.segment[0])

    @property
    def across(self) -> int:
        return -(-self.columns // self.segment[1])

    @property
    def count(self) -> int:
        """Segments of the page."""
        return self.down * self.across * (self.samples if self.separate else 1)

    def shape(self, row: int) -> tuple[int, int, int]:
        """Rows, columns and channels that a segment in that row of segments holds."""
        height = self.segment[0]
        if not self.padded:
            height = min(height, self.rows - row * height)
        return height, self.segment[1], 1 if self.separate else self.samples


class SegmentedPixels:
    """A lazy array ``[rows, columns, samples]``, native byte order; no file stays open."""

    def __init__(
        self, path: Path, layout: Layout, offsets: tuple[int, ...], lengths: tuple[int, ...], where: str
    ) -> None:
        self.path, self.layout, self.where = path, layout, where
        self.offsets, self.lengths = offsets, lengths
        self.shape = (layout.rows, layout.columns, layout.samples)
        self.dtype = layout.dtype.newbyteorder("=")
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._kept, self._kept_bytes, self._lock = OrderedDict(), 0, threading.Lock()

    def __getitem__(self, index: Any) -> np.ndarray:
        entries = full_index(index, 3)
        (r0, r1), (c0, c1), (s0, s1) = (_bounds(e, n) for e, n in zip(entries, self.shape, strict=True))
        out = np.empty((max(0, r1 - r0), max(0, c1 - c0), max(0, s1 - s0)), self.dtype)
        if out.size:
            with self._lock, open(self.path, "rb") as stream:
                self._fill(out, (r0, r1), (c0, c1), (s0, s1), stream)
        return out[tuple(slice(None) if isinstance(entry, slice) else 0 for entry in entries)]

    def _fill(
        self,
        out: np.ndarray,
        rows: tuple[int, int],
        columns: tuple[int, int],
        samples: tuple[int, int],
        stream: Any,
    ) -> None:
        layout = self.layout
        height, width = layout.segment
        for down in range(rows[0] // height, -(-rows[1] // height)):
            for across in range(columns[0] // width, -(-columns[1] // width)):
                top, left = down * height, across * width
                a, b = max(rows[0], top), min(rows[1], top + height)
                c, d = max(columns[0], left), min(columns[1], left + width)
                target = out[a - rows[0] : b - rows[0], c - columns[0] : d - columns[0]]
                inside = (slice(a - top, b - top), slice(c - left, d - left))
                if layout.separate:
                    for channel in range(*samples):
                        number = (channel * layout.down + down) * layout.across + across
                        target[..., channel - samples[0]] = self._segment(number, down, stream)[(*inside, 0)]
                else:
                    block = self._segment(down * layout.across + across, down, stream)
                    target[:] = block[(*inside, slice(*samples))]

    def _segment(self, number: int, down: int, stream: Any) -> np.ndarray:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        stream.seek(self.offsets[number])
        content = stream.read(self.lengths[number])
        shape = self.layout.shape(down)
        try:
            block = decode_segment(content, shape, self.layout)
        except (ValueError, zlib.error, OSError, SyntaxError) as error:
            raise UnreadableError(
                f"is damaged in strip or tile {number}: {error}"[:300], where=self.where
            ) from error
        self._kept[number] = block
        self._kept_bytes += block.nbytes
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return block


def _bounds(entry: Any, size: int) -> tuple[int, int]:
    if isinstance(entry, slice):
        start, stop, step = entry.indices(size)
        if step != 1:
            raise ValueError("slices of step 1 only")
        return start, stop
    at = range(size)[int(entry)]
    return at, at + 1


def decode_segment(content: bytes, shape: tuple[int, int, int], layout: Layout) -> np.ndarray:
    """One strip or tile, ``[rows, columns, channels]``, native byte order.

    Raises
    ------
    ValueError, zlib.error
        It does not give the bytes that it must.
    """
    rows, columns, channels = shape
    row_bytes = columns * channels * layout.dtype.itemsize
    wanted = rows * row_bytes
    codec = CODECS[layout.compression]
    if codec == "none":
        plain = content[:wanted]
    elif codec == "deflate":
        inflater = zlib.decompressobj()
        plain = inflater.decompress(content, wanted)
    else:
        plain = _by_libtiff(content, rows, row_bytes, layout.compression)
    if len(plain) < wanted:
        raise ValueError(f"{len(plain)} bytes of pixels, {wanted} are needed")
    if layout.predictor == 3:
        return _float_differences(plain, shape, layout.dtype)
    block = np.frombuffer(plain, layout.dtype).reshape(shape).astype(layout.dtype.newbyteorder("="))
    if layout.predictor == 2:
        whole = block.view(f"u{block.dtype.itemsize}")  # sums that wrap around
        block = np.cumsum(whole, axis=1, dtype=whole.dtype).view(block.dtype)
    elif layout.predictor != 1:
        raise ValueError(f"unknown predictor {layout.predictor}")
    return block


def _float_differences(plain: bytes, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
    """Floating point whose bytes were sorted by significance and differenced (Adobe's TIFF Technical Note 3)."""
    rows, columns, channels = shape
    size = dtype.itemsize
    steps = np.frombuffer(plain, np.uint8).reshape(rows, columns * size, channels)
    sorted_bytes = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(rows, size, columns * channels)
    joined = np.ascontiguousarray(np.moveaxis(sorted_bytes, 1, 2))  # the most significant byte first
    values = joined.view(f">f{size}").reshape(shape)
    return values.astype(f"=f{size}")


def _by_libtiff(content: bytes, rows: int, row_bytes: int, compression: int) -> bytes:
    """LZW or PackBits through Pillow's libtiff: the bytes dressed as an 8-bit grey picture of one strip."""
    from PIL import Image

    tags = (
        (256, 4, row_bytes), (257, 4, rows), (258, 3, 8), (259, 3, compression), (262, 3, 1), (273, 4, 0),
        (277, 3, 1), (278, 4, rows), (279, 4, len(content)),
    )  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    head = [b"II*\0\x08\0\0\0", struct.pack("<H", len(tags))]
    for code, kind, value in tags:
        value = start if code == 273 else value
        rest = struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
        head.append(struct.pack("<HHI", code, kind, 1) + rest)
    dressed = b"".join([*head, bytes(4), content])

    with pillow_unbound(), Image.open(io.BytesIO(dressed), formats=("TIFF",)) as image:
        return image.tobytes()
