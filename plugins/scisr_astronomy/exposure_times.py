"""When an exposure began and ended, in UTC, from the many ways in which headers say it.

FITS standard 4.0, section 9; older files split date and time, write the year with two digits, or give a zone.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

_BEGIN = ("DATE-BEG", "DATE_BEG", "DATE-OBS", "DATE_OBS", "DATEOBS", "UT-OBS", "UTC-OBS", "DATE-STA")
_END = ("DATE-END", "DATE_END", "DATEEND")
_MIDDLE = ("DATE-AVG", "DATE_AVG")
_CLOCKS = (
    *(
        "TIME-OBS",
        "TIME_OBS",
        "TIME-BEG",
        "UTSTART",
        "UTCSTART",
        "UTC-OBS",
        "UT-OBS",
        "UTCOBS",
        "UTOBS",
        "UTC",
        "UT",
    ),
    *("TIMEOBS", "OBS-TIME", "UT-START", "UTSHUT"),
)
_END_CLOCKS = ("TIME-END", "UTEND", "UTCEND", "UT-END", "TIMEEND")
_MJD_BEGIN = ("MJD-BEG", "MJD_BEG", "MJD-OBS", "MJD_OBS", "MJDSTART", "MJD-STR", "EXPSTART", "MJD")
_MJD_END = ("MJD-END", "MJD_END", "MJDEND", "EXPEND")
_JD_BEGIN = ("JD-OBS", "JD_OBS", "JD", "JD_UTC")
_SCALES = frozenset({"TAI", "TT", "TDT", "ET", "TDB", "TCB", "TCG", "UT1"})
_DATE = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")
_OLD = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{2}|\d{4})$")
_CLOCK = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d*)?)")
_ZONE = re.compile(r"([+-])(\d{2}):?(\d{2})$")


def times_of(headers: Sequence[Any], seconds: float | None) -> tuple[str | None, str | None]:
    """Start and end of an exposure.

    Parameters
    ----------
    headers : sequence of astropy.io.fits.Header
        The image's own first, then the primary one.
    seconds : float or None
        Its length, by which the one is told from the other.

    Returns
    -------
    start, end : str or None
        ISO 8601 to the millisecond, UTC, without a zone.
    """
    start = _written(headers, _BEGIN, _CLOCKS)
    if start is None:
        start = _counted(headers, _MJD_BEGIN, 2400000.5) or _counted(headers, _JD_BEGIN, 0.0)
    end = _written(headers, _END, _END_CLOCKS) or _counted(headers, _MJD_END, 2400000.5)
    length = None if seconds is None else timedelta(seconds=seconds)
    if start is None and length is not None and (middle := _written(headers, _MIDDLE, ())):
        start = middle - length / 2
    if start is None and end is not None and length is not None:
        start = end - length
    if end is not None and start is not None and end < start:
        end = None
    if end is None and start is not None and length is not None:
        end = start + length
    return _iso(start, headers), _iso(end, headers)


def _written(headers: Sequence[Any], dates: Sequence[str], clocks: Sequence[str]) -> datetime | None:
    """The first date with a time of day; where all lack one, with the time of day that stands elsewhere."""
    bare = None
    for header in headers:
        for keyword in dates:
            text = header.get(keyword)
            if not isinstance(text, str):
                continue
            day = _day(text)
            moment = _moment(text, day)
            if moment is not None:
                return moment
            bare = bare or day
    if bare is None:
        return None
    for header in headers:
        for keyword in clocks:
            text = header.get(keyword)
            if isinstance(text, str) and (match := _CLOCK.match(text.strip())):
                return _at(bare, match)
    return None


def _day(text: str) -> datetime | None:
    text = text.strip()
    try:
        if match := _DATE.match(text):
            return datetime(int(match[1]), int(match[2]), int(match[3]))
        if match := _OLD.match(text):  # before 2000 DD/MM/YY was the standard's form
            year = int(match[3])
            return datetime(year if year > 99 else 1900 + year, int(match[2]), int(match[1]))
    except ValueError:
        return None
    return None


def _moment(text: str, day: datetime | None) -> datetime | None:
    """A date and a time of day in one text, in UTC."""
    match = _CLOCK.search(text)
    if day is None or match is None:
        return None
    moment = _at(day, match)
    zone = _ZONE.search(text.strip()[match.end() :] if match.end() < len(text.strip()) else "")
    if zone is None or moment is None:
        return moment
    shift = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
    return moment - shift if zone[1] == "+" else moment + shift


def _at(day: datetime, clock: re.Match[str]) -> datetime | None:
    hours, minutes, seconds = int(clock[1]), int(clock[2]), float(clock[3])
    if hours > 24 or minutes > 59 or seconds >= 61:
        return None
    return day + timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _counted(headers: Sequence[Any], keywords: Sequence[str], zero: float) -> datetime | None:
    """From days since the zero of MJD or JD; values outside the years 1900 to 2100 are no dates."""
    for header in headers:
        for keyword in keywords:
            value = header.get(keyword)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            days = float(value) + zero - 2400000.5
            if 15020.0 < days < 88069.0:
                return datetime(1858, 11, 17) + timedelta(days=days)
    return None


def _iso(moment: datetime | None, headers: Sequence[Any]) -> str | None:
    if moment is None:
        return None
    scale = next((str(h["TIMESYS"]).strip().upper() for h in headers if h.get("TIMESYS")), "UTC")
    if scale in _SCALES:
        from astropy.time import Time

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "dubious year" beyond the table of leap seconds
            known = {"TDT": "tt", "ET": "tt"}.get(scale, scale.lower())
            moment = Time(moment, scale=known).utc.to_datetime()
    return moment.isoformat(timespec="milliseconds")
