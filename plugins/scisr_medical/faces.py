"""Whether a volume may show a face that somebody could recognise. A guess from its size and shape, for a warning.

A rendering of a whole head shows the face. Nothing here removes one, and nothing here says that there is none.
"""

from __future__ import annotations

import re
import warnings

import numpy as np

from sciSR.errors import PrivacyWarning
from sciSR.image import Image

MESSAGE = (
    "a face may be recognisable in these images and in the result: sciSR removes none, deface before sharing"
)

_HEAD = re.compile(r"HEAD|BRAIN|SKULL|FACE|ORBIT|EYE|SINUS|MAXILLA|MANDIBLE|JAW|WHOLE ?BODY", re.IGNORECASE)
"""Body parts with a face, as BodyPartExamined or the meaning of an anatomic region calls them."""
_PLANES, _STEP = 24, 4.0
"""Planes looked at along the slice axis, and mm between the pixels looked at within them."""
_DULL = 0.1
"""Of the range from the least to the 99th percentile: what is darker is air."""
_SIDES = ((105.0, 175.0), (130.0, 200.0), (155.0, 265.0))
"""mm; sides, shortest first, of the box around a head: breadth, length and height, the neck included.

Measured: 12 whole heads have 115-147, 132-177 and 164-229 mm; two skull-stripped brains 101, 112 and 138; a knee 88,
118 and 152.
"""
_VOLUME = (1750.0, 7000.0)
"""cm3 that are not air. Measured: those heads 2016-3963, the brains 1100, the knee 1263."""
_MILLIMETRES = {"m": 1000.0, "um": 0.001}
"""Any other unit, and none, is taken for mm."""
_COARSEST = 4.0
"""mm; with larger pixels in the plane no face is recognised."""


def warn_of_face(image: Image, *, body_part: str = "", removed: bool | None = None) -> None:
    """Warn in one line (:class:`sciSR.errors.PrivacyWarning`) where a face may be recognisable.

    Parameters
    ----------
    image : Image
    body_part : str
        What the file says was examined; empty where it does not say.
    removed : bool, optional
        Whether the file says that recognisable features, or all but the brain, were removed; None: it does not say.
    """
    if removed or (body_part.strip() and not _HEAD.search(body_part)):
        return
    if removed is False or may_show_face(image):
        warnings.warn(MESSAGE, PrivacyWarning, stacklevel=3)


def warn_of_face_in_nifti(image: Image) -> None:
    """As :func:`warn_of_face`, with what the name and the JSON sidecar of a NIfTI image say."""
    from scisr_medical.nifti_sidecars import json_record

    sidecar = image.metadata.sidecars.get(".json")
    record = (json_record(sidecar) if sidecar is not None else None) or {}
    name = "" if image.source is None else image.source.name
    removed = record.get("SkullStripped") is True or "defaced" in name.lower()
    warn_of_face(image, body_part=str(record.get("BodyPartExamined") or ""), removed=removed or None)


def may_show_face(image: Image) -> bool:
    """Whether a volume has the size and shape of a whole head with its skin.

    Parameters
    ----------
    image : Image
        A few of its planes are read, of a series those of its first volume.

    Returns
    -------
    bool
        False also for what is no volume in mm, no intensity, or can't be read.
    """
    axis = image.slice_axis
    if axis is None or image.kind != "intensity":
        return False
    mm = _MILLIMETRES.get(image.grid.unit, 1.0)  # type: ignore[attr-defined]  # an axis across slices has a grid in space
    spacing = mm * np.abs(np.asarray(image.grid.spacing, dtype=float))[:3]  # type: ignore[attr-defined]
    extent = spacing * image.shape[:3]
    if np.any(np.sort(extent) < [low for low, _ in _SIDES]) or max(np.delete(spacing, axis)) > _COARSEST:
        return False
    strides = [max(1, int(_STEP / s)) for s in spacing]
    strides[axis] = max(1, image.shape[axis] // _PLANES)
    try:
        values = _sample(image, axis, strides)
    except Exception:  # a damaged file says so where its pixels are used
        return False
    return _is_head(values, spacing * strides)


def _sample(image: Image, axis: int, strides: list[int]) -> np.ndarray:
    planes = []
    for k in range(strides[axis] // 2, image.shape[axis], strides[axis]):
        index: list[slice | int] = [slice(None)] * 3 + [0] * (len(image.shape) - 3)
        index[axis] = slice(k, k + 1)
        plane = np.asarray(image.data[tuple(index)])
        steps = [slice(None) if a == axis else slice(None, None, strides[a]) for a in range(3)]
        planes.append(np.abs(plane[tuple(steps)]) if np.iscomplexobj(plane) else plane[tuple(steps)])
    return np.concatenate(planes, axis=axis).astype(np.float32)


def _is_head(values: np.ndarray, spacing: np.ndarray) -> bool:
    values = np.where(np.isfinite(values), values, 0)
    low, high = float(values.min()), float(np.percentile(values, 99))
    tissue = values > low + _DULL * (high - low)
    if not low < high or not tissue.any():
        return False
    cm3 = tissue.sum() * float(np.prod(spacing)) / 1000
    places = np.argwhere(tissue)
    box = np.sort(np.diff(np.percentile(places, [1, 99], axis=0), axis=0)[0] * spacing)
    within = all(low <= side <= high for side, (low, high) in zip(box, _SIDES, strict=True))
    return within and _VOLUME[0] <= cm3 <= _VOLUME[1]
