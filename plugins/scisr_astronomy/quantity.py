"""From a unit to what happens to a pixel's value when the pixel is divided: kept (density) or shared (total)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from sciSR.errors import SciSRWarning, UnsupportedError
from sciSR.image import Quantity

# Historic spellings, longest first where one is the start of another.
_SPELLINGS = (
    (r"nanomagg(?:y|ies)", "nmgy"),
    (r"magg(?:y|ies)", "mgy"),
    (r"counts?|cts|cps(?=\b)", "ct"),
    (r"data\s*numbers?|dns?", "DN"),
    (r"adus?", "adu"),
    (r"electrons?|elec|e-(?=$|[\s/.*])", "electron"),
    (r"photons?|phot|ph", "photon"),
    (r"pixels?|pxl|px|spaxels?", "pix"),
    (r"seconds?|secs?", "s"),
    (r"ergs?", "erg"),
    (r"angstroms?|ang", "Angstrom"),
    (r"microns?", "um"),
    (r"beams?", "beam"),
    (r"kelvins?", "K"),
    (r"steradians?|str?rad", "sr"),
    (r"square\s*arcsec\w*|sqarcsec|arcsec2|sq\.?\s*arcsec\w*", "arcsec^2"),
    (r"arcsec(?:onds?)?", "arcsec"),
    (r"arcmin(?:utes?)?", "arcmin"),
    (r"degrees?", "deg"),
    (r"gauss", "G"),
)
_LOGARITHMIC = re.compile(
    r"(?<![a-z])(AB|ST|Vega)?(mag|mags|magnitudes?)(?![a-z])|\b(dex|db|decibel|log(10)?)\b|\blog", re.I
)
_EMPTY = re.compile(r"^(none|unknown|unitless|dimensionless|n/?a|1|\s*)$", re.I)


def quantity_of(unit: str | None, *, asked: str | None, where: str) -> Quantity:
    """What a pixel of this unit holds.

    Parameters
    ----------
    unit : str or None
        BUNIT as written.
    asked : {"density", "total"} or None
        The user's word, which counts more.
    where : str
        For messages.

    Returns
    -------
    {"density", "total"}
        Totals: counts, electrons, photons, DN, Jy, maggies, fluxes, anything per pixel, and their rates.
        Densities: anything per solid angle or beam, temperatures, velocities, fields, columns.
        Unknown or missing units: density, with a warning.

    Raises
    ------
    UnsupportedError
        Magnitudes and other logarithms: their mean is not the magnitude of the mean.
    """
    if asked is not None:
        return "total" if asked == "total" else "density"
    text = (unit or "").strip()
    if _LOGARITHMIC.search(text):
        raise UnsupportedError(
            f"the unit {text!r} is logarithmic; means of logarithms are not flux",
            where=where,
            remedy="give --quantity density to upscale the plain numbers",
        )
    if not _EMPTY.match(text):
        kind = _classify(text)
        if kind is not None:
            return kind
    said = f"the unit {text!r} does not tell" if text else "no unit tells"
    warnings.warn(
        f"{where}: {said} whether pixels hold densities or totals; taken as density "
        "(give --quantity total for counts per pixel)",
        SciSRWarning,
        stacklevel=2,
    )
    return "density"


def _classify(text: str) -> Quantity | None:
    for unit in parse_unit(text):
        if (kind := _by_dimension(unit)) is not None:
            return kind
    return _by_words(text)


def parse_unit(text: str) -> Iterator[Any]:
    """The astropy units that a FITS unit string may mean: as written, then with historic spellings understood."""
    from astropy import units as u

    for candidate in (text, _respell(text)):
        for form in ("fits", "generic", "cds"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    unit = u.Unit(candidate, format=form, parse_strict="raise")
            except Exception:  # ValueError, TypeError, KeyError, ... by format
                continue
            yield unit
            break


def _respell(text: str) -> str:
    out = re.sub(r"^\s*10(\*\*|\^)?\s*\(?[-+]?\d+\)?\s*", "", text)  # a power of ten in front
    out = re.sub(r"(?<=[a-zA-Z0-9])-(?=[a-zA-Z])", ".", out)  # W/m^2-sr
    for pattern, name in _SPELLINGS:
        out = re.sub(rf"(?<![A-Za-z]){pattern}(?![A-Za-z])", name, out, flags=re.I)
    out = re.sub(r"(?<![A-Za-z])([munkMG]?)JY(?![A-Za-z])", r"\1Jy", out)
    out = re.sub(r"(?<![A-Za-z])MJY(?=\s*/\s*SR)", "MJy", out)
    out = re.sub(r"(?<![A-Za-z])SR(?![A-Za-z])", "sr", out)
    out = re.sub(r"(?<![A-Za-z])S(?![A-Za-z])", "s", out)
    out = re.sub(r"(?<=[\s/.*])A(?![A-Za-z])", "Angstrom", out)
    out = re.sub(r"(?<![A-Za-z0-9])e(?=\s*/)", "electron", out)
    out = re.sub(r"^\s*1?\s*/", "ct/", out)  # per something, with what is counted left unsaid
    return re.sub(r"\s+/", "/", out).strip()


_COUNTED = frozenset(
    {"ct", "count", "adu", "DN", "dn", "electron", "ph", "photon", "nmgy", "mgy", "chan", "bin"}
)
_KNOWN_DENSITIES = frozenset(
    {
        "temperature",
        "speed/velocity",
        "magnetic flux density",
        "column density",
        "surface mass density",
        "angle",
    }
)


def _by_dimension(unit: Any) -> Quantity | None:
    """Decide from the powers of a parsed unit's parts."""
    from astropy import units as u

    powers: dict[str, float] = {}
    solid = 0.0
    for base, power in zip(unit.bases, unit.powers, strict=True):
        powers[base.name] = powers.get(base.name, 0) + float(power)
        kind = str(u.get_physical_type(base))
        solid += float(power) * {"solid angle": 2, "angle": 1}.get(kind, 0)
    if powers.get("pix", powers.get("pixel", 0)) < 0:
        return "total"
    if solid <= -2 or powers.get("beam", 0) < 0:
        return "density"
    if any(powers.get(name, 0) > 0 for name in _COUNTED):
        return "total"
    if powers.get("K", 0) > 0:
        return "density"
    kinds = set(str(u.get_physical_type(unit)).split("/")) | {str(u.get_physical_type(unit))}
    if kinds & _KNOWN_DENSITIES:
        return "density"
    if unit.is_equivalent(u.Jy) or any(unit.is_equivalent(f) for f in _fluxes()):
        return "total"
    return None


def _fluxes() -> tuple[Any, ...]:
    """Energy or photons per time, with or without a collecting area and a bandwidth."""
    from astropy import units as u

    watt, area = u.W, u.m**2
    return (
        *(
            watt,
            watt / area,
            watt / area / u.m,
            watt / u.Hz,
            watt / u.m,
            1 / area / u.s,
            1 / area / u.s / u.m,
        ),
        *(u.J / area, u.J),
    )


def _by_words(text: str) -> Quantity | None:
    """Decide from single words, where the text is no unit that astropy can parse."""
    words = set(re.findall(r"[A-Za-z]+", _respell(text)))
    if "pix" in words:
        return "total"
    if words & {"sr", "beam"} or re.search(r"arc(sec|min)\W*2|deg\W*2", text, re.I):
        return "density"
    if words & _COUNTED or any(w.endswith("Jy") for w in words):
        return "total"
    return None
