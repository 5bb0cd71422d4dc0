"""What ``scisr info`` says about DICOM: series, shapes, grids, and why something is refused. No patient data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRError, SciSRWarning
from scisr_medical.dicom_instance import Instance
from scisr_medical.dicom_listing import echo_times, listed, table
from scisr_medical.dicom_series import Found, build_stacks, find_series, list_files


def describe(path: Path) -> Mapping[str, Any]:
    """A JSON-ready summary: each series in ``parts``; of several ones a table, ``series``, as well.

    Raises
    ------
    SciSRError
        A file is damaged. A series that is only irregular is described, with the reason in ``refused``.
    """
    found = find_series(list_files(path), path)
    several = {"series": table(found.series)} if len(found.series) > 1 else {}
    return {
        "format": "DICOM",
        "parts": [_describe_series(found, uid, instances) for uid, instances in found.series.items()],
        **several,
        "notes": [*found.notes, "Research use only, not for diagnosis."],
    }


def _describe_series(found: Found, uid: str, instances: list[Instance]) -> dict[str, Any]:
    first, line = instances[0], listed(instances)
    summary: dict[str, Any] = {
        "part": str(first.series_number),
        "series_uid": uid,
        **line.row(),
        "echo_times_ms": echo_times(instances),
        "image_type": list(first.image_type),
        "transfer_syntax": first.syntax,
        "bits_stored": first.bits_stored,
        "photometric": first.photometric,
    }
    if line.thickness is not None and line.between is not None:
        summary["slices_leave"] = _gap(line.between - line.thickness, line.between)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SciSRWarning)
            stack = build_stacks(replace(found, refused=[], notes=[]), instances)[0]
        summary |= {
            "shape": list(stack.grid.shape),
            "axes": list(stack.axes),
            "volumes_told_apart_by": stack.split_by or None,
            "grid": stack.grid.describe(),
        }
    except SciSRError as error:
        summary |= {"shape": [len(instances), *first.shape], "refused": f"{error.what}; {error.remedy}"}
    return summary


def _gap(gap: float, between: float) -> str:
    """Thickness and distance of slices are two things; the difference in words."""
    if abs(gap) < 1e-3 * between:
        return "no gap"
    return f"a gap of {gap:.4g} mm" if gap > 0 else f"an overlap of {-gap:.4g} mm"
