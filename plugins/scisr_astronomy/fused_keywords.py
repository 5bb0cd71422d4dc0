"""Which of a single frame's keywords are still true of a combination of frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from scisr_astronomy.fused_times import SINGLE_EXPOSURE
from scisr_astronomy.wcs_keywords import is_wcs_keyword

STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BLOCKED|EXTNAME|EXTVER|EXTLEVEL|INHERIT|NEXTEND"
    r"|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|ZHECKSUM|ZDATASUM|END|DATE|HDUNAME|HDUVER|TFIELDS|CREATOR|IRAF-TLM"
    r"|Z(IMAGE|TILE\d+|CMPTYPE|NAME\d+|VAL\d+|QUANTIZ|DITHER0|BITPIX|NAXIS\d*|SIMPLE|TENSION|EXTEND|PCOUNT|GCOUNT"
    r"|BLOCKED|SCALE|ZERO|BLANK)|FZ(ALGOR|QVALUE|QMETHD|DTHRSD))$"
)
# Places on one detector: the frames were moved across it.
_DETECTOR = re.compile(
    r"((CCD|DET|AMP|DATA|BIAS|TRIM|OVER|POST|PRE|IMAGE|ROI)SEC[A-Z0-9]{0,2}|(DET|CCD|AMP)SIZE|AT[VM]\d(_\d)?"
    r"|DT[VM]\d(_\d)?|[XY]ORGSUBF|ROWORDER|SUBARRAY|WCSDIM)$"
)
# Noise of one readout, in its own counts: ERR holds the noise now.
NOISE = re.compile(
    r"((E|ARAW|CCD)?GAIN[A-Z0-9]?|GAINEFF|ATODGAIN\w?|CCDGAIN\d?|RD-?NOISE?[A-Z0-9]?|READNOI\w*|READNSE\w*|RON[A-Z0-9]?"
    r"|ENOISE|NOISADU|PEDESTAL|BLKLEVEL|BLACKLEV|OVERSCN\w*|MDRIZSKY|SKYSUB|AVSKY|AVSIG|SKY(BRT|RMS|SIGMA|LEVEL|VAL\w*|MED\w*)?"
    r"|BACKGRND|BKGLEVEL)$"
)
# One exposure's length by any other name than those that are written.
_EXPOSURE = re.compile(
    r"(EXPOSURE|EXPDUR|EXPREQ|EXP_?TIME|ITIME|INTTIME|INT_TIME|TEXPTIME|EXPTOTAL|LIVETIME|ELAPTIME|ELAPSED|DARKTIME"
    r"|EFFINTTM|EFFEXPTM|DURATION|ONTIME|TOTEXP|EXPSTART|EXPEND|EXPMID|EXPNUM|EXPID|STACKCNT|NCOMBINE|NCOADD\w*|NFRAMES?"
    r"|SNAPSHOT|FRMTIME|EXPTIME|XPOSURE|TELAPSE|TIMESYS|DATE-(OBS|BEG|END|AVG|MID)|MJD-(OBS|BEG|END|AVG))$"
)
_SINGLE = re.compile(rf"({SINGLE_EXPOSURE})$", re.I)
# What fixes the meaning of the level and of the pointing is the reference's, since both are: kept where frames differ.
_REFERENCE = re.compile(
    r"(OBJECT|TITLE|RA|DEC|OBJCTRA|OBJCTDEC|RA_?TARG|DEC_?TARG|CRVAL.*|TELRA|TELDEC|RA-?OBJ|DEC-?OBJ|TARG(NAME|_RA|_DEC)"
    r"|MAGZERO\w?|MAGZPT\w?|MAGZP\w?|ZEROPT\w?|ZEROPNT|ZP\w*|PHOT\w*|FLUXMAG0|PHOTZP|FLUXCONV|CALFCTR|ABZP|ABMAG\w*"
    r"|EXTINCT\w*|BUNIT|PIX(SCAL\w*|AR_\w\w|SIZE\d?|ELSCL)|XPIXSZ|YPIXSZ|SECPIX\d?|SATURAT\w*|SATLEVEL|LT[VM]\d(_\d)?)$"
)
_SPELLED = str.maketrans({"×": "x", "σ": "sigma", "±": "+/-", "−": "-", "–": "-", "…": "...", "→": "->"})
_COMMENTARY = frozenset({"COMMENT", "HISTORY", ""})
_NOTHING = re.compile(r"(=?\s*'?\s*'?|None)\s*$")


def card_text(text: object) -> str:
    """One line of ASCII, as a FITS card holds it."""
    spelled = " ".join(str(text).translate(_SPELLED).split())
    return "".join(c if " " <= c <= "~" else "?" for c in spelled)


def outdated(header: Any) -> list[str]:
    """Keywords that can't be true of several frames combined, whatever their values; without structural ones."""
    found = []
    for keyword in dict.fromkeys(header):
        if keyword in _COMMENTARY or STRUCTURE.match(keyword):
            continue
        if any(pattern.match(keyword) for pattern in (_DETECTOR, NOISE, _EXPOSURE, _SINGLE)):
            found.append(keyword)
    return found


def differing(reference: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keywords of `reference` whose values differ in another frame's header, or are missing there.

    World coordinates, the pointing, and the photometric calibration are the reference's by choice, and never listed.

    Parameters
    ----------
    reference : mapping
        A header, or its keywords and values.
    others : iterable of mapping
        One at a time: headers of many frames need not be held together.
    """
    left = {
        keyword: reference[keyword]
        for keyword in dict.fromkeys(reference)
        if keyword not in _COMMENTARY
        and not STRUCTURE.match(keyword)
        and not _REFERENCE.match(keyword)
        and not is_wcs_keyword(keyword)
        and not keyword.startswith("WAT")
    }
    gone = []
    for other in others:
        for keyword in [k for k, value in left.items() if k not in other or other[k] != value]:
            del left[keyword]
            gone.append(keyword)
    return gone


def remove(header: Any, keywords: Iterable[str]) -> None:
    """Drop keywords, every occurrence, in place."""
    for keyword in keywords:
        header.remove(keyword, ignore_missing=True, remove_all=True)


def without_structure(header: Any) -> Any:
    """A copy without the cards that describe how an HDU is stored."""
    header = header.copy()
    remove(header, [keyword for keyword in dict.fromkeys(header) if keyword and STRUCTURE.match(keyword)])
    return header


def tidy(header: Any) -> None:
    """Drop blank cards and values that FITS can't hold, and put WCSAXES first, as the standard wants; in place."""
    from astropy.io import fits

    good = fits.Header()
    for card in header.cards:
        if card.keyword in _COMMENTARY and (card.value is None or _NOTHING.match(str(card.value))):
            continue
        good.append(card, end=True)
    axes = [card for card in good.cards if re.match(r"WCSAXES[A-Z]?$", card.keyword)]
    header.clear()
    header.extend(axes, end=True)
    header.extend([c for c in good.cards if c not in axes], end=True, strip=False, bottom=True)
