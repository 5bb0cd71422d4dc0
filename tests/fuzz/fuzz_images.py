"""Mutations that know where things stand in an image file: cards, header fields, elements, chunks, directories."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Iterator

_CARD, _BLOCK = 80, 2880
_NUMBERS = (
    "0", "1", "-1", "2", "3", "7", "100000", "999999999", "2147483648", "9999999999999999999", "1E300", "-1E-300",
    "1E400", "NaN", "INF", "'text'", "''", "T", "F", "", "2.5", "1e-12", "(1,2)", "-32", "64", "16", "180.0", "90.0",
)  # fmt: skip
_STRUCTURE = re.compile(
    rb"(Z?NAXIS|Z?BITPIX|PCOUNT|GCOUNT|TFIELDS|ZTILE|THEAP|TFORM|TDIM|CTYPE|CRVAL|CRPIX|CD\d|PC\d|CDELT|[AB]_|BSCALE)"
)
_HOSTILE = (
    "A_ORDER =               100000", "NAXIS3  =            999999999", "CTYPE1  = 'RA---ZPN'", "CTYPE2  = 'DEC--SIN'",
    "CUNIT1  = 'furlong '", "CDELT1  =                    0", "PC1_1   =                    0", "CROTA2  =   33.0",
    "PV2_3   =                1E200", "BSCALE  =                    0", "BZERO   =              1.E308",
    "BLANK   =               -32768", "EXTNAME = 'SCI     '", "LONPOLE =                  NaN", "WCSAXES = 90",
    "CONTINUE  'without a beginning&'", "HIERARCH ESO DET OUT1 = ''''", "INHERIT =                    T",
    "ZQUANTIZ= 'SUBTRACTIVE_DITHER_9'", "ZCMPTYPE= 'HCOMPRESS_1'", "RADESYS = 'FK9     '", "EQUINOX = 'J2000'",
    "CPDIS1  = 'LOOKUP  '", "DATASEC = '[0:99999,-1:2]'", "CTYPE1A = 'XLINEAR '", "TDIM1   = '(9999,9999)'",
    "DATE-OBS= '2026-99-99T99:99:99'", "MJD-OBS =               1E3000", "CHECKSUM= '0000000000000000'",
)  # fmt: skip


def mutate_fits(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A card's value, name or place; a hostile card; a whole header unit twice or not at all."""
    out = bytearray(raw)
    cards = [
        at for at in range(0, len(raw) - _CARD, _CARD) if re.match(rb"[A-Z0-9_-]{1,8} *= ", raw[at : at + 10])
    ]
    if not cards:
        return raw, "no card"
    structure = [at for at in cards if _STRUCTURE.match(raw, at)]
    at = rng.choice(structure if structure and rng.random() < 0.6 else cards)
    kind = rng.choice(
        ("value", "value", "value", "digit", "delete", "duplicate", "rename", "swap", "hostile", "unit")
    )
    if kind == "value":
        out[at + 10 : at + 30] = rng.choice(_NUMBERS).rjust(20).encode()
    elif kind == "digit":
        digits = [n for n in range(at + 10, at + 30) if raw[n : n + 1].isdigit()]
        if digits:
            out[rng.choice(digits)] = rng.choice(b"0123456789-.E")
    elif kind == "delete":
        out[at : at + _CARD] = b" " * _CARD
    elif kind == "duplicate":
        to = rng.choice(cards)
        out[to : to + _CARD] = raw[at : at + _CARD]
    elif kind == "rename":
        out[at : at + 8] = raw[(other := rng.choice(cards)) : other + 8]
    elif kind == "swap":
        to = rng.choice(cards)
        out[at : at + _CARD], out[to : to + _CARD] = raw[to : to + _CARD], raw[at : at + _CARD]
    elif kind == "hostile":
        out[at : at + _CARD] = rng.choice(_HOSTILE).ljust(_CARD).encode()
    else:
        starts = [0, *(m.start() for m in re.finditer(rb"XTENSION= ", raw))]
        number = rng.randrange(len(starts))
        unit = raw[starts[number] : (starts[number + 1] if number + 1 < len(starts) else len(raw))]
        out = bytearray(raw + unit * rng.choice((1, 30))) if rng.random() < 0.5 else out
        if len(out) == len(raw):
            del out[starts[number] : starts[number] + len(unit)]
    return bytes(out), f"{kind} of {raw[at : at + 8].decode('latin-1').strip()}"


# Offset, format and name: NIfTI-1 of 348 bytes and NIfTI-2 of 540.
_NIFTI1 = [
    *((40 + 2 * k, "h", f"dim{k}") for k in range(8)), (70, "h", "datatype"), (72, "h", "bitpix"),
    *((76 + 4 * k, "f", f"pixdim{k}") for k in range(8)), (108, "f", "vox_offset"), (112, "f", "scl_slope"),
    (116, "f", "scl_inter"), (123, "B", "xyzt_units"), (252, "h", "qform_code"), (254, "h", "sform_code"),
    *((256 + 4 * k, "f", f"quatern{k}") for k in range(6)), *((280 + 4 * k, "f", f"srow{k}") for k in range(12)),
    (68, "h", "intent"), (0, "i", "sizeof_hdr"), (344, "i", "magic"), (348, "i", "extender"), (352, "i", "esize"),
    (356, "i", "ecode"), (39, "B", "dim_info"), (120, "h", "slice_end"), (122, "B", "slice_code"),
]  # fmt: skip
_NIFTI2 = [
    (12, "h", "datatype"), (14, "h", "bitpix"), *((16 + 8 * k, "q", f"dim{k}") for k in range(8)),
    *((104 + 8 * k, "d", f"pixdim{k}") for k in range(8)), (168, "q", "vox_offset"), (176, "d", "scl_slope"),
    (184, "d", "scl_inter"), (344, "i", "qform_code"), (348, "i", "sform_code"),
    *((352 + 8 * k, "d", f"quatern{k}") for k in range(6)), *((400 + 8 * k, "d", f"srow{k}") for k in range(12)),
    (500, "i", "xyzt_units"), (504, "i", "intent"), (0, "i", "sizeof_hdr"), (540, "i", "extender"),
]  # fmt: skip
_WHOLE = (
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    64,
    255,
    256,
    512,
    1024,
    32767,
    65535,
    2**31 - 1,
    -(2**31),
    2**62,
    348,
    352,
)
_REAL = (0.0, 1.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), -3.4e38, 0.5, 352.0, 1e9, 7.0)


def mutate_nifti(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One header field gets a wild value; sometimes all sizes."""
    out = bytearray(raw)
    fields = _NIFTI2 if raw[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else _NIFTI1
    order = ">" if raw[:2] == b"\0\0" else "<"
    chosen = [rng.choice(fields)]
    if rng.random() < 0.1:
        chosen = [field for field in fields if re.match(r"dim\d", field[2])]
    for at, kind, _ in chosen:
        put(out, at, order + kind, rng.choice(_REAL if kind in "fd" else _WHOLE))
    return bytes(out), f"{chosen[0][2]}" + (" and other sizes" if len(chosen) > 1 else "")


def put(out: bytearray, at: int, kind: str, value: float) -> None:
    """Pack a number, cut to what the field holds."""
    size = struct.calcsize(kind)
    if at + size > len(out):
        return
    if kind[-1] in "fd":
        value = max(-3.4e38, min(3.4e38, value)) if abs(value) < float("inf") and kind[-1] == "f" else value
        struct.pack_into(kind, out, at, value)
    else:
        order = "big" if kind.startswith(">") else "little"
        out[at : at + size] = (int(value) & (2 ** (8 * size) - 1)).to_bytes(size, order)


_SER = {
    14: "lu_id",
    18: "color",
    22: "flag",
    26: "width",
    30: "height",
    34: "depth",
    38: "count",
    162: "local",
    170: "utc",
}


def mutate_ser(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One header field."""
    out = bytearray(raw)
    at = rng.choice(list(_SER))
    put(out, at, "<q" if at > 100 else "<i", rng.choice((*_WHOLE, 9, 12, 17, 100, 101)))
    return bytes(out), _SER[at]


def mutate_avi(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A chunk's length or a number of the headers."""
    out = bytearray(raw)
    chunks = [m.start() + 4 for m in re.finditer(rb"RIFF|LIST|avih|strh|strf|movi|00db|idx1", raw)]
    if not chunks:
        return raw, "no chunk"
    at = rng.choice(chunks) + 4 * rng.choice((0, 0, 1, 2, 3, 5, 9))
    put(out, at, "<i", rng.choice(_WHOLE))
    return bytes(out), f"number at {at}"


def _chunks(raw: bytes) -> Iterator[tuple[int, int]]:
    at = 8
    while at + 12 <= len(raw):
        (size,) = struct.unpack(">I", raw[at : at + 4])
        if at + 12 + size > len(raw):
            return
        yield at, size
        at += 12 + size


def mutate_png(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A chunk's content with a right CRC, a chunk twice, none, or elsewhere; a bomb in place of the pixels."""
    chunks = list(_chunks(raw))
    if not chunks:
        return raw, "no chunk"
    parts = [(raw[at + 4 : at + 8], bytearray(raw[at + 8 : at + 8 + size])) for at, size in chunks]
    number = rng.randrange(len(parts))
    name, content = parts[number]
    kind = rng.choice(("content", "content", "header", "delete", "duplicate", "move", "bomb", "text"))
    if kind == "content" and content:
        for _ in range(rng.choice((1, 4))):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == "header" and len(parts[0][1]) == 13:
        at = rng.choice((0, 4, 8, 9, 10, 11, 12))
        put(parts[0][1], at, ">i" if at < 8 else "B", rng.choice(_WHOLE))
    elif kind == "delete":
        del parts[number]
    elif kind == "duplicate":
        parts.insert(number, (name, content))
    elif kind == "move":
        parts.insert(rng.randrange(len(parts)), parts.pop(number))
    elif kind == "bomb":
        parts[min(1, len(parts) - 1)] = (b"IDAT", bytearray(zlib.compress(bytes(30_000_000), 1)))
    elif kind == "text":
        text = rng.choice(
            (b"zTXtComment\0\0" + zlib.compress(bytes(10_000_000)), b"gAMA\0\0\0\0", b"tRNS" + bytes(400))
        )
        parts.insert(1, (text[:4], bytearray(text[4:])))
    out = raw[:8]
    for name, content in parts:
        out += struct.pack(">I", len(content)) + name + bytes(content)
        out += struct.pack(">I", zlib.crc32(name + bytes(content)))
    return out, f"{kind} of {name.decode('latin-1')}"


def mutate_tiff(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One field of one directory entry, or where the directory lies."""
    out = bytearray(raw)
    at = struct.unpack("<I", raw[4:8])[0] if len(raw) > 8 else 0
    if rng.random() < 0.05 or at + 2 > len(raw):
        put(out, 4, "<i", rng.choice(_WHOLE))
        return bytes(out), "directory"
    (count,) = struct.unpack("<H", raw[at : at + 2])
    entry = at + 2 + 12 * rng.randrange(max(1, count))
    place, kind = rng.choice(((0, "<h"), (2, "<h"), (4, "<i"), (8, "<i"), (8, "<i"), (8, "<h")))
    value = rng.choice((*_WHOLE, 5, 6, 259, 32773, 50000)) if place != 2 else rng.randrange(20)
    put(out, entry + place, kind, value)
    return bytes(out), f"entry {(entry - at) // 12} byte {place}"
