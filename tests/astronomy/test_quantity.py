"""Units decide whether values are kept or shared out."""

from __future__ import annotations

import warnings

import pytest

from sciSR.errors import SciSRWarning, UnsupportedError
from scisr_astronomy.quantity import quantity_of

TOTALS = """count|counts|COUNTS|COUNTS/S|ct/s|cts|cps|adu|ADU|adu/s|DN|DN/s|DN/s/pixel|DN pixel-1 s-1|electron|electrons
ELECTRONS|ELECTRONS/S|e-|e-/s|e/s|photon|ph/s|Jy|mJy|uJy|muJy|Jy/pixel|MJy/pix|mJy/pixel|nanomaggy|nanomaggies
erg/s/cm2|erg/s/cm^2/A|10**(-20)*erg/s/cm**2/Angstrom|W/m2|/cm**2 /s|10**(-6)counts/s|ph/cm2/s|K/pixel"""
DENSITIES = """MJy/sr|MJY/SR|Jy/arcsec2|Jy/beam|JY/BEAM|Jy/Beam|mJy beam-1|K|mK|Kelvin|W.m-2.sr-1|W/m^2-sr|ct/s/arcsec2
erg/s/cm2/arcsec2|erg s-1 cm-2 sr-1|km/s|m/s|K km s-1|G|Gauss|cm-2|counts/s/deg2|DN/arcsec2"""


def words(text: str) -> list[str]:
    return [word for line in text.splitlines() for word in line.split("|")]


@pytest.mark.parametrize("unit", words(TOTALS))
def test_what_a_pixel_collects_is_a_total(unit: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert quantity_of(unit, asked=None, where="a.fits") == "total"


@pytest.mark.parametrize("unit", words(DENSITIES))
def test_what_does_not_depend_on_the_pixel_is_a_density(unit: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert quantity_of(unit, asked=None, where="a.fits") == "density"


@pytest.mark.parametrize(
    "unit", [None, "", "UNITLESS", "furlongs per fortnight", "calibrated", "1", "V", "???"]
)
def test_unknown_is_density_with_a_warning_that_names_the_option(unit: str | None) -> None:
    with pytest.warns(SciSRWarning, match=r"a\.fits\[SCI\].*--quantity total"):
        assert quantity_of(unit, asked=None, where="a.fits[SCI]") == "density"


@pytest.mark.parametrize("unit", ["mag", "mag/arcsec2", "MAG", "ABmag", "mag_AB", "log10(Jy)", "dex", "dB"])
def test_magnitudes_are_refused_unless_asked_for_as_numbers(unit: str) -> None:
    with pytest.raises(UnsupportedError, match="--quantity density"):
        quantity_of(unit, asked=None, where="a.fits")
    assert quantity_of(unit, asked="density", where="a.fits") == "density"


def test_a_spaxel_is_a_pixel() -> None:
    assert quantity_of("1E-17 erg/s/cm^2/Ang/spaxel", asked=None, where="a.fits") == "total"


def test_the_users_word_counts_more_than_the_unit() -> None:
    assert quantity_of("MJy/sr", asked="total", where="a.fits") == "total"
    assert quantity_of("ct", asked="density", where="a.fits") == "density"
