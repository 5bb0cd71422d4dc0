"""Keywords other than the WCS that speak of pixels: updated for the finer pixels, or dropped and named.

Two kinds of coordinates must be told apart. *Image pixels* (DATASEC, TRIMSEC, BIASSEC, LTV/LTM, IMAGEW) become
finer with the image. *Detector pixels* (CCDSEC, DETSEC, AMPSEC, CENTERA, SIZAXIS, DTV/DTM, ATV/ATM, which start
from LTV/LTM's physical coordinates) describe the hardware and stay true.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

_SECTION = re.compile(r"\[\s*(-?\d+)\s*:\s*(-?\d+)\s*(?:,\s*(-?\d+)\s*:\s*(-?\d+)\s*)?\]$")
_IMAGE_SECTIONS = re.compile(r"(DATASEC|TRIMSEC|BIASSEC|OVERSEC|IMAGESEC)([A-Z0-9]?)$")
_LTM = re.compile(r"LTM(\d)_(\d)$")
# Size of a pixel, on the sky or on the detector: of one axis, or of both where they are the same.
_SCALE_X = (
    "PIXSCAL1",
    "PXSCAL1",
    "SECPIX1",
    "XPIXSZ",
    "PIXSIZE1",
    "XPIXSIZE",
    "PIXSCALX",
    "XPIXSCAL",
    "PSCALX",
)
_SCALE_Y = (
    "PIXSCAL2",
    "PXSCAL2",
    "SECPIX2",
    "YPIXSZ",
    "PIXSIZE2",
    "YPIXSIZE",
    "PIXSCALY",
    "YPIXSCAL",
    "PSCALY",
)
_SCALE_BOTH = (
    "PIXSCALE",
    "PIXSCL",
    "PIXELSCL",
    "SECPIX",
    "PIXSIZE",
    "PIXELSIZ",
    "PLTSCL",
    "D001SCAL",
    "IDCSCALE",
)
_AREA = ("PIXAR_SR", "PIXAR_A2", "PIXAREA")
# The size of the image in pixels, and lengths measured in them.
_LENGTH_X = ("IMAGEW", "NPIX1")
_LENGTH_Y = ("IMAGEH", "NPIX2")
_LENGTH_BOTH = ("R_SUN", "FWHMPIX", "SEEPIX", "PSF_FWPX")
# Levels of one pixel's value, shared out with it where it is a total.
_LEVELS = re.compile(r"(SATURATE|SATURAT[A-Z]|SATLEVEL|MAXLIN|NONLINLV)$")
_STATISTICS = re.compile(
    r"(DATAMIN|DATAMAX|DATAMEAN|DATAMED|DATAMEDN|DATAVG|DATARMS|DATASKEW|DATAKURT|DATASIG|DATAP\d\d|DATACENT"
    r"|GOODMIN|GOODMAX|GOODMEAN|NGOODPIX|SNRMIN|SNRMAX|SNRMEAN|IRAF-MIN|IRAF-MAX|MINVAL|MAXVAL|MEANVAL"
    r"|IMGMEAN|IMGMED|IMGSTD|PIXMIN|PIXMAX|CBLACK|CWHITE|MEDIAN|STDDEV|STDEV|AVERAGE)$"
)


def refine_detector(
    header: Any, factors: Sequence[Fraction], *, total: bool = False
) -> tuple[Any, list[str]]:
    """A copy of `header` with pixel keywords for finer pixels, and notes on what changed.

    Parameters
    ----------
    header : astropy.io.fits.Header
    factors : sequence of Fraction
        FITS axis order; the first two count.
    total : bool
        Values were shared out among finer pixels, so saturation levels are too.

    Returns
    -------
    header : astropy.io.fits.Header
    notes : list of str
        One sentence per kind of change, for HISTORY.
    """
    header = header.copy()
    sx, sy = (*(Fraction(f) for f in factors[:2]), Fraction(1), Fraction(1))[:2]
    updated: list[str] = []
    dropped: list[str] = []
    _physical(header, {1: sx, 2: sy}, updated)
    for keywords, factor in (
        (_SCALE_X, 1 / sx),
        (_SCALE_Y, 1 / sy),
        (_AREA, 1 / (sx * sy)),
        (_LENGTH_X, sx),
        (_LENGTH_Y, sy),
    ):
        for keyword in keywords:
            _times(header, keyword, factor, updated, dropped)
    for keywords, factor in ((_SCALE_BOTH, 1 / sx), (_LENGTH_BOTH, sx)):
        for keyword in keywords:
            _times(header, keyword, factor if sx == sy else None, updated, dropped)
    for keyword in dict.fromkeys(header):
        if _IMAGE_SECTIONS.match(keyword):
            _section(header, keyword, sx, sy, updated, dropped)
        elif keyword == "CCDSUM":
            _ccdsum(header, sx, sy, updated, dropped)
        elif _STATISTICS.match(keyword):
            _drop(header, keyword, dropped)
        elif total and _LEVELS.match(keyword):
            _times(header, keyword, 1 / (sx * sy), updated, dropped)
    notes = []
    if updated:
        notes.append(f"updated for the {finer(factors)} pixels: {', '.join(dict.fromkeys(updated))}")
    if dropped:
        notes.append(f"dropped, true of the input's pixels only: {', '.join(dict.fromkeys(dropped))}")
    return header, notes


def finer(factors: Sequence[Fraction]) -> str:
    """``finer``, or ``coarser`` where a factor is below 1: for HISTORY."""
    return "coarser" if any(f < 1 for f in factors) else "finer"


def pixel_keywords(header: Any) -> bool:
    """Whether :func:`refine_detector` would change anything (by a factor of 2)."""
    return bool(refine_detector(header, (Fraction(2), Fraction(2)))[1])


def _physical(header: Any, scale: dict[int, Fraction], updated: list[str]) -> None:
    """IRAF's LTV and LTM: image = LTM physical + LTV, so the rows of LTM grow and LTV moves like a position."""
    present = {int(k[3]) for k in header if re.match(r"LTV[12]$", k)} | {
        int(m[n]) for k in header if (m := _LTM.match(k)) for n in (1, 2)
    }
    for axis in sorted(present & set(scale)):
        factor = scale[axis]
        if factor == 1:
            continue
        offset = _number(header.get(f"LTV{axis}", 0.0))
        if offset is None:
            continue
        if not any((m := _LTM.match(k)) and int(m[1]) == axis for k in header):
            header[f"LTM{axis}_{axis}"] = 1.0
        header[f"LTV{axis}"] = float((offset - Fraction(1, 2)) * factor + Fraction(1, 2))
        updated.append(f"LTV{axis}")
        for keyword in list(header):
            if (match := _LTM.match(keyword)) and int(match[1]) == axis:
                value = _number(header[keyword])
                if value is not None:
                    header[keyword] = float(value * factor)
                    updated.append(keyword)


def _number(value: Any) -> Fraction | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return Fraction(value)
    except (ValueError, OverflowError):
        return None


def _times(
    header: Any, keyword: str, factor: Fraction | None, updated: list[str], dropped: list[str]
) -> None:
    """Multiply a number; drop it where there is no single factor for both axes."""
    if keyword not in header or factor == 1:
        return
    value = _number(header[keyword])
    if value is None:
        return  # a string or nothing: not a pixel scale
    if factor is None:
        _drop(header, keyword, dropped)
        return
    result = value * factor
    whole = isinstance(header[keyword], int) and result.denominator == 1
    header[keyword] = int(result) if whole else float(result)
    updated.append(keyword)


def _section(
    header: Any, keyword: str, sx: Fraction, sy: Fraction, updated: list[str], dropped: list[str]
) -> None:
    """``[x1:x2,y1:y2]``, inclusive and counted from 1; a flipped axis (x1 > x2) stays flipped."""
    match = _SECTION.match(str(header[keyword]).strip())
    if not match or (sx == 1 and sy == 1):
        return
    parts = []
    for first, last, factor in ((match[1], match[2], sx), (match[3], match[4], sy)):
        if first is None:
            continue
        low, high = sorted((int(first), int(last)))
        ends = [(low - 1) * factor + 1, high * factor]
        if any(end.denominator != 1 for end in map(Fraction, ends)):
            _drop(header, keyword, dropped)
            return
        ends = ends if int(first) <= int(last) else ends[::-1]
        parts.append(f"{int(ends[0])}:{int(ends[1])}")
    header[keyword] = f"[{','.join(parts)}]"
    updated.append(keyword)


def _ccdsum(header: Any, sx: Fraction, sy: Fraction, updated: list[str], dropped: list[str]) -> None:
    """Binning in detector pixels, which must be whole."""
    words = str(header["CCDSUM"]).split()
    if sx == 1 and sy == 1:
        return
    if len(words) >= 2 and all(w.isdigit() for w in words[:2]):
        values = [Fraction(int(words[0])) / sx, Fraction(int(words[1])) / sy]
        if all(v.denominator == 1 and v > 0 for v in values):
            header["CCDSUM"] = f"{int(values[0])} {int(values[1])}"
            updated.append("CCDSUM")
            return
    _drop(header, "CCDSUM", dropped)


def _drop(header: Any, keyword: str, dropped: list[str]) -> None:
    header.remove(keyword, ignore_missing=True, remove_all=True)
    dropped.append(keyword)
