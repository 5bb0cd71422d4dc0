"""What headers say of an exposure: how long, when, through which filter, with which detector.

Every observatory has its own words for these. Gathered from the FITS standard 4.0 (sections 9.4 and 9.5), HST, JWST,
NOIRLab and DECam, ESO, Keck, SDSS, Spitzer, IRAF, and the amateurs' MaxIm DL, N.I.N.A., SharpCap and Siril.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scisr_astronomy.exposure_times import times_of

_SECONDS = (
    *("XPOSURE", "EFFEXPTM", "EXPTIME", "EXP_TIME", "EXP-TIME", "EXPOSURE", "EXPOS", "EXPOSED", "TEXPTIME"),
    *("ITIME", "INTTIME", "INTTM", "ONTIME", "TRUITIME", "EFFINTTM"),
)
_GAIN = (
    "EGAIN",
    "CVF",
    "EPADU",
    "EPERADU",
    "EPERDN",
    "ADUGAIN",
    "ATODGN",
    "ATODGAIN",
    "CCDGAIN",
    "GAIN",
    "DETGAIN",
)
_AMPLIFIERS = {
    "gain": r"(?:HIERARCH )?(?:ATODGN|GAIN|GAIN_|EGAIN|ESO DET OUT)([A-D]|[1-8]|0[1-8])(?: CONAD)?$",
    "noise": r"(?:READNSE|RDNOISE|RDNOIS|RDNOI|RON|READNOI|ENOISE|ESO DET OUT)([A-D]|[1-8]|0[1-8])(?: RON)?$",
    "saturation": r"(?:SATURAT|SATURATE|SATUR)([A-D]|[1-8])$",
}
_NOISE = (
    *(
        "RDNOISE",
        "READNOIS",
        "READNSE",
        "RON",
        "RONOISE",
        "ENOISE",
        "RDNOIS",
        "READNOI",
        "CCDNOISE",
        "DETRON",
    ),
    *("RN", "NOISEADU", "READNOISE"),
)
_SATURATION = (
    "ESATUR",
    "SATURATE",
    "SATLEVEL",
    "SATURATN",
    "SATURAT",
    "SATUR",
    "MAXLIN",
    "LINLIMIT",
    "NONLINEAR",
)
_OPEN = re.compile(r"(CLEAR.*|OPEN.*|EMPTY.*|NONE|AIR|BLANK|HOLE|N/?A|OUT|NOTUSED|GR\d.*|)$", re.I)


@dataclass(frozen=True)
class Exposure:
    """What is known of one exposure; None where the header doesn't tell.

    Attributes
    ----------
    seconds : float
    start, end : str
        ISO 8601, UTC, without a zone.
    filter : str
    gain : float
        Electrons per ADU.
    read_noise : float
        Electrons, one standard deviation.
    saturation : float
        As written: in ADU or in the unit of the data.
    pedestal : float
        Level without light in ADU, if the header tells (PEDESTAL).
    """

    seconds: float | None = None
    start: str | None = None
    end: str | None = None
    filter: str | None = None
    gain: float | None = None
    read_noise: float | None = None
    saturation: float | None = None
    pedestal: float | None = None


def exposure_of(headers: Sequence[Any]) -> Exposure:
    """What some headers tell together.

    Parameters
    ----------
    headers : sequence of astropy.io.fits.Header
        The image's own first, then the primary one.
    """
    seconds = _exposure(headers)
    start, end = times_of(headers, seconds)
    gain = _gain(headers)
    return Exposure(
        seconds=seconds,
        start=start,
        end=end,
        filter=_filter(headers),
        gain=gain,
        read_noise=_read_noise(headers, gain),
        saturation=_saturation(headers),
        pedestal=_pedestal(headers),
    )


def number_of(header: Any, keyword: str) -> float | None:
    """A finite number, also one in quotes; None for anything else."""
    value = header.get(keyword)
    if isinstance(value, str):
        try:
            value = float(value.strip().replace("D", "E"))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _positive(headers: Sequence[Any], keywords: Sequence[str]) -> Iterator[tuple[float, str, str]]:
    """Positive numbers under these keywords with keyword and comment: the first header first."""
    for header in headers:
        for keyword in keywords:
            value = number_of(header, keyword)
            if value is not None and value > 0:
                yield value, keyword, str(header.comments[keyword])


def _exposure(headers: Sequence[Any]) -> float | None:
    for value, keyword, comment in _positive(headers, _SECONDS):
        scale = 1.0
        if match := re.search(
            r"[\[(]\s*(ms|msec\w*|millisec\w*|us|usec\w*|microsec\w*|min\w*)\s*[\])]", comment, re.I
        ):
            unit = match[1].lower()
            scale = 60.0 if unit.startswith("min") else (1e-6 if unit.startswith(("u", "mic")) else 1e-3)
        coadds = next((v for v, *_ in _positive(headers, ("COADDS", "NCOADDS"))), 1.0)
        return value * scale * (coadds if keyword == "ITIME" else 1.0)
    return None


def _filter(headers: Sequence[Any]) -> str | None:
    for header in headers:
        wheels = [_text(header, f"{base}{n}") for base in ("FILTER", "FILTNAM", "FILT") for n in (1, 2, 3)]
        wheels += [_text(header, f"ESO INS FILT{n} NAME") for n in (1, 2, 3)]
        passing = list(dict.fromkeys(w for w in wheels if w and not _OPEN.match(w)))
        single = [
            _text(header, k)
            for k in ("FILTER", "FILTNAM", "INSFLNAM", "FILTERID", "FILTNAME", "INSFILTE", "BAND")
        ]
        found = next((s for s in single if s), None)
        pupil = _text(header, "PUPIL")  # JWST: a narrow filter may stand in the pupil wheel
        if found and pupil and re.match(r"F\d{3}[A-Z]", pupil):
            return f"{found}+{pupil}"
        if found and not (_OPEN.match(found) and passing):
            return found
        if passing:
            return "+".join(passing)
    return None


def _text(header: Any, keyword: str) -> str:
    value = header.get(keyword)
    return value.strip() if isinstance(value, str) else ""


def _amplifiers(headers: Sequence[Any], kind: str) -> list[float]:
    """Positive values of the several amplifiers of one detector."""
    pattern = re.compile(_AMPLIFIERS[kind])
    for header in headers:
        names = [
            k for k in header if pattern.match(k) and (not k.startswith("ESO DET") or k.endswith(_ESO[kind]))
        ]
        values = [v for k in names if (v := number_of(header, k)) is not None and v > 0]
        if values:
            return values
    return []


_ESO = {"gain": "CONAD", "noise": "RON", "saturation": "SATLEV"}


def _gain(headers: Sequence[Any]) -> float | None:
    """Electrons per ADU. GAIN of amateur cameras is a setting, and some write ADU per electron: the comment tells."""
    several = _amplifiers(headers, "gain")
    for value, keyword, comment in _positive(headers, _GAIN):
        if several and keyword in ("CCDGAIN", "ATODGAIN"):  # as commanded; measured for each amplifier
            continue
        if keyword in ("GAIN", "DETGAIN") and re.search(
            r"setting|\bdb\b|sensor gain|camera gain|offset", comment, re.I
        ):
            continue
        if re.search(r"(adu|dn|counts?)\s*(/|per)\s*\(?e", comment, re.I):
            return 1 / value
        return value
    return sum(several) / len(several) if several else None


def _read_noise(headers: Sequence[Any], gain: float | None) -> float | None:
    for value, keyword, comment in _positive(headers, _NOISE):
        if keyword == "NOISEADU" or re.search(r"[\[(]\s*(adu|dn|counts?)\s*[\])]", comment, re.I):
            return None if gain is None else value * gain
        return value
    several = _amplifiers(headers, "noise")
    return math.sqrt(sum(v * v for v in several) / len(several)) if several else None


def _saturation(headers: Sequence[Any]) -> float | None:
    """DATAMAX is the largest pixel by the FITS standard, and only by IRAF's habit the largest good one."""
    for value, *_ in _positive(headers, _SATURATION):
        return value
    for value, _, comment in _positive(headers, ("DATAMAX",)):
        if re.search(r"satur|good|linear|valid", comment, re.I):
            return value
    several = _amplifiers(headers, "saturation")
    return min(several) if several else None


def _pedestal(headers: Sequence[Any]) -> float | None:
    """MaxIm DL tells what must be added to get zero for no light (negative), PixInsight what was added."""
    for header in headers:
        value = number_of(header, "PEDESTAL")
        if value:
            return abs(value)
    return None
