"""The frames of an enhanced multi-frame DICOM file, each as an :class:`Instance` of its own.

What a classic image says in one place stands here in functional groups, of one frame or shared by all (PS3.3
C.7.6.16): position, spacing, rescale, echo, b-value. Files from before the standard was settled, and converters, leave
groups out or write the classic elements instead; these are taken where no group says anything.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

from sciSR.errors import UnreadableError
from scisr_medical.dicom_checks import check_image, check_lengths
from scisr_medical.dicom_elements import Values
from scisr_medical.dicom_functional_groups import PER_FRAME, SHARED
from scisr_medical.dicom_instance import CT_LOCALIZER, ENHANCED, MOSAIC, Instance
from scisr_medical.dicom_io import PixelLayout

_GROUPS = {
    "ImagePositionPatient": ("PlanePositionSequence",),
    "ImageOrientationPatient": ("PlaneOrientationSequence",),
    **dict.fromkeys(("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"), ("PixelMeasuresSequence",)),
    **dict.fromkeys(
        ("RescaleSlope", "RescaleIntercept", "RescaleType"), ("PixelValueTransformationSequence",)
    ),
    "EffectiveEchoTime": ("MREchoSequence",),
    **dict.fromkeys(
        ("FrameType", "ComplexImageComponent"),
        ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"),
    ),
    **dict.fromkeys(
        ("StackID", "TemporalPositionIndex", "DimensionIndexValues", "FrameAcquisitionNumber"),
        ("FrameContentSequence",),
    ),
    "NominalCardiacTriggerDelayTime": ("CardiacSynchronizationSequence",),
    **dict.fromkeys(
        ("DiffusionBValue", "DiffusionDirectionality", "DiffusionGradientDirectionSequence"),
        ("MRDiffusionSequence",),
    ),
}
"""The functional groups in which an element stands."""
_CONVERTED = (
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)
"""Where a Legacy Converted object keeps classic elements that fit into no group."""
_SEQUENCES = {
    tag_for_keyword(name): name
    for name in {*chain.from_iterable(_GROUPS.values()), *_CONVERTED, "RealWorldValueMappingSequence"}
}


class FileGroups:
    """The functional groups of one file, and what was already looked up in those that all frames share."""

    def __init__(self, file: Values, frames: int) -> None:
        self.file, self.frames = file, frames
        self.own = file.header.get(PER_FRAME) or []
        self.shared: dict[str, list[Any]] = {}
        for groups in (file.header.get(SHARED) or [])[:1]:
            self.shared = _items(groups)
        self.known: dict[str, list[Any]] = {}


def _items(groups: Any) -> dict[str, list[Any]]:
    """The items of each functional group sequence that is known here and not empty, by its keyword."""
    present = {_SEQUENCES[tag]: groups[tag].value for tag in groups.keys() if tag in _SEQUENCES}  # noqa: SIM118
    return {name: list(items) for name, items in present.items() if items}


class FrameValues(Values):
    """Elements that hold for one frame: its own groups, the shared ones, and the top of the header, in this order."""

    def __init__(self, groups: FileGroups, frame: int) -> None:
        super().__init__(groups.file.path, groups.file.header)
        self.frame, self._groups = frame, groups
        self._own = _items(groups.own[frame]) if frame < len(groups.own) else {}

    def items(self, name: str) -> list[Any]:
        """The items of a functional group sequence."""
        return self._own.get(name) or self._groups.shared.get(name) or []

    def _raw(self, keyword: str) -> list[Any]:
        return self._look(self._own, keyword) or self._common(keyword)

    def _look(self, groups: dict[str, list[Any]], keyword: str) -> list[Any]:
        for name in (*_GROUPS.get(keyword, ()), *_CONVERTED):
            if name in groups and (found := Values(self.where, groups[name][0])._raw(keyword)):
                return found
        return []

    def _common(self, keyword: str) -> list[Any]:
        """What is said for all frames together, looked up once."""
        known = self._groups.known
        if keyword not in known:
            # One position at the top can't be that of all frames.
            top = keyword != "ImagePositionPatient" or self._groups.frames == 1
            known[keyword] = self._look(self._groups.shared, keyword) or (
                super()._raw(keyword) if top else []
            )
        return known[keyword]

    @property
    def where(self) -> Path | str:
        return f"{self.path}[frame {self.frame + 1}]"


def read_frames(file: Values, shared: dict[str, Any], pixels: dict[str, Any]) -> list[Instance]:
    """One instance a frame, in the order in which they lie in the file.

    Parameters
    ----------
    file : Values
        The header.
    shared : dict
        Fields that are the same for all frames.
    pixels : dict
        As :func:`~scisr_medical.dicom_io.read_header` gives it.

    Raises
    ------
    UnreadableError
        Fewer bytes or functional groups than frames; impossible values, with the frame that has them.
    """
    header, path = file.header, file.path
    described = len(header.get(PER_FRAME) or ())
    frames = file.integer("NumberOfFrames", described or 1)
    if frames < 1:
        raise UnreadableError(f"NumberOfFrames is {frames}", where=path)
    shared["modality"] = shared["modality"] or ENHANCED[shared["sop_class"]]
    shared["layout"] = PixelLayout(
        offset=pixels["offset"],
        encapsulated=pixels["length"] is None,
        big_endian=pixels["big_endian"],
        words=pixels["words"],
        frames=frames,
        table=file.header.get("ExtendedOffsetTable") or None,
    )
    shared["dimension_names"] = _dimension_names(file)
    shared["concatenation"] = _concatenation(file)
    shared["echo_number"] = None
    shared["palette"] = bool(file.header.get("RedPaletteColorLookupTableDescriptor"))
    # With the bytes counted, the number of frames is no more than a claim that the file could keep.
    groups = FileGroups(file, frames)
    first = _frame(FrameValues(groups, 0), shared)
    check_image(first, pixels, frames)
    if described and described != frames:
        raise UnreadableError(
            f"describes {described} frames in PerFrameFunctionalGroupsSequence, NumberOfFrames is {frames}",
            where=path,
        )
    return [first, *(_frame(FrameValues(groups, k), shared) for k in range(1, frames))]


def _frame(value: FrameValues, shared: dict[str, Any]) -> Instance:
    image_type = value.texts("FrameType") or value.texts("ImageType")
    refusal = MOSAIC if "MOSAIC" in image_type else None
    if shared["modality"] == "CT" and "LOCALIZER" in image_type:
        refusal = CT_LOCALIZER
    instance = Instance(
        **shared,
        image_type=image_type,
        complex_part=value.text("ComplexImageComponent").upper(),
        position=value.floats("ImagePositionPatient", 3),
        orientation=value.floats("ImageOrientationPatient", 6),
        spacing=value.floats("PixelSpacing", 2),  # type: ignore[arg-type]
        thickness=value.number("SliceThickness"),
        spacing_between=value.number("SpacingBetweenSlices"),
        slope=value.number("RescaleSlope", 1.0),
        intercept=value.number("RescaleIntercept", 0.0),
        rescale_type=value.text("RescaleType"),
        unit=_unit(value),
        echo_time=value.number("EffectiveEchoTime", value.number("EchoTime")),
        temporal=value.integer("TemporalPositionIndex", value.integer("TemporalPositionIdentifier")),
        acquisition=value.integer("FrameAcquisitionNumber", value.integer("AcquisitionNumber")),
        trigger=value.number("NominalCardiacTriggerDelayTime", value.number("TriggerTime")),
        diffusion=_diffusion(value),
        refusal=refusal,
        frame=value.frame,
        stack=value.text("StackID") or None,
        dimensions=tuple(int(v) for v in value._raw("DimensionIndexValues")),
    )
    if instance.slope == 0:
        raise UnreadableError("RescaleSlope is 0", where=value.where)
    check_lengths(instance, value.where)
    return instance


def _diffusion(value: FrameValues) -> tuple[float, ...] | None:
    """b-value in s/mm2, and the direction where the frame has one (not b = 0, not the trace)."""
    b_value = value.number("DiffusionBValue")
    if b_value is None:
        return (0.0,) if value.text("DiffusionDirectionality") == "NONE" else None
    for item in value._raw("DiffusionGradientDirectionSequence")[:1]:
        direction = Values(value.where, item).floats("DiffusionGradientOrientation", 3)  # type: ignore[arg-type]
        return (b_value, *(direction or ()))
    return (b_value,)


def _unit(value: FrameValues) -> str:
    """UCUM unit of a real world value mapping that maps as the rescale does; its values are then the ones read."""
    pair = value.number("RescaleSlope", 1.0), value.number("RescaleIntercept", 0.0)
    for item in value.items("RealWorldValueMappingSequence"):
        mapping = Values(value.where, item)
        same = mapping.number("RealWorldValueSlope"), mapping.number("RealWorldValueIntercept")
        if None in same or any(abs(a - b) > 1e-6 * max(1.0, abs(b)) for a, b in zip(same, pair, strict=True)):
            continue
        for code in item.get("MeasurementUnitsCodeSequence") or []:
            unit = Values(value.where, code).text("CodeValue")
            return "" if unit in ("1", "no units") else unit
    return ""


def _dimension_names(file: Values) -> tuple[str, ...]:
    """What each number of DimensionIndexValues counts: a keyword, or the tag of a private element."""
    from pydicom.datadict import keyword_for_tag
    from pydicom.tag import Tag

    pointers = [item.get("DimensionIndexPointer") for item in file.header.get("DimensionIndexSequence") or []]
    return tuple("" if p is None else keyword_for_tag(p) or f"private element {Tag(p)}" for p in pointers)


def _concatenation(file: Values) -> tuple[str, int, int | None] | None:
    uid = file.text("ConcatenationUID")
    total = file.integer("InConcatenationTotalNumber")
    return (uid, file.integer("InConcatenationNumber", 1), total) if uid else None
