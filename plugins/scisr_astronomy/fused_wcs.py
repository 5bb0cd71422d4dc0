"""World coordinate cards of a fused image where no single header holds them: planes of cubes, bare grids."""

from __future__ import annotations

import re
from typing import Any

from scisr_astronomy.wcs_grid import WcsGrid
from scisr_astronomy.wcs_keywords import has_wcs, without_wcs

_ONE_AXIS = re.compile(
    r"(?:CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CNAME|CRDER|CSYER|CROTA|LTV|CPDIS|D2IMDIS|DP|WAT)(\d+)(?:_\d+)?[A-Z]?(?:\..*)?$"
)
_TWO_AXES = re.compile(r"(?:CD|PC|LTM)(\d+)_(\d+)[A-Z]?$|PC(\d{3})(\d{3})$")
_PARAMETER = re.compile(r"(?:PV|PS)(\d+)_\d+[A-Z]?$")
_SPECTRAL = re.compile(r"(SPECSYS|SSYSOBS|VELOSYS|RESTFRQ|RESTWAV|ZSOURCE|SSYSSRC|VELANGL)[A-Z]?$|RESTFREQ$")


def wcs_grid_of(grid: Any) -> WcsGrid | None:
    """The WcsGrid itself, or of the cube that a plane lies in."""
    for candidate in (grid, getattr(grid, "source", None)):
        if isinstance(candidate, WcsGrid):
            return candidate
    return None


def grid_cards(grid: Any) -> Any:
    """A header with the world coordinates of a grid that came without one; empty where there are none."""
    from astropy.io import fits

    header = fits.Header()
    found = wcs_grid_of(grid)
    if found is not None:
        for card in found.header.cards:
            if not card.keyword.startswith("NAXIS"):
                header.append(card, end=True)
        header, _ = plane_only(header, grid)
    return header


def plane_only(header: Any, grid: Any) -> tuple[Any, list[str]]:
    """A copy without the axes of a cube that the plane `grid` does not have, and notes.

    The plane must be the first two FITS axes, and no other axis may turn into them; else the world coordinates are
    dropped, and the note says so.
    """
    fixed = getattr(grid, "fixed", None)
    if not fixed:
        return header, []
    count = len(grid.source.shape)
    kept = sorted(count - axis for axis in range(count) if axis not in fixed)
    if kept != [1, 2] or _couples(header):
        note = ["world coordinates dropped: they mix the plane with the cube's other axes"]
        return without_wcs(header), (note if has_wcs(header) else [])
    header = header.copy()
    for keyword in list(dict.fromkeys(header)):
        if _beyond(keyword):
            header.remove(keyword, ignore_missing=True, remove_all=True)
        elif re.match(r"WCSAXES[A-Z]?$", keyword):
            header[keyword] = 2
    return header, []


def _axes(keyword: str) -> list[int]:
    for pattern in (_ONE_AXIS, _TWO_AXES, _PARAMETER):
        if match := pattern.match(keyword):
            return [int(number) for number in match.groups() if number]
    return []


def _beyond(keyword: str) -> bool:
    """Whether a keyword speaks of an axis after the second."""
    return any(axis > 2 for axis in _axes(keyword)) or _SPECTRAL.match(keyword) is not None


def _couples(header: Any) -> bool:
    """Whether a matrix element ties the plane to another axis."""
    for keyword in header:
        match = _TWO_AXES.match(keyword)
        if match and not keyword.startswith("LTM"):
            first, second = (int(number) for number in match.groups() if number)
            if (first <= 2) != (second <= 2) and header[keyword] != 0:
                return True
    return False
