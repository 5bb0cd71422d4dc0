"""Distortion look-up tables (draft FITS WCS paper IV): CPDISj and D2IMDISj with their images.

A table is an image of corrections in pixels, placed over the science image by its own CRPIX, CRVAL and CDELT:
pixel ``p`` reads it at ``(p - CRVAL)/CDELT + CRPIX``. When pixels become finer, CRVAL moves like any pixel
position, CDELT grows by the factor, and the values, being pixels, grow by the factor of the corrected axis.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sciSR.errors import GeometryError

TABLE_NAMES = {"CPDIS": "WCSDVARR", "D2IMDIS": "D2IMARR"}
_PARAMETERS = {"CPDIS": "DP", "D2IMDIS": "D2IM"}


@dataclass(frozen=True)
class Lookup:
    """One use of a table: `axis` (FITS number) of the science image is corrected by HDU (`name`, `version`)."""

    axis: int
    name: str
    version: int


def lookups(header: Any) -> Iterator[Lookup]:
    """The look-up tables a header refers to.

    Raises
    ------
    GeometryError
        Another kind of distortion function, or a table whose axes are not the image's own, in order.
    """
    for keyword in list(header):
        match = re.match(r"(CPDIS|D2IMDIS)(\d+)$", keyword)
        if not match:
            continue
        kind = str(header[keyword]).strip().upper()
        if kind != "LOOKUP":
            raise GeometryError(f"{keyword} is {kind!r}; of these distortions only LOOKUP is understood")
        axis = int(match[2])
        prefix = f"{_PARAMETERS[match[1]]}{axis}"
        for table_axis in (1, 2):
            named = header.get(f"{prefix}.AXIS.{table_axis}", table_axis)
            if named != table_axis:
                raise GeometryError(f"{prefix}.AXIS.{table_axis} is {named!r}: a transposed look-up table")
        version = header.get(f"{prefix}.EXTVER", 1)
        if not isinstance(version, int | float) or version != int(version):
            raise GeometryError(f"{prefix}.EXTVER is {version!r}, not a whole number")
        yield Lookup(axis, TABLE_NAMES[match[1]], int(version))


def refine_lookup(header: Any, data: Any, axis: int, factors: Sequence[Fraction]) -> tuple[Any, Any]:
    """Header and corrections of a table for a refined science image.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of the table's HDU.
    data : ndarray
        Corrections in pixels (float).
    axis : int
        FITS number of the corrected axis of the science image.
    factors : sequence of Fraction
        Of the science image, FITS order.

    Returns
    -------
    header, data
        New ones; `data` keeps its dtype.
    """
    from scisr_astronomy.wcs_keywords import number

    header = header.copy()
    for n, factor in enumerate(factors[:2], start=1):
        if factor == 1:
            continue
        value = number(header, f"CRVAL{n}", 0.0)
        header[f"CRVAL{n}"] = float((Fraction(value) - Fraction(1, 2)) * factor + Fraction(1, 2))
        header[f"CDELT{n}"] = float(Fraction(number(header, f"CDELT{n}", 1.0)) * factor)
    return header, (data * float(factors[axis - 1])).astype(data.dtype)
