"""What a NIfTI output will be: its header, its stored type, and how physical values become stored ones."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from sciSR.errors import SciSRWarning, UsageError
from sciSR.grid import AffineGrid, PixelGrid
from sciSR.image import Image
from sciSR.provenance import Provenance
from scisr_medical.nifti_adapter import NiftiMetadata, record_extension
from scisr_medical.nifti_fresh import fresh_header
from scisr_medical.nifti_geometry import refined_fields
from scisr_medical.nifti_header import (
    CODES,
    EXTENSION_AFNI,
    EXTENSION_DICOM,
    LARGEST_NIFTI1,
    Layout,
    pack_extensions,
)
from scisr_medical.nifti_slices import new_spacing

_DESCRIP_BYTES = 80
_MAGIC = {
    (1, True): b"n+1",
    (1, False): b"ni1",
    (2, True): b"n+2\0\r\n\x1a\n",
    (2, False): b"ni2\0\r\n\x1a\n",
}


@dataclass(frozen=True)
class OutputPlan:
    """Everything about an output but its voxels and final provenance.

    Attributes
    ----------
    layout : Layout
    fields : numpy.void
        Header fields, complete but for ``vox_offset`` and ``descrip``.
    shape : tuple of int
    stored : numpy.dtype
        Of the voxels, byte order included.
    slope, inter : float
        ``value = slope * stored + inter``.
    extensions : tuple of (int, bytes)
        Those kept from the input.
    metadata : NiftiMetadata or None
        None for an image made in memory.
    slice_spacing : float or None
        mm between the slices if they are no longer those that were acquired.
    order : tuple of int
        For each axis of the file, the image's axis; empty where they are the same.
    """

    layout: Layout
    fields: np.void
    shape: tuple[int, ...]
    stored: np.dtype
    slope: float
    inter: float
    extensions: tuple[tuple[int, bytes], ...] = ()
    metadata: NiftiMetadata | None = None
    slice_spacing: float | None = None
    order: tuple[int, ...] = ()

    def in_image_order(self, voxels: np.ndarray) -> np.ndarray:
        """A view of the file's voxels with the image's axes."""
        return voxels.transpose(np.argsort(self.order)) if self.order else voxels

    @property
    def voxel_bytes(self) -> int:
        return math.prod(self.shape) * self.stored.itemsize


def plan_output(path: Path, images: Sequence[Image], dtype: str) -> OutputPlan:
    """Decide header and stored type for one image.

    Parameters
    ----------
    path : Path
        Its suffix decides between a single file and a pair.
    images : sequence of Image
        Exactly one, read by this adapter or made in memory.
    dtype : {"float32", "keep"}

    Raises
    ------
    UsageError
        Several images, an image of another format, more than seven axes.
    """
    if dtype not in ("float32", "keep"):
        raise UsageError(f"dtype must be float32 or keep, not {dtype!r}", where=path)
    if len(images) != 1:
        raise UsageError(
            f"a NIfTI file holds one image, not {len(images)}", where=path, remedy="write one file each"
        )
    image = images[0]
    name = path.name.lower().removesuffix(".gz")
    single = not name.endswith((".hdr", ".img"))
    if isinstance(image.metadata, NiftiMetadata):
        return _like_input(image, single, dtype, path)
    in_space = isinstance(image.grid, AffineGrid)
    if not in_space and (image.metadata is not None or not isinstance(image.grid, PixelGrid)):
        raise UsageError(
            f"{image.where} was read from another format and is no volume in space, so NIfTI can't say where it lies",
            where=path,
            remedy="write it in its own format",
        )
    return _from_memory(image, single, dtype, path)


def _like_input(image: Image, single: bool, dtype: str, path: Path) -> OutputPlan:
    metadata: NiftiMetadata = image.metadata
    header = metadata.header
    factors = tuple(Fraction(f) for f in image.grid.factors)
    expected = tuple(int(n * f) for n, f in zip(header.shape, factors, strict=True))
    if tuple(image.shape) != expected:
        raise UsageError(f"the image has shape {image.shape}, its grid says {expected}", where=path)
    fields = refined_fields(
        header, metadata.geometry, factors, metadata.slices, wide=max(expected) > LARGEST_NIFTI1
    )
    layout = Layout(2 if fields.dtype.itemsize == 540 else 1, single, header.layout.order)
    keep = (dtype == "keep" or image.kind == "labels") and header.stored.kind != "c"
    if keep:
        stored, slope, inter = header.stored.newbyteorder(layout.order), header.slope, header.inter
    else:
        stored, slope, inter = _plain_type(image, layout), 1.0, 0.0
        if dtype == "keep" and image.dtype.kind == "c":
            stored = header.stored.newbyteorder(layout.order)
        fields["scl_slope"], fields["scl_inter"] = 1, 0
    if metadata.part:  # the display range was that of something else
        fields["cal_min"] = fields["cal_max"] = 0
    if image.kind == "labels":
        fields["intent_code"] = header.fields["intent_code"] or 1002
    _set_type(fields, layout, stored)
    spacing = new_spacing(image.grid, metadata.slices)
    extensions = _kept_extensions(metadata.extensions, any(f != 1 for f in factors), path)
    return OutputPlan(layout, fields, expected, stored, slope, inter, extensions, metadata, spacing)


def _kept_extensions(
    extensions: tuple[tuple[int, bytes], ...], refined: bool, path: Path
) -> tuple[tuple[int, bytes], ...]:
    """All of them, but AFNI's: it repeats the old grid, and AFNI believes it more than the header."""
    codes = [code for code, _ in extensions]
    if refined and EXTENSION_AFNI in codes:
        warnings.warn(
            f"{path}: the AFNI header extension is dropped, it holds the old grid", SciSRWarning, stacklevel=5
        )
        extensions = tuple(e for e in extensions if e[0] != EXTENSION_AFNI)
    if refined and EXTENSION_DICOM in codes:
        warnings.warn(
            f"{path}: the DICOM header extension is kept; its matrix and spacing are those of the input",
            SciSRWarning,
            stacklevel=5,
        )
    return extensions


def _from_memory(image: Image, single: bool, dtype: str, path: Path) -> OutputPlan:
    """A fresh header for an image that came from no NIfTI file."""
    if not 2 <= len(image.shape) <= 7:
        raise UsageError(f"NIfTI holds two to seven axes, not {len(image.shape)}", where=path)
    layout = Layout(2 if max(image.shape) > LARGEST_NIFTI1 else 1, single, "<")
    keep = dtype == "keep" or image.kind == "labels"
    stored = _plain_type(image, layout)
    if keep:
        stored = image.dtype.newbyteorder("<")
        if stored.str[1:] not in CODES:
            raise UsageError(
                f"NIfTI can't keep voxels of type {image.dtype}", where=path, remedy="use --dtype float32"
            )
    fresh = fresh_header(image, layout)
    _set_type(fresh.fields, layout, stored)
    shape = tuple(image.shape[axis] for axis in fresh.order)
    return OutputPlan(layout, fresh.fields, shape, stored, 1.0, 0.0, order=fresh.order)


def _plain_type(image: Image, layout: Layout) -> np.dtype:
    """Floats of 32 bits, complex or not."""
    return np.dtype(layout.order + ("c8" if image.dtype.kind == "c" else "f4"))


def _set_type(fields: np.void, layout: Layout, stored: np.dtype) -> None:
    fields["datatype"] = CODES[stored.str[1:]]
    fields["bitpix"] = stored.itemsize * 8
    fields["magic"] = _MAGIC[layout.version, layout.single]
    fields["sizeof_hdr"] = layout.size


def encode(block: np.ndarray, plan: OutputPlan, where: Path) -> np.ndarray:
    """Physical values as stored ones: ``round((x - inter)/slope)`` clipped to the type's range.

    Raises
    ------
    UsageError
        NaN where the stored type is an integer.
    """
    scaled = (plan.slope, plan.inter) != (1.0, 0.0)
    if scaled:
        block = (block.astype(np.float64) - plan.inter) / plan.slope
    if plan.stored.kind in "fc" or (not scaled and block.dtype == plan.stored.newbyteorder("=")):
        return block
    if block.dtype.kind == "f":
        if np.isnan(block).any():
            raise UsageError(
                f"NaN can't be stored as {plan.stored.name}", where=where, remedy="use --dtype float32"
            )
        block = np.rint(block)
    limits = np.iinfo(plan.stored)
    # The largest 64-bit integers are no floats: compare, don't convert.
    low, high = block <= limits.min, block >= limits.max
    with np.errstate(invalid="ignore"):
        stored = block.astype(plan.stored.newbyteorder("="))
    stored[low] = limits.min
    stored[high] = limits.max
    return stored


def header_bytes(plan: OutputPlan, provenance: Provenance) -> bytes:
    """Header, extender and extensions with the full provenance: all that precedes the voxels, or a whole ``.hdr``."""
    extensions = plan.extensions
    if provenance.steps:
        extensions = (*extensions, record_extension(provenance))
    tail = pack_extensions(extensions, plan.layout.order)
    if plan.layout.single:  # nifti1.h: voxels begin at a multiple of 16
        tail += bytes(-(plan.layout.size + len(tail)) % 16)
    fields = plan.fields.copy()
    fields["vox_offset"] = plan.layout.size + len(tail) if plan.layout.single else 0
    fields["descrip"] = _descrip(bytes(fields["descrip"]), provenance)
    return fields.tobytes() + tail


def _descrip(old: bytes, provenance: Provenance) -> bytes:
    """The old description with the last step appended, shortened as far as needed; never a word of the old lost."""
    if not provenance.steps:
        return old
    last = Provenance(provenance.steps[-1:]).summary()
    words = last.split()
    for n in range(len(words), 0, -1):
        short = " ".join(words[:n]).encode("ascii", "replace")
        new = old + b"; " + short if old else short
        if len(new) <= _DESCRIP_BYTES:
            return new
    return old
