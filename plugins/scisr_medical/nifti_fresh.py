"""A NIfTI header for an image that came from no NIfTI file: made in memory, or read from DICOM.

The world of NIfTI is RAS+; a grid in DICOM's patient coordinates (LPS+) is turned. Axes named x, y and z are stored
in this order, as every other program does it, with the columns of the affine to match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.grid import AffineGrid
from sciSR.image import Image
from scisr_medical.nifti_header import LARGEST_NIFTI1, Layout
from scisr_medical.nifti_intent import INTENT_LABEL

_NAME_BYTES = 15  # of 16, the last one 0
_NAME_BYTES = 15  # of 16, the last one 0
_SCANNER, _ALIGNED = 1, 2  # nifti1.h: coordinates of the scanner; of some other image


@dataclass(frozen=True)
class FreshHeader:
    """Fields for a new file, and which axis of the image each of its axes is.

    Attributes
    ----------
    fields : numpy.void
        Complete but for the type of the voxels, ``vox_offset`` and ``descrip``.
    order : tuple of int
        For each axis of the file, the image's axis.
    """

    fields: np.void
    order: tuple[int, ...]


@dataclass(frozen=True)
class AffineFields:
    """Header fields for a volume, and their layout."""

    layout: Layout
    fields: np.void


def affine_fields(
    shape: Sequence[int],
    affine: np.ndarray,
    code: int,
    *,
    zooms: Sequence[float] | None = None,
    intent: int = 0,
) -> AffineFields:
    """Fields of a single little-endian file for a volume in mm with times in s, complete but for the voxels' type.

    Parameters
    ----------
    shape : sequence of int
    affine : ndarray, shape (4, 4)
        Voxel to RAS+ mm; sform, and qform unless sheared.
    code : int
        Of both; with 0 there are only voxel sizes.
    zooms : sequence of float, optional
        Along all axes, where the affine does not say it: 0 for unknown.
    intent : int
    """
    layout = Layout(2 if max(shape) > LARGEST_NIFTI1 else 1, True, "<")
    header = _empty(layout)
    header.set_data_shape(shape)
    if zooms is not None:
        header.set_zooms(zooms)
    header.set_xyzt_units("mm", "sec")
    if code:
        _set_affine(header, affine, code)
    header["scl_slope"], header["scl_inter"], header["intent_code"] = 1, 0, intent
    return AffineFields(layout, _raw(header, layout))


def _empty(layout: Layout) -> Any:
    from nibabel import Nifti1Header, Nifti2Header

    return (Nifti1Header if layout.version == 1 else Nifti2Header)(endianness="<")


def _raw(header: Any, layout: Layout) -> np.void:
    return np.frombuffer(header.binaryblock, dtype=layout.dtype)[0].copy()


def _set_affine(header: Any, affine: np.ndarray, code: int) -> None:
    header.set_sform(affine, code=code)
    header.set_qform(affine, code=code)
    smallest = np.linalg.norm(affine[:3, :3], axis=0).min()
    if not np.allclose(header.get_qform(), affine, atol=1e-4 * smallest):
        header.set_qform(affine, code=0)  # sheared: a qform would say something else


def axis_order(image: Image) -> tuple[int, ...]:
    """For each axis of the file the image's axis: x, y, z first where the grid is affine and has such axes."""
    every = tuple(range(len(image.shape)))
    named = sorted(every[:3], key=lambda axis: image.axes[axis])
    if not isinstance(image.grid, AffineGrid) or not {image.axes[axis] for axis in named} <= set("xyz"):
        return every
    return (*named, *every[3:])


def fresh_header(image: Image, layout: Layout) -> FreshHeader:
    """A header with the image's affine as sform, and as qform where that can hold it (no shear).

    Both have code 1 (scanner) for an image that was read from a file or lies in DICOM's patient coordinates, else 2
    (aligned).
    """
    order = axis_order(image)
    header = _empty(layout)
    header.set_data_shape([image.shape[axis] for axis in order])
    if isinstance(image.grid, AffineGrid):
        header.set_xyzt_units(xyz={"mm": "mm", "m": "meter", "um": "micron"}.get(image.grid.unit, "unknown"))
        columns = (*order[:3], *range(len(order), 3), 3)
        affine = image.grid.toward("RAS+").affine[:, columns]
        is_scanner = image.metadata is not None or image.grid.world_axes == "LPS+"
        _set_affine(header, affine, _SCANNER if is_scanner else _ALIGNED)
    else:
        zooms = [1 / float(f) for f in image.grid.factors[:3]]
        header.set_zooms([*zooms, *[1.0] * (len(image.shape) - len(zooms))])
    header["scl_slope"], header["scl_inter"] = 1, 0
    if image.kind == "labels":
        header["intent_code"] = INTENT_LABEL
    if image.metadata is None:  # what a map made here shows: "std deviation"
        header["intent_name"] = image.part.encode("ascii", "replace")[:_NAME_BYTES]
    return FreshHeader(_raw(header, layout), order)
