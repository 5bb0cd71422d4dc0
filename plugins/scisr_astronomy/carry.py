"""How the HDUs that go with a science image follow it to finer pixels.

Within one input pixel the finer pixels are fully correlated: they all repeat one measurement. So a standard
deviation of a density stays, that of a total is shared out like the value (divided by the product P of the
factors), a variance by its square, and an inverse variance is multiplied by it. Masks, exposure maps, coverage and
relative weights describe the piece of sky or detector that a finer pixel lies in, so they are repeated as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.image import LazyArray
from sciSR.views import NearestView
from scisr_astronomy.detector_keywords import finer, refine_detector
from scisr_astronomy.fits_file import FitsFile
from scisr_astronomy.physical_grid import add_physical
from scisr_astronomy.reader import section_of, stored_of
from scisr_astronomy.wcs_keywords import has_wcs, refine_wcs, without_wcs

_UNSIGNED = {"i1": (8, -128), "u2": (16, 1 << 15), "u4": (32, 1 << 31), "u8": (64, 1 << 63)}
_PLAIN = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64}


@dataclass(frozen=True)
class StoredForm:
    """How values of a dtype are stored: BITPIX, BZERO (0 for none), and the big-endian dtype."""

    bitpix: int
    bzero: int
    dtype: np.dtype

    @classmethod
    def of(cls, dtype: Any) -> StoredForm:
        dtype = np.dtype(dtype)
        code = "u1" if dtype.kind == "b" else f"{dtype.kind}{dtype.itemsize}"
        if code == "f2":
            code = "f4"
        bitpix, bzero = _UNSIGNED[code] if code in _UNSIGNED else (_PLAIN[code], 0)
        kind = "f" if bitpix < 0 else ("u" if bitpix == 8 else "i")
        return cls(bitpix, bzero, np.dtype(f">{kind}{abs(bitpix) // 8}"))

    def store(self, block: np.ndarray) -> np.ndarray:
        """Stored values of physical ones."""
        if not self.bzero:
            return np.ascontiguousarray(block, dtype=self.dtype)
        bits = np.ascontiguousarray(block).view(f"u{self.dtype.itemsize}")
        top = bits.dtype.type(1 << (8 * self.dtype.itemsize - 1))
        return (bits ^ top).view(f"{self.dtype.kind}{self.dtype.itemsize}").astype(self.dtype)

    def describe(self, header: Any) -> None:
        """Write BITPIX and BZERO into a header and remove any other scaling."""
        for keyword in ("BSCALE", "BZERO", "BLANK"):
            header.remove(keyword, ignore_missing=True, remove_all=True)
        header["BITPIX"] = (self.bitpix, "bits per stored value")
        if self.bzero:
            after = f"NAXIS{header['NAXIS']}" if header.get("NAXIS") else "NAXIS"
            header.set("BZERO", self.bzero, "unsigned integers", after=after)
            header.set("BSCALE", 1, after=after)


@dataclass(frozen=True, eq=False)
class Carried:
    """A companion on its way out: header, values, and how they are stored (None: stored values, as they are)."""

    header: Any
    data: LazyArray | None
    form: StoredForm | None


def companion_factor(kind: str, factors: Sequence[Fraction], *, total: bool) -> Fraction:
    """What a companion's values are multiplied by: see the top of this file."""
    product = math.prod(factors, start=Fraction(1))
    if not total:
        return Fraction(1)
    return {"sigma": 1 / product, "variance": 1 / product**2, "inverse": product**2}.get(kind, Fraction(1))


def refine_header(
    header: Any, factors: Sequence[Fraction], *, total: bool, keep_wcs: bool = True
) -> tuple[Any, list[str]]:
    """World coordinates, detector keywords and sizes of an image header, for finer pixels (or coarser ones).

    Parameters
    ----------
    factors : sequence of Fraction
        NumPy's axis order.

    Returns
    -------
    header, notes
    """
    order = [Fraction(f) for f in reversed(factors)]
    notes = []
    if keep_wcs:
        if has_wcs(header) and any(f != 1 for f in order):
            by = ", ".join(f"{f} on NAXIS{n}" for n, f in enumerate(order, start=1) if f != 1)
            notes.append(
                f"world coordinates (CRPIX, CD or PC and CDELT, SIP) follow the {finer(order)} pixels: {by}"
            )
        header = refine_wcs(header, order)
    elif has_wcs(header):
        header = without_wcs(header)
        notes.append("world coordinates dropped as asked for (--wcs none)")
    header, more = refine_detector(header, order, total=total)
    if not has_wcs(header) and add_physical(header, order):
        more.append(f"LTV and LTM added: they give the original pixel of each {finer(order)} one")
    for n, factor in enumerate(order, start=1):
        if f"NAXIS{n}" in header:
            header[f"NAXIS{n}"] = int(header[f"NAXIS{n}"] * factor)
    return header, notes + more


def carry(
    file: FitsFile, index: int, kind: str, factors: Sequence[Fraction], *, total: bool, keep_wcs: bool
) -> Carried:
    """A companion HDU for its refined science image."""
    record = file.records[index]
    scale = companion_factor(kind, factors, total=total)
    header, notes = refine_header(file.header(index), factors, total=total, keep_wcs=keep_wcs)
    what = "repeated over the finer pixels" if scale == 1 else f"repeated and multiplied by {scale}"
    if not record.shape:  # an HST constant array: its one value stands in the header
        if scale != 1 and isinstance(header.get("PIXVALUE"), int | float):
            header["PIXVALUE"] = float(header["PIXVALUE"] * scale)
        add_history(header, [what, *notes])
        return Carried(header, None, None)
    if record.kind == "image" and scale == 1:
        data, form = NearestView(stored_of(file, index), factors), None
    else:
        section = section_of(file, index)
        wide = np.float64 if section.dtype == np.float64 else np.float32
        data = NearestView(section, factors, scale=float(scale))
        form = StoredForm.of(section.dtype if scale == 1 else wide)
        form.describe(header)
    tidy_structure(header, index == 0)
    add_history(header, [what, *notes])
    return Carried(header, data, form)


def tidy_structure(header: Any, primary: bool) -> None:
    """Drop the traces of compression that a header read from a tile-compressed image may carry."""
    if str(header.get("EXTNAME", "")).strip().upper() == "COMPRESSED_IMAGE":
        header.remove("EXTNAME")
    for keyword in (
        "ZHECKSUM",
        "ZDATASUM",
        "ZSIMPLE",
        "ZTENSION",
        "ZEXTEND",
        "ZPCOUNT",
        "ZGCOUNT",
        "ZBLOCKED",
    ):
        header.remove(keyword, ignore_missing=True, remove_all=True)
    if primary:
        header.set("EXTEND", True, "extensions may follow", after=f"NAXIS{header['NAXIS'] or ''}")


def add_history(header: Any, notes: Sequence[str]) -> None:
    """One HISTORY entry per note, broken at words."""
    import textwrap

    for note in notes:
        text = note.encode("ascii", "replace").decode("ascii")
        text = text if text.startswith("sciSR") else f"sciSR: {text}"
        for line in textwrap.wrap(text, 72, subsequent_indent="  "):
            header.add_history(line)
