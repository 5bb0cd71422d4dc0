"""One derived image: the source's header with geometry, identity, pixels and history changed, and nothing else.

The changes are those of DICOM PS3.3 for derived images (C.7.6.1.1.2, C.7.6.2.1.1, C.12.1); positions follow the
edge-aligned grid of :mod:`sciSR.grid`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR import __version__
from sciSR.provenance import Provenance, parameters
from sciSR.views import nearest_index
from scisr_medical import dicom_attributes as rules
from scisr_medical.dicom_carried import Headers, carried_over, is_big_endian, text
from scisr_medical.dicom_classic_header import classic_header
from scisr_medical.dicom_encoding import Encoding, ds_string
from scisr_medical.dicom_instance import CT_IMAGE, MR_IMAGE, Instance
from scisr_medical.dicom_io import translate
from scisr_medical.dicom_real_world import labelled, remapped
from scisr_medical.dicom_series import Stack

CLASSIC_CLASS = {"MR": MR_IMAGE, "CT": CT_IMAGE}
COMPONENT_LETTERS = {"phase": "P", "real": "R", "imaginary": "I"}
HISTORY = ("DerivationDescription", "SeriesDescription", "ImageComments")
"""What earlier hands said; the new text is put before it."""


@dataclass(frozen=True, eq=False)
class Derivation:
    """What all images of one derived series share.

    Attributes
    ----------
    factors : tuple of Fraction
        Along slices, rows, columns (and volumes).
    digest : str
        SHA-256 of the result's pixels: with the source's UIDs it makes the new UIDs, so that the same result gets
        the same UIDs and a different one never does.
    clipped : int
        Good pixels of the series that did not fit into what can be stored.
    """

    stack: Stack
    factors: tuple[Fraction, ...]
    encoding: Encoding
    digest: str
    clipped: int
    provenance: Provenance
    now: datetime
    keep_private: tuple[int, ...] = ()
    synthetic: bool = False
    headers: Headers = field(default_factory=Headers)

    def nearest(self, at: tuple[int, ...]) -> Instance:
        """The source slice in which the centre of an output slice lies."""
        k = int(nearest_index(np.asarray(at[0]), self.factors[0]))
        found: Instance = self.stack.slices[(k, *at[1:])]
        return found

    @property
    def scale(self) -> str:
        """``x2``, or per axis where they differ: ``x1x2x3``."""
        across, rows, columns = (f"{float(f):.4g}" for f in self.factors[:3])
        if self.factors[0] != 1:
            return f"x{across}x{rows}x{columns}"
        return f"x{rows}" if rows == columns else f"x{rows}x{columns}"

    @property
    def model(self) -> str:
        names = [str(step["model"]) for step in self.provenance.steps if step.get("model")]
        return names[-1] if names else ""

    @property
    def series_uid(self) -> str:
        first = self.stack.first
        return rules.derived_uid(
            "series", first.study_uid, first.series_uid, self.digest, self.factors, self.model
        )

    @property
    def series_number(self) -> int:
        """Not used in the study as far as seen; the source's own number with a 1 and zeros before it."""
        number = (self.stack.first.series_number or 0) + 100_000
        while number in self.stack.used_numbers:
            number += 1
        return min(number, 2**31 - 1)


def derive_instance(derivation: Derivation, at: tuple[int, ...], stored: np.ndarray, number: int) -> Any:
    """The complete dataset of one output slice, ready to be saved as explicit VR little endian.

    Parameters
    ----------
    derivation : Derivation
    at : tuple of int
        Fine slice index (and volume).
    stored : ndarray of int16 or uint16, shape (rows, columns)
    number : int
        InstanceNumber, from 1.
    """
    source = derivation.nearest(at)
    header = derivation.headers[source.path]
    with translate(source.path, "its header can't be carried over", quote=False):
        dataset = _carried(derivation, source, header)
        old = {k: text(header, k) for k in HISTORY}
        if not meaning_kept(source, derivation.encoding):
            for keyword in (k for k in rules.MEANING_OF_STORED_VALUES if k in dataset):
                delattr(dataset, keyword)
        mappings = dataset.pop("RealWorldValueMappingSequence", None)
        mappings = mappings.value if mappings is not None else []
        if not meaning_kept(source, derivation.encoding):
            mappings = remapped(mappings, source, derivation.encoding)
        if mappings:
            dataset.RealWorldValueMappingSequence = labelled(mappings)
        rules.fill_required(dataset, source.modality)
        rules.normalise(dataset)
        _identity(dataset, derivation, source, at, number)
        _geometry(dataset, derivation, source, at)
        _pixels(dataset, derivation, source, stored)
        _history(dataset, derivation, source, at, old)
    return dataset


def _carried(derivation: Derivation, source: Instance, header: Any) -> Any:
    """The source's header; of a frame, as that of a classic image."""
    big_endian = is_big_endian(header)
    if source.frame is not None:
        header = classic_header(header, source.frame)
    dataset = carried_over(header, source.path, derivation.keep_private, big_endian=big_endian)
    for keyword in rules.MULTI_FRAME if source.frame is not None else ():
        if keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def meaning_kept(source: Instance, encoding: Encoding) -> bool:
    """Whether a stored number still means what it meant in the source."""
    return (source.slope, source.intercept, source.signed) == (
        encoding.slope,
        encoding.intercept,
        encoding.signed,
    )


def _identity(
    dataset: Any, derivation: Derivation, source: Instance, at: tuple[int, ...], number: int
) -> None:
    sop_class = source.sop_class if source.frame is None else CLASSIC_CLASS[source.modality]
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = rules.derived_uid("image", derivation.series_uid, source.sop_uid, number)
    dataset.InstanceNumber = number
    kinds = source.image_type
    if source.frame is not None and source.component in COMPONENT_LETTERS:
        kinds = (*kinds, COMPONENT_LETTERS[source.component])
    dataset.ImageType = rules.derived_image_type(kinds, source.modality)
    identify(dataset, derivation, source)


def identify(dataset: Any, derivation: Derivation, source: Instance) -> None:
    """What all images of the derived series share, and the file meta information.

    `dataset` has its SOPClassUID and SOPInstanceUID.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    first = derivation.stack.first
    dataset.SeriesInstanceUID = derivation.series_uid
    dataset.SeriesNumber = derivation.series_number
    dataset.Modality = source.modality
    if not source.study_uid:
        dataset.StudyInstanceUID = rules.derived_uid("study", first.series_uid, derivation.digest)
    if not source.frame_of_reference:
        # Type 1; the source relates to nothing else, so neither does this.
        dataset.FrameOfReferenceUID = rules.derived_uid(
            "frame", first.study_uid, first.series_uid, first.sop_uid
        )
    rules.stamp(dataset, derivation.now)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = rules.derived_uid("sciSR")
    meta.ImplementationVersionName = f"SCISR_{__version__.replace('.', '_')}"[:16]
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128


def _geometry(dataset: Any, derivation: Derivation, source: Instance, at: tuple[int, ...]) -> None:
    """Position, spacing and thickness in the words of a classic image; see :func:`place`."""
    where = place(derivation, source, at)
    if where.spacing is not None:
        dataset.PixelSpacing = [ds_string(v) for v in where.spacing]
    if where.position is None:
        return
    if derivation.factors[0] != 1:
        dataset.ImageOrientationPatient = [ds_string(v) for v in where.orientation]
    dataset.ImagePositionPatient = [ds_string(v) for v in where.position]
    dataset.SliceLocation = ds_string(round(float(source.normal @ where.position), 6))
    if where.between is not None:
        dataset.SpacingBetweenSlices = ds_string(where.between)
        if derivation.factors[0] != 1:
            dataset.SliceThickness = ds_string(where.between)


@dataclass(frozen=True, eq=False)
class Place:
    """Where one output slice lies; lengths in mm, LPS. `position` and `orientation` are None where the source has none.

    Attributes
    ----------
    spacing : (float, float) or None
        Between rows, between columns.
    between : float or None
        From slice to slice; None for a single slice and for loose ones.
    """

    position: np.ndarray | None
    orientation: tuple[float, ...]
    spacing: tuple[float, float] | None
    between: float | None


def place(derivation: Derivation, source: Instance, at: tuple[int, ...]) -> Place:
    """IPP' = IPP + X dc (1/sc - 1)/2 + Y dr (1/sr - 1)/2 + step ((k' + 1/2)/sz - 1/2 - k); spacing d/s.

    As long as no slice is new, each keeps its own position, to the last digit that was written. New slices lie on
    the one regular grid: the rounding of their neighbours' positions would make their spacing uneven.
    """
    across, rows, columns = derivation.factors[:3]
    stack = derivation.stack
    base = stack.first if across != 1 else source
    spacing = None if base.spacing is None else (base.spacing[0] / rows, base.spacing[1] / columns)
    if spacing is not None:
        spacing = (float(spacing[0]), float(spacing[1]))
    if not base.has_plane:
        return Place(None, (), spacing, None)
    pixel = np.array([(1 / rows - 1) / 2, (1 / columns - 1) / 2, 1], dtype=np.float64)
    corner, between = base.plane_affine() @ pixel, None
    if stack.regular and len(stack.slices) > 1:
        step = np.array(stack.grid.affine[:3, 0])
        between = float(f"{float(base.normal @ step) / float(across):.9g}")  # noise of rounded positions
        if across != 1:
            corner = corner + step * float((at[0] + Fraction(1, 2)) / across - Fraction(1, 2))
    return Place(corner, tuple(base.orientation or ()), spacing, between)


def _pixels(dataset: Any, derivation: Derivation, source: Instance, stored: np.ndarray) -> None:
    encoding = derivation.encoding
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, source.photometric
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(encoding.signed)
    vr = "SS" if encoding.signed else "US"
    dataset.add_new("SmallestImagePixelValue", vr, int(stored.min()))
    dataset.add_new("LargestImagePixelValue", vr, int(stored.max()))
    if encoding.padding is not None:
        first, last = encoding.padding
        dataset.add_new("PixelPaddingValue", vr, first)
        if last != first:
            dataset.add_new("PixelPaddingRangeLimit", vr, last)
    plain = (encoding.slope, encoding.intercept) == (1, 0)
    if source.modality == "CT" or not plain or "RescaleSlope" in dataset or "RescaleIntercept" in dataset:
        dataset.RescaleSlope, dataset.RescaleIntercept = (
            ds_string(encoding.slope),
            ds_string(encoding.intercept),
        )
        if not dataset.get("RescaleType"):
            dataset.RescaleType = "HU" if source.modality == "CT" else "US"  # US: unspecified
    if source.syntax in rules.LOSSY_SYNTAXES:
        dataset.LossyImageCompression = "01"  # once lossy, always lossy
    dataset.add_new("PixelData", "OW", np.ascontiguousarray(stored).tobytes())


def _history(
    dataset: Any, derivation: Derivation, source: Instance, at: tuple[int, ...], old: dict[str, str]
) -> None:
    words = derivation_text(derivation, source)
    dataset.DerivationDescription = rules.derivation_description(words, old["DerivationDescription"])
    dataset.DerivationCodeSequence = [rules.code(rules.SPATIAL_RESAMPLING)]
    dataset.SourceImageSequence = source_images(derivation, at)
    if not dataset.SourceImageSequence:
        del dataset.SourceImageSequence
    series_history(dataset, derivation, words, old)


def series_history(dataset: Any, derivation: Derivation, words: str, old: dict[str, str]) -> None:
    """What is said of the whole image: the warning, the software, how the series is called."""
    dataset.SeriesDescription = rules.series_description(
        old["SeriesDescription"], f"sciSR {derivation.scale}"
    )
    dataset.ImageComments = f"{rules.RESEARCH_ONLY} {old['ImageComments']}".strip()[:10_240]
    dataset.ContentQualification = "RESEARCH"
    if derivation.synthetic:
        dataset.SyntheticData = "YES"
    equipment = list(dataset.get("ContributingEquipmentSequence") or [])
    equipment.append(rules.contributing_equipment(__version__, words, derivation.now))
    dataset.ContributingEquipmentSequence = equipment


def source_images(derivation: Derivation, at: tuple[int, ...]) -> list[Any]:
    """Items of SourceImageSequence, one for each source slice; frames are not joined, since readers take one number."""
    return [
        rules.source_image(s.sop_class, s.sop_uid, None if s.frame is None else s.frame + 1)
        for s in _sources(derivation, at)
        if s.sop_uid
    ]


def source_range(derivation: Derivation, k: int) -> range:
    """Source slices that the output slice `k` was made of.

    In-plane: the one source. Across slices: the two that bracket its centre, all that its own thickness overlaps, and
    those within ``slice_reach`` (in source slices, from the provenance of what made it).
    """
    across, count = derivation.factors[0], len(derivation.stack.slices)
    if across == 1:
        return range(k, k + 1)
    centre = (k + Fraction(1, 2)) / across - Fraction(1, 2)
    half = max(1 / across / 2 + Fraction(1, 2), _reach(derivation.provenance))
    # A slice that only touches the edge of the interval does not overlap with it.
    first = min(math.floor(centre), math.floor(centre - half) + 1)
    last = max(math.floor(centre) + 1, math.ceil(centre + half) - 1)
    return range(min(max(first, 0), count - 1), min(max(last, 0), count - 1) + 1)


def _reach(provenance: Provenance) -> Fraction:
    return max((Fraction(step.get("slice_reach") or 0) for step in provenance.steps), default=Fraction(0))


def _sources(derivation: Derivation, at: tuple[int, ...]) -> list[Instance]:
    return [derivation.stack.slices[(k, *at[1:])] for k in source_range(derivation, at[0])]


def derivation_text(derivation: Derivation, source: Instance) -> str:
    """What was done, for DerivationDescription."""
    across, rows, columns = (f"{float(f):.6g}" for f in derivation.factors[:3])
    parts = [_step_text(step) for step in derivation.provenance.steps] or [f"sciSR {__version__}"]
    parts.append(f"factors rows {rows}, columns {columns}, slices {across}")
    if source.spacing is not None:
        parts.append(f"original spacing {source.spacing[0]:g} x {source.spacing[1]:g} mm")
    if source.thickness is not None:
        parts.append(f"original slice thickness {source.thickness:g} mm")
    if not derivation.stack.regular:
        parts.append("slices processed one by one, no volume geometry is claimed")
    parts.append(f"values rounded to steps of {abs(derivation.encoding.slope):g}")
    if derivation.clipped:
        parts.append(f"{derivation.clipped} pixels of the series clipped to the range that can be stored")
    return "; ".join(parts) + "."


def _step_text(step: Mapping[str, Any]) -> str:
    """One step of the provenance in words, with complete checksums."""
    software = str(step.get("software", "sciSR"))
    words = [f"sciSR {__version__}" if software == "sciSR" else software, str(step.get("step", ""))]
    words += [f"x{step['scale']}"] if "scale" in step else []
    words += [str(step["model"])] if step.get("model") else []
    words += [f"({parameters(step['forward'])})"] if step.get("forward") else []
    words += [f"consistency {step['consistency']}"] if step.get("consistency") else []
    for key, name in (("weights_sha256", "weights"), ("sha256", "input"), ("input_sha256", "input")):
        words += [f"({name} sha256 {step[key]})"] if step.get(key) else []
    return " ".join(w for w in words if w)
