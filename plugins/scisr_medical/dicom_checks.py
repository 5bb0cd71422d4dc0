"""What a header declares of its pixels, held against itself and against the file's size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sciSR.errors import UnreadableError, UnsupportedError

if TYPE_CHECKING:
    from scisr_medical.dicom_instance import Instance


SHORTEST, LONGEST = 1e-9, 1e7
"""Limits of a length in mm: less than an atom, and ten kilometres."""


def check_image(instance: Instance, pixels: dict[str, Any], frames: int = 1) -> None:
    """Hold what the header declares against itself and against the file's size, before memory is spent.

    Raises
    ------
    UnreadableError
        Impossible values; fewer bytes, or fewer compressed fragments, than the frames need.
    UnsupportedError
        Bit depths and transfer syntaxes that can't be decoded here.
    """
    rows, columns = instance.shape
    if rows < 1 or columns < 1:
        raise UnreadableError(f"Rows x Columns is {rows} x {columns}", where=instance.path)
    if instance.bits_allocated not in (8, 16, 32):
        raise UnsupportedError(
            f"BitsAllocated {instance.bits_allocated} is not 8, 16 or 32", where=instance.path
        )
    stored, high = instance.bits_stored, instance.high_bit
    if not (1 <= stored <= instance.bits_allocated and stored - 1 <= high < instance.bits_allocated):
        raise UnreadableError(
            f"BitsStored {stored} and HighBit {high} do not fit into BitsAllocated {instance.bits_allocated}",
            where=instance.path,
        )
    if instance.slope == 0:
        raise UnreadableError("RescaleSlope is 0", where=instance.path)
    check_lengths(instance, instance.path)
    _check_codec(instance)
    expected = frames * (rows * columns * instance.bits_allocated // 8)
    length, available = pixels["length"], pixels["available"]
    if length is None:  # encapsulated: the decoder checks the fragments
        if not _is_compressed(instance.syntax):
            raise UnreadableError(
                "pixel data of undefined length in an uncompressed file", where=instance.path
            )
        if not pixels["complete"]:
            raise UnreadableError("the compressed pixel data are truncated or damaged", where=instance.path)
        if pixels["fragments"] < frames:
            raise UnreadableError(
                f"the compressed pixel data hold {pixels['fragments']} fragments, too few for {frames} frames",
                where=instance.path,
            )
        return
    if _is_compressed(instance.syntax):
        raise UnreadableError("compressed pixel data are not encapsulated", where=instance.path)
    if min(length, available) < expected:
        raise UnreadableError(
            f"the pixel data are truncated: {min(length, available)} bytes of {expected}"
            + (f" for {frames} frames" if frames > 1 else ""),
            where=instance.path,
        )


def check_lengths(instance: Instance, where: Any) -> None:
    """Lengths and places must be those of a body: finite numbers may still overflow in the first product.

    Raises
    ------
    UnreadableError
    """
    if instance.spacing is not None and not all(SHORTEST <= size <= LONGEST for size in instance.spacing):
        raise UnreadableError(f"PixelSpacing is {instance.spacing}", where=where)
    for name, value in (
        ("SliceThickness", instance.thickness),
        ("SpacingBetweenSlices", instance.spacing_between),
        *(("ImagePositionPatient", each) for each in instance.position or ()),
    ):
        if value is not None and abs(value) > LONGEST:
            raise UnreadableError(f"{name} is {value:g} mm", where=where)


def _is_compressed(syntax: str) -> bool:
    from pydicom.uid import UID

    return bool(syntax) and UID(syntax).is_transfer_syntax and UID(syntax).is_encapsulated


def _check_codec(instance: Instance) -> None:
    """Refuse a transfer syntax that can't be decoded here, and say what to install."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = UID(instance.syntax or "1.2.840.10008.1.2")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnsupportedError(
            f"the transfer syntax {syntax.name} is not decoded here",
            where=instance.path,
            remedy="convert it first, e.g. with gdcmconv --raw",
        ) from None
    if not decoder.is_available:
        missing = "; ".join(decoder.missing_dependencies)
        raise UnsupportedError(
            f"no codec is installed for {syntax.name} ({missing})",
            where=instance.path,
            remedy="pip install 'sciSR[dicom]'",
        )
