"""DICOM series made from scratch, with a known grid and known values; and the judges that read results."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, MRImageStorage

from sciSR.grid import exact_factors
from sciSR.image import Image
from sciSR.testing import refine_nearest
from sciSR.views import NearestView
from scisr_medical.dicom_adapter import adapter

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def oblique(a: float, b: float, c: float) -> tuple[float, ...]:
    """Row and column direction after rotating the axial ones about z, y, x (radians)."""
    ca, sa, cb, sb, cc, sc = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(c), np.sin(c)
    about_z = np.array([[ca, -sa, 0], [sa, ca, 0], [0, 0, 1]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_x = np.array([[1, 0, 0], [0, cc, -sc], [0, sc, cc]])
    rotation = about_z @ about_y @ about_x
    return tuple(np.round(np.concatenate([rotation[:, 0], rotation[:, 1]]), 12))


def phantom(shape: Sequence[int], seed: int = 0, top: int = 900) -> np.ndarray:
    """Smooth positive integers, another slope in each slice."""
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    noise = np.random.default_rng(seed).integers(0, 20, size=shape)
    return (top * (0.2 + 0.5 * x * (1 - y) + 0.3 * z) + noise).astype(np.int64)


def make_series(
    folder: Path,
    *,
    stored: np.ndarray | None = None,
    modality: str = "MR",
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-31.25, 12.5, -40.0),
    spacing: Sequence[float] = (3.0, 0.8, 0.6),
    signed: bool = False,
    bits: int = 12,
    name: Callable[[int], str] = "s{:03d}.dcm".format,
    edit: Callable[[Dataset, int], None] | None = None,
    syntax: str = ExplicitVRLittleEndian,
    uid: str = "1.2.3",
) -> np.ndarray:
    """Write one classic file per slice; returns the stored values. `spacing` is (slices, rows, columns) in mm."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = phantom((4, 10, 12)) if stored is None else np.asarray(stored)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    for k, plane in enumerate(stored):
        dataset = _header(modality, uid, k)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.Rows, dataset.Columns = plane.shape
        dataset.ImagePositionPatient = [
            round(float(v), 9) for v in np.array(origin) + k * spacing[0] * normal
        ]
        dataset.ImageOrientationPatient = [round(float(v), 12) for v in orientation]
        dataset.PixelSpacing = [spacing[1], spacing[2]]
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
        dataset.PixelRepresentation = int(signed)
        dtype = np.dtype("i2" if signed else "u2").newbyteorder("<" if syntax != ExplicitVRBigEndian else ">")
        dataset.add_new("PixelData", "OW", plane.astype(dtype).tobytes())
        if edit is not None:
            edit(dataset, k)
        dataset.save_as(folder / name(k), enforce_file_format=True)
    return stored


def _header(modality: str, uid: str, k: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = {"MR": MRImageStorage, "CT": CTImageStorage}[modality]
    dataset.SOPInstanceUID = f"{uid}.{k + 1}"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2", uid, "1.2.9"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = (
        "20200102",
        "030405",
        "1",
        "77",
    )
    dataset.AcquisitionDate, dataset.SeriesDate = "20200102", "20200102"
    dataset.ReferringPhysicianName, dataset.Manufacturer = "", "ACME"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, 5, k + 1
    dataset.SeriesDescription, dataset.BodyPartExamined, dataset.PatientPosition = "T1 axial", "HEAD", "HFS"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.SliceThickness, dataset.PositionReferenceIndicator = 2.5, ""
    if modality == "MR":
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "NONE", ""
        dataset.MRAcquisitionType, dataset.EchoTime, dataset.RepetitionTime = "2D", 12.5, 500
        dataset.EchoTrainLength, dataset.FlipAngle, dataset.AcquisitionMatrix = 1, 90, [10, 0, 0, 12]
    else:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.KVP, dataset.AcquisitionNumber = 120, 1
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    return dataset


def refined(image: Image, factors: Sequence[Fraction | int]) -> Image:
    """Nearest-neighbour refinement by any factors, across slices too."""
    exact = exact_factors(image.shape, factors)
    return image.replace(
        data=NearestView(image.data, exact),
        grid=image.grid.refine(exact),
        mask=None if image.mask is None else NearestView(image.mask, exact),
    )


def write_all(images: Sequence[Image], target: Path, **options: Any) -> Path:
    with adapter.open_writer(target, images, **options) as writer:
        for part, image in enumerate(images):
            for k in range(image.shape[0]):
                index = (k, *(slice(None),) * (len(image.shape) - 1))
                writer.put(part, index, np.asarray(image.data[index], dtype=np.float32))
        return writer.commit(images)


def derive(
    folder: Path, target: Path, scale: float = 2, write: dict[str, Any] | None = None, **read: Any
) -> list[Dataset]:
    """Read, refine, write; the datasets written, in the order of their names."""
    images = [refine_nearest(image, Fraction(scale)) for image in adapter.read(folder, **read)]
    return datasets(write_all(images, target, **(write or {})))


def datasets(target: Path) -> list[Dataset]:
    return (
        [pydicom.dcmread(f) for f in sorted(target.iterdir())]
        if target.is_dir()
        else [pydicom.dcmread(target)]
    )


def dciodvfy_errors(file: Path) -> list[str]:
    """What David Clunie's validator calls an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    run = subprocess.run(
        ["dciodvfy", "-new", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    return [re.sub(r"\s+", " ", line) for line in run.stderr.splitlines() if line.startswith("Error")]
