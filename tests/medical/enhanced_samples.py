"""Enhanced multi-frame files made from scratch: frames with known planes, values and places among the volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from dicom_samples import AXIAL, phantom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

SOP_CLASSES = {
    "MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "PT": "1.2.840.10008.5.1.4.1.1.130",
    "legacy MR": "1.2.840.10008.5.1.4.1.1.4.4",
    "legacy CT": "1.2.840.10008.5.1.4.1.1.2.2",
}
_FRAME_TYPES = {
    "MR": "MRImageFrameTypeSequence",
    "CT": "CTImageFrameTypeSequence",
    "PT": "PETFrameTypeSequence",
}
DIMENSIONS = {
    "stack": ("StackID", "FrameContentSequence"),
    "place": ("InStackPositionNumber", "FrameContentSequence"),
    "temporal": ("TemporalPositionIndex", "FrameContentSequence"),
    "echo": ("EffectiveEchoTime", "MREchoSequence"),
    "b_value": ("DiffusionBValue", "MRDiffusionSequence"),
    "direction": ("DiffusionGradientOrientation", "MRDiffusionSequence"),
    "component": ("ComplexImageComponent", "MRImageFrameTypeSequence"),
}


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame; lengths in mm. What is None is left out of the file."""

    stored: np.ndarray
    position: tuple[float, ...]
    orientation: tuple[float, ...] = AXIAL
    spacing: tuple[float, float] = (0.8, 0.6)
    thickness: float | None = 2.5
    slope: float = 1.0
    intercept: float = 0.0
    stack: str = "1"
    place: int = 1
    temporal: int | None = None
    echo: float | None = None
    b_value: float | None = None
    direction: tuple[float, ...] | None = None
    component: str = "MAGNITUDE"
    frame_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "T1", "NONE")

    @property
    def values(self) -> np.ndarray:
        return self.stored * self.slope + self.intercept


def volume(
    shape: Sequence[int] = (4, 10, 12),
    *,
    seed: int = 0,
    origin: Sequence[float] = (-31.25, 12.5, -40.0),
    step: float = 3.0,
    orientation: Sequence[float] = AXIAL,
    **fields: Any,
) -> list[Frame]:
    """Frames of one regular volume, in the order of their places."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        Frame(
            plane,
            tuple(round(float(v), 9) for v in np.array(origin) + k * step * normal),
            orientation=tuple(orientation),
            place=k + 1,
            **fields,
        )
        for k, plane in enumerate(phantom(shape, seed))
    ]


def values(frames: Sequence[Frame]) -> np.ndarray:
    """Physical values, shape (frames, rows, columns)."""
    return np.stack([f.values for f in frames])


def make_enhanced(
    path: Path,
    frames: Sequence[Frame],
    *,
    kind: str = "MR",
    dimensions: Sequence[str] = ("stack", "place"),
    syntax: str = ExplicitVRLittleEndian,
    signed: bool = False,
    bits: int = 12,
    allocated: int = 16,
    number: int = 1,
    series: str = "1.2.3",
    shared: bool = True,
    edit: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write one enhanced file.

    Parameters
    ----------
    dimensions : sequence of str
        Keys of :data:`DIMENSIONS`; an index counts the distinct values in rising order.
    shared : bool
        Put groups that are the same for all frames into the shared ones.
    """
    dataset = _header(kind, series, number, len(frames))
    dataset.file_meta.TransferSyntaxUID = syntax
    _dimension_indices(dataset, dimensions)
    groups = [_groups(f, kind, _indices(f, frames, dimensions)) for f in frames]
    common = [k for k in groups[0] if shared and all(g.get(k) == groups[0][k] for g in groups)]
    dataset.SharedFunctionalGroupsSequence = [_dataset({k: groups[0][k] for k in common})]
    dataset.PerFrameFunctionalGroupsSequence = [
        _dataset({k: v for k, v in g.items() if k not in common}) for g in groups
    ]
    dataset.Rows, dataset.Columns = frames[0].stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
    dtype = f"{order}{'i' if signed else 'u'}{allocated // 8}"
    dataset.add_new("PixelData", "OW", np.stack([f.stored for f in frames]).astype(dtype).tobytes())
    if edit is not None:
        edit(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _indices(frame: Frame, frames: Sequence[Frame], dimensions: Sequence[str]) -> list[int]:
    def key(f: Frame, name: str) -> Any:
        value = getattr(f, name)
        return (value is not None, value)

    return [
        sorted({key(f, name) for f in frames}).index(key(frame, name)) + 1 if name != "place" else frame.place
        for name in dimensions
    ]


def _dimension_indices(dataset: Dataset, dimensions: Sequence[str]) -> None:
    uid = "1.2.3.4.5"
    dataset.DimensionOrganizationSequence = [_dataset({"DimensionOrganizationUID": uid})]
    dataset.DimensionIndexSequence = [
        _dataset(
            {
                "DimensionOrganizationUID": uid,
                "DimensionIndexPointer": tag_for_keyword(DIMENSIONS[name][0]),
                "FunctionalGroupPointer": tag_for_keyword(DIMENSIONS[name][1]),
            }
        )
        for name in dimensions
    ]


def _groups(frame: Frame, kind: str, indices: list[int]) -> dict[str, Any]:
    modality = kind.split()[-1]
    content = {"StackID": frame.stack, "InStackPositionNumber": frame.place, "DimensionIndexValues": indices}
    if frame.temporal is not None:
        content["TemporalPositionIndex"] = frame.temporal
    measures: dict[str, Any] = {"PixelSpacing": list(frame.spacing)}
    if frame.thickness is not None:
        measures["SliceThickness"] = frame.thickness
    kind_of_frame = {
        "FrameType": list(frame.frame_type),
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
    }
    if modality == "MR":
        kind_of_frame |= {"ComplexImageComponent": frame.component, "AcquisitionContrast": "T1"}
    rescale = {"RescaleSlope": frame.slope, "RescaleIntercept": frame.intercept, "RescaleType": "US"}
    groups: dict[str, dict[str, Any]] = {
        "FrameContentSequence": content,
        "PlanePositionSequence": {"ImagePositionPatient": list(frame.position)},
        "PlaneOrientationSequence": {"ImageOrientationPatient": list(frame.orientation)},
        "PixelMeasuresSequence": measures,
        "PixelValueTransformationSequence": rescale | ({"RescaleType": "HU"} if modality == "CT" else {}),
        _FRAME_TYPES[modality]: kind_of_frame,
        "FrameVOILUTSequence": {"WindowCenter": 400, "WindowWidth": 800},
    }
    if frame.echo is not None:
        groups["MREchoSequence"] = {"EffectiveEchoTime": frame.echo}
    if frame.b_value is not None:
        diffusion: dict[str, Any] = {"DiffusionBValue": frame.b_value, "DiffusionDirectionality": "NONE"}
        if frame.direction is not None:
            diffusion["DiffusionDirectionality"] = "DIRECTIONAL"
            direction = _dataset({"DiffusionGradientOrientation": list(frame.direction)})
            diffusion["DiffusionGradientDirectionSequence"] = [direction]
        groups["MRDiffusionSequence"] = diffusion
    return {name: [_dataset(fields)] for name, fields in groups.items()}


def _dataset(fields: dict[str, Any]) -> Dataset:
    dataset = Dataset()
    for keyword, value in fields.items():
        setattr(dataset, keyword, value)
    return dataset


def _header(kind: str, series: str, number: int, frames: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = SOP_CLASSES[kind]
    dataset.SOPInstanceUID = f"{series}.{number}"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2", series, "1.2.9"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = (
        "20200102",
        "030405",
        "1",
        "77",
    )
    dataset.SeriesDate, dataset.SeriesTime, dataset.ContentDate, dataset.ContentTime = (
        "20200102", "030405", "20200102", "030405",
    )  # fmt: skip
    dataset.AcquisitionDateTime, dataset.AcquisitionDuration = "20200102030405", 60.0
    dataset.ReferringPhysicianName, dataset.Manufacturer = "", "ACME"
    dataset.ManufacturerModelName, dataset.DeviceSerialNumber, dataset.SoftwareVersions = "One", "1", "1.0"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = kind.split()[-1], 5, number
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    dataset.PixelPresentation, dataset.VolumetricProperties = "MONOCHROME", "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.SeriesDescription, dataset.BodyPartExamined, dataset.PatientPosition = "T1 axial", "HEAD", "HFS"
    dataset.PositionReferenceIndicator, dataset.ContentQualification = "", "RESEARCH"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.NumberOfFrames = frames
    dataset.BurnedInAnnotation, dataset.LossyImageCompression, dataset.PresentationLUTShape = (
        "NO", "00", "IDENTITY",
    )  # fmt: skip
    return dataset


def at_each(frames: Sequence[Frame], **fields: Any) -> list[Frame]:
    """The frames with some fields changed."""
    return [replace(f, **fields) for f in frames]
