"""ANALYZE 7.5 (``.hdr``/``.img``), told as a NIfTI header.

The format does not say how a volume lies in space. Assumed, as SPM and nibabel do: the first axis points to the left,
the second to the front, the third to the head. Layout after the Mayo Clinic's ``dbh.h``; SPM's use of ``funused1`` as a
scale factor, of ``funused2`` as an intercept, and of ``originator`` as the voxel of the origin (counted from 1) is
followed where it makes sense.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import GeometryError, UnreadableError, UnsupportedError
from scisr_medical.nifti_fresh import affine_fields
from scisr_medical.nifti_header import DTYPES, LARGEST, NiftiHeader

HEADER_SIZE = 348
_TYPES = (2, 4, 8, 16, 32, 64, 256, 512, 768)  # 256 and above: SPM's extension, the codes of NIfTI
_REFUSED: Mapping[int, str] = {1: "1-bit binary voxels", 128: "RGB24 colour voxels"}
_ORIENTS = (
    "transverse", "coronal", "sagittal", "transverse flipped", "coronal flipped", "sagittal flipped",
)  # fmt: skip
_ALIGNED = 2


def _fields(head: bytes) -> tuple[np.void, str]:
    from nibabel.analyze import header_dtype

    order = "<" if int.from_bytes(head[:4], "little") == HEADER_SIZE else ">"
    return np.frombuffer(head[:HEADER_SIZE], dtype=np.dtype(header_dtype).newbyteorder(order))[0], order


def parse_analyze(head: bytes, where: Path) -> tuple[NiftiHeader, tuple[str, ...]]:
    """A NIfTI header that says the same, and what was assumed.

    Both transforms' codes are 0, "unknown", unless SPM left an origin: then the sform has code 2.

    Raises
    ------
    UnsupportedError
        Binary or colour voxels, by name.
    UnreadableError
        A field that no valid file can have.
    GeometryError
        Voxel sizes of 0.
    """
    fields, order = _fields(head)
    shape = _shape(fields, where)
    stored = _stored_dtype(fields, order, where)
    zooms = _zooms(fields, shape, where)
    origin = _origin(fields, shape, order)
    notes = [
        "is ANALYZE 7.5, which says nothing of orientation; assumed: first axis to the left, second to the front"
    ]
    orient = fields["orient"][:1]
    if orient and 0 < orient[0] < len(_ORIENTS):
        notes[0] += f" (its orient byte, {_ORIENTS[orient[0]]}, is not used)"
    if where.with_suffix(".mat").exists():
        notes.append(f"SPM's {where.with_suffix('.mat').name} beside it is not read")
    scale = _scaling(fields)
    if scale != (1.0, 0.0):
        notes.append(f"values are scaled by {scale[0]:g} with intercept {scale[1]:g}, as SPM does")
    affine = np.diag([-zooms[0], zooms[1], zooms[2], 1.0])
    place = (np.array([*shape, 1, 1][:3]) - 1) / 2 if origin is None else origin
    affine[:3, 3] = -affine[:3, :3] @ place
    nifti = affine_fields(
        shape, affine, 0 if origin is None else _ALIGNED, zooms=_all_zooms(fields, zooms, len(shape))
    )
    nifti.fields["scl_slope"], nifti.fields["scl_inter"] = scale
    offset = abs(int(fields["vox_offset"])) if math.isfinite(fields["vox_offset"]) else 0
    layout = replace(nifti.layout, single=False)
    return NiftiHeader(layout, nifti.fields, shape, stored, offset, *scale), tuple(notes)


def _shape(fields: np.void, where: Path) -> tuple[int, ...]:
    dim = [int(n) for n in fields["dim"]]
    if not 2 <= dim[0] <= 7:
        raise UnreadableError(f"damaged header: dim[0] (number of axes) is {dim[0]}, not 2 to 7", where=where)
    shape = tuple(dim[1 : dim[0] + 1])
    shape = (*shape[:4], *(max(n, 1) for n in shape[4:]))  # many writers leave 0 beyond the fourth
    while len(shape) == 4 and shape[3] == 0:
        shape = shape[:3]
    if any(n < 1 for n in shape) or math.prod(shape) > LARGEST:
        raise UnreadableError(f"damaged header: dim {list(shape)} can't be", where=where)
    return shape


def _stored_dtype(fields: np.void, order: str, where: Path) -> np.dtype:
    code, bits = int(fields["datatype"]), int(fields["bitpix"])
    if code in _REFUSED:
        raise UnsupportedError(
            f"holds {_REFUSED[code]} (datatype {code})", where=where, remedy="convert it to float32 first"
        )
    if code not in _TYPES:
        raise UnreadableError(f"damaged header: unknown ANALYZE datatype {code}", where=where)
    dtype = np.dtype(order + DTYPES[code])
    if bits not in (0, dtype.itemsize * 8):
        raise UnreadableError(
            f"damaged header: bitpix is {bits}, datatype {code} has {dtype.itemsize * 8}", where=where
        )
    return dtype


def _zooms(fields: np.void, shape: tuple[int, ...], where: Path) -> np.ndarray:
    """Voxel sizes; SPM marks a flip by a negative one, which nibabel does not follow either."""
    zooms = np.abs(np.array(fields["pixdim"][1:4], dtype=np.float64))
    zooms[len(shape) :] = 1.0
    if not (np.isfinite(zooms) & (zooms > 0)).all():
        raise GeometryError(
            f"voxel sizes are {' x '.join(f'{z:g}' for z in zooms)}",
            where=where,
            remedy="convert it to NIfTI with a tool that is told them",
        )
    return zooms


def _all_zooms(fields: np.void, zooms: np.ndarray, ndim: int) -> list[float]:
    """Sizes along all axes; 0 where what is written beyond the third can't be."""
    others = [float(v) for v in fields["pixdim"][4 : ndim + 1]]
    return [*zooms[:ndim].tolist(), *(v if math.isfinite(v) and v > 0 else 0.0 for v in others)]


def _origin(fields: np.void, shape: tuple[int, ...], order: str) -> np.ndarray | None:
    """SPM's origin, 0-based, if it is set and lies near the volume."""
    raw = bytes(fields["originator"]).ljust(10, b"\0")
    origin = np.frombuffer(raw, dtype=order + "i2")[:3].astype(np.float64)
    sizes = np.array([*shape, 1, 1][:3])
    if not origin.any() or (origin <= -sizes).any() or (origin >= 2 * sizes).any():
        return None
    return origin - 1


def _scaling(fields: np.void) -> tuple[float, float]:
    slope, inter = float(fields["funused1"]), float(fields["funused2"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    return slope, inter if math.isfinite(inter) else 0.0


def describe_analyze(header: NiftiHeader) -> dict[str, Any]:
    """What ``scisr info`` shows."""
    return {"stored_dtype": header.stored.name, "scale": header.slope, "intercept": header.inter}
