"""What headers and sidecars say of a scan, as texts by keyword: for the filters, groups and names of pipelines.

Only what is listed here is told: how an image was acquired, never of whom, by whom or where, and no free text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

ACQUISITION = (
    "Modality", "SeriesNumber", "AcquisitionNumber", "MagneticFieldStrength", "Manufacturer", "ManufacturerModelName",
    "EchoTime", "EchoTrainLength", "RepetitionTime", "InversionTime", "FlipAngle", "SliceThickness",
    "SpacingBetweenSlices", "MRAcquisitionType", "ScanningSequence", "SequenceVariant", "BodyPartExamined",
    "PatientPosition", "KVP", "ConvolutionKernel", "Rows", "Columns", "ImageType", "PixelSpacing",
)  # fmt: skip
"""Keywords of DICOM that say how an image was acquired; those that BIDS has are spelt alike there."""
_SIDECAR = (
    *ACQUISITION, "ManufacturersModelName", "EchoNumber", "PhaseEncodingDirection", "SliceEncodingDirection",
    "PulseSequenceType", "ReceiveCoilName", "TotalReadoutTime", "EffectiveEchoSpacing", "SkullStripped", "Units",
)  # fmt: skip


def text_of(value: Any) -> str:
    """A value as a text, several joined by backslashes as in DICOM; empty for none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{float(value):.12g}"
    if isinstance(value, str | int):
        return str(value).strip()
    if isinstance(value, Mapping) or value is None:
        return ""
    try:
        return "\\".join(text_of(each) for each in value)
    except TypeError:
        return ""


def dicom_facts(path: Path) -> dict[str, str]:
    """Of one file (of the first of a folder).

    Raises
    ------
    UnreadableError
    """
    from scisr_medical.dicom_io import looks_like_dicom
    from scisr_medical.dicom_series import walk_files

    file = next((each for each in walk_files(path) if looks_like_dicom(each)), path)
    return header_texts(file, ACQUISITION)


def header_texts(file: Path, keywords: tuple[str, ...]) -> dict[str, str]:
    """Some elements of one file's header; what it lacks is left out.

    Raises
    ------
    UnreadableError
    """
    from scisr_medical.dicom_io import read_header

    header, _ = read_header(file, list(keywords))
    found = {keyword: text_of(header.get(keyword)) for keyword in keywords}
    return {keyword: text for keyword, text in found.items() if text}


def bids_facts(name: str) -> dict[str, str]:
    """The entities of a BIDS name, by their short and long names; nothing for another name."""
    from scisr_medical.bids_layout import parse_name

    parsed = parse_name(name)
    if parsed is None or parsed.get("sub") is None:
        return {}
    entities = dict(parsed.entities)
    long = {"subject": "sub", "session": "ses"}
    return {**entities, **{name: entities[key] for name, key in long.items() if key in entities}}


def nifti_facts(path: Path) -> dict[str, str]:
    """Sizes (``dimensions``, ``shape``, ``voxels_mm``), BIDS entities, and what the sidecar tells of the scan.

    Raises
    ------
    UnreadableError
    """
    from sciSR.files import check_regular_file
    from scisr_medical.nifti_adapter import header_and_data_paths
    from scisr_medical.nifti_header import HEADER_SIZE
    from scisr_medical.nifti_sidecars import json_record, sidecars_of
    from scisr_medical.nifti_voxels import inflated_head
    from scisr_medical.volume_header import parse_header

    head_path, _ = header_and_data_paths(path)
    check_regular_file(head_path)
    header = parse_header(inflated_head(head_path, HEADER_SIZE[2]), head_path).header
    shape = header.shape
    steps = [abs(float(step)) for step in header.fields["pixdim"][1 : 1 + min(3, len(shape))]]
    sidecar = sidecars_of(path).get(".json")
    record = (json_record(sidecar) if sidecar is not None else None) or {}
    return {
        **{key: text for key in _SIDECAR if (text := text_of(record.get(key)))},
        **bids_facts(path.name),
        "dimensions": str(len(shape)),
        "shape": "x".join(str(n) for n in shape),
        "voxels_mm": "x".join(f"{step:.4g}" for step in steps),
    }
