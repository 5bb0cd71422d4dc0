"""What headers say, as texts by keyword: for the filters, groups and names of pipelines. No pixel is read.

Of a FITS file the primary header and that of the first image count, the latter first. A compressed file is inflated
only as far as these, block by block, so neither a damaged stream nor a bomb holds a search over thousands of files up.
"""

from __future__ import annotations

import bz2
import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from sciSR.errors import UnreadableError
from sciSR.files import check_regular_file

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
_INFLATED = 1 << 26
"""Bytes of a compressed file that are inflated in search of the first image's header."""
_LOOKED_AT = 100
"""HDUs among which the first image is looked for."""


def fits_facts(path: Path) -> dict[str, str]:
    """Keywords of the primary header and of the first image's.

    Returns
    -------
    dict of str to str
        ``HIERARCH`` left out of a keyword; a logical value as ``T`` or ``F``, a number as short as it can be said, a
        text without the spaces around it. Keywords without value, COMMENT and HISTORY are left out.

    Raises
    ------
    UnreadableError
        No FITS file, or damaged within these headers.
    """
    check_regular_file(path)
    with open(path, "rb") as stream:
        head = stream.read(3)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    try:
        if opener is None:
            with open(path, "rb") as plain:
                return _facts(plain, os.fstat(plain.fileno()).st_size, math.inf, path)
        with opener(path, "rb") as inflated:
            return _facts(inflated, math.inf, _INFLATED, path)  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise UnreadableError(f"damaged compressed data: {error}", where=path) from error
    except OSError as error:
        if error.errno is None:  # bz2 reports bad data as a bare OSError
            raise UnreadableError(f"damaged compressed data: {error}", where=path) from error
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=path) from error


def _facts(stream: BinaryIO, size: float, furthest: float, path: Path) -> dict[str, str]:
    from scisr_astronomy.preflight import read_unit

    out: dict[str, str] = {}
    start = 0
    for index in range(_LOOKED_AT):
        if index and not _more(stream, start, size, furthest):
            break
        record = read_unit(stream, start, size, index, path)
        image = record.kind in ("image", "compressed") and bool(record.shape)
        if index == 0 or image:
            stream.seek(record.start)
            out |= _texts(stream.read(record.data_start - record.start))
        if image:
            break
        start = record.end
    return out


def _more(stream: BinaryIO, start: int, size: float, furthest: float) -> bool:
    """Whether another extension begins at `start`."""
    if start >= min(size, furthest):
        return False
    stream.seek(start)
    return stream.read(9) == b"XTENSION="


def _texts(raw: bytes) -> dict[str, str]:
    from astropy.io import fits

    from scisr_astronomy.fits_file import sanitise
    from scisr_astronomy.quiet import quiet

    out: dict[str, str] = {}
    with quiet():
        for card in fits.Header.fromstring(sanitise(raw)).cards:
            try:
                keyword, value = card.keyword, card.value
            except Exception:  # astropy raises several kinds for a value that is none: it is then missing
                continue
            if keyword not in ("", "COMMENT", "HISTORY", "END") and (text := text_of_value(value)):
                out.setdefault(keyword, text)
    return out


def text_of_value(value: Any) -> str:
    """A header's value as a text; empty for none."""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value).strip() if isinstance(value, str | int | complex) else ""


def ser_facts(path: Path) -> dict[str, str]:
    """The header of a SER clip under the keywords that FITS has for the same.

    Raises
    ------
    UnreadableError
    """
    import numpy as np

    from scisr_astronomy.ser import COLOURS, HEADER_SIZE, SerHeader, iso_times, text_of

    check_regular_file(path)
    with open(path, "rb") as stream:
        content = stream.read(HEADER_SIZE)
    if len(content) < HEADER_SIZE:
        raise UnreadableError(f"ends within its header, after {len(content)} bytes", where=path)
    header = SerHeader.unpack(content)
    texts = {"OBSERVER": header.observer, "INSTRUME": header.instrument, "TELESCOP": header.telescope}
    started = iso_times(np.array([header.utc]), 1)[0]
    facts: dict[str, Any] = {
        **{key: text_of(value) for key, value in texts.items()},
        "NAXIS1": header.width,
        "NAXIS2": header.height,
        "NAXIS3": header.frames,
        "BITDEPTH": header.depth,
        "COLOUR": COLOURS.get(header.color_id, ""),
        "DATE-OBS": started or "",
    }
    return {key: text for key, value in facts.items() if (text := text_of_value(value))}
