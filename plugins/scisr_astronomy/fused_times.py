"""When a combination of exposures was taken: FITS standard 4.0, section 9.5, computed by astropy.time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sciSR.sequence import Frame

# Every other way to say when one exposure was taken; none is true of a combination.
SINGLE_EXPOSURE = (
    r"UT|UTC|UTC-?(OBS|BEG|END|START|STOP|DATE|TIME)|UT-?(OBS|BEG|END|START|STOP|DATE|TIME|MIDDLE)|UTSTART|UTEND"
    r"|TIME-?(OBS|BEG|END|AVG|INIT)|DATE-?(LOC|LTI|UT|GPS)|ODATEOBS|LOCTIME|LOCALTIM|DATE-?LT|TSTART|TSTOP"
    r"|JD|JD-?(OBS|BEG|END|UTC|AVG|MID)|HJD|BJD|H?JD_\w+|B?JD_\w+|MJD|MJD-?(MID|UTC|TAI|STR)|MIDPOINT|MIDTIME|JDMID"
    r"|LST|LST-?(OBS|BEG|END|HDR)|ST|SIDEREAL|SIDTIME|HA|ZD|ALT|AZ|ALTITUDE|AZIMUTH|OBJCTALT|OBJCTAZ|OBJCTHA"
    r"|TELALT|TELAZ|CENTALT|CENTAZ|AIRMASS\d?|AMSTART|AMEND|SECZ|PARANG|PARALLAC|MOONANGL|SUNANGLE|OPENSHUT|CLOSSHUT"
    r"|FRAMENUM|FRAMENO|SEQNUM|OPENTIME|CLOSTIME"
)


@dataclass(frozen=True)
class Times:
    """Cards to write, and what to say of them in HISTORY."""

    cards: tuple[tuple[str, Any, str], ...]
    notes: tuple[str, ...] = ()


def combined_times(frames: Sequence[Frame]) -> Times:
    """Time and exposure keywords of several exposures together.

    Parameters
    ----------
    frames : sequence of Frame
        Those that were used; `start` and `end` are UTC.

    Returns
    -------
    Times
        ``EXPTIME`` and ``XPOSURE``, the sum, only where every frame tells its exposure. ``DATE-BEG``, ``DATE-END``,
        ``DATE-AVG`` (mean of the exposures' middles, weighted by exposure) and their MJD, ``TELAPSE`` (wall clock)
        where at least one frame tells its start.
    """
    exposures = [frame.exposure for frame in frames]
    cards, notes = [], []
    if frames and all(_known(e) for e in exposures):
        total = math.fsum(float(e) for e in exposures if e is not None)
        cards += [
            ("EXPTIME", total, f"[s] exposure, sum of {len(frames)} frames"),
            ("XPOSURE", total, "[s] the same, by the FITS standard's name"),
        ]
    elif any(_known(e) for e in exposures):
        unknown = sum(not _known(e) for e in exposures)
        notes.append(f"no EXPTIME: {unknown} of {len(frames)} frames do not tell their exposure")
    dated = [span for frame in frames if (span := _span(frame)) is not None]
    if dated:
        cards += _dates(dated)
        if len(dated) < len(frames):
            notes.append(f"dates are those of the {len(dated)} of {len(frames)} frames that tell them")
    return Times(tuple(cards), tuple(notes))


def _known(exposure: float | None) -> bool:
    return exposure is not None and math.isfinite(exposure)


def _time(text: str | None) -> Any:
    """An astropy Time in UTC, or None."""
    from astropy.time import Time

    if not text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dates before 1960 or in the far future: good enough here
            return Time(text.strip().removesuffix("Z"), scale="utc")
    except (ValueError, TypeError):
        return None


def _span(frame: Frame) -> tuple[Any, Any, float] | None:
    """Start, end, and weight of one exposure."""
    from astropy.time import TimeDelta

    start, end = _time(frame.start), _time(frame.end)
    exposure = float(frame.exposure) if _known(frame.exposure) and frame.exposure is not None else None
    if start is None and end is not None and exposure is not None:
        start = end - TimeDelta(exposure, format="sec")
    if start is None:
        return None
    if end is None or end < start:
        end = start + TimeDelta(exposure or 0.0, format="sec")
    return start, end, exposure if exposure else 1.0


def _dates(spans: Sequence[tuple[Any, Any, float]]) -> list[tuple[str, Any, str]]:
    from astropy.time import Time, TimeDelta

    first = min((start for start, _, _ in spans), key=lambda t: t.mjd)
    last = max((end for _, end, _ in spans), key=lambda t: t.mjd)
    weights = math.fsum(weight for _, _, weight in spans)
    # Seconds since the first start: differences keep microseconds where an MJD in one number would not.
    middle = math.fsum(
        weight * (0.5 * ((start - first).sec + (end - first).sec)) for start, end, weight in spans
    )
    average = first + TimeDelta(middle / weights, format="sec")

    def text(time: Time) -> str:
        time = time.copy()
        time.precision = 6
        whole, _, fraction = str(time.utc.isot).partition(".")
        return f"{whole}.{fraction.rstrip('0').ljust(3, '0')}"

    return [
        ("TIMESYS", "UTC", "time scale of all dates"),
        ("DATE-BEG", text(first), "start of the first exposure"),
        ("DATE-END", text(last), "end of the last exposure"),
        ("DATE-AVG", text(average), "mean of the exposures' middles"),
        ("DATE-OBS", text(first), "= DATE-BEG"),
        ("MJD-BEG", float(first.utc.mjd), "[d] DATE-BEG"),
        ("MJD-END", float(last.utc.mjd), "[d] DATE-END"),
        ("MJD-AVG", float(average.utc.mjd), "[d] DATE-AVG"),
        ("MJD-OBS", float(first.utc.mjd), "[d] DATE-OBS"),
        ("TELAPSE", float((last - first).sec), "[s] from DATE-BEG to DATE-END"),
    ]
