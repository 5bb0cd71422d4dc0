"""What became of header extensions, and of the files beside a NIfTI image: JSON sidecar and gradient tables.

Keys after BIDS (https://bids-specification.readthedocs.io); gradients after FSL: directions are told along the axes of
the voxels, which an upscaled image keeps. Text is never shown: it may name a patient.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.verify.result import KeyChange
from scisr_medical.nifti_sidecars import ENDINGS, sidecars_of
from scisr_medical.verify_nifti_header import HIDDEN, Context

AFNI, COMMENT = 4, 6
_ECODES: Mapping[int, str] = {
    0: "unknown", 2: "DICOM", 4: "AFNI", 6: "comment", 8: "XCEDE", 10: "JIMDIMINFO", 12: "WORKFLOW_FWDS",
    14: "FREESURFER", 16: "pickle", 18: "MIND", 30: "CARET", 32: "CIFTI", 38: "eval", 40: "MATLAB", 44: "MRS",
}  # fmt: skip
_RECORDS = (b'{"sciSR":',)
_ROUND = 1e-3
_OURS = ("SciSR", "Sources", "GeneratedBy", "Resolution", "SkullStripped", "SpatialReference", "Description")


def extension_changes(context: Context) -> list[KeyChange]:
    """One entry for each extension of either header."""
    left = list(context.after.extensions)
    changes = []
    for number, (code, content) in enumerate(context.before.extensions, 1):
        key = f"extension {number} ({_ECODES.get(code, code)})"
        size = f"{len(content)} bytes"
        if (code, content) in left:
            left.remove((code, content))
            if code == AFNI and context.refined:
                changes.append(
                    KeyChange(key, "kept", size, size, "repeats the old grid, and AFNI believes it", False)
                )
            else:
                rule = "repeats the input's matrix and spacing" if code == 2 and context.refined else ""
                changes.append(KeyChange(key, "kept", size, size, rule))
        elif code == AFNI and context.refined:
            changes.append(KeyChange(key, "lost", size, "", "repeats the old grid, and AFNI believes it"))
        elif (
            code == COMMENT and content.startswith(_RECORDS) and any(c.startswith(_RECORDS) for _, c in left)
        ):
            changes.append(KeyChange(key, "changed", size, "", "the record of what was done is continued"))
        else:
            changes.append(KeyChange(key, "lost", size, "", "", False))
    for code, content in left:
        rule = (
            "the record of what was done"
            if content.startswith(_RECORDS)
            else "of the program that wrote the file"
        )
        changes.append(
            KeyChange(f"extension ({_ECODES.get(code, code)})", "added", "", f"{len(content)} bytes", rule)
        )
    return changes


def sidecar_changes(context: Context) -> list[KeyChange]:
    """Keys of the JSON sidecar, and each gradient table."""
    before, after = sidecars_of(context.before.path), sidecars_of(context.after.path)
    changes = []
    for ending in ENDINGS:
        if ending not in before:
            if ending in after:
                changes.append(KeyChange(f"file {ending}", "added", rule="beside the output"))
        elif ending not in after:
            changes.append(KeyChange(f"file {ending}", "lost", rule="", allowed=False))
        elif ending == ".json":
            changes += _json(before[ending], after[ending], context)
        else:
            changes.append(_table(ending, before[ending], after[ending]))
    return changes


def _table(ending: str, before: Path, after: Path) -> KeyChange:
    """Gradients are told in voxel axes: neither axes nor directions change."""
    key = f"file {ending}"
    if before.read_bytes() == after.read_bytes():
        return KeyChange(key, "kept", f"{before.stat().st_size} bytes", f"{after.stat().st_size} bytes")
    try:
        old, new = (np.atleast_2d(np.loadtxt(path)) for path in (before, after))
    except ValueError:
        return KeyChange(key, "changed", rule="no table of numbers can be compared", allowed=False)
    shapes = ("x".join(map(str, a.shape)) for a in (old, new))
    texts = dict(zip(("before", "after"), shapes, strict=True))
    if old.shape != new.shape:
        return KeyChange(key, "changed", **texts, rule="one entry for each volume", allowed=False)
    if np.allclose(old, new, atol=_ROUND * max(np.abs(old).max(), 1e-12)):
        return KeyChange(key, "changed", **texts, rule="the same numbers, written otherwise")
    if "bvec" in ending and 3 in old.shape:
        rows = (old, new) if old.shape[1] == 3 else (old.T, new.T)
        texts["after"] += f", turned by up to {_turned(*rows):.3g} degrees"
    return KeyChange(
        key, "changed", **texts, rule="told along the voxels' axes, which are kept", allowed=False
    )


def _turned(old: np.ndarray, new: np.ndarray) -> float:
    lengths = np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1)
    used = lengths > 0
    cosines = np.clip((old * new).sum(axis=1)[used] / lengths[used], -1, 1)
    return float(np.degrees(np.arccos(cosines)).max()) if used.any() else 0.0


def _json(before: Path, after: Path, context: Context) -> list[KeyChange]:
    old, new = _record(before), _record(after)
    if old is None:
        same = before.read_bytes() == after.read_bytes()
        return [KeyChange("file .json", "kept" if same else "changed", rule="" if same else "no JSON object")]
    if new is None:
        return [KeyChange("file .json", "lost", rule="the output's is no JSON object", allowed=False)]
    rules = _Rules(old, context)
    changes = []
    for key in dict.fromkeys([*old, *new]):
        name = f".json {key}"
        one, two = _value(key, old.get(key)), _value(key, new.get(key))
        if key not in old:
            rule = "made by this software" if key in _OURS else rules.measured(key, new[key])
            changes.append(KeyChange(name, "added", "", two, rule or "of the program that wrote it"))
            continue
        gone = key not in new
        rule, allowed = rules.verdict(key, new.get(key), gone=gone)
        fate = "lost" if gone else "kept" if old[key] == new[key] else "changed"
        changes.append(
            KeyChange(name, fate, one, two, rule if fate != "kept" or not allowed else "", allowed)
        )
    return changes


def _record(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _value(key: str, value: Any) -> str:
    """Numbers only, and none of the patient's."""
    if value is None:
        return ""
    if key.startswith("Patient") or not isinstance(value, int | float | bool):
        return f"{len(value)} values" if isinstance(value, list) and not key.startswith("Patient") else HIDDEN
    return f"{value:.9g}" if isinstance(value, float) else str(value)


class _Rules:
    """By which rule a key of the sidecar may differ."""

    def __init__(self, old: Mapping[str, Any], context: Context) -> None:
        self.old, self.context = old, context
        info = (int(context.before.raw["dim_info"]) >> 4 & 3) - 1 if context.before.is_nifti else -1
        told = "ijk".find(str(old.get("SliceEncodingDirection", "")).strip("-") or "-")
        self.axis = info if info >= 0 else told if told >= 0 else 2
        factors = (*context.factors, 1.0, 1.0, 1.0)[:3]
        self.across = factors[self.axis]
        phase = str(old.get("PhaseEncodingDirection", old.get("PhaseEncodingAxis", "")))[:1]
        self.phase = "ijk".find(phase or "-")
        self.along = factors[self.phase] if self.phase >= 0 else 1.0
        self.distance = float(np.linalg.norm(context.after.affine[:3, self.axis]))

    def verdict(self, key: str, new: Any, *, gone: bool) -> tuple[str, bool]:
        old = self.old[key]
        if key == "SciSR":
            return "the record of what was done is continued", not gone
        if key == "SliceTiming" and self.across != 1:
            return "the slices are no longer those that were acquired", gone
        if key in ("SliceThickness", "SpacingBetweenSlices") and self.across != 1:
            return "of the finer slices", not gone and self._near(new, self.distance, old)
        if key in ("TotalReadoutTime", "ReconMatrixPE", "BandwidthPerPixelPhaseEncode"):
            return self._readout(key, old, new, gone=gone)
        if key == "AcquisitionVoxelSize":
            return "", old == new
        return "", not gone and _equal(old, new)

    def measured(self, key: str, new: Any) -> str:
        return "of the finer slices" if key in ("SliceThickness", "SpacingBetweenSlices") else ""

    def _near(self, new: Any, expected: float, old: Any) -> bool:
        if not isinstance(new, int | float):
            return False
        scaled = float(old) / self.across if isinstance(old, int | float) else math.nan
        return any(math.isclose(float(new), v, rel_tol=1e-3) for v in (expected, scaled))

    def _readout(self, key: str, old: Any, new: Any, *, gone: bool) -> tuple[str, bool]:
        """Lines along the phase encoding became more: the distortion in voxels, and what is told of each line."""
        if self.phase < 0:
            if not self.context.refined:
                return "", not gone and _equal(old, new)
            return "along which axis it holds is not known", gone
        if self.along == 1:
            return "", not gone and _equal(old, new)
        if gone:
            return "could not be told for the finer lines", True
        before, after = (v.shape[self.phase] for v in (self.context.before, self.context.after))
        expected = {
            "TotalReadoutTime": (after - 1) / max(before - 1, 1),
            "ReconMatrixPE": after / before,
            "BandwidthPerPixelPhaseEncode": before / after,
        }[key]
        rule = f"{self.along:.6g} times as many lines along the phase encoding"
        fine = isinstance(new, int | float) and isinstance(old, int | float)
        return rule, fine and math.isclose(
            new, old * expected, rel_tol=1e-2 if key == "ReconMatrixPE" else 1e-4
        )


def _equal(old: Any, new: Any) -> bool:
    if isinstance(old, float | int) and isinstance(new, float | int):
        return math.isclose(old, new, rel_tol=1e-9)
    return bool(old == new)
