"""A NIfTI header for an image that came from no NIfTI file: made in memory, or read from DICOM.

The world of NIfTI is RAS+; a grid in DICOM's patient coordinates (LPS+) is turned. Axes named x, y and z are stored
in this order, as every other program does it, with the columns of the affine to match.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.grid import AffineGrid
from sciSR.image import Image
from scisr_medical.nifti_header import Layout
from scisr_medical.nifti_intent import INTENT_LABEL

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


def axis_order(image: Image) -> tuple[int, ...]:
    """For each axis of the file the image's axis: x, y, z first where the grid is affine and has such axes."""
    every = tuple(range(len(image.shape)))
    named = sorted(every[:3], key=lambda axis: image.axes[axis])
    if not isinstance(image.grid, AffineGrid) or not {image.axes[axis] for axis in named} <= set("xyz"):
        return every
    return (*named, *every[3:])


def fresh_header(image: Image, layout: Layout) -> FreshHeader:
    """A header with the image's affine as sform, and as qform where that can hold it (no shear).

    Both have code 1 (scanner) for an image that was read from a scanner's file, 2 (aligned) for one made in memory.
    """
    from nibabel import Nifti1Header, Nifti2Header

    order = axis_order(image)
    header = (Nifti1Header if layout.version == 1 else Nifti2Header)(endianness="<")
    header.set_data_shape([image.shape[axis] for axis in order])
    if isinstance(image.grid, AffineGrid):
        header.set_xyzt_units(xyz={"mm": "mm", "m": "meter", "um": "micron"}.get(image.grid.unit, "unknown"))
        code = _ALIGNED if image.metadata is None else _SCANNER
        columns = (*order[:3], *range(len(order), 3), 3)
        affine = image.grid.toward("RAS+").affine[:, columns]
        header.set_sform(affine, code=code)
        header.set_qform(affine, code=code)
        if not np.allclose(header.get_qform(), affine, atol=1e-4 * image.grid.spacing.min()):
            header.set_qform(affine, code=0)  # sheared: a qform would say something else
    else:
        zooms = [1 / float(f) for f in image.grid.factors[:3]]
        header.set_zooms([*zooms, *[1.0] * (len(image.shape) - len(zooms))])
    header["scl_slope"], header["scl_inter"] = 1, 0
    if image.kind == "labels":
        header["intent_code"] = INTENT_LABEL
    return FreshHeader(np.frombuffer(header.binaryblock, dtype=layout.dtype)[0].copy(), order)
