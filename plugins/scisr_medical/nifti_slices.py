"""The slices of a volume as its JSON sidecar tells: thickness and distance, and what they become.

The profile of a slice (``SliceThickness``, its full width at half maximum) and the distance of slices
(``SpacingBetweenSlices``) are two things: slices may have gaps or overlap. The distance that counts is the header's.
Both keys are in mm (DICOM; BIDS takes them over), whatever the unit of the NIfTI file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.grid import AffineGrid

MILLIMETRES: Mapping[str, float] = {"m": 1e3, "mm": 1.0, "um": 1e-3}
"""mm in each length unit; a file that does not say its unit is taken for mm."""
_APART = 0.01
_UPDATED = ("SliceThickness", "SpacingBetweenSlices")


@dataclass(frozen=True)
class Slices:
    """What is known of a volume's slices.

    Attributes
    ----------
    axes : tuple of int
        Axes along which slices may have been acquired: the one that header or sidecar names, else the third and the
        coarsest.
    thickness : float or None
        Full width at half maximum of their profile, in the unit of the grid.
    notes : tuple of str
        Warnings, one line each.
    """

    axes: tuple[int, ...]
    thickness: float | None = None
    notes: tuple[str, ...] = ()


def slices_of(
    dim_info: int, grid: AffineGrid, across: int | None, record: Mapping[str, Any] | None
) -> Slices:
    """Slices of a volume by its header and its JSON sidecar.

    Parameters
    ----------
    dim_info : int
        Of the header; its bits 4 and 5 name the slice axis, 0 for unknown.
    grid : AffineGrid
    across : int or None
        The axis that is not upscaled in the plane; None for a 2-D image.
    record : mapping or None
        The JSON sidecar.
    """
    record = record or {}
    named = (dim_info >> 4 & 0x03) - 1
    if named < 0:
        named = "ijk".find(str(record.get("SliceEncodingDirection", "")).strip("-") or "-")
    axes = (named,) if named >= 0 else tuple(dict.fromkeys((2, 2 if across is None else across)))
    if across is None or across not in axes:
        return Slices(axes)  # what the sidecar says is about another axis
    in_mm = MILLIMETRES.get(grid.unit, 1.0)
    found = float(grid.spacing[across]) * in_mm
    thickness, notes = _positive(record, "SliceThickness")
    spacing, more = _positive(record, "SpacingBetweenSlices")
    if spacing is not None and abs(spacing - found) > _APART * found and grid.shape[across] > 1:
        more += (
            f"SpacingBetweenSlices is {spacing:g} mm by its JSON sidecar, the header's slices lie {found:.4g} mm "
            "apart; the header is used",
        )
    return Slices(axes, None if thickness is None else thickness / in_mm, notes + more)


def _positive(record: Mapping[str, Any], key: str) -> tuple[float | None, tuple[str, ...]]:
    """A length of the sidecar, and a note where it holds something else."""
    value = record.get(key)
    if value is None:
        return None, ()
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value), ()
    return None, (f"{key} in its JSON sidecar is {str(value)[:40]!r}, no length; it is not used",)


def new_spacing(grid: AffineGrid, axes: Sequence[int]) -> float | None:
    """mm between the slices of a result if they are no longer those that were acquired, else None."""
    factors = (*grid.factors, 1, 1, 1)[:3]
    refined = [axis for axis in axes if factors[axis] != 1]
    if not refined:
        return None
    spacing = float(np.asarray(grid.spacing)[refined[-1]]) * MILLIMETRES.get(grid.unit, 1.0)
    return round(spacing, 9)


def refined_record(record: Mapping[str, Any], spacing: float) -> dict[str, Any]:
    """A sidecar for reconstructed slices `spacing` mm apart: their thickness and distance, no times.

    What the scanner acquired is kept in ``SciSR.Original``; that of the first refinement, if there were several.
    """
    new = {key: value for key, value in record.items() if key != "SliceTiming"}
    own = record.get("SciSR")
    earlier = own.get("Original") if isinstance(own, Mapping) else None
    original = {key: record[key] for key in _UPDATED if key in record}
    new["SciSR"] = {"Original": {**original, **(earlier if isinstance(earlier, Mapping) else {})}}
    return new | dict.fromkeys(_UPDATED, spacing)
