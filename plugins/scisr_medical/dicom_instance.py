"""One DICOM file as the rest of the adapter sees it: a small frozen record, checked, without patient data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import UnreadableError, UnsupportedError
from scisr_medical.dicom_io import read_header, translate

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_DIRECTORY = "1.2.840.10008.1.3.10"
CLASSIC = {MR_IMAGE: "MR", CT_IMAGE: "CT"}

_COMPONENTS = {
    "P": "phase", "PHASE": "phase", "PHASE MAP": "phase", "VELOCITY MAP": "phase", "R": "real", "REAL": "real",
    "I": "imaginary", "IMAGINARY": "imaginary", "W": "water", "WATER": "water", "F": "fat", "FAT": "fat",
    "IN_PHASE": "in phase", "IP": "in phase", "OPP_PHASE": "opposed phase", "OP": "opposed phase",
}  # fmt: skip
"""Values of ImageType that tell images of one acquisition apart."""

TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
    "Modality", "ImageType", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "FrameOfReferenceUID",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber",
    "TriggerTime", "DiffusionBValue", "DiffusionGradientOrientation",
]  # fmt: skip


@dataclass(frozen=True)
class Instance:
    """What is needed to sort, check, decode and derive one classic single-frame image.

    Lengths are in mm. `position` is the centre of the first pixel, `row` points along a row (increasing column
    index), `column` down a column; all in the patient coordinate system (x to the left, y to the back, z to the
    head: LPS). `spacing` is (between rows, between columns), as in PixelSpacing.
    """

    path: Path
    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
    series_number: int | None
    number: int
    modality: str
    image_type: tuple[str, ...]
    syntax: str
    shape: tuple[int, int]
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    spacing_between: float | None
    frame_of_reference: str
    slope: float
    intercept: float
    rescale_type: str
    padding: tuple[int, int] | None
    echo_time: float | None
    echo_number: int | None
    temporal: int | None
    acquisition: int | None
    trigger: float | None
    diffusion: tuple[float, ...] | None
    refusal: str | None = None
    """Why this image is refused by name; None for an image that can be upscaled."""
    frame: int | None = None
    """Index, from 0, in an enhanced multi-frame file; None for a classic image."""

    @property
    def name(self) -> str:
        """What messages call it; DICOM counts frames from 1."""
        return self.path.name if self.frame is None else f"frame {self.frame + 1} of {self.path.name}"

    @property
    def component(self) -> str:
        """What part of the signal the values are, from ImageType: magnitude, phase, real, imaginary, water, ..."""
        found = [_COMPONENTS[v] for v in self.image_type[2:] if v in _COMPONENTS]
        return found[0] if found and self.modality == "MR" else "magnitude"

    @property
    def has_plane(self) -> bool:
        return self.position is not None and self.orientation is not None and self.spacing is not None

    @property
    def row(self) -> np.ndarray:
        return np.array(self.orientation[:3])  # type: ignore[index]

    @property
    def column(self) -> np.ndarray:
        return np.array(self.orientation[3:])  # type: ignore[index]

    @property
    def normal(self) -> np.ndarray:
        normal = np.cross(self.row, self.column)
        return normal / np.linalg.norm(normal)

    def plane_affine(self) -> np.ndarray:
        """(row, column, 1) -> LPS mm, shape (3, 3); DICOM PS3.3 equation C.7.6.2.1-1."""
        between_rows, between_columns = self.spacing  # type: ignore[misc]
        return np.stack(
            [self.column * between_rows, self.row * between_columns, np.array(self.position)], axis=1
        )


def read_instance(path: Path) -> Instance:
    """Read and check one file's header.

    Raises
    ------
    UnreadableError
        Damaged, truncated, or with impossible values in the elements that matter here.
    """
    path = Path(path)
    header, pixels = read_header(path, TAGS)
    with translate(path):
        return _instance(path, header, pixels)


def _instance(path: Path, header: Any, pixels: dict[str, Any]) -> Instance:
    value = _Values(path, header)
    sop_class = str(header.get("SOPClassUID", "") or "")
    if not sop_class and value.text("Modality") in ("MR", "CT") and pixels["keyword"]:
        # ACR-NEMA and early DICOM have no SOP class; the modality says which one a derived image gets.
        sop_class = {"MR": MR_IMAGE, "CT": CT_IMAGE}[value.text("Modality")]
    _check_complete(value, sop_class, pixels)
    instance = Instance(
        path=path,
        sop_class=sop_class,
        sop_uid=value.text("SOPInstanceUID"),
        study_uid=value.text("StudyInstanceUID"),
        series_uid=value.text("SeriesInstanceUID"),
        series_number=value.integer("SeriesNumber"),
        number=value.integer("InstanceNumber") or 0,
        modality=value.text("Modality"),
        image_type=value.texts("ImageType"),
        syntax=str(getattr(header.file_meta, "TransferSyntaxUID", "") or ""),
        shape=(value.integer("Rows") or 0, value.integer("Columns") or 0),
        bits_allocated=value.integer("BitsAllocated") or 0,
        bits_stored=value.integer("BitsStored") or 0,
        high_bit=value.integer("HighBit", (value.integer("BitsStored") or 1) - 1),
        signed=bool(value.integer("PixelRepresentation")),
        photometric=value.text("PhotometricInterpretation"),
        position=value.floats("ImagePositionPatient", 3),
        orientation=value.floats("ImageOrientationPatient", 6),
        spacing=value.floats("PixelSpacing", 2),  # type: ignore[arg-type]
        thickness=value.number("SliceThickness"),
        spacing_between=value.number("SpacingBetweenSlices"),
        frame_of_reference=value.text("FrameOfReferenceUID"),
        slope=value.number("RescaleSlope", 1.0),
        intercept=value.number("RescaleIntercept", 0.0),
        rescale_type=value.text("RescaleType"),
        padding=_padding(value),
        echo_time=value.number("EchoTime"),
        echo_number=value.integer("EchoNumbers"),
        temporal=value.integer("TemporalPositionIdentifier"),
        acquisition=value.integer("AcquisitionNumber"),
        trigger=value.number("TriggerTime"),
        diffusion=_diffusion(value),
        refusal=_refusal(value, sop_class, header, pixels),
    )
    if instance.refusal is None:
        _check_image(instance, pixels)
    return instance


def _check_complete(value: _Values, sop_class: str, pixels: dict[str, Any]) -> None:
    """Refuse what was cut off in the header: it may be a slice, so it must not pass for some other object."""
    if not sop_class:
        raise UnreadableError("looks like DICOM, but has no SOPClassUID", where=value.path)
    if sop_class in CLASSIC and pixels["keyword"] is None:
        raise UnreadableError("holds no pixel data: it is truncated, or no image", where=value.path)
    if sop_class != _DIRECTORY and not value.text("SeriesInstanceUID") and sop_class not in CLASSIC:
        raise UnreadableError(
            "has no SeriesInstanceUID: it is truncated, or no DICOM object", where=value.path
        )


class _Values:
    """Elements of a header as plain Python values, with errors that name the element."""

    def __init__(self, path: Path, header: Any) -> None:
        self.path, self.header = path, header

    def _raw(self, keyword: str) -> list[Any]:
        try:
            value = self.header.get(keyword)
        except Exception as error:
            raise UnreadableError(
                f"{keyword} can't be decoded: {str(error)[:80]}", where=self.path
            ) from error
        if value is None or value == "" or value == b"":
            return []
        return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]

    def text(self, keyword: str) -> str:
        raw = self._raw(keyword)
        return str(raw[0]).strip() if raw else ""

    def texts(self, keyword: str) -> tuple[str, ...]:
        return tuple(str(v).strip() for v in self._raw(keyword))

    def number(self, keyword: str, default: float | None = None) -> Any:
        raw = self._raw(keyword)
        return default if not raw else self._float(keyword, raw[0])

    def integer(self, keyword: str, default: int | None = None) -> Any:
        number = self.number(keyword)
        return default if number is None else int(number)

    def floats(self, keyword: str, count: int) -> tuple[float, ...] | None:
        raw = self._raw(keyword)
        if not raw:
            return None
        if len(raw) != count:
            raise UnreadableError(f"{keyword} holds {len(raw)} numbers, not {count}", where=self.path)
        return tuple(self._float(keyword, v) for v in raw)

    def _float(self, keyword: str, raw: Any) -> float:
        try:
            number = float(raw)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise UnreadableError(f"{keyword} is no number: {str(raw)[:32]!r}", where=self.path)
        return number


def _padding(value: _Values) -> tuple[int, int] | None:
    """Lowest and highest stored value that means "outside the image"."""
    first = value.integer("PixelPaddingValue")
    if first is None:
        return None
    bits, signed = value.integer("BitsAllocated") or 16, bool(value.integer("PixelRepresentation"))
    ends = [first, value.integer("PixelPaddingRangeLimit", first)]
    # The VR may be US where the pixels are signed, and the other way round: compare as the same bits.
    ends = [e % (1 << bits) for e in ends]
    if signed:
        ends = [e - (1 << bits) if e >= 1 << (bits - 1) else e for e in ends]
    return min(ends), max(ends)


def _diffusion(value: _Values) -> tuple[float, ...] | None:
    b_value = value.number("DiffusionBValue")
    if b_value is None:
        return None
    raw = value._raw("DiffusionGradientOrientation")
    return (b_value, *(value.floats("DiffusionGradientOrientation", 3) or ())) if raw else (b_value,)


def _refusal(value: _Values, sop_class: str, header: Any, pixels: dict[str, Any]) -> str | None:
    """The name under which an object is refused, or None."""
    from pydicom.uid import UID

    if sop_class not in CLASSIC:
        name = UID(sop_class).name
        name = "an unknown SOP class" if name == sop_class else name
        if "Enhanced" in name:
            return f"{name} (multi-frame)"
        if (value.integer("SamplesPerPixel") or 1) > 1:
            return f"{name} (colour, {value.text('PhotometricInterpretation')})"
        return name if pixels["keyword"] else f"{name} (not an image)"
    if "MOSAIC" in value.texts("ImageType"):
        return "Siemens mosaic (all slices in one tiled image)"
    if (value.integer("NumberOfFrames") or 1) > 1:
        return f"multi-frame image ({value.integer('NumberOfFrames')} frames)"
    photometric = value.text("PhotometricInterpretation")
    if (value.integer("SamplesPerPixel") or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return f"colour image ({photometric or 'no PhotometricInterpretation'})"
    if pixels["keyword"] not in ("PixelData", None):
        return f"floating-point image ({pixels['keyword']})"
    if header.get("ModalityLUTSequence"):
        return "image with a Modality LUT (values are not linear in the signal)"
    if sop_class == CT_IMAGE and "LOCALIZER" in value.texts("ImageType"):
        return "CT localizer (a projection, not a slice)"
    return None


def _check_image(instance: Instance, pixels: dict[str, Any]) -> None:
    """Hold what the header declares against itself and against the file's size."""
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
    if instance.spacing is not None and min(instance.spacing) <= 0:
        raise UnreadableError(f"PixelSpacing is {instance.spacing}", where=instance.path)
    _check_codec(instance)
    expected = rows * columns * instance.bits_allocated // 8
    length, available = pixels["length"], pixels["available"]
    if length is None:  # encapsulated: the decoder checks the fragments
        if not _is_compressed(instance.syntax):
            raise UnreadableError(
                "pixel data of undefined length in an uncompressed file", where=instance.path
            )
        if not pixels["complete"]:
            raise UnreadableError("the compressed pixel data are truncated or damaged", where=instance.path)
        return
    if _is_compressed(instance.syntax):
        raise UnreadableError("compressed pixel data are not encapsulated", where=instance.path)
    if min(length, available) < expected:
        raise UnreadableError(
            f"the pixel data are truncated: {min(length, available)} bytes of {expected}", where=instance.path
        )


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
