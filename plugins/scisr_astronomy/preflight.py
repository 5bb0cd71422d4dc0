"""Walks the blocks of a FITS file and holds what its headers declare against its size, before any library does.

A damaged or hostile file makes readers loop for ever, or ask for terabytes, because they believe the header.
Here each header unit is bounded, each step moves forward by at least one block, and each data unit must lie
inside the file. The structure follows the FITS standard 4.0, sections 3 and 4.4.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sciSR.errors import UnreadableError

BLOCK = 2880
CARD = 80
MAX_HEADER_BLOCKS = 4000  # 144,000 cards; the longest real headers hold a few thousand
MAX_HDUS = 10_000
MAX_NAXIS = 16
MAX_FIELDS = 999
MAX_TILE_PIXELS = 1 << 28  # one compressed tile is unpacked at once

_BITPIX = (8, 16, 32, 64, -32, -64)
_STRUCTURAL = re.compile(
    r"(BITPIX|Z?NAXIS\d*|PCOUNT|GCOUNT|GROUPS|TFIELDS|ZIMAGE|ZBITPIX|ZTILE\d+|EXTNAME|EXTVER)$"
)
_VALUE = re.compile(r"\s*(?:'((?:[^']|'')*)'|([^/]*))")

Value = int | bool | str


@dataclass(frozen=True)
class HduRecord:
    """Where one header and data unit lies in the file, and what it declares.

    Attributes
    ----------
    index : int
        0 for the primary.
    start, data_start, end : int
        Byte offsets of the header, the data, and the next unit (data padded to whole blocks).
    data_size : int
        Bytes of data without padding.
    kind : {"image", "compressed", "groups", "table", "other"}
    keys : mapping
        The structural keywords.
    """

    index: int
    start: int
    data_start: int
    data_size: int
    end: int
    kind: str
    keys: Mapping[str, Value]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image in NumPy's order (last FITS axis first); of the image inside, where compressed."""
        prefix = "Z" if self.kind == "compressed" else ""
        count = int(self.keys.get(f"{prefix}NAXIS", 0))
        return tuple(int(self.keys[f"{prefix}NAXIS{n}"]) for n in range(count, 0, -1))

    @property
    def bitpix(self) -> int:
        return int(self.keys["ZBITPIX" if self.kind == "compressed" else "BITPIX"])

    @property
    def name(self) -> str:
        """EXTNAME in upper case; empty where there is none."""
        name = str(self.keys.get("EXTNAME", "")).strip().upper()
        # fpack and older astropy name every compressed image so; it says nothing about the content.
        return "" if name == "COMPRESSED_IMAGE" else name

    @property
    def version(self) -> int:
        value = self.keys.get("EXTVER", 1)
        return value if isinstance(value, int) else 1


def walk(path: Path, where: Path) -> tuple[tuple[HduRecord, ...], str | None]:
    """The units of an uncompressed FITS file.

    Parameters
    ----------
    path : Path
        The plain file.
    where : Path
        The name to use in messages (the compressed file it came from).

    Returns
    -------
    records : tuple of HduRecord
    note : str or None
        A sentence about bytes after the last unit that are not FITS and will not be carried over.

    Raises
    ------
    UnreadableError
        The structure is broken: no END, a size that is not in the file, an invalid mandatory keyword.
    """
    records: list[HduRecord] = []
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = 0
        while start < size:
            if len(records) >= MAX_HDUS:
                raise UnreadableError(f"more than {MAX_HDUS} HDUs", where=where)
            if records and (note := _trailing(stream, start, size, where, len(records))) is not None:
                return tuple(records), note or None
            record = read_unit(stream, start, size, len(records), where)
            records.append(record)
            start = record.end
    if not records:
        raise UnreadableError("the file is empty (0 bytes)", where=where)
    return tuple(records), None


def _trailing(stream: BinaryIO, start: int, size: int, where: Path, count: int) -> str | None:
    """None where another extension begins at `start`; else a note on what is there ("" for mere padding)."""
    stream.seek(start)
    head = stream.read(BLOCK)
    if head.startswith(b"XTENSION="):
        return None
    rest = size - start
    if not head.strip(b"\0 "):
        return ""
    if re.match(rb"[A-Z0-9_-]{1,8} *= ", head[:CARD]) or head.startswith((b"SIMPLE", b"XTENSIO")):
        raise UnreadableError(
            f"HDU {count} begins with {head[:9].decode('latin-1')!r} instead of 'XTENSION='",
            where=where,
            remedy="the file is damaged: fetch it again",
        )
    return f"{rest} bytes after the last HDU are not FITS and are not carried over"


def read_unit(stream: BinaryIO, start: int, size: float, index: int, where: Path) -> HduRecord:
    """The unit that begins at `start`; `size` of the file in bytes, infinite where it is not known yet."""
    keys, data_start = _header(stream, start, index, where)
    place = f"{where}[{index}]"
    if index == 0 and "SIMPLE" not in keys:
        raise UnreadableError("does not begin with 'SIMPLE  =': not a FITS file", where=where)
    if keys.get("SIMPLE", True) is not True:
        raise UnreadableError(
            "SIMPLE is not T: the file says itself that it departs from the standard", where=where
        )
    kind = _kind(keys)
    data_size = _data_size(keys, kind, place)
    if data_start + data_size > size:
        raise UnreadableError(
            f"the header declares {data_size} bytes of data, the file holds {max(0, size - data_start)}",
            where=place,
            remedy="the file is truncated or damaged: fetch it again",
        )
    if kind in ("table", "compressed") and _count(keys, "TFIELDS", place, 0) > MAX_FIELDS:
        raise UnreadableError(f"TFIELDS is {keys['TFIELDS']}; FITS allows {MAX_FIELDS} columns", where=place)
    if kind == "compressed":
        _check_tiles(keys, place)
    end = data_start + -(-data_size // BLOCK) * BLOCK
    if data_start + data_size < size < end:
        # Some writers leave the last padding out altogether; one that breaks off is a broken copy.
        raise UnreadableError(
            "the file ends within its last block", where=place, remedy="it is truncated: fetch it again"
        )
    return HduRecord(index, start, data_start, data_size, end, kind, keys)


def _header(stream: BinaryIO, start: int, index: int, where: Path) -> tuple[dict[str, Value], int]:
    """Structural keywords of the header at `start`, and the offset behind it."""
    keys: dict[str, Value] = {}
    stream.seek(start)
    for number in range(MAX_HEADER_BLOCKS):
        block = stream.read(BLOCK)
        if len(block) < BLOCK and b"END" not in block:
            raise UnreadableError(
                "the header has no END card", where=f"{where}[{index}]", remedy="it is truncated"
            )
        for at in range(0, len(block), CARD):
            card = block[at : at + CARD]
            if card[:8].rstrip() == b"END" and not card[8:].strip(b" \0"):
                return keys, start + (number + 1) * BLOCK
            _structural(card, keys, number == 0 and at == 0, f"{where}[{index}]")
    raise UnreadableError(f"a header longer than {MAX_HEADER_BLOCKS} blocks", where=f"{where}[{index}]")


def _structural(card: bytes, keys: dict[str, Value], first: bool, place: str) -> None:
    if card[8:9] != b"=":
        return
    key = card[:8].decode("latin-1").rstrip(" ")
    # What kind of HDU it is stands first; astropy takes the last.
    kind = key in ("SIMPLE", "XTENSION") and (first or key in keys)
    if not (_STRUCTURAL.match(key) or kind):
        return
    value = _parse(card[10:].decode("latin-1"))
    if value is None:
        raise UnreadableError(f"{key} has no usable value: {card[8:40].decode('latin-1')!r}", where=place)
    if key in keys and keys[key] != value and key not in ("EXTNAME", "EXTVER"):
        raise UnreadableError(f"{key} stands twice, as {keys[key]} and {value}", where=place)
    keys.setdefault(key, value)


def _parse(text: str) -> Value | None:
    match = _VALUE.match(text)
    if match is None:
        return None
    if match[1] is not None:
        return match[1].replace("''", "'").rstrip()
    word = match[2].strip()
    if word in ("T", "F"):
        return word == "T"
    return int(word) if re.fullmatch(r"[+-]?\d{1,19}", word) else None


def _kind(keys: Mapping[str, Value]) -> str:
    extension = keys.get("XTENSION")
    if extension is None:
        return "groups" if keys.get("GROUPS") is True and keys.get("NAXIS1") == 0 else "image"
    if extension in ("IMAGE", "IUEIMAGE"):
        return "image"
    if extension in ("BINTABLE", "A3DTABLE"):
        return "compressed" if keys.get("ZIMAGE") is True else "table"
    return "table" if extension == "TABLE" else "other"


def _count(keys: Mapping[str, Value], key: str, place: str, default: int | None = None) -> int:
    value = keys.get(key, default)
    if value is None:
        raise UnreadableError(f"the mandatory keyword {key} is missing", where=place)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UnreadableError(f"{key} must be a whole number of 0 or more, not {value!r}", where=place)
    return value


def _axes(keys: Mapping[str, Value], prefix: str, place: str) -> list[int]:
    count = _count(keys, f"{prefix}NAXIS", place)
    if count > MAX_NAXIS:
        raise UnreadableError(
            f"{prefix}NAXIS is {count}; more than {MAX_NAXIS} axes are refused", where=place
        )
    return [_count(keys, f"{prefix}NAXIS{n}", place) for n in range(1, count + 1)]


def _data_size(keys: Mapping[str, Value], kind: str, place: str) -> int:
    """Bytes of data: equations 1 and 4 of the FITS standard (4.4.1), random groups included."""
    bitpix = keys.get("BITPIX")
    if bitpix not in _BITPIX or isinstance(bitpix, bool):
        raise UnreadableError(f"BITPIX is {bitpix!r}; it must be one of {_BITPIX}", where=place)
    axes = _axes(keys, "", place)
    if kind == "groups":
        axes = axes[1:]
    groups = _count(keys, "GCOUNT", place, 1)
    parameters = _count(keys, "PCOUNT", place, 0)
    if kind == "image" and (groups, parameters) != (1, 0):
        raise UnreadableError(
            f"an image with GCOUNT {groups} and PCOUNT {parameters}; 1 and 0 are due", where=place
        )
    pixels = math.prod(axes) if axes else 0
    return abs(int(bitpix)) // 8 * groups * (parameters + pixels)


def _check_tiles(keys: Mapping[str, Value], place: str) -> None:
    """A tile-compressed image must have one table row per tile, and tiles of a size that fits in memory."""
    axes = _axes(keys, "Z", place)
    if keys.get("ZBITPIX") not in _BITPIX:
        raise UnreadableError(f"ZBITPIX is {keys.get('ZBITPIX')!r}; it must be one of {_BITPIX}", where=place)
    tile = [_count(keys, f"ZTILE{n + 1}", place, size if n == 0 else 1) for n, size in enumerate(axes)]
    if not axes or 0 in axes:
        return
    if 0 in tile or math.prod(min(t, n) for t, n in zip(tile, axes, strict=True)) > MAX_TILE_PIXELS:
        raise UnreadableError(f"compressed tiles of {_times(tile)} pixels are refused", where=place)
    tiles = math.prod(-(-n // t) for n, t in zip(axes, tile, strict=True))
    rows = _count(keys, "NAXIS2", place)
    if rows != tiles:
        raise UnreadableError(
            f"an image of {_times(axes)} pixels in tiles of {_times(tile)} needs {tiles} rows, the table has {rows}",
            where=place,
        )


def _times(sizes: Sequence[int]) -> str:
    return "x".join(str(n) for n in sizes)
