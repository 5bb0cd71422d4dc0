"""Opening DICOM files with suspicion: nothing declared is believed before it is held against the file's size.

pydicom inflates a deflated file of 1 MB to gigabytes, reserves declared lengths before it reads them, recurses
into nested sequences without end, and reads a truncated file in silence. So the file meta information is walked
here by hand, deflate and gzip are inflated under a bound, and the pixel data's length is checked against what the
header promises.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sciSR.errors import ResourceError, SciSRError, UnreadableError
from sciSR.files import check_regular_file

INFLATED_LIMIT = 1 << 29
"""Bytes that one gzipped or deflated file may grow to. A classic single-frame MR or CT file has well under 100 MB,
an enhanced one of 1000 frames of 512x512 just as much as this."""

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
_UNDEFINED = 0xFFFFFFFF
_LONG_VR = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_CHUNK = 1 << 20
_SPOOLED = 1 << 25
"""Bytes of an inflated file that are held in memory; what is larger goes into a temporary file without a name."""
_PIXEL_TAGS = {
    (0x7FE0, 0x0010): "PixelData",
    (0x7FE0, 0x0008): "FloatPixelData",
    (0x7FE0, 0x0009): "DoubleFloatPixelData",
}


@contextlib.contextmanager
def translate(
    where: Path | str, doing: str = "can't be read as DICOM", *, quote: bool = True, remedy: str | None = None
) -> Iterator[None]:
    """Turn whatever pydicom and the codecs raise into one line that names the file.

    Parameters
    ----------
    where : path
    doing : str
        What can't be done.
    quote : bool
        Quote the library's message. Not where the whole header is handled: it may hold a patient's name.
    remedy : str, optional
    """
    try:
        with warnings.catch_warnings():
            # pydicom warns about every odd value; what matters is checked by name in dicom_series.
            warnings.filterwarnings("ignore", module=r"pydicom|highdicom")
            yield
    except SciSRError:
        raise
    except MemoryError as error:
        raise ResourceError("out of memory", where=where) from error
    except RecursionError as error:
        raise UnreadableError("sequences are nested too deeply", where=where) from error
    except BaseException as error:  # pydicom raises some twenty kinds, see the module's docstring
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # Ctrl-C; but the panic of a codec written in Rust is only a damaged file
        tags = re.findall(r"\([0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\)", str(error))
        message = f": {error}"[:200] if quote else f" {tags[0]}" if tags else ""
        raise UnreadableError(
            f"{doing} ({type(error).__name__}{message})", where=where, remedy=remedy
        ) from error


class BoundedFile(io.BufferedReader):
    """A file whose ``read(n)`` never reserves more than the file still holds."""

    def __init__(self, file: Path | int) -> None:
        super().__init__(io.FileIO(file))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return super().read()
        return super().read(max(0, min(size, self._size - self.tell())))


def looks_like_dicom(path: Path) -> bool:
    """Whether a file starts like DICOM, with or without the preamble; gzipped ones too. Reads 4 kB; never raises."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(4096)
    except OSError:
        return False
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(31).decompress(head, 1024)
        except zlib.error:
            return False
    return head[128:132] == b"DICM" or _starts_like_dataset(head)


def _starts_like_dataset(head: bytes) -> bool:
    """An old file without preamble: the first element is of group 2 or 8, with a short and plausible length."""
    if len(head) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack(order + "HH", head[:4])
        if group not in (0x0002, 0x0008) or element > 0x0100:
            continue
        if head[4:6].isalpha() and head[4:6].isupper():
            return head[4:6] in {b"UL", b"CS", b"UI", b"DA", b"TM", b"LO", b"SH", b"OB"}
        (length,) = struct.unpack(order + "I", head[4:8])
        return length <= 64 and length % 2 == 0
    return False


def open_dicom(path: Path) -> BinaryIO:
    """A seekable stream of the file as pydicom should see it: gunzipped, inflated, bounded.

    Raises
    ------
    UnreadableError
        Missing, empty, damaged, or growing beyond :data:`INFLATED_LIMIT`.
    """
    path = Path(path)
    check_regular_file(path)
    try:
        with open(path, "rb") as packed:
            if packed.read(2) == b"\x1f\x8b":
                packed.seek(0)
                stream = _inflate(zlib.decompressobj(31), packed, b"", path, "gzip")
            else:
                stream = BoundedFile(path)
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=path) from error
    try:
        syntax, syntax_at, body_at = read_meta(stream)
        stream.seek(0)
        if syntax != DEFLATED_LITTLE:
            return stream
        with stream:
            head = bytearray(stream.read(body_at))
            # The two UIDs pad to the same length, so the meta information's group length stays right.
            head[syntax_at : syntax_at + len(DEFLATED_LITTLE)] = EXPLICIT_LITTLE.encode().ljust(
                len(DEFLATED_LITTLE), b"\0"
            )
            return _inflate(zlib.decompressobj(-zlib.MAX_WBITS), stream, bytes(head), path, "deflated")
    except BaseException:
        stream.close()
        raise


def _inflate(engine: Any, packed: BinaryIO, head: bytes, path: Path, kind: str) -> BinaryIO:
    """The inflated rest of a stream after `head`, chunk by chunk, so that memory stays bounded."""
    try:
        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED) as out:
            size = out.write(head)
            while not engine.eof:
                chunk = engine.unconsumed_tail or packed.read(_CHUNK)
                inflated = engine.decompress(chunk, _CHUNK)
                if not chunk and not inflated:  # for gzip the end also means that CRC and length were checked
                    raise UnreadableError(f"damaged {kind} data: it ends too early", where=path)
                size += out.write(inflated)
                if size > INFLATED_LIMIT:
                    raise UnreadableError(
                        f"grows beyond {INFLATED_LIMIT / 1e6:.0f} MB when decompressed",
                        where=path,
                        remedy="decompress it yourself if you trust it",
                    )
            out.seek(0)
            if size <= _SPOOLED:
                return io.BytesIO(out.read())
            out.rollover()
            return BoundedFile(os.dup(out.fileno()))
    except zlib.error as error:
        raise UnreadableError(f"damaged {kind} data: {error}", where=path) from error


def read_meta(stream: BinaryIO) -> tuple[str, int, int]:
    """Walk the file meta information (group 2, always explicit little endian).

    Returns
    -------
    syntax : str
        TransferSyntaxUID; empty where there is none.
    syntax_at : int
        Offset of its value.
    body_at : int
        Offset of the first element after group 2.
    """
    stream.seek(0)
    start = 132 if stream.read(132)[128:] == b"DICM" else 0
    stream.seek(start)
    syntax, syntax_at, at = "", 0, start
    while len(head := stream.read(8)) == 8:
        group, element = struct.unpack("<HH", head[:4])
        if group != 0x0002:
            break
        value_at = at + 8
        if head[4:6] in _LONG_VR:
            long = stream.read(4)
            if len(long) < 4:
                break
            (length,) = struct.unpack("<I", long)
            value_at += 4
        else:
            (length,) = struct.unpack("<H", head[6:8])
        if length == _UNDEFINED:
            break
        if element == 0x0010:
            syntax = stream.read(min(length, 64)).decode("ascii", "replace").rstrip("\0 ")
            syntax_at = value_at
        at = value_at + length
        stream.seek(at)
    return syntax, syntax_at, at


def read_header(path: Path, tags: list[str] | None = None) -> tuple[Any, dict[str, Any]]:
    """The dataset up to the pixel data, and where the pixel data lie.

    Parameters
    ----------
    path : Path
    tags : list of str, optional
        Only these keywords are kept.

    Returns
    -------
    dataset : pydicom.FileDataset
    pixels : dict
        ``keyword`` (None where there are no pixel data), ``length`` (None where undefined, i.e. encapsulated),
        ``available``, the bytes that the file still holds after the element's header, ``complete``, whether
        encapsulated data reach their end, ``fragments``, how many there are after the offset table, ``offset`` of the
        element's value, ``big_endian``, and ``words``, whether it is written as OW.
    """
    import pydicom

    with translate(path), open_dicom(path) as stream:
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=tags, force=True)
        return dataset, _locate_pixels(stream, big_endian=dataset.original_encoding[1] is False)


def _locate_pixels(stream: BinaryIO, *, big_endian: bool) -> dict[str, Any]:
    """Where the pixel data begin, and how much of them there is."""
    at = stream.tell()
    head = stream.read(12)
    order = ">" if big_endian else "<"
    if len(head) < 8 or (tag := struct.unpack(order + "HH", head[:4])) not in _PIXEL_TAGS:
        return {"keyword": None, "length": None, "available": 0, "complete": True, "fragments": 0}
    if head[4:6].isalpha() and head[4:6].isupper() and len(head) == 12:
        header, (length,) = 12, struct.unpack(order + "I", head[8:12])
    else:
        header, (length,) = 8, struct.unpack(order + "I", head[4:8])
    end = stream.seek(0, io.SEEK_END)
    fragments, complete = 0, True
    if length == _UNDEFINED:
        for _, size in walk_fragments(stream, at + header, end):
            fragments, complete = fragments + 1, size >= 0
    return {
        "keyword": _PIXEL_TAGS[tag],
        "length": None if length == _UNDEFINED else length,
        "available": end - at - header,
        "complete": complete,
        "fragments": max(fragments - 2, 0),  # less the offset table and the delimiter
        "offset": at + header,
        "big_endian": big_endian,
        "words": head[4:6] == b"OW",
    }


def walk_fragments(stream: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each item of encapsulated pixel data (PS3.5 A.4), the offset table first.

    Last comes the delimiter with length 0; or, where the file ends before it or is damaged, a length of -1. The
    decoders of some codecs make up what is missing at the end of a truncated file.
    """
    while at + 8 <= end:
        stream.seek(at)
        group, element, length = struct.unpack("<HHI", stream.read(8))
        if (group, element) == (0xFFFE, 0xE0DD):
            yield at + 8, 0
            return
        if (group, element) != (0xFFFE, 0xE000) or length == _UNDEFINED:
            break
        yield at + 8, length
        at += 8 + length
    yield at, -1


@dataclass(frozen=True)
class PixelLayout:
    """Where the pixels of a multi-frame file lie, as :func:`read_header` found them.

    Attributes
    ----------
    offset : int
        Of the first byte, or of the first item where encapsulated, in what :func:`open_dicom` gives.
    encapsulated, big_endian : bool
    words : bool
        Written as OW.
    frames : int
    table : bytes or None
        ExtendedOffsetTable.
    """

    offset: int
    encapsulated: bool
    big_endian: bool
    words: bool
    frames: int
    table: bytes | None = None
