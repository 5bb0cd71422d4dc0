"""Headers are understood as those who write them mean them; astropy.time judges the times."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from scisr_astronomy.exposure_keywords import Exposure, exposure_of

MOMENTS = st.datetimes(datetime(1972, 1, 1), datetime(2049, 12, 30)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


def header(**cards: Any) -> fits.Header:
    """Values, or (value, comment); double underscores stand for a dash, blanks begin with HIERARCH."""
    out = fits.Header()
    for key, value in cards.items():
        out[key.replace("__", "-")] = value
    return out


def of(**cards: Any) -> Exposure:
    return exposure_of([header(**cards)])


@pytest.mark.parametrize(
    ("cards", "seconds"),
    [
        ({"EXPTIME": 30.0}, 30),
        ({"EXPTIME": "030.00"}, 30),
        ({"EXPOSURE": (500.0, "[ms] integration")}, 0.5),
        ({"EXPOSURE": (2.0, "(min) integration")}, 120),
        ({"ITIME": 10.0, "COADDS": 6}, 60),
        ({"XPOSURE": 99.0, "EXPTIME": 100.0}, 99),
        ({"EXPTIME": 0.0, "EXPOSURE": 5.0}, 5),
        ({"EXPTIME": -1.0}, None),
        ({"EXPTIME": "none"}, None),
        ({"EXPTIME": True}, None),
        ({}, None),
    ],
)
def test_exposure(cards: dict[str, Any], seconds: float | None) -> None:
    assert of(**cards).seconds == seconds


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"FILTER": "R "}, "R"),
        ({"FILTER1": "F606W", "FILTER2": "CLEAR2L"}, "F606W"),  # HST ACS
        ({"FILTER1": "CLEAR1S", "FILTER2": "F814W"}, "F814W"),
        ({"FILTER1": "F606W", "FILTER2": "POL0V"}, "F606W+POL0V"),
        ({"FILTNAM1": "F673N", "FILTNAM2": ""}, "F673N"),  # WFPC2
        ({"INSFLNAM": "Ks"}, "Ks"),
        ({"BAND": "z"}, "z"),
        ({"FILTER": "CLEAR"}, "CLEAR"),
        ({"FILTER": "F322W2", "PUPIL": "F323N"}, "F322W2+F323N"),  # JWST NIRCam
        ({"FILTER": "F200W", "PUPIL": "CLEAR"}, "F200W"),
        ({"HIERARCH ESO INS FILT1 NAME": "B_HIGH"}, "B_HIGH"),
        ({"FILTER": ""}, None),
        ({}, None),
    ],
)
def test_filter(cards: dict[str, Any], name: str | None) -> None:
    assert of(**cards).filter == name


@pytest.mark.parametrize(
    ("cards", "gain", "noise"),
    [
        ({"GAIN": 1.7, "RDNOISE": 5.1}, 1.7, 5.1),
        ({"GAIN": (100, "sensor gain setting"), "EGAIN": 0.25}, 0.25, None),  # N.I.N.A., ZWO
        ({"GAIN": 139, "EGAIN": (1.0, "[e-/ADU]")}, 1.0, None),
        ({"GAIN": (200, "Gain setting")}, None, None),
        ({"GAIN": (0.5, "ADU per electron")}, 2.0, None),
        ({"GAIN": (0.5, "[adu/e-] conversion")}, 2.0, None),
        ({"GAIN": (2.0, "e-/ADU")}, 2.0, None),
        ({"GAINA": 4.0, "GAINB": 5.0, "RDNOISEA": 6.0, "RDNOISEB": 8.0}, 4.5, np.sqrt(50)),  # DECam
        (
            {"CCDGAIN": 2.0, "ATODGNA": 2.02, "ATODGNB": 1.98, "READNSEA": 5.0, "READNSEB": 5.0},
            2.0,
            5.0,
        ),  # HST ACS
        ({"CCDGAIN": 7.0}, 7.0, None),
        (
            {
                "HIERARCH ESO DET OUT1 CONAD": 2.1,
                "HIERARCH ESO DET OUT1 GAIN": 0.48,
                "HIERARCH ESO DET OUT1 RON": 3.0,
            },
            2.1,
            3.0,
        ),
        ({"GAIN": 2.0, "RDNOISE": (4.0, "[ADU] read noise")}, 2.0, 8.0),
        ({"GAIN": -1.0, "RDNOISE": 0.0}, None, None),
        ({"GAIN": 0, "READNOIS": 3.0}, None, 3.0),
        ({"CVF": 0.79, "GAIN": 50}, 0.79, None),  # Siril
    ],
)
def test_gain_and_read_noise(cards: dict[str, Any], gain: float | None, noise: float | None) -> None:
    found = of(**cards)
    assert found.gain == (None if gain is None else pytest.approx(gain))
    assert found.read_noise == (None if noise is None else pytest.approx(noise))


@pytest.mark.parametrize(
    ("cards", "level"),
    [
        ({"SATURATE": 60000.0}, 60000),
        ({"SATLEVEL": 5e4}, 5e4),
        ({"SATURATA": 50808.0, "SATURATB": 51460.0}, 50808),
        ({"DATAMAX": 812.5}, None),  # the standard's meaning: the largest pixel
        ({"DATAMAX": (45000.0, "maximum good value")}, 45000),
        ({"SATURATE": 0}, None),
    ],
)
def test_saturation(cards: dict[str, Any], level: float | None) -> None:
    assert of(**cards).saturation == level


def test_an_images_own_header_counts_more_than_the_primary_one() -> None:
    found = exposure_of(
        [header(EXPTIME=20.0), header(EXPTIME=400.0, FILTER="V", DATE__OBS="2020-01-01T00:00:00")]
    )
    assert (found.seconds, found.filter, found.end) == (20.0, "V", "2020-01-01T00:00:20.000")


@pytest.mark.filterwarnings("ignore:ERFA")
@given(moment=MOMENTS, seconds=st.floats(0.001, 7200))
def test_start_and_end_are_those_of_astropy(moment: datetime, seconds: float) -> None:
    iso = moment.isoformat(timespec="milliseconds")
    day, clock = iso.split("T")
    days = float(Time(moment).mjd)
    forms: list[dict[str, Any]] = [
        {"DATE__OBS": iso},
        {"DATE__BEG": iso, "DATE__OBS": "1999-01-01T00:00:00"},
        {"DATE__OBS": day, "TIME__OBS": clock},
        {"DATE__OBS": day, "UT": clock},
        {"DATE__OBS": day, "UTSTART": clock + " "},
        {"DATE__OBS": iso + "Z"},
        {"DATE__OBS": (moment - timedelta(hours=7)).isoformat(timespec="milliseconds") + "-0700"},
        {"DATE__OBS": (moment + timedelta(hours=5.5)).isoformat(timespec="milliseconds") + "+05:30"},
        {"MJD__OBS": days},
        {"EXPSTART": days, "DATE__OBS": day},
        {"DATE__END": (moment + timedelta(seconds=seconds)).isoformat()},
    ]
    if moment.year < 2000:
        forms.append({"DATE__OBS": moment.strftime("%d/%m/%y"), "TIME__OBS": clock})
    for form in forms:
        found = of(EXPTIME=seconds, **form)
        assert found.start is not None, form
        # By the number of days, astropy spreads a leap second over its day.
        tolerance = 1.002 if "MJD__OBS" in form or "EXPSTART" in form else 0.002
        begin, end = datetime.fromisoformat(found.start), datetime.fromisoformat(found.end)
        assert abs((begin - moment).total_seconds()) < tolerance, form
        assert abs((end - begin).total_seconds() - seconds) < 0.002, form


@pytest.mark.parametrize("scale", ["TAI", "TT", "TDB"])
def test_other_time_scales_become_utc(scale: str) -> None:
    found = of(DATE__OBS="2012-06-30T12:00:00.000", TIMESYS=scale)
    expected = Time("2012-06-30T12:00:00.000", scale=scale.lower()).utc
    assert abs((Time(found.start, scale="utc") - expected).sec) < 0.001


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"DATE__OBS": "yesterday"},
        {"DATE__OBS": "2020-13-45T99:00:00"},
        {"DATE__OBS": "2020-01-01"},
        {"MJD__OBS": 0.0},
        {"MJD__OBS": "soon"},
        {"DATE__OBS": 20200101},
    ],
)
def test_what_is_no_time_is_none(cards: dict[str, Any]) -> None:
    assert (of(**cards).start, of(**cards).end) == (None, None)


def test_an_end_before_the_start_is_not_believed() -> None:
    found = of(DATE__OBS="2020-01-02T00:00:00", DATE__END="2020-01-01T00:00:00", EXPTIME=10.0)
    assert found.end == "2020-01-02T00:00:10.000"


KEYWORDS = ["EXPTIME", "GAIN", "RDNOISE", "SATURATE", "FILTER", "DATE-OBS", "TIMESYS", "MJD-OBS", "PEDESTAL"]
VALUES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.booleans(),
)


@given(st.dictionaries(st.sampled_from(KEYWORDS), VALUES))
def test_no_header_raises(cards: dict[str, Any]) -> None:
    found = exposure_of([header(**cards)])
    for value in (found.seconds, found.gain, found.read_noise, found.saturation, found.pedestal):
        assert value is None or value > 0
