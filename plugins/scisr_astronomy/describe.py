"""What ``scisr info`` says about a FITS file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRError, SciSRWarning
from scisr_astronomy.fits_colour import name_colours
from scisr_astronomy.fits_file import FitsFile, open_fits
from scisr_astronomy.quantity import quantity_of
from scisr_astronomy.reader import FitsMetadata, axes_of, grid_of, why_not
from scisr_astronomy.roles import Role, is_science_shape, roles_of


def describe_fits(path: Path) -> Mapping[str, Any]:
    """A JSON-ready summary: every HDU, and of the images that would be upscaled also axes, unit and grid.

    Raises
    ------
    SciSRError
        The file can't be read at all. What concerns one HDU stands in its ``notes`` instead.
    """
    file = open_fits(path, ignore_checksum=True)
    roles = roles_of(file)
    return {
        "format": "fits",
        "file": path.name,
        "parts": [_part(file, record.index, roles) for record in file.records],
    }


def _part(file: FitsFile, index: int, roles: Mapping[int, Role]) -> dict[str, Any]:
    record = file.records[index]
    out: dict[str, Any] = {
        "hdu": index,
        "part": file.part(index),
        "kind": record.kind,
        "role": roles[index].kind,
        "shape": list(record.shape),
        "bitpix": record.bitpix,
        "notes": [],
    }
    if roles[index].of is not None:
        out["of"] = file.part(roles[index].of)
    if record.kind in ("image", "compressed") and is_science_shape(record):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SciSRWarning)
            try:
                _image(file, index, dict(roles), out)
            except SciSRError as error:
                out["notes"].append(str(error))
        out["notes"] += [str(w.message) for w in caught if issubclass(w.category, SciSRWarning)]
    elif roles[index].kind != "lookup":
        out["notes"].append(why_not(file, index))
    return out


def _image(file: FitsFile, index: int, roles: dict[int, Role], out: dict[str, Any]) -> None:
    header = file.header(index)
    shape = file.records[index].shape
    axes, spatial = axes_of(header, shape)
    axes = name_colours(header, axes, spatial, shape, "auto", file.where(index))
    unit = header.get("BUNIT")
    out |= {"axes": list(axes), "upscaled_axes": list(spatial), "unit": None if unit is None else str(unit)}
    if roles[index].kind == "science":
        out["grid"] = grid_of(FitsMetadata(file, index, "keep", roles), header).describe()
        out["quantity"] = quantity_of(unit, asked=None, where=file.where(index))
