"""Writes TIFF through tifffile: one page after another, BigTIFF where it must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sciSR import __version__
from scisr_astronomy.picture import Attachments
from scisr_astronomy.tiff import RECORD_TAG, TiffTags

_BIG = (1 << 32) - (1 << 25)  # above, offsets of 32 bits do not do
_SOFTWARE, _X, _Y = 305, 282, 283
_OWN = (282, 283, 296, 305, 34675)  # those that have arguments of their own
_ALPHA = {"premultiplied": "assocalpha", "straight": "unassalpha"}
_PLAIN = {269: "Title", 270: "Description", 315: "Author", 33432: "Copyright"}


@dataclass(frozen=True)
class TiffPage:
    """A page to write.

    Attributes
    ----------
    pixels : ndarray ``[rows, columns, channels]``
        A memory map.
    colour : bool
    alpha : str
    tags : TiffTags or None
        Of the input, if it was a TIFF.
    attachments : Attachments
    factors : (x, y)
    """

    pixels: np.ndarray
    colour: bool
    alpha: str
    tags: TiffTags | None
    attachments: Attachments
    factors: tuple[Fraction, Fraction]


def write_tiff(path: Path, pages: Sequence[TiffPage], record: str) -> None:
    """Write all pages, and the record with the first one.

    Parameters
    ----------
    path : Path
    pages : sequence of TiffPage
    record : str
        JSON.
    """
    import tifffile

    size = sum(page.pixels.nbytes for page in pages)
    known = pages[0].tags
    big = size > _BIG or (known is not None and known.big)
    order = known.order if known is not None else "<"
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as writer:
        for number, page in enumerate(pages):
            pixels = page.pixels if page.pixels.shape[2] > 1 else page.pixels[..., 0]
            options: dict[str, Any] = {
                "photometric": "rgb" if page.colour else "minisblack",
                "planarconfig": "contig" if pixels.ndim == 3 else None,
                "extrasamples": [_ALPHA[page.alpha]] if page.alpha else None,
                "metadata": None,
                "software": f"sciSR {__version__}",
                "contiguous": False,
                "iccprofile": page.attachments.icc or None,
                "extratags": _extra(page, record if number == 0 else ""),
            }
            if page.tags is not None and page.tags.compressed:
                options |= {"compression": "zlib", "rowsperstrip": _strip(pixels)}
            writer.write(pixels, **options, **_density(page))


def _strip(pixels: np.ndarray) -> int:
    """Rows of a strip of about a quarter of a megabyte."""
    return int(max(1, (1 << 18) // max(1, pixels[:1].nbytes)))


def _extra(page: TiffPage, record: str) -> list[tuple[int, int, int, Any, bool]]:
    """Further tags: code, TIFF's type, count, value, once for each page."""
    out: list[tuple[int, int, int, Any, bool]] = []
    if page.tags is not None:
        out = [(*tag, True) for tag in page.tags.tags if tag[0] not in _OWN]
    else:
        texts = dict(page.attachments.texts)
        known = [(code, texts[key]) for code, key in _PLAIN.items() if key in texts]
        out = [(code, 2, 0, text.encode("ascii", "replace").decode(), True) for code, text in known]
        if page.attachments.xmp:
            out.append((700, 7, len(page.attachments.xmp), page.attachments.xmp, True))
    if record:
        out.append((RECORD_TAG, 2, 0, record, True))
    return sorted(out, key=lambda tag: tag[0])


def _density(page: TiffPage) -> dict[str, Any]:
    """Pixels per unit of length, in the input's unit."""
    if page.tags is not None:
        found = {code: value for code, _, _, value in page.tags.tags}
        try:
            x, y = (Fraction(*found[code]) * f for code, f in zip((_X, _Y), page.factors, strict=True))
        except (KeyError, TypeError, ZeroDivisionError):
            return {}
        if min(x, y) <= 0 or max(x.numerator, y.numerator, x.denominator, y.denominator) >= 1 << 32:
            return {}
        pair = ((x.numerator, x.denominator), (y.numerator, y.denominator))
        unit = found.get(296, 2)
        return {
            "resolution": pair,
            "resolutionunit": unit if unit in (1, 2, 3) else 1,
        }  # 1: of no known length
    if page.attachments.density is None:
        return {}
    x, y = (float(d) * float(f) / 100 for d, f in zip(page.attachments.density, page.factors, strict=True))
    return {"resolution": (x, y), "resolutionunit": "CENTIMETER"}
