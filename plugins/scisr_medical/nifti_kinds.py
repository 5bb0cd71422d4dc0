"""What kind of voxels a NIfTI file holds: asked for, or told by its intent, its name (BIDS) or its JSON sidecar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.adapter import Option
from sciSR.errors import UsageError
from scisr_medical.nifti_header import NiftiHeader
from scisr_medical.nifti_sidecars import sidecars_of, stem

KIND_OPTIONS = (
    Option("labels", "treat as a label map: labels are never mixed", "flag"),
    Option("probability", "treat as a probability map: kept within its scale", "flag"),
    Option("phase", "treat as a phase: real and imaginary part of exp(i phase)", "flag"),
    Option("phase_range", "the ends of one turn of a phase, e.g. -4096,4096 (default: by its values)"),
    Option("intensity", "treat as plain intensities, whatever the header and the file's name say", "flag"),
)
KINDS = ("labels", "probability", "phase", "intensity")
COMPLEX = {"both": None, "magnitude": np.abs, "real": np.real, "imaginary": np.imag}
"""What can be made of complex voxels."""

_WHOLE, _BINARY = "whole", "binary"
_LABEL_NAMES = {"dseg": _WHOLE, "mask": _BINARY}
_PHASE_NAMES = ("phase", "phase1", "phase2", "phasediff")
_PHASE_TYPES = ("P", "PHASE")


@dataclass(frozen=True)
class Asked:
    """What the user says that a file holds.

    Attributes
    ----------
    kind : str or None
    turn : (float, float) or None
        Ends of one turn of a phase.
    """

    kind: str | None = None
    turn: tuple[float, float] | None = None


def asked(
    where: Path,
    *,
    labels: bool | None = None,
    probability: bool | None = None,
    phase: bool | None = None,
    intensity: bool | None = None,
    phase_range: Any = None,
) -> Asked:
    """Check the options that name a kind.

    Raises
    ------
    UsageError
        More than one kind, or a range that is none.
    """
    flags = zip(KINDS, (labels, probability, phase, intensity), strict=True)
    kinds = [name for name, given in flags if given]
    turn = None if phase_range is None else _ends(phase_range, where)
    if turn is not None and "phase" not in kinds:
        kinds.append("phase")
    if len(kinds) > 1:
        raise UsageError(f"can't be {' and '.join(kinds)}", where=where, remedy="give one kind of voxels")
    return Asked(kinds[0] if kinds else None, turn)


def _ends(given: Any, where: Path) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in (given.split(",") if isinstance(given, str) else given))
    except (TypeError, ValueError):
        low = high = 0.0
    if not (np.isfinite([low, high]).all() and low < high):
        raise UsageError(
            f"{given!r} is no range of a phase", where=where, remedy="give both ends, e.g. -4096,4096"
        )
    return low, high


def kind_fields(given: Asked, header: NiftiHeader, voxels: Any, path: Path) -> dict[str, Any]:
    """Fields of the image: `kind`, and for a phase `unit` and `value_range` where they are known.

    Parameters
    ----------
    given : Asked
    header : NiftiHeader
    voxels : LazyArray
        Read only where the name says labels and the stored type does not.
    path : Path
        Of the image; its JSON sidecar is looked at.

    Raises
    ------
    UsageError
        Complex voxels are asked to be something that is real.
    """
    if np.dtype(voxels.dtype).kind == "c":
        if given.kind not in (None, "intensity"):
            raise UsageError(
                f"holds complex voxels, which are no {given.kind}",
                where=path,
                remedy=f"leave --{given.kind} out, or give --complex magnitude, real or imaginary too",
            )
        return {"kind": "intensity"}
    record = _record(path)
    kind = given.kind or _told(header, voxels, path, record)
    if kind != "phase":
        return {"kind": kind}
    unit = "rad" if str(record.get("Units", "")).lower() in ("rad", "radian", "radians") else None
    return {"kind": kind, "unit": unit, "value_range": given.turn}


def _record(path: Path) -> Mapping[str, Any]:
    """The JSON sidecar; empty if there is none that can be read."""
    file = sidecars_of(path).get(".json")
    if file is None:
        return {}
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, Mapping) else {}


def _told(header: NiftiHeader, voxels: Any, path: Path, record: Mapping[str, Any]) -> str:
    if header.is_labels:
        return "labels"
    words = stem(path).split("_")
    suffix = words[-1] if len(words) > 1 else ""
    if suffix in _LABEL_NAMES:
        return "labels" if _holds(_LABEL_NAMES[suffix], voxels) else "intensity"
    if suffix == "probseg":
        return "probability"
    image_type = record.get("ImageType")
    is_phase = isinstance(image_type, list) and any(word in _PHASE_TYPES for word in image_type[2:])
    return "phase" if is_phase or suffix in _PHASE_NAMES or "part-phase" in words else "intensity"


def _holds(what: str, voxels: Any) -> bool:
    """Whether voxels are whole numbers, or whole numbers or only 0 and 1: a map of the same name may be a soft one."""
    if np.dtype(voxels.dtype).kind in "iub":
        return True
    for outer in np.ndindex(*voxels.shape[2:]):
        values = np.asarray(voxels[(slice(None), slice(None), *outer)])
        if what == _BINARY and not np.isin(values, (0, 1)).all():
            return False
        if not (np.isfinite(values) & (values == np.rint(values))).all():
            return False
    return True
