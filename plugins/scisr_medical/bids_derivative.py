"""What a BIDS derivative is called and what its sidecar says, after the BIDS specification 1.11, "Derivatives"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from sciSR.image import Image
from scisr_medical.bids_layout import BidsImage
from scisr_medical.readout_times import adapt_readout

LINK = "raw"
"""The name of the source dataset in BIDS URIs."""
DESCRIPTION = "sciSR"
WARNING = "Research use only, not for diagnosis"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ENTITIES = _words(
    "sub tpl ses cohort sample task tracksys acq nuc voi ce trc stain rec dir run mod echo flip inv mt part proc hemi "
    "space split recording chunk atlas seg scale res den label desc"
)
"""Keys in the order that BIDS wants in a name."""
SEGMENTATIONS = ("dseg", "mask", "probseg")
STANDARD_SPACES = _words(
    "ICBM452AirSpace ICBM452Warp5Space IXI549Space fsaverage fsaverageSym fsLR MNIColin27 MNI152Lin MNI152NLin2009aSym "
    "MNI152NLin2009bSym MNI152NLin2009cSym MNI152NLin2009aAsym MNI152NLin2009bAsym MNI152NLin2009cAsym "
    "MNI152NLin6Sym MNI152NLin6Asym MNI305 NIHPD OASIS30AntsOASISAnts OASIS30Atropos Talairach UNCInfant"
)
"""Templates that need no `SpatialReference`."""
IDENTIFYING = _words(
    "PatientName PatientID PatientBirthDate PatientBirthTime PatientSex PatientAge PatientSize PatientWeight "
    "PatientAddress PatientComments OtherPatientIDs OtherPatientNames AccessionNumber StudyID StudyInstanceUID "
    "SeriesInstanceUID SOPInstanceUID FrameOfReferenceUID StudyDate SeriesDate AcquisitionDate ContentDate "
    "AcquisitionDateTime ReferringPhysicianName PerformingPhysicianName OperatorsName PhysiciansOfRecord "
    "RequestingPhysician"
)
"""Keys that converters write when they are told not to anonymise; they say nothing of the image."""
_AXES = {"i": 0, "j": 1, "k": 2}
MILLIMETRES = {"mm": 1.0, "m": 1e3, "um": 1e-3}


def resolution_label(scale: str | None, spacing: float | None = None) -> str:
    """The ``res-`` entity: ``x2``, ``x1p5``, ``x2by1``; without a scale ``iso``, or ``iso0p8`` for 0.8 mm.

    Only letters and digits: a point is a ``p``, as in BIDS' own labels.
    """
    if scale is None:
        return "iso" if spacing is None else f"iso{_alphanumeric(f'{spacing:.6g}')}"
    return f"x{_alphanumeric(scale.replace(',', 'by'))}"


def _alphanumeric(text: str) -> str:
    return re.sub("[^0-9a-zA-Z]", "", text.replace(".", "p").replace("/", "over"))


def output_path(image: BidsImage, resolution: str) -> PurePosixPath:
    """Where the result of an image goes, from the derivative's root: all entities in BIDS' order.

    An image that has a ``res-`` or ``desc-`` already keeps its label in front of ours, so that two that differ by it do
    not become one: ``desc-brain`` becomes ``desc-brainSciSR``.
    """
    labels = dict(image.name.entities)
    labels["res"] = labels.get("res", "") + resolution
    described = labels.get("desc")
    labels["desc"] = f"{described}{DESCRIPTION[:1].upper()}{DESCRIPTION[1:]}" if described else DESCRIPTION
    last = ENTITIES.index("res")
    ranks = {key: ENTITIES.index(key) if key in ENTITIES else last - 0.5 for key in labels}
    name = "_".join(f"{key}-{labels[key]}" for key in sorted(labels, key=ranks.__getitem__))
    return image.relative.with_name(f"{name}_{image.name.suffix}.nii.gz")


def sidecar(
    image: BidsImage, metadata: Mapping[str, Any], before: Image, after: Image
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sidecar of a result, and what of the input's was changed or dropped.

    Parameters
    ----------
    image : BidsImage
        The input.
    metadata : mapping
        Its metadata, inherited ones included.
    before, after : Image
        The input, and the result.

    Returns
    -------
    sidecar, changes : dict
        `changes` holds the acquisition's values of keys that changed (``Original``), and names what was left out
        (``Dropped``).
    """
    record = {key: value for key, value in metadata.items() if key not in IDENTIFYING}
    dropped = sorted(set(metadata) - set(record))
    adapted = dict(record)
    adapted.pop("SciSR", None)
    adapted.pop("RawSources", None)
    _adapt_slices(adapted, before, after)
    adapt_readout(adapted, before.shape, after.shape)
    original = {key: value for key, value in record.items() if key in adapted and adapted[key] != value}
    earlier = record.get("SciSR")
    if isinstance(earlier, Mapping) and isinstance(earlier.get("Original"), Mapping):
        original |= earlier["Original"]  # what the scanner acquired, not what an earlier run made of it
    # RawSources is superseded, and SciSR is the record of an earlier run: neither is acquisition.
    dropped += sorted(set(record) - set(adapted) - {"SciSR", "RawSources"})
    _refer_to_source(adapted, image)
    adapted["Description"] = _description(adapted.get("Description"), before, after)
    adapted["Sources"] = [uri(image.relative)]
    adapted["Resolution"] = _resolution(before, after)
    if image.name.suffix not in SEGMENTATIONS:
        adapted.setdefault("SkullStripped", False)  # BIDS demands it; raw images are whole
    if "SpatialReference" not in adapted and image.name.get("space") not in STANDARD_SPACES:
        adapted["SpatialReference"] = "orig"
    return adapted, {"Original": original, "Dropped": dropped}


def uri(relative: PurePosixPath | str) -> str:
    """The BIDS URI of a file of the source dataset."""
    return f"bids:{LINK}:{relative}"


def _factor(after: Image, axis: int) -> Any:
    factors = after.grid.factors
    return factors[axis] if axis < len(factors) else 1


def _adapt_slices(record: dict[str, Any], before: Image, after: Image) -> None:
    """Times of slices that are no longer there go; thickness and spacing become those of the new slices."""
    direction = str(record.get("SliceEncodingDirection", "k"))[:1]
    if _factor(after, _AXES.get(direction, 2)) != 1:
        record.pop("SliceTiming", None)
    across = before.slice_axis
    if across is None or _factor(after, across) == 1:
        return
    spacing = round(_spacing(after)[across] * MILLIMETRES.get(getattr(after.grid, "unit", "mm"), 1.0), 6)
    record["SliceThickness"] = record["SpacingBetweenSlices"] = spacing  # in mm, as in DICOM


def _refer_to_source(record: dict[str, Any], image: BidsImage) -> None:
    """Paths that hold within the source dataset become URIs into it."""
    subject = image.relative.parts[0]
    intended = record.get("IntendedFor")
    if isinstance(intended, str):
        record["IntendedFor"] = _moved(intended, subject)
    elif isinstance(intended, list):
        record["IntendedFor"] = [_moved(str(each), subject) for each in intended]
    reference = record.get("SpatialReference")
    if isinstance(reference, str) and reference != "orig":
        record["SpatialReference"] = _moved(reference)
    elif isinstance(reference, dict):
        record["SpatialReference"] = {
            key: value if value == "orig" else _moved(str(value)) for key, value in reference.items()
        }


def _moved(target: str, folder: str = "") -> str:
    """``bids::sub-01/...`` and relative paths as URIs into the source dataset; other URIs as they are."""
    if target.startswith("bids::"):
        return uri(target.removeprefix("bids::"))
    if re.match("[a-zA-Z][a-zA-Z0-9+.-]*:", target):
        return target
    return uri(PurePosixPath(folder, target))


def _spacing(image: Image) -> list[float]:
    """Of the axes in space, in the grid's unit."""
    return [float(each) for each in image.grid.spacing][:3] if hasattr(image.grid, "spacing") else []


def _resolution(before: Image, after: Image) -> str:
    unit = getattr(after.grid, "unit", "mm")
    old, new = (" x ".join(f"{each:.4g}" for each in _spacing(image)) for image in (before, after))
    return f"{new} {unit} voxels, from {old} {unit}; the same field of view"


def _description(old: object, before: Image, after: Image) -> str:
    across = before.slice_axis
    through = across is not None and _factor(after, across) != 1
    kind = "labels resampled" if before.kind == "labels" else "super-resolved"
    text = f"{'Through-plane' if through else 'In-plane'} {kind} by sciSR. {WARNING}."
    return f"{old.rstrip('.')}. {text}" if isinstance(old, str) and old.strip() else text


def dataset_description(
    source: Mapping[str, Any], where: str, version: str, bids_version: str, code_url: str | None
) -> dict[str, Any]:
    """``dataset_description.json`` of the derivative.

    Parameters
    ----------
    source : mapping
        That of the input.
    where : str
        The input's place, relative to the output: what BIDS URIs are resolved with.
    """
    by = {"Name": "sciSR", "Version": version, "Description": f"Super-resolution of MR images. {WARNING}."}
    origin = {"URL": where}
    if isinstance(source.get("DatasetDOI"), str):
        origin["DOI"] = source["DatasetDOI"]
    described: dict[str, Any] = {
        "Name": derived_name(source),
        "BIDSVersion": bids_version,
        "DatasetType": "derivative",
        "GeneratedBy": [by | ({"CodeURL": code_url} if code_url else {})],
        "SourceDatasets": [origin],
        "DatasetLinks": {LINK: where},
    }
    if isinstance(source.get("License"), str):
        described["License"] = source["License"]
    return described


def derived_name(source: Mapping[str, Any]) -> str:
    """What a derivative of a dataset is called; tells whether a folder holds this dataset's."""
    return f"sciSR of {source['Name']}"


def is_ours(description: Mapping[str, Any]) -> bool:
    """Whether a dataset says that this software made it."""
    makers = description.get("GeneratedBy")
    if not isinstance(makers, Sequence) or isinstance(makers, str):
        return False
    return any(isinstance(each, Mapping) and each.get("Name") == "sciSR" for each in makers)


README = f"""# Super-resolved images

Made with sciSR from the dataset that `dataset_description.json` names. {WARNING}.

Each image covers the same field of view as its source, on finer voxels; what was done to it, with which settings and
weights, stands in its sidecar under `SciSR`, and again in its NIfTI header. Keys of the acquisition are copied from the
source, inherited ones included. Detail that was not measured is estimated: do not take it for an observation.

`.bval` and `.bvec` files carry the name of their image, as the tools of diffusion MRI expect. BIDS has no such names
for derivatives yet, which is why `.bidsignore` lists them.
"""
BIDSIGNORE = "".join(f"*_{suffix}.{ending}\n" for suffix in ("dwi", "epi") for ending in ("bval", "bvec"))
