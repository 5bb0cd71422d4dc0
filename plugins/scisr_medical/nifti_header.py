"""NIfTI-1 and NIfTI-2 headers: read from raw bytes and held against the file before anything is trusted.

Fields follow nifti1.h and nifti2.h (https://nifti.nimh.nih.gov). nibabel supplies the byte layout; its own
silent repairs (``pixdim`` 0 read as 1, an illegal ``qfac`` read as 1, ``bitpix`` ignored) are not used.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import SciSRWarning, UnreadableError, UnsupportedError
from scisr_medical.nifti_intent import LABELS, refuse_intent

AXES = ("x", "y", "z", "t", "u", "v", "w")
EXTENSION_COMMENT, EXTENSION_DICOM, EXTENSION_AFNI = 6, 2, 4
UNITS: Mapping[int, str] = {0: "unknown", 1: "m", 2: "mm", 3: "um"}

DTYPES: Mapping[int, str] = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8",
    1280: "u8", 1792: "c16",
}  # fmt: skip
CODES: Mapping[str, int] = {name: code for code, name in DTYPES.items()}
_REFUSED = {
    1: "1-bit binary voxels",
    128: "RGB24 colour voxels",
    1536: "float128 voxels",
    2048: "complex256 voxels",
    2304: "RGBA32 colour voxels",
}
# What a header may claim at most; more than any real volume, small enough for exact byte arithmetic.
LARGEST = 1 << 46
LARGEST_NIFTI1 = 32767
"""Voxels along one axis, beyond which a file is NIfTI-2."""

_MAGIC = {
    b"n+1\0": (1, True), b"ni1\0": (1, False),
    b"n+2\0\r\n\x1a\n": (2, True), b"ni2\0\r\n\x1a\n": (2, False),
}  # fmt: skip
HEADER_SIZE = {1: 348, 2: 540}


@dataclass(frozen=True)
class Layout:
    """Which of the header forms a file has.

    Attributes
    ----------
    version : {1, 2}
    single : bool
        Header and voxels in one file; otherwise an ``.hdr`` and an ``.img``.
    order : {"<", ">"}
        Byte order.
    """

    version: int
    single: bool
    order: str

    @property
    def size(self) -> int:
        """Bytes of the header proper, without the four extender bytes."""
        return HEADER_SIZE[self.version]

    @property
    def dtype(self) -> np.dtype:
        """The header's fields, in its own byte order."""
        if self.version == 1:
            from nibabel.nifti1 import header_dtype
        else:
            from nibabel.nifti2 import header_dtype
        return np.dtype(header_dtype).newbyteorder(self.order)


def recognise(head: bytes) -> str:
    """``"nifti"``, ``"analyze"``, ``"mgh"`` or ``""``, from the first 352 bytes or so of (inflated) content."""
    if (len(head) >= 348 and head[344:348] in _MAGIC) or head[4:12] in _MAGIC:
        return "nifti"
    if len(head) >= 348 and 348 in struct.unpack("<i", head[:4]) + struct.unpack(">i", head[:4]):
        return "analyze"
    from scisr_medical.mgh_header import looks_like_mgh

    if looks_like_mgh(head):
        return "mgh"
    return ""


def layout_of(head: bytes, where: Path) -> Layout:
    """Version, form and byte order, each field that says so agreeing with the others.

    Raises
    ------
    UnreadableError
        Not NIfTI, or a header that contradicts itself.
    """
    if recognise(head) != "nifti":
        raise UnreadableError("is not NIfTI: no NIfTI magic in its header", where=where)
    version, single = _MAGIC.get(head[344:348]) or _MAGIC[head[4:12]]
    size = HEADER_SIZE[version]
    orders = [order for order in "<>" if struct.unpack(order + "i", head[:4])[0] == size]
    if not orders:
        found = struct.unpack("<i", head[:4])[0]
        raise UnreadableError(f"damaged header: sizeof_hdr is {found}, not {size}", where=where)
    if len(head) < size:
        raise UnreadableError(f"truncated: {len(head)} bytes, its header alone has {size}", where=where)
    return Layout(version, single, orders[0])


@dataclass(frozen=True)
class NiftiHeader:
    """A checked header. Arrays are in the order of nibabel: the first axis varies fastest in the file.

    Attributes
    ----------
    layout : Layout
    fields : numpy.void
        All fields as they stand in the file.
    shape : tuple of int
        Two to seven axes; trailing axes of length 1 are kept.
    stored : numpy.dtype
        Of the voxels in the file, byte order included.
    offset : int
        First byte of the voxels in their file.
    slope, inter : float
        ``value = slope * stored + inter``; 1 and 0 where the header asks for no scaling.
    """

    layout: Layout
    fields: np.void
    shape: tuple[int, ...]
    stored: np.dtype
    offset: int
    slope: float
    inter: float

    @property
    def voxel_bytes(self) -> int:
        return math.prod(self.shape) * self.stored.itemsize

    @property
    def scaled(self) -> bool:
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def unit(self) -> str:
        """Length unit of the world: ``"m"``, ``"mm"``, ``"um"`` or ``"unknown"``."""
        return UNITS.get(int(self.fields["xyzt_units"]) & 0x07, "unknown")

    @property
    def is_labels(self) -> bool:
        return int(self.fields["intent_code"]) in LABELS


def parse(head: bytes, where: Path) -> NiftiHeader:
    """Read and check a header; see :class:`NiftiHeader`.

    Parameters
    ----------
    head : bytes
        The first 540 bytes or more of the (inflated) file, fewer if it is shorter.

    Raises
    ------
    UnreadableError
        A field that no valid file can have.
    UnsupportedError
        Colour, binary or vector voxels and other things that are no image of scalars, refused by name.
    """
    layout = layout_of(head, where)
    fields = np.frombuffer(head[: layout.size], dtype=layout.dtype)[0]
    shape = _shape(fields, where)
    stored = _stored_dtype(fields, layout.order, where)
    slope, inter = _scaling(fields, where)
    offset = _offset(fields, layout, where)
    refuse_intent(int(fields["intent_code"]), shape, where)
    return NiftiHeader(layout, fields, shape, stored, offset, slope, inter)


def _shape(fields: np.void, where: Path) -> tuple[int, ...]:
    dim = [int(n) for n in fields["dim"]]
    if not 1 <= dim[0] <= 7:
        raise UnreadableError(f"damaged header: dim[0] (number of axes) is {dim[0]}, not 1 to 7", where=where)
    shape = tuple(dim[1 : dim[0] + 1])
    if any(n < 1 for n in shape):
        raise UnreadableError(f"damaged header: dim {list(shape)} has a size below 1", where=where)
    if math.prod(shape) > LARGEST:
        raise UnreadableError(
            f"damaged header: dim {list(shape)} claims {math.prod(shape):.1e} voxels", where=where
        )
    if len(shape) < 2:
        raise UnsupportedError("holds a 1-D signal, not an image", where=where)
    return shape


def _stored_dtype(fields: np.void, order: str, where: Path) -> np.dtype:
    code, bits = int(fields["datatype"]), int(fields["bitpix"])
    if code in _REFUSED:
        raise UnsupportedError(
            f"holds {_REFUSED[code]} (datatype {code}), which are not one value each",
            where=where,
            remedy="split it into one file per channel, or convert it to float32",
        )
    if code not in DTYPES:
        raise UnreadableError(f"damaged header: unknown datatype code {code}", where=where)
    dtype = np.dtype(order + DTYPES[code])
    if bits != dtype.itemsize * 8:
        raise UnreadableError(
            f"damaged header: bitpix is {bits}, datatype {code} has {dtype.itemsize * 8}",
            where=where,
            remedy="if you trust the datatype: nifti_tool -mod_hdr -mod_field bitpix N",
        )
    return dtype


def _scaling(fields: np.void, where: Path) -> tuple[float, float]:
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or not math.isfinite(slope):  # nifti1.h: no scaling, scl_inter not used either
        return 1.0, 0.0
    if not math.isfinite(inter):
        raise UnreadableError(f"damaged header: scl_slope is {slope:g} but scl_inter is {inter}", where=where)
    return slope, inter


def _offset(fields: np.void, layout: Layout, where: Path) -> int:
    offset = float(fields["vox_offset"])
    least = layout.size + 4 if layout.single else 0
    if not (math.isfinite(offset) and offset == int(offset) and least <= offset < LARGEST):
        raise UnreadableError(
            f"damaged header: vox_offset is {offset:g}, not a whole number of {least} or more", where=where
        )
    return int(offset)


def read_extensions(chain: bytes, order: str, where: Path) -> tuple[tuple[int, bytes], ...]:
    """Header extensions as (code, content) pairs.

    Parameters
    ----------
    chain : bytes
        Everything between the header proper and the voxels: four extender bytes, then the extensions.

    Raises
    ------
    UnreadableError
        An extension that claims more bytes than there are.
    """
    found = []
    at, end = 4, len(chain)
    if end < 4 or chain[0] == 0:
        return ()
    while at + 8 <= end:
        size, code = struct.unpack_from(order + "2i", chain, at)
        if size == 0 and not any(chain[at:]):
            warnings.warn(  # padding before the voxels, or extensions that were lost; nibabel refuses both
                f"{where.name}: {end - at} zero bytes stand where the header announces an extension",
                SciSRWarning,
                stacklevel=2,
            )
            break
        if size < 8 or at + size > end:
            raise UnreadableError(
                f"damaged header extension at byte {at}: it claims {size} bytes, {end - at} are left",
                where=where,
            )
        found.append((code, bytes(chain[at + 8 : at + size])))
        at += size
    return tuple(found)


def pack_extensions(extensions: tuple[tuple[int, bytes], ...], order: str) -> bytes:
    """The extender bytes and the extensions, each padded with NUL to a multiple of 16 bytes as nifti1.h asks."""
    packed = bytearray(b"\x01\0\0\0" if extensions else b"\0\0\0\0")
    for code, content in extensions:
        size = -(-(len(content) + 8) // 16) * 16
        packed += struct.pack(order + "2i", size, code) + content.ljust(size - 8, b"\0")
    return bytes(packed)


def field_dict(header: NiftiHeader) -> dict[str, Any]:
    """What ``scisr info`` shows of a header; free text is left out, it may name a patient."""
    fields = header.fields
    return {
        "version": header.layout.version,
        "form": "single file" if header.layout.single else "pair",
        "byte_order": "little" if header.layout.order == "<" else "big",
        "stored_dtype": header.stored.name,
        "scl_slope": header.slope,
        "scl_inter": header.inter,
        "qform_code": int(fields["qform_code"]),
        "sform_code": int(fields["sform_code"]),
        "intent_code": int(fields["intent_code"]),
    }
