"""SER files (Lucam recorder format): header, time stamps, and the frames as they lie in the file.

The format: H. Wilkens, G. Hahn, "SER format description version 3" (2014). 178 bytes of header in little-endian
order, the frames one after another without padding, then optionally one time stamp per frame: ticks of 100 ns
since 0001-01-01, UTC.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import numpy as np

from sciSR.errors import UnreadableError, UnsupportedError
from sciSR.files import check_regular_file

MAGIC = b"LUCAM-RECORDER"
HEADER_SIZE = 178
_LAYOUT = struct.Struct("<14s7i40s40s40s2q")

MONO, RGB, BGR = 0, 100, 101
BAYER = {8: "RGGB", 9: "GRBG", 10: "GBRG", 11: "BGGR"}
"""Colours of a cell of 2x2 pixels, row by row from the upper left, by ColorID."""
_COMPLEMENTARY = {16: "CYYM", 17: "YCMY", 18: "YMCY", 19: "MYYC"}
COLOURS = {MONO: "mono", RGB: "RGB", BGR: "BGR"} | {
    k: f"Bayer {v}" for k, v in (BAYER | _COMPLEMENTARY).items()
}

_TICKS_A_SECOND = 10_000_000
_LAST_TICK = 3_155_378_975_999_999_999  # of the year 9999
# .NET writes what clock a time is of into the two highest bits; some programs store them.
_CLOCK_BITS = 0x3FFF_FFFF_FFFF_FFFF
_FROM_1601 = 504_911_232_000_000_000
"""Ticks from 0001 to 1601, where Windows' file times begin: some programs write those."""


@dataclass(frozen=True)
class SerHeader:
    """The fields of the header, as stored.

    Attributes
    ----------
    lu_id : int
    color_id : int
        See `COLOURS`.
    little_endian : int
        The flag; see :mod:`scisr_astronomy.ser_order` for what it means.
    width, height : int
    depth : int
        Bits per pixel and plane, 1 to 16; above 8 a pixel takes two bytes.
    frames : int
    observer, instrument, telescope : bytes
        40 each.
    local_time, utc : int
        Ticks of the start.
    """

    lu_id: int
    color_id: int
    little_endian: int
    width: int
    height: int
    depth: int
    frames: int
    observer: bytes = bytes(40)
    instrument: bytes = bytes(40)
    telescope: bytes = bytes(40)
    local_time: int = 0
    utc: int = 0

    @classmethod
    def unpack(cls, content: bytes) -> Self:
        """From the first 178 bytes of a file."""
        return cls(*_LAYOUT.unpack(content)[1:])

    def pack(self) -> bytes:
        """The 178 bytes."""
        numbers = (
            self.lu_id,
            self.color_id,
            self.little_endian,
            self.width,
            self.height,
            self.depth,
            self.frames,
        )
        texts = (self.observer, self.instrument, self.telescope)
        return _LAYOUT.pack(MAGIC, *numbers, *texts, self.local_time, self.utc)

    @property
    def planes(self) -> int:
        return 3 if self.color_id in (RGB, BGR) else 1

    @property
    def sample_bytes(self) -> int:
        return 1 if self.depth <= 8 else 2

    @property
    def frame_bytes(self) -> int:
        return self.width * self.height * self.planes * self.sample_bytes

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Of a frame in the file: rows, columns and, for RGB and BGR, planes."""
        shape = (self.height, self.width)
        return shape if self.planes == 1 else (*shape, self.planes)


def text_of(field: bytes) -> str:
    """A text field without its padding."""
    return field.split(b"\0")[0].decode("latin-1").strip()


def is_ser(path: Path) -> bool:
    """Whether a file begins as SER files do. Never raises."""
    try:
        with open(path, "rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


@dataclass(frozen=True, eq=False)  # holds an array
class SerFile:
    """What header and size of a file say, checked against each other.

    Attributes
    ----------
    path : Path
    header : SerHeader
        With the number of frames that are really there.
    ticks : ndarray of int64 or None
        One per frame as stored, 0 where missing; None without a trailer.
    notes : tuple of str
    lost : tuple of str
        What the header promises and the file does not hold.
    """

    path: Path
    header: SerHeader
    ticks: np.ndarray | None
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def open_ser(path: Path) -> SerFile:
    """Read and check header and trailer.

    Raises
    ------
    SciSRError
        Not SER, impossible numbers, an unsupported colour, or not one whole frame.
    """
    size = check_regular_file(path)
    with open(path, "rb") as stream:
        content = stream.read(HEADER_SIZE)
    if not content.startswith(MAGIC):
        raise UnreadableError("is no SER file: it does not begin with LUCAM-RECORDER", where=path)
    if len(content) < HEADER_SIZE:
        raise UnreadableError(f"ends after {len(content)} of the header's {HEADER_SIZE} bytes", where=path)
    header = SerHeader.unpack(content)
    _check(header, path)
    room = (size - HEADER_SIZE) // header.frame_bytes
    if room == 0:
        raise UnreadableError(
            f"holds {size - HEADER_SIZE} bytes of pixels, one frame of {header.width}x{header.height} needs "
            f"{header.frame_bytes}",
            where=path,
        )
    lost: tuple[str, ...] = ()
    if header.frames == 0:
        lost = (
            f"the header counts no frames (the recording was not closed): the {room} whole ones are read",
        )
    elif room < header.frames:
        lost = (f"truncated: {room} of {header.frames} frames are whole and read",)
    count = room if lost else header.frames
    ticks, more, notes = _trailer(path, header, count, size)
    return SerFile(path, replace(header, frames=count), ticks, notes, lost + more)


def _check(header: SerHeader, path: Path) -> None:
    if header.color_id in _COMPLEMENTARY:
        raise UnsupportedError(
            f"holds a {COLOURS[header.color_id]} mosaic of complementary colours",
            where=path,
            remedy="convert it to RGB first; RGGB, GRBG, GBRG and BGGR are read",
        )
    if header.color_id not in COLOURS:
        raise UnreadableError(f"ColorID {header.color_id} is none of {sorted(COLOURS)}", where=path)
    if header.width <= 0 or header.height <= 0:
        raise UnreadableError(f"frames of {header.width}x{header.height} pixels can't be", where=path)
    if header.color_id in BAYER and min(header.width, header.height) < 2:
        raise UnreadableError(f"{header.width}x{header.height} pixels hold no Bayer cell of 2x2", where=path)
    if not 1 <= header.depth <= 16:
        raise UnreadableError(f"a pixel depth of {header.depth} bits is not between 1 and 16", where=path)
    if header.frames < 0:
        raise UnreadableError(f"a count of {header.frames} frames can't be", where=path)
    if HEADER_SIZE + header.frames * header.frame_bytes >= 1 << 63:
        raise UnreadableError(
            f"{header.frames} frames of {header.width}x{header.height} pixels are more than any file can hold",
            where=path,
        )


def _trailer(
    path: Path, header: SerHeader, count: int, size: int
) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    """Time stamps, what is lost of them, and notes."""
    if header.frames == 0 or count < header.frames:
        return None, (), ()  # the file ends before them
    start = HEADER_SIZE + count * header.frame_bytes
    there = min((size - start) // 8, count)
    if there == 0:
        lost = ("the time stamps that the header announces are missing",) if header.utc > 0 else ()
        return None, lost, ()
    ticks = np.zeros(count, dtype=np.int64)
    with open(path, "rb") as stream:
        stream.seek(start)
        stored = np.frombuffer(stream.read(8 * there), "<i8")
    ticks[: len(stored)] = stored
    lost = (f"truncated: {there} of {count} time stamps are there",) if there < count else ()
    notes = []
    if size > start + 8 * count:
        notes.append(f"{size - start - 8 * count} bytes after the time stamps are ignored")
    if np.any(ticks) and _counted_from_1601(ticks):
        notes.append("time stamps count from 1601, as Windows' file times do, not from 0001")
    return ticks, lost, tuple(notes)


def _counted_from_1601(ticks: np.ndarray) -> bool:
    known = ticks[ticks != 0] & _CLOCK_BITS
    # 1990 to 2100 as counted from 1601 would be the years 390 to 500.
    return bool(known.min() > 389 * 3.15e14 and known.max() < 501 * 3.16e14)


def iso_times(ticks: np.ndarray | None, frames: int) -> list[str | None]:
    """ISO 8601 in UTC with all seven digits of the second; None where there is no (possible) time."""
    if ticks is None or not np.any(ticks):
        return [None] * frames
    offset = _FROM_1601 if _counted_from_1601(ticks) else 0
    return [None if tick == 0 else iso_time(int(tick), offset) for tick in ticks]


def iso_time(tick: int, offset: int = 0) -> str | None:
    """One time stamp, e.g. ``"2014-02-06T12:00:00.1234567"``; None if it is none."""
    tick = (tick & _CLOCK_BITS) + offset
    if not 0 < tick <= _LAST_TICK:
        return None
    seconds, rest = divmod(tick, _TICKS_A_SECOND)
    moment = datetime(1, 1, 1) + timedelta(seconds=seconds)
    return f"{moment.isoformat(timespec='seconds')}.{rest:07d}"
