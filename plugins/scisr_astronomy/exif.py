"""Exif: the few entries that speak of a picture's own pixels, changed in place.

Exif is a TIFF structure full of offsets, some in makers' notes that only the camera's maker can read. So nothing
is moved: a value is overwritten where it stands (Exif 2.32, 4.6), and everything else stays to the last byte.
"""

from __future__ import annotations

import struct
from fractions import Fraction

_ENTRIES = 512  # of a directory that is believed
_SIZES = {
    0x0100: 0,
    0x0101: 1,
    0xA002: 0,
    0xA003: 1,
}  # ImageWidth, ImageLength, PixelXDimension, PixelYDimension
_DENSITIES = {0x011A: 0, 0x011B: 1, 0xA20E: 0, 0xA20F: 1}  # X/YResolution, FocalPlaneX/YResolution
_EXIF_DIRECTORY = 0x8769
_SHORT, _LONG, _RATIONAL = 3, 4, 5


def refine_exif(exif: bytes, size: tuple[int, int], factors: tuple[Fraction, Fraction]) -> bytes:
    """Exif of a finer picture: its size in pixels, and pixels per unit of length.

    Parameters
    ----------
    exif : bytes
        A TIFF structure.
    size : (columns, rows)
        Of the finer picture.
    factors : (x, y)

    Returns
    -------
    bytes
        As long as `exif`; what can't be parsed or does not fit stays as it was.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return exif
    out = bytearray(exif)
    try:
        (first,) = struct.unpack_from(f"{order}I", out, 4)
        inner = _refine_directory(out, order, first, size, factors)
        if inner is not None and inner != first:
            _refine_directory(out, order, inner, size, factors)
    except struct.error:
        return exif
    return bytes(out)


def _refine_directory(
    out: bytearray, order: str, start: int, size: tuple[int, int], factors: tuple[Fraction, Fraction]
) -> int | None:
    """Change one directory; returns where the Exif directory lies, if this one tells."""
    (count,) = struct.unpack_from(f"{order}H", out, start)
    inner = None
    for number in range(min(count, _ENTRIES)):
        at = start + 2 + 12 * number
        tag, kind, length = struct.unpack_from(f"{order}HHI", out, at)
        if tag == _EXIF_DIRECTORY and kind == _LONG:
            (inner,) = struct.unpack_from(f"{order}I", out, at + 8)
        elif tag in _SIZES and length == 1 and kind in (_SHORT, _LONG):
            value = size[_SIZES[tag]]
            if kind == _LONG or value < 1 << 16:
                struct.pack_into(f"{order}{'H' if kind == _SHORT else 'I'}", out, at + 8, value)
        elif tag in _DENSITIES and length == 1 and kind == _RATIONAL:
            (place,) = struct.unpack_from(f"{order}I", out, at + 8)
            numerator, denominator = struct.unpack_from(f"{order}II", out, place)
            if denominator:
                finer = Fraction(numerator, denominator) * factors[_DENSITIES[tag]]
                if max(finer.numerator, finer.denominator) < 1 << 32:
                    struct.pack_into(f"{order}II", out, place, finer.numerator, finer.denominator)
    return inner
