"""What ``scisr info`` says about DICOM: series, shapes, grids, and why something is refused. No patient data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRError, SciSRWarning
from scisr_medical.dicom_instance import Instance
from scisr_medical.dicom_series import build_stacks, find_series, list_files


def describe(path: Path) -> Mapping[str, Any]:
    """A JSON-ready summary.

    Raises
    ------
    SciSRError
        A file is damaged. A series that is only irregular is described, with the reason in ``refused``.
    """
    found = find_series(list_files(path), path)
    return {
        "format": "DICOM",
        "parts": [_describe_series(found, uid, instances) for uid, instances in found.series.items()],
        "notes": [*found.notes, "Research use only, not for diagnosis."],
    }


def _describe_series(found: Any, uid: str, instances: list[Instance]) -> dict[str, Any]:
    first = instances[0]
    summary: dict[str, Any] = {
        "part": str(first.series_number),
        "series_uid": uid,
        "modality": first.modality,
        "images": len(instances),
        "image_type": list(first.image_type),
        "transfer_syntax": first.syntax,
        "bits_stored": first.bits_stored,
        "photometric": first.photometric,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SciSRWarning)
            stack = build_stacks(
                type(found)(found.where, found.series, []), instances, echo=None, irregular=False
            )[0]
        summary |= {
            "shape": list(stack.grid.shape),
            "axes": list(stack.axes),
            "volumes_told_apart_by": stack.split_by or None,
            "grid": stack.grid.describe(),
        }
    except SciSRError as error:
        summary |= {"shape": [len(instances), *first.shape], "refused": f"{error.what}; {error.remedy}"}
    return summary
