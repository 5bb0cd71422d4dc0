"""What becomes of each attribute of a source image in the image derived from it. The rules are data.

Everything not named here is copied: patient, study, frame of reference, equipment and acquisition stay as they
were (an up-sampled image has still been acquired with its source's echo time and acquisition matrix). Clauses are
those of DICOM PS3.3; "type" is the attribute's type in the MR and CT Image IODs.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydicom.datadict import keyword_for_tag

RESEARCH_ONLY = "Research use only, not for diagnosis."

DELETED = (
    "IconImageSequence",  # a thumbnail of other pixels
    "PixelAspectRatio",  # PixelSpacing says it, and the two may not disagree
    "PixelPaddingValue", "PixelPaddingRangeLimit",  # written anew with the derived values
    "SmallestImagePixelValue", "LargestImagePixelValue",  # recomputed
    "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "SmallestValidPixelValue", "LargestValidPixelValue",
    "PixelDataProviderURL", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "PixelData", "FloatPixelData", "DoubleFloatPixelData", "DataSetTrailingPadding",
    "SourceImageSequence", "DerivationCodeSequence", "DerivationDescription",  # written anew
    "InstanceCreatorUID",  # the device that made the source instance
    "DigitalSignaturesSequence", "MACParametersSequence", "EncryptedAttributesSequence",  # sign other bytes
    "ImageBoxContentSequence", "LossyImageCompressionRetired",
)  # fmt: skip

MULTI_FRAME = (
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames",
    "DimensionOrganizationSequence", "DimensionIndexSequence", "DimensionOrganizationType",
    "ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber",
    "SOPInstanceUIDOfConcatenationSource", "SourceImageEvidenceSequence", "ConversionSourceAttributesSequence",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "PaletteColorLookupTableUID", "ICCProfile", "ColorSpace",
)  # fmt: skip
"""Of an enhanced image: written anew, or without meaning in a classic one."""

MEANING_OF_STORED_VALUES = ("VOILUTSequence",)
"""Kept only where a stored number still means what it meant."""

DELETED_GROUPS = range(0x5000, 0x6100)
"""Curves (50xx) and overlays (60xx): drawn on other pixels."""

EMPTY_IF_MISSING = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID", "PositionReferenceIndicator", "Manufacturer", "SliceThickness",
)  # fmt: skip
"""Type 2 (required, may be empty) in every classic image."""

EMPTY_IF_MISSING_BY_MODALITY = {
    "MR": ("ScanOptions", "MRAcquisitionType", "EchoTime", "EchoTrainLength"),
    "CT": ("KVP", "AcquisitionNumber"),
}

MR_IMAGE_TYPES = frozenset({
    "DENSITY MAP", "DIFFUSION MAP", "IMAGE ADDITION", "MODULUS SUBTRACT", "MPR", "OTHER", "PHASE MAP",
    "PHASE SUBTRACT", "PROJECTION IMAGE", "T1 MAP", "T2 MAP", "VELOCITY MAP",
})  # fmt: skip
"""Defined terms of ImageType value 3 in an MR image (C.8.3.1.1.1)."""

PAIRED = frozenset({
    "ANKLE", "ARM", "BREAST", "CLAVICLE", "EAR", "ELBOW", "EYE", "FINGER", "FOOT", "HAND", "HIP", "KNEE", "LEG",
    "SHOULDER", "THUMB", "TOE", "WRIST",
})  # fmt: skip
"""Body parts of which there are two; a missing BodyPartExamined may be one."""

LOSSY_SYNTAXES = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"})

SPATIAL_RESAMPLING = ("113085", "DCM", "Spatial resampling")  # CID 7203
SOURCE_FOR_PROCESSING = ("121322", "DCM", "Source image for image processing operation")  # CID 7202
PROCESSING_EQUIPMENT = ("109102", "DCM", "Processing Equipment")  # CID 7005


def derived_uid(*parts: object) -> str:
    """A UID that depends on nothing but `parts`: ``2.25.`` and a UUID (PS3.5 B.2), the same in every run."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def code(value: tuple[str, str, str]) -> Any:
    """One item of a code sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value
    return item


def is_dropped(tag: Any, keep_private: Iterable[int] = (), *, nested: bool = False) -> bool:
    """Whether an element of the source is left behind: see :data:`DELETED`; private ones but for groups to keep.

    Private elements go by default, in sequences too: Siemens CSA headers repeat position and matrix, and dcm2niix
    believes them; the Philips scale slope would be wrong.
    """
    if tag.is_private:
        return tag.group not in keep_private
    if nested:
        return False
    return tag.element == 0 or tag.group in DELETED_GROUPS or keyword_for_tag(tag) in DELETED


def fill_required(dataset: Any, modality: str) -> None:
    """Add, empty, what the standard requires to be present but allows to be empty."""
    for keyword in (*EMPTY_IF_MISSING, *EMPTY_IF_MISSING_BY_MODALITY.get(modality, ())):
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    part = str(dataset.get("BodyPartExamined") or "")
    if "ImageLaterality" not in dataset and "Laterality" not in dataset and (not part or part in PAIRED):
        dataset.Laterality = None
    if "PatientOrientationCodeSequence" not in dataset and "PatientPosition" not in dataset:
        dataset.PatientPosition = None


def normalise(dataset: Any) -> None:
    """Rewrite, without loss, what sources often get wrong and what the standard forbids in a new object.

    An age of ``45Y`` becomes ``045Y``. InversionTime may only stand in an MR image whose ScanningSequence is IR;
    an MPRAGE labelled GR keeps its inversion time under InversionTimes (0018,9079), which has no such condition.
    A direction of zero length is none.
    """
    age = str(dataset.get("PatientAge") or "").strip()
    if re.fullmatch(r"\d{1,3}[DWMY]", age):
        dataset.PatientAge = age.zfill(4)
    direction = dataset.get("VelocityEncodingDirection")
    if direction is not None and not any(direction if hasattr(direction, "__iter__") else [direction]):
        del dataset.VelocityEncodingDirection  # no direction at all
    sequence = dataset.get("ScanningSequence") or []
    if "InversionTime" in dataset and "IR" not in ([sequence] if isinstance(sequence, str) else sequence):
        if (time := dataset.InversionTime) is not None and dataset.get("Modality") == "MR":
            dataset.InversionTimes = float(time)
        del dataset.InversionTime


def derived_image_type(source: tuple[str, ...], modality: str) -> list[str]:
    """``DERIVED\\SECONDARY\\value 3\\...``; in MR value 3 is a defined term, and the source's own comes after it.

    >>> derived_image_type(("ORIGINAL", "PRIMARY", "M", "ND"), "MR")
    ['DERIVED', 'SECONDARY', 'OTHER', 'M', 'ND']
    """
    rest = [v for v in source[2:] if v]
    if modality == "MR" and (not rest or rest[0] not in MR_IMAGE_TYPES):
        rest.insert(0, "OTHER")
    elif not rest:
        rest = ["AXIAL"] if modality == "CT" else ["OTHER"]
    return ["DERIVED", "SECONDARY", *rest]


def stamp(dataset: Any, now: datetime) -> None:
    """Creation, content and series dates are now; acquisition dates stay."""
    for prefix in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{prefix}Date", now.strftime("%Y%m%d"))
        setattr(dataset, f"{prefix}Time", now.strftime("%H%M%S"))


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, an ellipsis where some were cut."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def series_description(old: str, suffix: str) -> str:
    """LO, 64 characters: the old one cut so that the suffix fits."""
    return f"{shorten(old, 63 - len(suffix))} {suffix}".strip()


def contributing_equipment(version: str, description: str, now: datetime) -> Any:
    """Item of ContributingEquipmentSequence: the software that derived the image (the scanner stays Manufacturer)."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code(PROCESSING_EQUIPMENT)]
    item.Manufacturer = "sciSR developers"
    item.ManufacturerModelName = "sciSR"
    item.SoftwareVersions = version
    item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = shorten(description, 1024)
    return item


def source_image(sop_class: str, sop_uid: str, frame: int | None = None) -> Any:
    """Item of SourceImageSequence; `frame` (from 1) of a multi-frame image."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
    if frame is not None:
        item.ReferencedFrameNumber = frame
    item.PurposeOfReferenceCodeSequence = [code(SOURCE_FOR_PROCESSING)]
    return item


def derivation_description(new: str, old: str) -> str:
    """ST, 1024 characters of ASCII; what was known before comes last and is cut first."""
    text = f"{new} {RESEARCH_ONLY}"
    if old:
        text = f"{shorten(text, 1000)} Earlier: {old}"
    return shorten(text.encode("ascii", "replace").decode(), 1024)
