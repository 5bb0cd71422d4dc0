"""A derived enhanced multi-frame image: one file with all frames of one volume or time series.

Enhanced MR (CT, PET) Image Storage. The header is the source's with identity, dimensions, functional groups and
history made anew; the pixels are streamed behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from scisr_medical import dicom_attributes as rules
from scisr_medical.dicom_carried import carried_over, is_big_endian, text
from scisr_medical.dicom_classic_header import classic_header
from scisr_medical.dicom_derive import HISTORY, Derivation, derivation_text, identify, series_history
from scisr_medical.dicom_enhanced_frames import Dimension, Frames, frame_type
from scisr_medical.dicom_io import translate
from scisr_medical.dicom_streaming import save_streamed

ENHANCED_CLASS = {
    "MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "PT": "1.2.840.10008.5.1.4.1.1.130",
}
"""What a derived enhanced image becomes; Legacy Converted is only for conversions without loss."""

_EMPTY_IF_MISSING = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID", "PositionReferenceIndicator", "PatientPosition",
)  # fmt: skip
_EQUIPMENT = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions")
"""Type 1 in an enhanced image."""
_CLASSIC_ONLY = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "SliceLocation", "RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth",
    "WindowCenterWidthExplanation", "VOILUTSequence", "RealWorldValueMappingSequence", "EchoTime", "InversionTime",
    "TemporalPositionIdentifier", "NumberOfTemporalPositions", "StackID", "InStackPositionNumber",
    "TriggerTime", "PixelPaddingValue",
)  # fmt: skip
"""What a functional group says; at the top of the header it could only contradict it."""
_PULSE_SEQUENCE = (
    "PulseSequenceName", "MRAcquisitionType", "EchoPulseSequence", "MultipleSpinEcho", "MultiPlanarExcitation",
    "PhaseContrast", "VelocityEncodingDirection", "TimeOfFlightContrast", "SteadyStatePulseSequence",
    "ArterialSpinLabelingContrast", "EchoPlanarPulseSequence", "SaturationRecovery", "SpectrallySelectedSuppression",
    "OversamplingPhase", "GeometryOfKSpaceTraversal", "SegmentedKSpaceTraversal", "CoverageOfKSpace",
    "RectilinearPhaseEncodeReordering", "NumberOfKSpaceTrajectories", "MagnetizationTransfer",
    "BulkMotionCompensationTechnique", "BulkMotionSignalSource",
)  # fmt: skip
"""Belong to an ORIGINAL image. PS3.3 C.8.13.4 lets a derived one keep them, but dciodvfy counts each as an error; so
the same is said in the words of a classic image, which both accept and converters read."""
_CLASSIC_WORDS = ("ScanningSequence", "SequenceVariant", "ScanOptions", "SequenceName")


def write_enhanced(
    path: Path,
    derivation: Derivation,
    planes: Sequence[tuple[int, ...]],
    stored: Iterator[np.ndarray],
    shape: tuple[int, int],
    number: int,
) -> Any:
    """Write one file; returns its header.

    Parameters
    ----------
    path : Path
    derivation : Derivation
    planes : sequence of tuple of int
        (slice, volume) of each frame.
    stored : iterator of ndarray of int16 or uint16
        The frames, in the order of `planes`; taken one by one.
    shape : (int, int)
        Rows and columns.
    number : int
        InstanceNumber, from 1.

    Raises
    ------
    UnsupportedError
        The frames do not fit into one file.
    """
    first = derivation.stack.first
    with translate(first.path, "its header can't be carried over", quote=False):
        dataset = enhanced_header(derivation, planes, shape, number)
    save_streamed(
        path,
        dataset,
        "PixelData",
        2 * shape[0] * shape[1] * len(planes),
        (np.ascontiguousarray(frame).tobytes() for frame in stored),
        remedy="give --classic to write one file a slice",
    )
    return dataset


def enhanced_header(
    derivation: Derivation, planes: Sequence[tuple[int, ...]], shape: tuple[int, int], number: int
) -> Any:
    """The complete dataset but for the pixels."""
    source = derivation.stack.first
    header = derivation.headers[source.path]
    dataset = carried_over(header, source.path, derivation.keep_private, big_endian=is_big_endian(header))
    old = {k: text(header, k) for k in HISTORY}
    for keyword in (*rules.MULTI_FRAME, *_CLASSIC_ONLY):
        if keyword in dataset:
            delattr(dataset, keyword)
    rules.normalise(dataset)
    if source.modality == "MR":
        _say_sequence_in_classic_words(dataset, classic_header(header, source.frame or 0))
    _fill(dataset, source.modality)
    dataset.SOPClassUID = ENHANCED_CLASS[source.modality]
    dataset.SOPInstanceUID = rules.derived_uid("enhanced", derivation.series_uid, source.sop_uid, number)
    dataset.InstanceNumber = number
    identify(dataset, derivation, source)
    series_history(dataset, derivation, derivation_text(derivation, source), old)
    _image_level(dataset, derivation, header)
    frames = Frames(derivation, planes)
    shared, each = frames.build()
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], each
    dataset.NumberOfFrames = len(planes)
    _dimensions(dataset, frames.dimensions)
    _evidence(dataset, derivation)
    _pixel_module(dataset, derivation, shape)
    return dataset


def _say_sequence_in_classic_words(dataset: Any, classic: Any) -> None:
    for keyword in _CLASSIC_WORDS:
        old = "PulseSequenceName" if keyword == "SequenceName" else keyword
        if value := classic.get(keyword) or classic.get(old):
            setattr(dataset, keyword, str(value)[:16] if keyword == "SequenceName" else value)
    for keyword in _PULSE_SEQUENCE:
        if keyword in dataset:
            delattr(dataset, keyword)


def _fill(dataset: Any, modality: str) -> None:
    """What an enhanced image must have; of unknown equipment it says so."""
    for keyword in _EMPTY_IF_MISSING:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    for keyword in _EQUIPMENT:
        if not dataset.get(keyword):
            setattr(dataset, keyword, "UNKNOWN")
    if modality == "MR" and not dataset.get("ApplicableSafetyStandardAgency"):
        dataset.ApplicableSafetyStandardAgency = "UNKNOWN"
    if not dataset.get("BurnedInAnnotation"):
        # The only value that this kind of object may have (C.8.13.1); its source was of the same kind.
        dataset.BurnedInAnnotation = "NO"
    for keyword in ("Laterality", "ImageLaterality"):  # said by each frame
        if keyword in dataset:
            delattr(dataset, keyword)
    if "AcquisitionContextSequence" not in dataset:
        dataset.AcquisitionContextSequence = []
    when = text(dataset, "AcquisitionDateTime")
    if not when and len(text(dataset, "AcquisitionDate")) == 8:
        dataset.AcquisitionDateTime = text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime")


def _image_level(dataset: Any, derivation: Derivation, header: Any) -> None:
    """What the frame type group says of each frame, said of all; MIXED where frames differ."""
    stack = derivation.stack
    kinds = {(s.image_type, s.component): s for s in stack.slices.flat}
    items = [frame_type(s, None, header) for s in kinds.values()]
    for element in items[0]:
        keyword = "ImageType" if element.keyword == "FrameType" else element.keyword
        values = [item[element.tag].value for item in items]
        if keyword == "ImageType":
            several = zip(*(list(v) for v in values), strict=True)
            dataset.ImageType = [v[0] if len(set(v)) == 1 else "MIXED" for v in several]
        else:
            setattr(dataset, keyword, values[0] if len(set(values)) == 1 else "MIXED")


def _dimensions(dataset: Any, volumes: Sequence[Dimension]) -> None:
    """Stack, place in the stack, then what tells volumes apart: a new organisation, since the frames are new."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataset import Dataset

    uid = rules.derived_uid("dimensions", dataset.SOPInstanceUID)
    organisation = Dataset()
    organisation.DimensionOrganizationUID = uid
    dataset.DimensionOrganizationSequence = [organisation]
    pointers = [("StackID", "FrameContentSequence"), ("InStackPositionNumber", "FrameContentSequence")]
    items = []
    for element, group in (*pointers, *((d.element, d.group) for d in volumes)):
        item = Dataset()
        item.DimensionOrganizationUID = uid
        item.DimensionIndexPointer = tag_for_keyword(element)
        item.FunctionalGroupPointer = tag_for_keyword(group)
        item.DimensionDescriptionLabel = element
        items.append(item)
    dataset.DimensionIndexSequence = items


def _evidence(dataset: Any, derivation: Derivation) -> None:
    """SourceImageEvidenceSequence: every object that a frame's SourceImageSequence names."""
    from pydicom.dataset import Dataset

    series: dict[tuple[str, str], dict[str, str]] = {}
    for each in derivation.stack.slices.flat:
        if each.sop_uid and each.study_uid:
            series.setdefault((each.study_uid, each.series_uid), {})[each.sop_uid] = each.sop_class
    items = []
    for (study, uid), objects in series.items():
        item, inner = Dataset(), Dataset()
        item.StudyInstanceUID, inner.SeriesInstanceUID = study, uid
        inner.ReferencedSOPSequence = [_reference(c, u) for u, c in objects.items()]
        item.ReferencedSeriesSequence = [inner]
        items.append(item)
    if items:
        dataset.SourceImageEvidenceSequence = items


def _reference(sop_class: str, uid: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def _pixel_module(dataset: Any, derivation: Derivation, shape: tuple[int, int]) -> None:
    encoding, sources = derivation.encoding, derivation.stack.slices.flat
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, derivation.stack.first.photometric
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(encoding.signed)
    dataset.PresentationLUTShape = (
        "INVERSE" if dataset.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    )
    if encoding.padding is not None:
        first, last = encoding.padding
        vr = "SS" if encoding.signed else "US"
        dataset.add_new("PixelPaddingValue", vr, first)
        if last != first:
            dataset.add_new("PixelPaddingRangeLimit", vr, last)
    if any(s.syntax in rules.LOSSY_SYNTAXES for s in sources):
        dataset.LossyImageCompression = "01"  # once lossy, always lossy
    elif not dataset.get("LossyImageCompression"):
        dataset.LossyImageCompression = "00"
    if not dataset.get("ContentDate"):
        rules.stamp(dataset, datetime.now())
