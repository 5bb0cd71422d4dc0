"""One DICOM file as the rest of the adapter sees it: a small frozen record, checked, without patient data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import UnreadableError
from scisr_medical.dicom_checks import check_image
from scisr_medical.dicom_elements import Values
from scisr_medical.dicom_io import PixelLayout, read_header, translate

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MOSAIC = "Siemens mosaic (all slices in one tiled image)"
CT_LOCALIZER = "CT localizer (a projection, not a slice)"
_DIRECTORY = "1.2.840.10008.1.3.10"
CLASSIC = {MR_IMAGE: "MR", CT_IMAGE: "CT"}
ENHANCED = {
    "1.2.840.10008.5.1.4.1.1.4.1": "MR", "1.2.840.10008.5.1.4.1.1.4.4": "MR", "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT", "1.2.840.10008.5.1.4.1.1.130": "PT", "1.2.840.10008.5.1.4.1.1.128.1": "PT",
}  # fmt: skip
"""Enhanced and Legacy Converted Enhanced MR, CT and PET Image Storage: one file, many frames."""

_COMPONENTS = {
    "P": "phase", "PHASE": "phase", "PHASE MAP": "phase", "VELOCITY MAP": "phase", "R": "real", "REAL": "real",
    "I": "imaginary", "IMAGINARY": "imaginary", "W": "water", "WATER": "water", "F": "fat", "FAT": "fat",
    "IN_PHASE": "in phase", "IP": "in phase", "OPP_PHASE": "opposed phase", "OP": "opposed phase",
    "FIELD_MAP": "field map", "B0 MAP": "field map",
}  # fmt: skip
"""Values of ImageType that tell images of one acquisition apart."""

PHOTOMETRIC = {
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL", "YBR_FULL_422",
    "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT", "XYB",
}  # fmt: skip
"""PhotometricInterpretation as the standard has it, retired terms too (PS3.3 C.7.6.3.1.2)."""

TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
    "Modality", "ImageType", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "FrameOfReferenceUID",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber",
    "TriggerTime", "DiffusionBValue", "DiffusionGradientOrientation", "ComplexImageComponent",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence",
    "ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "RedPaletteColorLookupTableDescriptor",
]  # fmt: skip


@dataclass(frozen=True)
class Instance:
    """What is needed to sort, check, decode and derive one classic image, or one frame of an enhanced one.

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
    unit: str = ""
    """Of the physical values, where a real world value mapping that is the same as the rescale says so."""
    complex_part: str = ""
    """ComplexImageComponent: MAGNITUDE, PHASE, REAL, IMAGINARY, MIXED."""
    frame: int | None = None
    """Index, from 0, in an enhanced multi-frame file; None for a classic image, as all that follows."""
    stack: str | None = None
    """StackID."""
    dimensions: tuple[int, ...] = ()
    """DimensionIndexValues."""
    dimension_names: tuple[str, ...] = ()
    """What each of the dimensions counts; empty where the file does not say it."""
    concatenation: tuple[str, int, int | None] | None = None
    """Of an object that was cut into several files: its UID, which part this is (from 1), and of how many."""
    layout: PixelLayout | None = None
    palette: bool = False
    """Whether some values stand for colours of a supplemental palette."""
    tile: tuple[int, int] | None = None
    """Row and column of the first pixel in a Siemens mosaic; None for an image of its own."""
    whole: tuple[int, int] | None = None
    """(rows, columns) of the mosaic."""

    @property
    def name(self) -> str:
        """What messages call it; DICOM counts frames from 1."""
        if self.tile is not None:
            row, column = (at // size + 1 for at, size in zip(self.tile, self.shape, strict=True))
            return f"tile {row},{column} of {self.path.name}"
        return self.path.name if self.frame is None else f"frame {self.frame + 1} of {self.path.name}"

    @property
    def order(self) -> tuple[Any, ...]:
        """The order in which images were numbered."""
        part = self.concatenation[1] if self.concatenation else 0
        return (self.number, part, self.frame or 0, self.path.name)

    @property
    def kinds(self) -> frozenset[str]:
        """Values of ImageType, with the component of the complex signal and its first letter."""
        return frozenset((*self.image_type, self.complex_part, self.complex_part[:1])) - {""}

    @property
    def component(self) -> str:
        """What part of the signal the values are, from ImageType: magnitude, phase, real, imaginary, water, ..."""
        if self.modality != "MR":
            return "magnitude"
        found = [_COMPONENTS[v] for v in self.image_type[2:] if v in _COMPONENTS]
        if "field map" in found:  # real by its nature, not as one part of a complex signal
            return "field map"
        if self.complex_part in ("PHASE", "REAL", "IMAGINARY"):
            return self.complex_part.lower()
        return found[0] if found else "magnitude"

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


def read_instances(path: Path) -> list[Instance]:
    """Read and check one file's header: one image, or the frames of an enhanced file.

    Raises
    ------
    UnreadableError
        Damaged, truncated, or with impossible values in the elements that matter here.
    """
    path = Path(path)
    header, pixels = read_header(path, TAGS)
    with translate(path):
        value = Values(path, header)
        sop_class = str(header.get("SOPClassUID", "") or "")
        if not sop_class and value.text("Modality") in ("MR", "CT") and pixels["keyword"]:
            # ACR-NEMA and early DICOM have no SOP class; the modality says which one a derived image gets.
            sop_class = {"MR": MR_IMAGE, "CT": CT_IMAGE}[value.text("Modality")]
        if str(header.file_meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY:
            sop_class = _DIRECTORY  # a DICOMDIR says it in the file meta information alone
        _check_complete(value, sop_class, pixels)
        shared = _shared(value, sop_class)
        refusal = _refusal(value, sop_class, header, pixels)
        if sop_class in ENHANCED and refusal is None:
            from scisr_medical.dicom_enhanced import read_frames

            return read_frames(value, shared, pixels)
        image = _classic(value, shared, refusal, pixels)
        if refusal == MOSAIC and sop_class in CLASSIC:
            from scisr_medical.dicom_mosaic import unpack

            return unpack(image, pixels)
        return [image]


def _shared(value: Values, sop_class: str) -> dict[str, Any]:
    """What is said once for a file, be it of one frame or of many."""
    return {
        "path": value.path,
        "sop_class": sop_class,
        "sop_uid": value.text("SOPInstanceUID"),
        "study_uid": value.text("StudyInstanceUID"),
        "series_uid": value.text("SeriesInstanceUID"),
        "series_number": value.integer("SeriesNumber"),
        "number": value.integer("InstanceNumber") or 0,
        "modality": value.text("Modality"),
        "syntax": str(getattr(value.header.file_meta, "TransferSyntaxUID", "") or ""),
        "shape": (value.integer("Rows") or 0, value.integer("Columns") or 0),
        "bits_allocated": value.integer("BitsAllocated") or 0,
        "bits_stored": value.integer("BitsStored") or 0,
        "high_bit": value.integer("HighBit", (value.integer("BitsStored") or 1) - 1),
        "signed": bool(value.integer("PixelRepresentation")),
        "photometric": value.text("PhotometricInterpretation"),
        "frame_of_reference": value.text("FrameOfReferenceUID"),
        "padding": _padding(value),
    }


def _classic(value: Values, shared: dict[str, Any], refusal: str | None, pixels: dict[str, Any]) -> Instance:
    instance = Instance(
        **shared,
        image_type=value.texts("ImageType"),
        complex_part=value.text("ComplexImageComponent").upper(),
        position=value.floats("ImagePositionPatient", 3),
        orientation=value.floats("ImageOrientationPatient", 6),
        spacing=value.floats("PixelSpacing", 2),  # type: ignore[arg-type]
        thickness=value.number("SliceThickness"),
        spacing_between=value.number("SpacingBetweenSlices"),
        slope=value.number("RescaleSlope", 1.0),
        intercept=value.number("RescaleIntercept", 0.0),
        rescale_type=value.text("RescaleType"),
        echo_time=value.number("EchoTime"),
        echo_number=value.integer("EchoNumbers"),
        temporal=value.integer("TemporalPositionIdentifier"),
        acquisition=value.integer("AcquisitionNumber"),
        trigger=value.number("TriggerTime"),
        diffusion=_diffusion(value),
        refusal=refusal,
    )
    if refusal is None:
        check_image(instance, pixels)
    return instance


def _check_complete(value: Values, sop_class: str, pixels: dict[str, Any]) -> None:
    """Refuse what was cut off in the header: it may be a slice, so it must not pass for some other object."""
    if not sop_class:
        raise UnreadableError("looks like DICOM, but has no SOPClassUID", where=value.path)
    images = {**CLASSIC, **ENHANCED}
    if sop_class in images and pixels["keyword"] is None:
        raise UnreadableError("holds no pixel data: it is truncated, or no image", where=value.path)
    if sop_class != _DIRECTORY and not value.text("SeriesInstanceUID") and sop_class not in CLASSIC:
        raise UnreadableError(
            "has no SeriesInstanceUID: it is truncated, or no DICOM object", where=value.path
        )


def _padding(value: Values) -> tuple[int, int] | None:
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


def _diffusion(value: Values) -> tuple[float, ...] | None:
    b_value = value.number("DiffusionBValue")
    if b_value is None:
        return None
    raw = value._raw("DiffusionGradientOrientation")
    return (b_value, *(value.floats("DiffusionGradientOrientation", 3) or ())) if raw else (b_value,)


def _photometric(value: Values) -> str:
    """The colour model; what is no term of the standard may be anybody's text, and is not said."""
    said = value.text("PhotometricInterpretation")
    if not said:
        return "no PhotometricInterpretation"
    return said if said in PHOTOMETRIC else "unknown PhotometricInterpretation"


def _refusal(value: Values, sop_class: str, header: Any, pixels: dict[str, Any]) -> str | None:
    """The name under which an object is refused, or None."""
    from pydicom.uid import UID

    if sop_class not in CLASSIC and sop_class not in ENHANCED:
        name = UID(sop_class).name
        name = "an unknown SOP class" if name == sop_class else name
        if (value.integer("SamplesPerPixel") or 1) > 1:
            return f"{name} (colour, {_photometric(value)})"
        return name if pixels["keyword"] else f"{name} (not an image)"
    if "MOSAIC" in value.texts("ImageType"):
        return MOSAIC
    if sop_class in CLASSIC and (value.integer("NumberOfFrames") or 1) > 1:
        return f"multi-frame image ({value.integer('NumberOfFrames')} frames)"
    photometric = value.text("PhotometricInterpretation")
    if (value.integer("SamplesPerPixel") or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return f"colour image ({_photometric(value)})"
    if pixels["keyword"] not in ("PixelData", None):
        return f"floating-point image ({pixels['keyword']})"
    if header.get("ModalityLUTSequence"):
        return "image with a Modality LUT (values are not linear in the signal)"
    if sop_class == CT_IMAGE and "LOCALIZER" in value.texts("ImageType"):
        return CT_LOCALIZER
    return None
