"""FreeSurfer's MGH/MGZ volumes: header, world and footer, told as a NIfTI header.

Layout after https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat: 284 bytes of header, big-endian; the
voxels; then repetition time, flip angle, echo time, inversion time, field of view, and tags of any length. The world is
RAS+, in mm: index N/2 along each axis lies at ``c_ras``.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import GeometryError, UnreadableError, UnsupportedError
from scisr_medical.nifti_fresh import affine_fields
from scisr_medical.nifti_header import LARGEST, NiftiHeader
from scisr_medical.nifti_intent import INTENT_LABEL

OFFSET = 284
"""First byte of the voxels."""
FOOTER = 16 << 20
"""Bytes that may follow the voxels: the largest colour tables have 1 MB."""
_FIELDS = np.dtype(
    [
        ("version", ">i4"), ("dims", ">i4", 4), ("type", ">i4"), ("dof", ">i4"), ("good_ras", ">i2"),
        ("delta", ">f4", 3), ("cosines", ">f4", (3, 3)), ("centre", ">f4", 3),
    ]
)  # fmt: skip
_TYPES: Mapping[int, str] = {0: "u1", 1: "i4", 3: "f4", 4: "i2", 10: "u2"}
_REFUSED: Mapping[int, str] = {
    2: "64-bit integers of unsaid size", 5: "a bitmap", 6: "tensors", 7: "complex voxels", 8: "complex voxels",
    9: "RGB colour voxels",
}  # fmt: skip
_SCANNER = 1  # qform and sform code: FreeSurfer's RAS is the scanner's
_NO_LENGTH, _COLOUR_TABLES, _SHORT_LENGTH = (1, 2, 20), (1, 5), 30
# FreeSurfer's segmentations always have these names; older ones carry no colour table.
_SEGMENTATION = re.compile(r"([lr]h\.)?(aseg|aparc.*\+aseg|wmparc|ribbon)\b.*\.mg[hz](\.gz)?", re.IGNORECASE)


def looks_like_mgh(head: bytes) -> bool:
    """Whether content begins like MGH."""
    if len(head) < OFFSET:
        return False
    version, *sizes, kind = struct.unpack(">6i", head[:24])
    return (
        version & 0xFF == 1 and version >> 8 < 256 and all(0 < n < 10**7 for n in sizes) and 0 <= kind <= 10
    )


@dataclass(frozen=True)
class MghFooter:
    """What follows the voxels.

    Attributes
    ----------
    repetition_time, echo_time, inversion_time : float
        ms; 0 where not recorded.
    flip_angle : float
        Radians.
    has_colour_table : bool
        Only label maps have one.
    """

    repetition_time: float = 0.0
    flip_angle: float = 0.0
    echo_time: float = 0.0
    inversion_time: float = 0.0
    has_colour_table: bool = False


def parse_mgh(head: bytes, where: Path) -> tuple[NiftiHeader, tuple[str, ...]]:
    """A NIfTI header that says the same, and warnings; geometry as nibabel's ``MGHImage``.

    Raises
    ------
    UnsupportedError
        Colour, complex or tensor voxels, surfaces and warps, by name.
    UnreadableError
        A field that no valid file can have.
    """
    fields = np.frombuffer(head[: _FIELDS.itemsize], dtype=_FIELDS)[0]
    dims, kind = [int(n) for n in fields["dims"]], int(fields["type"])
    shape = tuple(dims[:3]) if dims[3] == 1 else tuple(dims)
    if math.prod(dims) > LARGEST:
        raise UnreadableError(f"damaged header: sizes {dims} make {math.prod(dims):.1e} voxels", where=where)
    if sum(n > 1 for n in dims[:3]) < 2 or int(fields["version"]) >> 8 > 1:
        raise UnsupportedError(
            f"holds values of a surface or a warp (sizes {dims}), not a volume",
            where=where,
            remedy="give the volume that they belong to",
        )
    if kind in _REFUSED:
        raise UnsupportedError(
            f"holds {_REFUSED[kind]} (MGH type {kind})", where=where, remedy="use mri_convert"
        )
    if kind not in _TYPES:
        raise UnreadableError(f"damaged header: unknown MGH type {kind}", where=where)
    affine, notes = _affine(fields, where)
    labels = _SEGMENTATION.fullmatch(where.name) and _TYPES[kind] != "f4"
    nifti = affine_fields(shape, affine, _SCANNER, intent=INTENT_LABEL if labels else 0)
    stored = np.dtype(">" + _TYPES[kind])
    return NiftiHeader(nifti.layout, nifti.fields, shape, stored, OFFSET, 1.0, 0.0), notes


def _affine(fields: np.void, where: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxel to RAS mm."""
    sizes = np.array([int(n) for n in fields["dims"][:3]], dtype=np.float64)
    delta, cosines, centre = (np.array(fields[n], np.float64) for n in ("delta", "cosines", "centre"))
    notes: tuple[str, ...] = ()
    if int(fields["good_ras"]) == 0:  # FreeSurfer's own assumption: coronal slices, 1 mm, centred
        delta, centre = np.ones(3), np.zeros(3)
        cosines = np.array([[-1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        notes = (
            "says nothing of orientation and voxel size; coronal slices and 1 mm are assumed, as FreeSurfer does",
        )
    linear = cosines.T * delta
    if not (np.isfinite(linear).all() and np.isfinite(centre).all() and (delta > 0).all()):
        raise GeometryError(f"voxel sizes {delta.tolist()} or directions in the header can't be", where=where)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, centre - linear @ sizes / 2
    return affine, notes


def parse_footer(tail: bytes) -> MghFooter:
    """What follows the voxels; zeros where there is nothing. Tags that make no sense end the search."""
    if len(tail) < 20:
        return MghFooter()
    numbers = [v if math.isfinite(v) and v >= 0 else 0.0 for v in struct.unpack(">4f", tail[:16])]
    at, tables = 20, False
    while at + 4 <= len(tail) and not tables:
        (tag,) = struct.unpack_from(">i", tail, at)
        at += 4
        tables = tag in _COLOUR_TABLES
        if tag <= 0 or tag in _NO_LENGTH:
            break  # legacy tags do not say how long they are
        short = tag == _SHORT_LENGTH
        if at + (4 if short else 8) > len(tail):
            break
        (length,) = struct.unpack_from(">i" if short else ">q", tail, at)
        if length < 0:
            break
        at += length + (3 if short else 8)
    return MghFooter(*numbers, has_colour_table=tables)


def with_footer(header: NiftiHeader, footer: MghFooter) -> NiftiHeader:
    """The header with repetition time (s) and intent that stand after the voxels."""
    fields = header.fields.copy()
    fields["pixdim"][4] = footer.repetition_time / 1000
    if footer.has_colour_table and header.stored.kind in "iu":
        fields["intent_code"] = INTENT_LABEL
    return replace(header, fields=fields)


def describe_mgh(header: NiftiHeader, footer: MghFooter) -> dict[str, Any]:
    """What ``scisr info`` shows."""
    return {
        "stored_dtype": header.stored.name,
        "repetition_time_ms": footer.repetition_time,
        "echo_time_ms": footer.echo_time,
        "inversion_time_ms": footer.inversion_time,
        "flip_angle_degrees": round(math.degrees(footer.flip_angle), 6),
        "colour_table": footer.has_colour_table,
    }
