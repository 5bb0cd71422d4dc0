"""World coordinate keywords of a refined image: pure functions from header to header.

A pixel position ``p`` (FITS convention, first pixel centred on 1) moves to ``p' = (p - 1/2) s + 1/2``, so that
the image's outer edges stay where they are. Everything below follows from keeping the world coordinates of
every ``p``: FITS WCS papers I (linear), II (celestial), III (spectral), the draft paper IV (look-up tables),
and the SIP convention (Shupe et al. 2005).

Factors are in FITS axis order: ``factors[0]`` belongs to NAXIS1.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from sciSR.errors import GeometryError
from scisr_astronomy.lookup_tables import lookups

_ALT = r"([A-Z]?)"
_LINEAR = re.compile(rf"(CRPIX|CRVAL|CDELT|CTYPE|CUNIT)(\d+){_ALT}$")
_CD = re.compile(rf"CD(\d+)_(\d+){_ALT}$")
_PC = re.compile(rf"PC(\d+)_(\d+){_ALT}$")
_OLD_PC = re.compile(r"PC(\d{3})(\d{3})$")
_CROTA = re.compile(r"CROTA(\d+)$")
_AXIS = re.compile(r"(?:(?:CRPIX|CRVAL|CDELT|CTYPE|CUNIT|PV|PS)(\d+)|(?:CD|PC)(\d+)_(\d+))(?:_\d+)?[A-Z]?$")
_SIP = re.compile(r"([AB])(P?)_(\d+)_(\d+)$")
_SIP_ORDER = re.compile(r"[AB]P?_ORDER$")
_DISTORTION = re.compile(
    r"([AB]P?_(ORDER|DMAX|\d+_\d+)|(CPDIS|D2IMDIS|D2IMERR|CPERR)\d+|(DP|D2IM)\d+(\..*)?|D2IMEXT|AXISCORR)$"
)
# Everything that any WCS convention understood here is made of; what `--wcs none` removes.
_ALL = re.compile(
    rf"(WCSAXES{_ALT}|WCSNAME{_ALT}|(CRPIX|CRVAL|CDELT|CTYPE|CUNIT|CNAME|CRDER|CSYER|CPERR|CROTA)\d+{_ALT}"
    rf"|(CD|PC|PV|PS)\d+_\d+{_ALT}|PC\d{{6}}|PROJP\d+|(LONPOLE|LATPOLE|EQUINOX|RADESYS){_ALT}|RADECSYS|EPOCH"
    rf"|[AB]P?_(ORDER|DMAX|\d+_\d+)|(CPDIS|CQDIS|D2IMDIS|D2IMERR)\d+|(DP|DQ|D2IM)\d+(\..*)?|D2IMEXT|AXISCORR"
    rf"|WAT\d+_\d{{3}}|(SPECSYS|SSYSOBS|VELOSYS|RESTFRQ|RESTWAV|ZSOURCE|SSYSSRC|VELANGL){_ALT}|RESTFREQ"
    r"|PLTRA[HMS]|PLTDEC(SN|[DMS])|PLTSCALE|PPO\d+|AMD[XY]\d+|CNPIX[12]|[XY]PIXELSZ)$"
)
MAX_SIP_ORDER = 9  # "no more than 9": the SIP convention; a damaged header may ask for 100,000
MAX_WCS_AXES = 32
UNPARSABLE = "unparsable: "
"""How the comment begins that a card becomes whose value can't be parsed."""


def has_wcs(header: Any) -> bool:
    """Whether any world coordinate keyword stands in the header."""
    return any(True for _ in _alternates(header))


def is_wcs_keyword(keyword: str) -> bool:
    """Whether `keyword` belongs to a world coordinate description."""
    return _ALL.match(keyword) is not None


def unparsable(header: Any) -> list[str]:
    """Keywords of the cards that became comments because their value can't be parsed, such as ``CRPIX1 = NaN``."""
    texts = [str(value) for value in header.get("COMMENT", ())]
    return [text[len(UNPARSABLE) :][:8].strip() for text in texts if text.startswith(UNPARSABLE)]


def without_wcs(header: Any) -> Any:
    """A copy without any world coordinate keyword."""
    header = header.copy()
    for keyword in {card.keyword for card in header.cards if is_wcs_keyword(card.keyword)}:
        header.remove(keyword, ignore_missing=True, remove_all=True)
    return header


def wcs_only(header: Any) -> Any:
    """A new header with nothing but the WCS keywords and what fixes their meaning (dates, NAXIS).

    For evaluation by astropy. IRAF's TNX is evaluated as TAN, without its polynomial in the WAT keywords; that is a
    function of intermediate world coordinates, so the finer image's header keeps it unchanged and exact.
    """
    from astropy.io import fits

    keep = re.compile(
        r"(NAXIS\d*|(MJD|DATE)-?(OBS|AVG|BEG|END|REF)?|MJDREF[IF]?|TIMESYS|OBSGEO-.*|OBSGEO_.*)$"
    )
    out = fits.Header()
    for card in header.cards:
        # wcslib stumbles over IRAF's quoted strings and over CONTINUE, and needs neither.
        text = isinstance(card.value, str) and (len(card.value) > 68 or card.keyword.startswith("WAT"))
        if card.keyword and not text and (is_wcs_keyword(card.keyword) or keep.match(card.keyword)):
            out.append(card, end=True)
    return out


def is_distorted(header: Any) -> bool:
    """Whether SIP polynomials or look-up tables stand in the header."""
    return any(_DISTORTION.match(keyword) for keyword in header)


def undistorted(header: Any) -> Any:
    """A copy without SIP and look-up distortions, and without their mark in CTYPE."""
    header = header.copy()
    for keyword in {keyword for keyword in header if _DISTORTION.match(keyword)}:
        header.remove(keyword, ignore_missing=True, remove_all=True)
    for keyword in header:
        if re.match(r"CTYPE\d+[A-Z]?$", keyword) and str(header[keyword]).endswith("-SIP"):
            header[keyword] = str(header[keyword]).removesuffix("-SIP")
    return header


def refine_wcs(header: Any, factors: Sequence[Fraction]) -> Any:
    """A copy of `header` whose world coordinates stay put when the pixels become finer.

    Parameters
    ----------
    header : astropy.io.fits.Header
    factors : sequence of Fraction
        One per NAXISn, in that order.

    Returns
    -------
    astropy.io.fits.Header
        Look-up tables that it refers to are scaled by :func:`refine_lookup`, not here.

    Raises
    ------
    GeometryError
        A keyword has no number, or a convention can't be carried over exactly. `where` is left to the caller.
    """
    header = header.copy()
    check_wcs(header)
    _drop_repeats(header)
    scale = {n + 1: Fraction(f) for n, f in enumerate(factors)}
    for alt in _alternates(header):
        _refine_linear(header, alt, scale)
    _refine_sip(header, scale.get(1, Fraction(1)), scale.get(2, Fraction(1)))
    _refine_plate(header, scale.get(1, Fraction(1)), scale.get(2, Fraction(1)))
    for axis, factor in scale.items():
        for keyword in (f"CPERR{axis}", f"D2IMERR{axis}"):  # largest correction, in pixels
            _multiply(header, keyword, factor)
    return header


def check_wcs(header: Any) -> None:
    """Refuse what can't be refined exactly, and sizes that would make a WCS library reserve the memory for them.

    Raises
    ------
    GeometryError
    """
    _refuse_contradictions(header)
    for keyword in unparsable(header):
        if is_wcs_keyword(keyword):
            raise GeometryError(f"the value of {keyword} can't be parsed")
    for keyword in header:
        if _SIP_ORDER.match(keyword):
            order = header[keyword]
            if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order <= MAX_SIP_ORDER:
                raise GeometryError(f"{keyword} is {order!r}; SIP allows 0 to {MAX_SIP_ORDER}")
        elif re.match(r"WCSAXES[A-Z]?$", keyword):
            count = header[keyword]
            if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_WCS_AXES:
                raise GeometryError(f"{keyword} is {count!r}; 0 to {MAX_WCS_AXES} axes are understood")
        elif re.match(r"CQDIS\d+$", keyword):
            raise GeometryError(f"{keyword} (distortion after the linear transformation) is not understood")
        elif re.match(r"WAT\d+_\d{3}$", keyword) and "multispec" in str(header[keyword]).lower():
            raise GeometryError("an IRAF multispec WCS ties each line to a spectrum of its own")
        elif re.match(r"CTYPE\d+[A-Z]?$", keyword) and str(header[keyword]).strip().endswith("-ZPX"):
            raise GeometryError(
                f"{keyword} is IRAF's ZPX, whose parameters stand in WAT keywords that no library reads"
            )
        elif (match := _AXIS.match(keyword)) and max(int(n) for n in match.groups() if n) > MAX_WCS_AXES:
            raise GeometryError(f"{keyword} names an axis beyond the {MAX_WCS_AXES} that are understood")
    for alt in _alternates(header):
        matrix = [header[k] for k in header if (m := _CD.match(k)) and m[3] == alt]
        if matrix and not any(matrix):  # wcslib would take the unit matrix
            raise GeometryError(f"the CD matrix{alt and f' {alt}'} is all zeros")
    list(lookups(header))  # refuses what it doesn't understand


def _repeated(header: Any) -> list[str]:
    counts = Counter(card.keyword for card in header.cards)
    return [keyword for keyword, count in counts.items() if count > 1 and is_wcs_keyword(keyword)]


def _refuse_contradictions(header: Any) -> None:
    """astropy.io takes the first of two cards with one keyword, wcslib the last."""
    for keyword in _repeated(header):
        values = {str(card.value) for card in header.cards if card.keyword == keyword}
        if len(values) > 1:
            raise GeometryError(f"{keyword} stands several times, as {' and '.join(sorted(values))}")


def _drop_repeats(header: Any) -> None:
    for keyword in _repeated(header):
        while header.count(keyword) > 1:
            del header[keyword, 1]


def _alternates(header: Any) -> Iterator[str]:
    """The letters of all descriptions present, the primary one (``""``) first."""
    found = set()
    for keyword in header:
        for pattern in (_LINEAR, _CD, _PC):
            if match := pattern.match(keyword):
                found.add(match.groups()[-1])
        if _OLD_PC.match(keyword) or _CROTA.match(keyword):
            found.add("")
    yield from sorted(found)


def _refine_linear(header: Any, alt: str, scale: dict[int, Fraction]) -> None:
    """CRPIX and the linear transformation of one description.

    ``x_i = CDELT_i sum_j PC_ij (p_j - CRPIX_j)`` stays for finer ``p_j`` when ``CDELT_i' = CDELT_i / s_i`` and
    ``PC_ij' = PC_ij s_i / s_j``; a CD matrix needs ``CD_ij' = CD_ij / s_j``. CROTA rotates by definition the
    CDELT of the pixel axis (paper II, equations 186 to 189), so ``CDELT_j / s_j`` is exact for it too.
    """
    axes = header.get(f"WCSAXES{alt}")
    has_cd = any((m := _CD.match(k)) and m[3] == alt for k in header)
    for axis, factor in scale.items():
        if factor == 1 or (isinstance(axes, int) and axis > axes):
            continue
        reference = number(header, f"CRPIX{axis}{alt}", 0.0)
        header[f"CRPIX{axis}{alt}"] = float((Fraction(reference) - Fraction(1, 2)) * factor + Fraction(1, 2))
        if f"CDELT{axis}{alt}" in header or not has_cd:
            delta = number(header, f"CDELT{axis}{alt}", 1.0)
            header[f"CDELT{axis}{alt}"] = float(Fraction(delta) / factor)
    for keyword in list(header):
        if (match := _CD.match(keyword)) and match[3] == alt:
            _multiply(header, keyword, 1 / scale.get(int(match[2]), Fraction(1)))
        elif ((match := _PC.match(keyword)) and match[3] == alt) or (
            not alt and (match := _OLD_PC.match(keyword))
        ):
            row, column = (scale.get(int(match[n]), Fraction(1)) for n in (1, 2))
            _multiply(header, keyword, row / column)
    if has_cd:
        _complete_matrix(header, alt, scale)


def _complete_matrix(header: Any, alt: str, scale: dict[int, Fraction]) -> None:
    """An axis without any number in a CD matrix has an increment of 1 (wcsset in wcslib); it needs saying now."""
    told = set()
    for keyword in header:
        if (match := _CD.match(keyword)) and match[3] == alt and header[keyword]:
            told |= {int(match[1]), int(match[2])}
    for axis, factor in scale.items():
        if axis not in told and factor != 1:
            header[f"CD{axis}_{axis}{alt}"] = float(1 / factor)


def _refine_sip(header: Any, sx: Fraction, sy: Fraction) -> None:
    """SIP: ``u' = s_x u`` and the correction itself is in pixels, so ``A_pq' = A_pq s_x^(1-p) s_y^-q``."""
    for keyword in list(header):
        if match := _SIP.match(keyword):
            p, q = int(match[3]), int(match[4])
            if p + q > 2 * MAX_SIP_ORDER:
                raise GeometryError(f"{keyword} is beyond any SIP polynomial")
            own = sx if match[1] == "A" else sy
            _multiply(header, keyword, own / (sx**p * sy**q))
    for keyword, factor in (("A_DMAX", sx), ("B_DMAX", sy)):
        _multiply(header, keyword, factor)


def _refine_plate(header: Any, sx: Fraction, sy: Fraction) -> None:
    """The Digitized Sky Survey's plate solution: position on the plate = pixel size * (pixel + corner - 1/2)."""
    if "AMDX1" not in header or "XPIXELSZ" not in header:
        return
    for keyword, factor in (("CNPIX1", sx), ("CNPIX2", sy), ("XPIXELSZ", 1 / sx), ("YPIXELSZ", 1 / sy)):
        _multiply(header, keyword, factor)


def number(header: Any, keyword: str, default: float | None = None) -> float:
    """A finite number from a header.

    Raises
    ------
    GeometryError
        Missing (without a default), not a number, or not finite.
    """
    value = header.get(keyword, default)
    if isinstance(value, str):  # numbers in quotes occur in old files
        try:
            value = float(value.replace("D", "E"))
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GeometryError(f"{keyword} is {header.get(keyword)!r}, not a finite number")
    return float(value)


def _multiply(header: Any, keyword: str, factor: Fraction) -> None:
    if keyword in header and factor != 1:
        value = float(Fraction(number(header, keyword)) * factor)
        if not math.isfinite(value):
            raise GeometryError(f"{keyword} overflows when scaled")
        header[keyword] = int(value) if isinstance(header[keyword], int) and value.is_integer() else value
