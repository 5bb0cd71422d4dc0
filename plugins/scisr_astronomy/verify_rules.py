"""What each FITS keyword should become when pixels change: the rules that verification holds headers to.

Which keywords speak of pixels is knowledge shared with the writer; the values are computed here from the definitions
(FITS WCS papers I to III, the SIP convention, IRAF's physical pixels), not by the writer's arithmetic.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sciSR.verify.claims import claims_of
from sciSR.verify.result import Pair
from scisr_astronomy import detector_keywords as words
from scisr_astronomy.wcs_keywords import is_wcs_keyword

FREE = {
    "CHECKSUM": "sums of the new contents",
    "DATASUM": "sums of the new contents",
    "DATE": "when the file was written",
    "BITPIX": "how values are stored",
    "BSCALE": "how values are stored",
    "BZERO": "how values are stored",
    "BLANK": "how values are stored",
    "XTENSION": "an image extension",
    "SIMPLE": "an image extension",
    "EXTEND": "extensions may follow",
    "PCOUNT": "an image without parameters",
    "GCOUNT": "an image without parameters",
    "FILENAME": "the file's own name",
    "ORIGFILE": "the file's own name",
    "NEXTEND": "the number of extensions",
    "BLOCKED": "structure that means nothing any more",
    "GROUPS": "structure that means nothing any more",
}
"""Keywords that may differ, appear and vanish, with the reason."""
_COMPRESSION = re.compile(
    r"Z(HECKSUM|DATASUM|SIMPLE|TENSION|EXTEND|PCOUNT|GCOUNT|BLOCKED|IMAGE|CMPTYPE|QUANTIZ|DITHER0|"
    r"BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|MASKCMP|BLANK|SCALE|ZERO)$|T(TYPE|FORM|FIELDS)\d*$|THEAP$"
)
_PLAIN = re.compile(r"(CRPIX|CDELT)(\d+)([A-Z]?)$")
_CD = re.compile(r"CD(\d+)_(\d+)([A-Z]?)$")
_PC = re.compile(r"PC(\d+)_(\d+)([A-Z]?)$|PC(\d{3})(\d{3})()$")
_SIP = re.compile(r"([AB])P?_(\d+)_(\d+)$")
_LETTER = re.compile(r"[A-Z]+\d+(?:_\d+)?([A-Z]?)$")


@dataclass(frozen=True)
class Rule:
    """What a keyword should become.

    Attributes
    ----------
    text : str
        Why.
    expected : number, str or None
        The new value; None where there is none that would be true, so that the keyword should go.
    may_go : bool
        Whether the keyword may also be dropped.
    """

    text: str
    expected: Any = None
    may_go: bool = False


@dataclass(frozen=True)
class Scales:
    """Of one HDU.

    Attributes
    ----------
    factors : dict of int to Fraction
        Output pixels per input pixel by FITS axis number.
    total : bool
        Whether values were shared out.
    wcs : bool
        Whether world coordinates should be kept.
    axes : dict of int to int
        The output's NAXISn.
    """

    factors: dict[int, Fraction]
    total: bool = False
    wcs: bool = True

    def of(self, axis: int) -> Fraction:
        """1 for axes that are not there."""
        return self.factors.get(axis, Fraction(1))

    @property
    def changed(self) -> bool:
        """Whether any pixel became finer or coarser."""
        return any(f != 1 for f in self.factors.values())

    @property
    def words(self) -> str:
        """``2 times finer``."""
        found = sorted({f for f in self.factors.values() if f != 1})
        many = "/".join(f"{float(f):g}" if f > 1 else f"{float(1 / f):g}" for f in found)
        return f"pixels are {many} times {'finer' if all(f > 1 for f in found) else 'coarser'}"


def scales_of(pair: Pair) -> Scales:
    """The rules' parameters for the image itself."""
    total = claims_of(pair.before, pair.after).quantity(pair.before) == "total"
    factors = dict(enumerate(reversed(pair.factors), start=1))
    return Scales(factors, total and any(f != 1 for f in pair.factors), pair.options.get("wcs") != "none")


def rule_of(keyword: str, value: Any, header: Any, scales: Scales) -> Rule | None:
    """The rule for one keyword of the input's header; None where its value must stay.

    Parameters
    ----------
    keyword : str
    value : Any
        In the input.
    header : mapping
        All of the input's.
    scales : Scales
    """
    if match := re.match(r"NAXIS(\d+)$", keyword):
        return Rule(scales.words, int(value * scales.of(int(match[1])))) if scales.changed else None
    if is_wcs_keyword(keyword):
        if not scales.wcs:
            return Rule("world coordinates were dropped as asked for", None, True)
        return _world(keyword, value, header, scales) if scales.changed else None
    return _detector(keyword, value, scales) if scales.changed else None


def free(keyword: str) -> str:
    """Why a keyword may change, vanish or appear as it likes; empty where it may not."""
    if keyword in FREE:
        return FREE[keyword]
    return "structure of the compressed form" if _COMPRESSION.match(keyword) else ""


_FORM = re.compile(
    r"((CRPIX|CRVAL|CDELT|CROTA)\d+|(CD|PC)\d+_\d+|WCSAXES|LONPOLE|LATPOLE)[A-Z]?$|PC\d{6}$|[AB]_(ORDER|DMAX|\d+_\d+)$"
)


def is_form(keyword: str) -> bool:
    """Whether a WCS keyword is one of those in which the same places of pixels can be written in several ways.

    The others (CTYPE, RADESYS, RESTFRQ, the inverse SIP polynomial) say what pixels' places do not show.
    """
    return _FORM.match(keyword) is not None


def letter_of(keyword: str) -> str:
    """The description that a WCS keyword belongs to; the primary one where that can't be told."""
    match = _LETTER.match(keyword)
    return match[1] if match and re.match(r"(CR|CD|CT|CU|PC|PV|PS|CN|CS)", keyword) else ""


def _number(value: Any) -> Fraction | None:
    if isinstance(value, str):
        try:
            value = float(value.replace("D", "E"))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return Fraction(value)


def _world(keyword: str, value: Any, header: Any, scales: Scales) -> Rule | None:
    number, why = _number(value), scales.words
    if number is None:
        return None
    if match := _PLAIN.match(keyword):
        factor = scales.of(int(match[2]))
        if match[1] == "CRPIX":
            return Rule(
                f"{why}; pixel edges stay", float((number - Fraction(1, 2)) * factor + Fraction(1, 2))
            )
        return Rule(why, float(number / factor))
    if match := _CD.match(keyword):
        return Rule(why, float(number / scales.of(int(match[2]))))
    if match := _PC.match(keyword):
        row, column = (int(n) for n in (match[1] or match[4], match[2] or match[5]))
        return Rule(why, float(number * scales.of(row) / scales.of(column)))
    sx, sy = scales.of(1), scales.of(2)
    if match := _SIP.match(keyword):
        p, q = int(match[2]), int(match[3])
        return Rule(
            f"{why}; the polynomial is in pixels",
            float(number * (sx if match[1] == "A" else sy) / sx**p / sy**q),
        )
    simple = {"A_DMAX": sx, "B_DMAX": sy, "CNPIX1": sx, "CNPIX2": sy, "XPIXELSZ": 1 / sx, "YPIXELSZ": 1 / sy}
    if keyword in simple:
        return Rule(why, float(number * simple[keyword]))
    if match := re.match(r"(?:CPERR|D2IMERR)(\d+)$", keyword):
        return Rule(why, float(number * scales.of(int(match[1]))))
    return None


def _detector(keyword: str, value: Any, scales: Scales) -> Rule | None:
    sx, sy, why = scales.of(1), scales.of(2), scales.words
    if match := re.match(r"LTV([12])$", keyword):
        number = _number(value)
        return (
            None
            if number is None
            else Rule(why, float((number - Fraction(1, 2)) * scales.of(int(match[1])) + Fraction(1, 2)))
        )
    if match := re.match(r"LTM([12])_\d$", keyword):
        number = _number(value)
        return None if number is None else Rule(why, float(number * scales.of(int(match[1]))))
    if re.match(r"(DATASEC|TRIMSEC|BIASSEC|OVERSEC|IMAGESEC)[A-Z0-9]?$", keyword):
        return _section(value, (sx, sy), why)
    if keyword == "CCDSUM":
        return _binning(value, (sx, sy), why)
    if words._STATISTICS.match(keyword):
        return Rule("true of the input's pixels only", None, True)
    both = sx if sx == sy else None
    table: list[tuple[tuple[str, ...], Fraction | None]] = [
        (words._SCALE_X, 1 / sx), (words._SCALE_Y, 1 / sy), (words._AREA, 1 / (sx * sy)),
        (words._LENGTH_X, sx), (words._LENGTH_Y, sy),
        (words._SCALE_BOTH, None if both is None else 1 / both), (words._LENGTH_BOTH, both),
    ]  # fmt: skip
    for names, factor in table:
        if keyword in names:
            return _times(value, factor, why)
    if scales.total and words._LEVELS.match(keyword):
        return _times(value, 1 / (sx * sy), f"{why}; values are shared out")
    return None


def _times(value: Any, factor: Fraction | None, why: str) -> Rule | None:
    number = None if isinstance(value, str) else _number(value)
    if number is None or factor == 1:
        return None
    if factor is None:
        return Rule("no single value is true of both axes", None, True)
    return Rule(why, float(number * factor))


def _section(value: Any, factors: tuple[Fraction, Fraction], why: str) -> Rule | None:
    """``[x1:x2,y1:y2]``, counted from 1: pixel n covers the edges n - 1 to n."""
    text = str(value).replace(" ", "")
    match = re.fullmatch(r"\[(-?\d+):(-?\d+)(?:,(-?\d+):(-?\d+))?\]", text)
    if match is None:
        return None
    numbers = [int(n) for n in match.groups() if n is not None]
    out = []
    for at in range(0, len(numbers), 2):
        first, last = sorted(numbers[at : at + 2])
        low, high = (first - 1) * factors[at // 2] + 1, last * factors[at // 2]
        if low.denominator != 1 or high.denominator != 1:
            return Rule("its ends are no whole pixels any more", None, True)
        pair = (low, high) if numbers[at] <= numbers[at + 1] else (high, low)
        out.append(f"{int(pair[0])}:{int(pair[1])}")
    return Rule(why, f"[{','.join(out)}]", True)


def _binning(value: Any, factors: tuple[Fraction, Fraction], why: str) -> Rule:
    found = str(value).split()[:2]
    bins = [Fraction(int(n)) / f for n, f in zip(found, factors, strict=False) if n.isdigit()]
    if len(bins) == 2 and all(b.denominator == 1 and b > 0 for b in bins):
        return Rule(why, f"{int(bins[0])} {int(bins[1])}", True)
    return Rule("binning is no whole number any more", None, True)


def same(one: Any, other: Any) -> bool:
    """Whether two values of cards say the same: numbers to 12 digits, texts without spaces at the end."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    numbers = [isinstance(v, int | float) for v in (one, other)]
    if all(numbers):
        return one == other or math.isclose(one, other, rel_tol=1e-12, abs_tol=0.0)
    if any(numbers):
        left, right = _number(one), _number(other)
        return left is not None and left == right
    return " ".join(str(one).split()) == " ".join(str(other).split())
