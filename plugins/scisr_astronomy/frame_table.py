"""The table ``FRAMES`` of a fused product: one row per frame, used or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sciSR.fusion.product import FrameRecord
from sciSR.sequence import LeftOut
from scisr_astronomy.fused_keywords import card_text

NAME = "FRAMES"
_MAX_TEXT = 500

# Column, field of FrameRecord, NumPy type, unit, meaning.
_COLUMNS: tuple[tuple[str, str, str, str, str], ...] = (
    ("USED", "used", "?", "", "whether the frame is part of the result"),
    ("REFERENCE", "reference", "?", "", "whether it defines the grid and the level"),
    ("MODEL", "model", "S", "", "kind of transform, reference to frame"),
    ("HOW", "how", "S", "", "source of the transform's first guess"),
    ("MATRIX", "matrix", "6f8", "", "2x3, row by row: reference to frame pixel"),
    ("ERRPOS", "error_px", "f8", "pixel", "1 sigma of the position, from covariance"),
    ("RMSPOS", "rms_px", "f8", "pixel", "rms residual of the stars used"),
    ("NSTARS", "n_stars", "i4", "", "stars used for the transform"),
    ("FWHM", "fwhm_px", "f8", "pixel", "of stars in this frame"),
    ("BACKGND", "background", "f8", "", "level subtracted, unit of the frame"),
    ("GAIN", "gain", "f8", "", "factor applied to match the reference"),
    ("NOISE", "noise", "f8", "", "1 sigma of the sky, unit of the frame"),
    ("WEIGHT", "weight", "f8", "", "relative weight in the result"),
    ("NREJECT", "rejected", "i8", "pixel", "pixels rejected as outliers"),
    ("NBAD", "bad", "i8", "pixel", "pixels bad from the beginning"),
    ("EXPOSURE", "exposure", "f8", "s", "exposure"),
    ("START", "start", "S", "", "start of the exposure, UTC"),
    ("QUALITY", "quality", "f8", "", "sharpness rank, 0 to 1"),
    ("REASON", "reason", "S", "", "why it was left out"),
)


def frame_table(records: Sequence[FrameRecord], unread: Sequence[LeftOut] = ()) -> tuple[Any, bytes]:
    """Header and data of the table.

    Parameters
    ----------
    records : sequence of FrameRecord
    unread : sequence of LeftOut
        Frames that could not be read; those without a record get a row at the end.

    Returns
    -------
    header : astropy.io.fits.Header
        Without checksums.
    data : bytes
        Not padded.
    """
    rows = complete(records, unread)
    names = [_ascii(r.name) for r in rows]
    dtype: list[tuple[Any, ...]] = [("NAME", f"S{_width(names)}"), ("CTXBIT", ">i4")]
    forms = [("NAME", f"{_width(names)}A", "", "file, HDU or number of the frame")]
    forms.append(("CTXBIT", "J", "", "bit in CTX: k % 32 of plane k // 32; -1 without"))
    columns = {"NAME": names, "CTXBIT": _context_bits(rows)}
    for column, attribute, kind, unit, meaning in _COLUMNS:
        values = [getattr(row, attribute) for row in rows]
        if kind == "S":
            values = [_ascii(value) for value in values]
            width = _width(values)
            dtype.append((column, f"S{width}"))
            forms.append((column, f"{width}A", unit, meaning))
        elif kind == "?":
            values = [b"T" if value else b"F" for value in values]
            dtype.append((column, "S1"))
            forms.append((column, "L", unit, meaning))
        elif kind == "6f8":
            dtype.append((column, ">f8", (6,)))
            forms.append((column, "6D", unit, meaning))
        else:
            dtype.append((column, f">{kind}"))
            forms.append((column, {"f8": "D", "i4": "J", "i8": "K"}[kind], unit, meaning))
        columns[column] = values
    table = np.zeros(len(rows), dtype=dtype)
    for column, values in columns.items():
        table[column] = values
    return _header(table, forms), table.tobytes()


def complete(records: Sequence[FrameRecord], unread: Sequence[LeftOut]) -> list[FrameRecord]:
    """The records, and one more for each frame that could not be read and has none."""
    known = {record.name for record in records}
    return [*records, *(FrameRecord(u.name, False, u.reason) for u in unread if u.name not in known)]


def _context_bits(rows: Sequence[FrameRecord]) -> list[int]:
    """Frames that were used are counted in order: the solver has seen only these."""
    bits, count = [], 0
    for row in rows:
        bits.append(count if row.used else -1)
        count += row.used
    return bits


def _ascii(text: object) -> bytes:
    return card_text(text).encode("ascii")[:_MAX_TEXT]


def _width(values: Sequence[bytes]) -> int:
    return max(1, max((len(value) for value in values), default=1))


def _header(table: np.ndarray, forms: Sequence[tuple[str, str, str, str]]) -> Any:
    from astropy.io import fits

    cards: list[Any] = [
        ("XTENSION", "BINTABLE", "binary table"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", table.dtype.itemsize, "bytes in a row"),
        ("NAXIS2", len(table), "frames"),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("TFIELDS", len(forms)),
    ]
    for number, (name, form, unit, meaning) in enumerate(forms, start=1):
        cards.append((f"TTYPE{number}", name, meaning))
        cards.append((f"TFORM{number}", form))
        if unit:
            cards.append((f"TUNIT{number}", unit))
    cards.append(("EXTNAME", NAME, "one row per frame"))
    header = fits.Header(cards)
    header.add_comment("frame (row, column) = MATRIX . (row, column, 1) of the reference,")
    header.add_comment("linear at the frame's centre; the full transform may be curved.")
    header.add_comment("Positions are pixel indices, 0-based, of pixel centres.")
    return header
