"""By which rule an attribute of a derived DICOM image may differ from its source's. The rules are data and small tests.

Everything not named here must be kept. Clauses are those of DICOM PS3.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scisr_medical.verify_dicom_frames import Frame

ABSENT = object()
"""Stands for an attribute that is not there."""

MAY_GO: Mapping[str, str] = {
    "IconImageSequence": "a thumbnail of other pixels",
    "PixelAspectRatio": "PixelSpacing says it",
    "PlanarConfiguration": "one value a pixel",
    "DigitalSignaturesSequence": "signs other bytes", "MACParametersSequence": "signs other bytes",
    "EncryptedAttributesSequence": "signs other bytes",
    "InstanceCreatorUID": "the device that made the source",
    "PixelDataProviderURL": "leads to other pixels",
    "ExtendedOffsetTable": "offsets of other pixels", "ExtendedOffsetTableLengths": "offsets of other pixels",
    "DataSetTrailingPadding": "padding", "ImageBoxContentSequence": "shows other pixels",
    "LossyImageCompressionRetired": "retired",
    "VOILUTSequence": "its entries stand for stored values",
    "ConversionSourceAttributesSequence": "of a conversion without loss",
    "ModalityLUTSequence": "its entries stand for stored values",
    **dict.fromkeys(
        (f"{colour}PaletteColorLookupTable{what}" for colour in ("Red", "Green", "Blue", "Alpha")
         for what in ("Descriptor", "Data")),
        "colours of a palette are not resampled",
    ),
    "PaletteColorLookupTableUID": "colours of a palette are not resampled",
    "ICCProfile": "colours of a palette are not resampled", "ColorSpace": "colours of a palette are not resampled",
}  # fmt: skip
"""What may be left out, and why."""

MAY_DIFFER: Mapping[str, str] = {
    **dict.fromkeys(
        ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime"),
        "when it was made",
    ),
    **dict.fromkeys(
        ("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries",
         "LargestPixelValueInSeries", "SmallestValidPixelValue", "LargestValidPixelValue"),
        "of the new values",
    ),
    **dict.fromkeys(
        ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
         "PixelPaddingRangeLimit"),
        "how the new values are stored; checked with them",
    ),
    "SeriesNumber": "a new series", "InstanceNumber": "numbered anew",
    "DerivationCodeSequence": "what was done", "ContributingEquipmentSequence": "the software is added",
    "SourceImageSequence": "the source images; checked with them",
    "DerivationImageSequence": "the source images; checked with them",
    "SourceImageEvidenceSequence": "the source images",
    "TransferSyntaxUID": "how the file is written", "FileMetaInformationGroupLength": "how the file is written",
    "FileMetaInformationVersion": "how the file is written",
    "ImplementationClassUID": "who wrote the file", "ImplementationVersionName": "who wrote the file",
    "SourceApplicationEntityTitle": "who wrote the file", "SendingApplicationEntityTitle": "who wrote the file",
    "ReceivingApplicationEntityTitle": "who wrote the file", "PrivateInformationCreatorUID": "who wrote the file",
    "PrivateInformation": "who wrote the file",
    "ContentQualification": "research use", "SyntheticData": "of a generative model",
    "PresentationLUTShape": "how stored values are shown",
    **dict.fromkeys(
        ("NumberOfFrames", "DimensionOrganizationSequence", "DimensionIndexSequence", "DimensionOrganizationType",
         "ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber",
         "SOPInstanceUIDOfConcatenationSource", "DimensionIndexValues", "StackID", "InStackPositionNumber",
         "FrameAcquisitionNumber", "TemporalPositionIndex"),
        "frames are counted anew",
    ),
}  # fmt: skip
"""What may be kept, change, come and go without breaking anything, and why."""

OF_ORIGINALS: frozenset[str] = frozenset({
    "PulseSequenceName", "MRAcquisitionType", "EchoPulseSequence", "MultipleSpinEcho", "MultiPlanarExcitation",
    "PhaseContrast", "VelocityEncodingDirection", "TimeOfFlightContrast", "SteadyStatePulseSequence",
    "ArterialSpinLabelingContrast", "EchoPlanarPulseSequence", "SaturationRecovery", "SpectrallySelectedSuppression",
    "OversamplingPhase", "GeometryOfKSpaceTraversal", "SegmentedKSpaceTraversal", "CoverageOfKSpace",
    "RectilinearPhaseEncodeReordering", "NumberOfKSpaceTrajectories", "MagnetizationTransfer",
    "BulkMotionCompensationTechnique", "BulkMotionSignalSource",
})  # fmt: skip
"""MR Pulse Sequence Module: required of originals only; validators count it as an error in a derived image."""

_APPENDED = ("SeriesDescription", "ImageComments", "DerivationDescription")
_CREATED = {
    "SOPInstanceUID": "instance",
    "MediaStorageSOPInstanceUID": "instance",
    "SeriesInstanceUID": "series",
}
_TYPE_2: frozenset[str] = frozenset({
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID", "PositionReferenceIndicator", "Manufacturer", "SliceThickness", "ScanOptions",
    "MRAcquisitionType", "EchoTime", "EchoTrainLength", "KVP", "AcquisitionNumber", "Laterality", "PatientPosition",
    "RepetitionTime", "ImagesInAcquisition",
})  # fmt: skip
_LENGTH = 2e-4


@dataclass(frozen=True, eq=False)
class Context:
    """One output slice and its source.

    Attributes
    ----------
    before, after : Frame
    factors : tuple of float
        Along slices, rows, columns.
    between : float or None
        mm from slice to slice of the output.
    expected : ndarray or None
        Where the centre of its first pixel must lie.
    rewritten : bool
        Classic files of an enhanced one, or the reverse.
    """

    before: Frame
    after: Frame
    factors: tuple[float, ...]
    between: float | None
    expected: np.ndarray | None
    rewritten: bool = False


Verdict = tuple[str, bool]


def verdict(keyword: str, old: Any, new: Any, context: Context) -> Verdict:
    """The rule for what became of an attribute, and whether it holds.

    Parameters
    ----------
    keyword : str
    old, new : Any
        Plain values, or :data:`ABSENT`.
    context : Context
    """
    own = _RULES.get(keyword)
    if own is not None:
        rule, allowed = own(old, new, context)
        if (
            not allowed
            and new is ABSENT
            and context.after.number is not None
            and (why := _enhanced(keyword, context))
        ):
            return why, True
        if not allowed and context.rewritten and (old is ABSENT or new is ABSENT):
            return "said in the words of the other kind of image", True
        return rule, allowed
    if keyword in _CREATED:
        return f"a new {_CREATED[keyword]}", new is not ABSENT and old != new
    if same(old, new):
        return "", True
    if keyword in MAY_DIFFER:
        return MAY_DIFFER[keyword], True
    if keyword in MAY_GO and new is ABSENT:
        return MAY_GO[keyword], True
    if old is ABSENT and empty(new) and keyword in _TYPE_2:
        return "required, may be empty", True
    if empty(old) and (new is ABSENT or empty(new)):
        return "empty", True
    if context.after.number is not None and new is ABSENT and (rule := _enhanced(keyword, context)):
        return rule, True
    if context.rewritten:
        return "said in the words of the other kind of image", old is ABSENT or new is ABSENT
    if old is ABSENT:
        return "of the program that wrote it", not keyword.startswith(
            ("Patient", "IssuerOfPatient", "OtherPatient")
        )
    return "", False


def _enhanced(keyword: str, context: Context) -> str:
    """Why an enhanced image has not got an attribute at the top of its header; empty where there is no reason."""
    if context.before.number is not None and keyword in OF_ORIGINALS:
        return "belongs to an original image (C.8.13.4)"
    there = any(items and keyword in items[0] for items in context.after.groups().values())
    return "a functional group says it" if there else ""


def same(old: Any, new: Any) -> bool:
    """Equal, numbers to nine digits."""
    if old is ABSENT or new is ABSENT:
        return False
    if isinstance(old, tuple) and isinstance(new, tuple):
        return len(old) == len(new) and all(same(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(old, float | int) and isinstance(new, float | int):
        return math.isclose(old, new, rel_tol=1e-9, abs_tol=1e-12) or (old != old and new != new)
    return bool(old == new)


def empty(value: Any) -> bool:
    """Nothing, or nothing but blanks."""
    return value is not ABSENT and (
        value in (None, "", (), b"") or (isinstance(value, str) and not value.strip())
    )


def _numbers(value: Any) -> np.ndarray:
    try:
        return np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        return np.array([np.nan])


def _close(found: Any, expected: Any, tolerance: float = _LENGTH) -> bool:
    one, two = _numbers(found), _numbers(expected)
    return bool(one.shape == two.shape and np.allclose(one, two, rtol=tolerance, atol=1e-9))


def _size(axis: int) -> Callable[[Any, Any, Context], Verdict]:
    def rule(old: Any, new: Any, context: Context) -> Verdict:
        factor = context.factors[axis]
        expected = math.floor(float(_numbers(old)[0]) * factor + 1e-6)
        return (f"{factor:.6g} pixels for each" if factor != 1 else ""), bool(_numbers(new)[0] == expected)

    return rule


def _spacing(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new) and context.factors[1:] == (1.0, 1.0):
        return "", True
    if old is ABSENT or new is ABSENT:
        return "", old is new
    rule = f"pixels are {context.factors[1]:.6g} x {context.factors[2]:.6g} times smaller"
    return rule, _close(new, _numbers(old) / np.array(context.factors[1:]))


def _position(old: Any, new: Any, context: Context) -> Verdict:
    if context.expected is None:
        return "", same(old, new)
    rule = "the centre of the first pixel moved, the edge did not" if not same(old, new) else ""
    found = _numbers(new)
    smallest = float(min(context.before.spacing)) if context.before.spacing is not None else 1.0
    return rule, found.size == 3 and bool(np.linalg.norm(found - context.expected) <= 0.02 * smallest)


def _orientation(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new):
        return "", True
    found, expected = _numbers(new), _numbers(old)
    fine = found.shape == expected.shape and bool(np.abs(found - expected).max() < 1e-4)
    return "the same directions, rounded otherwise", fine or (context.rewritten and ABSENT in (old, new))


def _location(old: Any, new: Any, context: Context) -> Verdict:
    """Where the plane lies along its normal; scanners also count it from elsewhere, or leave it out."""
    if new is ABSENT or same(old, new):
        moved = context.factors[0] != 1 and new is not ABSENT
        return "", not moved
    if context.after.position is None:
        return "", False
    along = float(context.after.normal @ context.after.position)
    return "along the normal, from the position", bool(abs(abs(_numbers(new)[0]) - abs(along)) < 0.01)


def _thickness(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new) and context.factors[0] == 1:
        return "", True
    if context.factors[0] == 1 or context.between is None:
        return ("required, may be empty", True) if old is ABSENT and empty(new) else ("", context.rewritten)
    scaled = (
        _numbers(old)[0] / context.factors[0] if old is not ABSENT and not empty(old) else context.between
    )
    fine = new is not ABSENT and (_close(new, context.between, 1e-3) or _close(new, scaled, 1e-3))
    return f"slices are {context.factors[0]:.6g} times finer", fine


def _between(old: Any, new: Any, context: Context) -> Verdict:
    if context.between is None or new is ABSENT:
        return "one slice has no distance", new is ABSENT or same(old, new) or context.between is None
    if same(old, new) and context.factors[0] == 1:
        return "", True
    return "as the positions are apart", _close(abs(_numbers(new)), context.between, 0.01)


def _rescale(neutral: float) -> Callable[[Any, Any, Context], Verdict]:
    def rule(old: Any, new: Any, context: Context) -> Verdict:
        if same(old, new):
            return "", True
        if new is ABSENT:
            fine = context.rewritten or (old is not ABSENT and _close(old, neutral))
            return "values are stored as they are", fine
        return "stored values mean what they meant; compared by content", bool(
            np.isfinite(_numbers(new)).all()
        )

    return rule


def _image_type(old: Any, new: Any, context: Context) -> Verdict:
    values = new if isinstance(new, tuple) else (new,)
    return "a derived image (C.7.6.1.1.2)", bool(values) and str(values[0]).upper() == "DERIVED"


def _kept_or_made(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new):
        return "", True
    return "the source has none", (old is ABSENT or empty(old)) and new is not ABSENT


def _lossy(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new):
        return "", True
    return "told for ever", str(new) == "01" or (str(old) != "01" and (new is ABSENT or str(new) == "00"))


def _appended(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new):
        return "", True
    before, after = ("" if v is ABSENT or v is None else str(v).strip() for v in (old, new))
    kept = before[:40].rstrip() in after if before else bool(after)
    return "says what was done, before or after what was said", kept


def _age(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new):
        return "", True
    digits = [re.sub(r"\D", "", str(v)) for v in (old, new)]
    return "three digits", all(digits) and int(digits[0]) == int(digits[1])


def _sop_class(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new):
        return "", True
    kinds = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128")
    family = [next((k for k in kinds if str(v) == k or str(v).startswith(f"{k}.")), "") for v in (old, new)]
    return "of the same modality, derived", (bool(family[0]) and family[0] == family[1]) or context.rewritten


def _window(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new):
        return "", True
    return "shows the values; checked with them", context.rewritten or (
        new is not ABSENT and old is not ABSENT
    )


def _inversion(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new):
        return "", True
    times = context.after.value("InversionTimes", "MRModifierSequence")
    if new is ABSENT and (times is None or old is ABSENT or empty(old)):
        return "may stand in an inversion recovery only", old is ABSENT or empty(old)
    return "told as InversionTimes: the sequence is not called an inversion recovery", _close(times, old)


def _velocity(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new):
        return "", True
    return "of zero length, no direction", new is ABSENT and old is not ABSENT and not _numbers(old).any()


def _echo_time(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new) or (old is ABSENT and empty(new)):
        return "" if same(old, new) else "required, may be empty", True
    effective = context.after.value("EffectiveEchoTime", "MREchoSequence")
    told = new is ABSENT and effective is not None and _close(effective, old)
    return "a functional group says it", told or context.rewritten


def _technique(old: Any, new: Any, context: Context) -> Verdict:
    known = ("PILS", "SENSE", "SMASH", "OTHER")
    return "no term of the standard is OTHER", same(old, new) or (
        str(new) == "OTHER" and str(old) not in known
    )


def _presentation(old: Any, new: Any, context: Context) -> Verdict:
    if same(old, new) or context.rewritten:
        return "", True
    return "colours of a palette are not resampled", old is ABSENT or str(new) == "MONOCHROME"


_RULES: Mapping[str, Callable[[Any, Any, Context], Verdict]] = {
    "Rows": _size(1), "Columns": _size(2), "PixelSpacing": _spacing, "ImagePositionPatient": _position,
    "ImageOrientationPatient": _orientation, "SliceLocation": _location, "SliceThickness": _thickness,
    "SpacingBetweenSlices": _between, "RescaleSlope": _rescale(1.0), "RescaleIntercept": _rescale(0.0),
    "ImageType": _image_type, "FrameType": _image_type, "FrameOfReferenceUID": _kept_or_made,
    "StudyInstanceUID": _kept_or_made, "LossyImageCompression": _lossy, "PatientAge": _age,
    "SOPClassUID": _sop_class, "MediaStorageSOPClassUID": _sop_class, "WindowCenter": _window, "WindowWidth": _window,
    "EchoTime": _echo_time, "ParallelAcquisitionTechnique": _technique, "PixelPresentation": _presentation,
    "InversionTime": _inversion, "VelocityEncodingDirection": _velocity,
    **dict.fromkeys(_APPENDED, _appended),
}  # fmt: skip
