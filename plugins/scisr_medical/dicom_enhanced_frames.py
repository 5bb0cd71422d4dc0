"""Functional groups of the frames of a derived enhanced image (PS3.3 C.7.6.16, C.8.13.5 for MR, C.8.15.3 for CT).

A frame keeps what is known of how its nearest source frame was acquired. New are its place, what kind of image it is,
how its values are stored, where it came from, and its number along each dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from scisr_medical import dicom_attributes as rules
from scisr_medical.dicom_carried import carried_over, is_big_endian, text
from scisr_medical.dicom_derive import Derivation, derivation_text, meaning_kept, place, source_images
from scisr_medical.dicom_encoding import ds_string
from scisr_medical.dicom_functional_groups import frame_groups
from scisr_medical.dicom_instance import Instance
from scisr_medical.dicom_real_world import labelled, remapped

FRAME_TYPES = {
    "MR": "MRImageFrameTypeSequence",
    "CT": "CTImageFrameTypeSequence",
    "PT": "PETFrameTypeSequence",
}
_REPLACED = frozenset({
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "DerivationImageSequence", "ConversionSourceAttributesSequence", "PlanePositionVolumeSequence",
    "PlaneOrientationVolumeSequence", "FramePixelShiftSequence", "ImageDataTypeSequence",
    *FRAME_TYPES.values(), "FrameContentSequence", "RealWorldValueMappingSequence",
})  # fmt: skip
_OF_ONE_FRAME = ("FrameContentSequence", "PlanePositionSequence", "DerivationImageSequence")
"""Never shared."""
_FRAME_CONTENT = (
    "FrameAcquisitionNumber", "FrameReferenceDateTime", "FrameAcquisitionDateTime", "FrameAcquisitionDuration",
    "CardiacCyclePosition", "RespiratoryCyclePosition", "FrameComments", "FrameLabel", "TemporalPositionIndex",
    "TemporalPositionTimeOffset",
)  # fmt: skip
ANYWHERE = ("123037004", "SCT", "Body structure")
"""The anatomic region of a source that does not name one."""


def _only(**values: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


@dataclass(frozen=True)
class Dimension:
    """One dimension that tells volumes apart: where the element stands, and each volume's number along it, from 1."""

    element: str
    group: str
    numbers: tuple[int, ...]


@dataclass(eq=False)
class Frames:
    """All frames of one derived enhanced image.

    Attributes
    ----------
    derivation : Derivation
    planes : sequence of tuple of int
        (slice, volume) of each output frame, in the order in which they are written.
    """

    derivation: Derivation
    planes: Sequence[tuple[int, ...]]
    _shared: dict[bytes, Any] = field(default_factory=dict)
    _decoded: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    _carried: dict[tuple[Any, int | None], dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What tells the volumes apart, besides the place; none for one volume."""
        slices = self.derivation.stack.slices
        if slices.ndim == 1:
            return ()
        return volume_dimensions([self._groups(s) for s in slices[0]])

    def _groups(self, source: Instance) -> Any:
        return frame_groups(self.derivation.headers[source.path], source.frame or 0)

    def build(self) -> tuple[Any, list[Any]]:
        """The shared functional groups, and those of each frame: what is the same in all stands once."""
        every = [self._frame(number, at) for number, at in enumerate(self.planes)]
        first = every[0]
        common = {
            name
            for name, item in first.items()
            if name not in _OF_ONE_FRAME and all(other.get(name) is item for other in every)
        }
        shared = _sequences({name: first[name] for name in common})
        return shared, [
            _sequences({name: item for name, item in groups.items() if name not in common})
            for groups in every
        ]

    def _frame(self, number: int, at: tuple[int, ...]) -> dict[str, Any]:
        source = self.derivation.nearest(at)
        groups = dict(self._kept(source))

        def add(name: str, item: Any) -> None:
            groups[name] = [item if name in _OF_ONE_FRAME else self._once(item)]

        where = place(self.derivation, source, at)
        if where.spacing is not None:
            measures = _only(PixelSpacing=[ds_string(v) for v in where.spacing])
            thickness = source.thickness if self.derivation.factors[0] == 1 else where.between
            if thickness is not None:
                measures.SliceThickness = ds_string(thickness)
            if where.between is not None:
                measures.SpacingBetweenSlices = ds_string(where.between)
            add("PixelMeasuresSequence", measures)
        if where.position is not None:
            add(
                "PlanePositionSequence",
                _only(ImagePositionPatient=[ds_string(v) for v in where.position]),
            )
            directions = [ds_string(v) for v in where.orientation]
            add("PlaneOrientationSequence", _only(ImageOrientationPatient=directions))
        add("PixelValueTransformationSequence", self._transformation(source))
        add("FrameContentSequence", self._content(source, number, at))
        add("DerivationImageSequence", self._derivation(source, at))
        return {name: items[0] if len(items) == 1 else self._many(items) for name, items in groups.items()}

    def _many(self, items: list[Any]) -> Any:
        return tuple(items) if items else ()

    def _kept(self, source: Instance) -> dict[str, list[Any]]:
        """Groups of a source frame that stay, decoded once, and what follows from it alone."""
        key = (source.path, source.frame)
        if key not in self._carried:
            if any(path != source.path for path, _ in self._carried):  # the next file of several
                self._carried, self._decoded = {}, {}
            self._carried[key] = self._carry(source)
        return self._carried[key]

    def _carry(self, source: Instance) -> dict[str, list[Any]]:
        header, derivation = self.derivation.headers[source.path], self.derivation
        carried = self._decode(source, header)
        kept: dict[str, list[Any]] = {}
        for element in carried:
            if element.VR == "SQ" and element.keyword not in _REPLACED and len(element.value):
                kept[element.keyword or element.tag] = list(element.value)
            elif element.VR != "SQ" and element.tag.is_private:
                kept[element.tag] = [element]
        if not header.get("ReferencedImageEvidenceSequence"):
            kept.pop(
                "ReferencedImageSequence", None
            )  # nothing says in which study and series to look for them
        if "FrameVOILUTSequence" in kept and not all(
            w.get("WindowCenter") is not None and w.get("WindowWidth") is not None
            for w in kept["FrameVOILUTSequence"]
        ):
            del kept["FrameVOILUTSequence"]
        for modifier in kept.get("MRModifierSequence", ()):
            normalise_modifier(modifier, text(header, "MRAcquisitionType"))
        mappings = list(carried.get("RealWorldValueMappingSequence") or [])
        if not meaning_kept(source, derivation.encoding):
            mappings = remapped(mappings, source, derivation.encoding)
        if mappings:
            kept["RealWorldValueMappingSequence"] = labelled(mappings)
        name = FRAME_TYPES[source.modality]
        kept[name] = [frame_type(source, (carried.get(name) or [None])[0], header)]
        if "FrameAnatomySequence" not in kept:
            region = list(header.get("AnatomicRegionSequence") or [rules.code(ANYWHERE)])[:1]
            side = text(header, "ImageLaterality") or text(header, "Laterality") or "U"
            kept["FrameAnatomySequence"] = [_only(FrameLaterality=side, AnatomicRegionSequence=region)]
        content = (carried.get("FrameContentSequence") or [None])[0]
        kept["FrameContentSequence"] = [] if content is None else [content]
        return {k: v if k == "FrameContentSequence" else [self._once(i) for i in v] for k, v in kept.items()}

    def _decode(self, source: Instance, header: Any) -> Any:
        """A frame's groups, copied; what all frames of a file share is copied once."""
        from pydicom.dataset import Dataset

        out, big_endian = Dataset(), is_big_endian(header)
        for element in frame_groups(header, source.frame or 0):
            key = id(element)
            known = self._decoded.get(key)
            if known is None or known[0] is not element:
                alone = Dataset()
                alone.add(element)
                private = self.derivation.keep_private
                known = (
                    element,
                    carried_over(alone, source.path, private, big_endian=big_endian, nested=True),
                )
                if element.keyword != "RealWorldValueMappingSequence":  # these are rewritten for each frame
                    self._decoded[key] = known
            for copied in known[1]:
                out.add(copied)
        return out

    def _once(self, item: Any) -> Any:
        """The same object for the same content, so that what is shared can be told and is kept once."""
        if not hasattr(item, "keys"):
            return self._shared.setdefault(repr((item.tag, item.VR, item.value)).encode(), item)
        return self._shared.setdefault(encoded(item), item)

    def _transformation(self, source: Instance) -> Any:
        encoding = self.derivation.encoding
        kind = source.rescale_type or ("HU" if source.modality == "CT" else "US")
        return _only(
            RescaleIntercept=ds_string(encoding.intercept),
            RescaleSlope=ds_string(encoding.slope),
            RescaleType=kind,
        )

    def _content(self, source: Instance, number: int, at: tuple[int, ...]) -> Any:
        item = _only()
        for old in self._kept(source)["FrameContentSequence"]:
            for keyword in _FRAME_CONTENT:
                if old.get(keyword) is not None:
                    setattr(item, keyword, old.get(keyword))
        stack, position = self._in_stack[number]
        item.StackID, item.InStackPositionNumber = str(stack), position
        values = [stack, position]
        for dimension in self.dimensions:
            index = dimension.numbers[at[1]]
            if dimension.element == "TemporalPositionIndex":
                item.TemporalPositionIndex = index
            values.append(index)
        item.DimensionIndexValues = values
        return item

    @cached_property
    def _in_stack(self) -> list[tuple[int, int]]:
        """(stack, position in it), from 1, of each frame; loose frames are stacked by orientation."""
        if self.derivation.stack.regular:
            return [(1, at[0] + 1) for at in self.planes]
        stacks: list[tuple[float, ...]] = []
        counts: list[int] = []
        out = []
        for at in self.planes:
            orientation = tuple(np.round(self.derivation.nearest(at).orientation or (0.0,), 4) + 0.0)
            if orientation not in stacks:
                stacks.append(orientation)
                counts.append(0)
            which = stacks.index(orientation)
            counts[which] += 1
            out.append((which + 1, counts[which]))
        return out

    def _derivation(self, source: Instance, at: tuple[int, ...]) -> Any:
        earlier = [
            text(item, "DerivationDescription")
            for item in self._groups(source).get("DerivationImageSequence") or []
        ]
        item = _only(
            DerivationDescription=rules.derivation_description(
                derivation_text(self.derivation, source), "; ".join(filter(None, earlier))
            )
        )
        item.DerivationCodeSequence = [rules.code(rules.SPATIAL_RESAMPLING)]
        item.SourceImageSequence = source_images(self.derivation, at)
        return item


def normalise_modifier(modifier: Any, acquisition: str) -> None:
    """Rewrite what scanners get wrong in MRModifierSequence (C.8.13.5.5).

    Parallel imaging across slices has no term of its own; a 2-D acquisition has no second direction to skip lines in.
    The time of an inversion is told in the word of this kind of image.
    """
    if modifier.get("ParallelAcquisitionTechnique") not in (None, "", "PILS", "SENSE", "SMASH", "OTHER"):
        modifier.ParallelAcquisitionTechnique = "OTHER"
    time = modifier.get("InversionTime")  # the classic image's word, where an enhanced one has InversionTimes
    if modifier.get("InversionRecovery") == "YES" and "InversionTimes" not in modifier and time is not None:
        modifier.InversionTimes = float(time)
    second = "ParallelReductionFactorSecondInPlane"
    if modifier.get("ParallelAcquisition") == "YES" and second not in modifier and acquisition == "2D":
        modifier.ParallelReductionFactorSecondInPlane = 1.0


def _sequences(groups: dict[Any, Any]) -> Any:
    """An item of the functional groups sequence, from its groups' items."""
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    out = Dataset()
    for name, item in groups.items():
        if isinstance(item, DataElement):
            out.add(item)
        elif isinstance(name, str):
            setattr(out, name, list(item) if isinstance(item, tuple) else [item])
        else:
            out.add(DataElement(name, "SQ", list(item) if isinstance(item, tuple) else [item]))
    return out


def encoded(item: Any) -> bytes:
    """A dataset's bytes, to compare it by."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, item)
    return stream.getvalue()


def frame_type(source: Instance, old: Any, header: Any) -> Any:
    """Frame type and what belongs to it (C.8.13.3.1, C.8.15.3.1), filled where the source leaves something out."""
    keywords = ["PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique"]
    fill = ["MONOCHROME", "VOLUME", "NONE"]
    if source.modality == "MR":
        keywords += ["ComplexImageComponent", "AcquisitionContrast"]
        part = source.component.upper()
        fill += [part if part in ("PHASE", "REAL", "IMAGINARY") else "MAGNITUDE", "UNKNOWN"]
    item = _only(FrameType=enhanced_image_type(source.image_type))
    for keyword, default in zip(keywords, fill, strict=True):
        value = (old is not None and text(old, keyword)) or text(header, keyword)
        setattr(item, keyword, value if value and value != "MIXED" else default)
    if item.PixelPresentation != "MONOCHROME":
        item.PixelPresentation = (
            "MONOCHROME"  # a palette for some values is gone: their colours are not resampled
        )
    return item


def enhanced_image_type(source: Sequence[str]) -> list[str]:
    """``DERIVED\\PRIMARY\\flavour\\RESAMPLED``; what an earlier derivation made (a quantity, a ratio) keeps its name.

    >>> enhanced_image_type(("ORIGINAL", "PRIMARY", "T1", "NONE"))
    ['DERIVED', 'PRIMARY', 'T1', 'RESAMPLED']
    """
    flavour = source[2] if len(source) > 2 and source[2] else "VOLUME"
    contrast = source[3] if len(source) > 3 and source[3] not in ("", "NONE", "MIXED") else "RESAMPLED"
    return ["DERIVED", "PRIMARY", flavour, contrast]


_CANDIDATES = (
    ("TemporalPositionIndex", "FrameContentSequence"),
    ("EffectiveEchoTime", "MREchoSequence"),
    ("DiffusionBValue", "MRDiffusionSequence"),
    ("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence"),
)
"""Element and functional group. A gradient direction lies a sequence deeper and is missing at b = 0, so readers do not
find it there; volumes that only differ in it are counted."""


def volume_dimensions(groups: Sequence[Any]) -> tuple[Dimension, ...]:
    """The standard elements that tell volumes apart, or their plain number in time where none does.

    Parameters
    ----------
    groups : sequence of pydicom.Dataset
        Functional groups of one frame of each volume.
    """
    found = []
    for element, group in _CANDIDATES:
        values = [_value(g, group, element) for g in groups]
        distinct = sorted({v for v in values if v is not None})
        if len(distinct) > 1 and None not in values:
            found.append(Dimension(element, group, tuple(distinct.index(v) + 1 for v in values)))
    every = list(zip(*(d.numbers for d in found), strict=True))
    if len(set(every)) == len(groups):
        return tuple(found)
    return (Dimension(*_CANDIDATES[0], tuple(range(1, len(groups) + 1))),)


def _value(groups: Any, group: str, element: str) -> float | None:
    items = groups.get(group) or []
    value = items[0].get(element) if items else None
    return None if value is None or value == "" else float(value)
