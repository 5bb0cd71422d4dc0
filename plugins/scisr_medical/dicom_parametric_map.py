"""Uncertainty as DICOM: a Parametric Map of one standard deviation, on the grid of the image it belongs to.

highdicom makes the header, from a map with one pixel a frame; the real pixels are streamed behind it. A Parametric Map
has no axis of time, so each volume of a series gets its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sciSR import __version__
from sciSR.errors import SciSRWarning
from sciSR.image import Image
from scisr_medical import dicom_attributes as rules
from scisr_medical.dicom_derive import Derivation, place
from scisr_medical.dicom_encoding import ds_string
from scisr_medical.dicom_instance import MR_IMAGE
from scisr_medical.dicom_map_targets import Written
from scisr_medical.dicom_streaming import save_streamed

NOT_KNOWN = -1.0
"""Written where the uncertainty is not known; no standard deviation is negative."""
DESCRIPTION = f"Standard deviation. {rules.RESEARCH_ONLY}"
_UNITS = {
    "HU": ("[hnsf'U]", "Hounsfield unit"), "Hz": ("Hz", "Hertz"), "ms": ("ms", "millisecond"),
    "msec": ("ms", "millisecond"), "s": ("s", "second"), "%": ("%", "percent"), "PCT": ("%", "percent"),
    "mm2/s": ("mm2/s", "square millimeter per second"), "rad": ("rad", "radian"), "mg/mL": ("mg/ml", "mg/ml"),
    "Bq/ml": ("Bq/ml", "Becquerels/milliliter"), "BQML": ("Bq/ml", "Becquerels/milliliter"),
}  # fmt: skip
"""Units as images write them -> UCUM code and meaning."""

Bad = Callable[[tuple[int, ...]], "np.ndarray | None"]


def write_maps(
    name: Callable[[int, int], Path],
    images: Sequence[Image],
    written: Sequence[Written],
    bad: Sequence[Bad],
    where: Path,
) -> None:
    """Write one map for each volume of each image whose uncertainty is known.

    Parameters
    ----------
    name : callable
        ``name(number, count)``: where map `number` (from 1) of `count` is written.
    images : sequence of Image
        The final ones, with `uncertainty`.
    written : sequence of Written
        What was written for each image.
    bad : sequence of callable
        Of each image: where pixels of the slice (and volume) are bad.
    where : Path
        Named in the warning where no image has an uncertainty.
    """
    todo = [
        (image, part, mask, volume)
        for image, part, mask in zip(images, written, bad, strict=True)
        if image.uncertainty is not None
        for volume in (range(image.shape[3]) if len(image.shape) > 3 else [None])
    ]
    if not todo:
        warnings.warn(
            f"{where.name}: nothing here says how uncertain the result is, so no uncertainty map was written",
            SciSRWarning,
            stacklevel=2,
        )
    for number, (image, part, mask, volume) in enumerate(todo, 1):
        _write_map(name(number, len(todo)), image, part, mask, volume, number)


def _write_map(path: Path, image: Image, part: Written, mask: Bad, volume: int | None, number: int) -> None:
    planes = [(k,) if volume is None else (k, volume) for k in range(image.shape[0])]
    largest = max(float(np.max(frame, initial=0)) for frame in _deviations(image, planes, mask))
    dataset, order = _header(image, part, planes, largest, number)
    dataset.Rows, dataset.Columns = image.shape[1:3]
    save_streamed(
        path,
        dataset,
        "FloatPixelData",
        4 * len(planes) * image.shape[1] * image.shape[2],
        (np.ascontiguousarray(frame, "<f4").tobytes() for frame in _deviations(image, order, mask)),
    )


def _deviations(image: Image, planes: Sequence[tuple[int, ...]], mask: Bad) -> Iterator[np.ndarray]:
    for at in planes:
        values = np.asarray(image.uncertainty[(at[0], slice(None), slice(None), *at[1:])], np.float32)  # type: ignore[index]
        unknown, bad = ~np.isfinite(values) | (values < 0), mask(at)
        yield np.where(unknown if bad is None else unknown | bad, np.float32(NOT_KNOWN), values)


def _header(
    image: Image, part: Written, planes: Sequence[tuple[int, ...]], largest: float, number: int
) -> tuple[Any, list[tuple[int, ...]]]:
    """The complete dataset but for the pixels, and the slices in the order of its frames."""
    import highdicom
    from highdicom.content import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    derivation = part.derivation
    places = [place(derivation, derivation.nearest(at), at) for at in planes]
    first, source = places[0], derivation.stack.first
    patient = highdicom.CoordinateSystemNames.PATIENT
    thickness = first.between if derivation.factors[0] != 1 else source.thickness
    series = rules.derived_uid("uncertainty", derivation.series_uid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd values in the source's header
        dataset = highdicom.pm.ParametricMap(
            source_images=_light(part, planes, places),
            pixel_array=np.zeros((len(planes), 1, 1), np.float32),
            series_instance_uid=series,
            series_number=_series_number(derivation),
            sop_instance_uid=rules.derived_uid("map", series, number),
            instance_number=number,
            manufacturer="sciSR developers",
            manufacturer_model_name="sciSR",
            software_versions=__version__,
            device_serial_number="none",
            contains_recognizable_visual_features=True,  # nobody has looked; the careful answer
            real_world_value_mappings=[_mapping(image.unit, largest)],
            content_description=DESCRIPTION,
            content_label="UNCERTAINTY",
            content_qualification=highdicom.ContentQualificationValues.RESEARCH,
            pixel_measures=PixelMeasuresSequence(
                pixel_spacing=[float(ds_string(v)) for v in first.spacing or (1.0, 1.0)],
                slice_thickness=None if thickness is None else float(ds_string(thickness)),
                spacing_between_slices=None if first.between is None else float(ds_string(first.between)),
            ),
            plane_orientation=PlaneOrientationSequence(patient, list(first.orientation)),
            plane_positions=[
                PlanePositionSequence(patient, [float(ds_string(v)) for v in p.position])  # type: ignore[union-attr]
                for p in places
            ],
            voi_lut_transformations=[
                highdicom.VOILUTTransformation(window_center=largest / 2, window_width=max(largest, 1e-6))
            ],
        )
    return dataset, _finish(dataset, part, planes, places)


def _finish(
    dataset: Any, part: Written, planes: Sequence[tuple[int, ...]], places: Sequence[Any]
) -> list[tuple[int, ...]]:
    """What highdicom does not know: the frames that are meant, padding, and the warning where viewers show it.

    Returns the slices in the order of the frames.
    """
    del dataset.FloatPixelData
    dataset.FloatPixelPaddingValue = dataset.FloatPixelPaddingRangeLimit = NOT_KNOWN
    dataset.ImageComments = f"{DESCRIPTION} {NOT_KNOWN:g} where not known."
    dataset.SeriesDescription = rules.series_description(
        str(part.header.get("SeriesDescription") or ""), "uncertainty"
    )
    if "Laterality" not in dataset:
        dataset.Laterality = None
    order = _order(dataset, planes, places)
    for groups, at in zip(dataset.PerFrameFunctionalGroupsSequence, order, strict=True):
        groups.DerivationImageSequence = [_meant(*part.instances[at])]
    for series in dataset.get("ReferencedSeriesSequence") or []:
        files = dict.fromkeys(part.instances[at][:2] for at in order)
        series.ReferencedInstanceSequence = [_reference(*file) for file in files]
    return order


def _order(dataset: Any, planes: Sequence[tuple[int, ...]], places: Sequence[Any]) -> list[tuple[int, ...]]:
    """The slices in the order in which highdicom put the frames."""
    there = np.array([p.position for p in places])
    order = []
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        order.append(planes[int(np.argmin(np.linalg.norm(there - position, axis=1)))])
    return order


def _meant(sop_class: str, uid: str, frame: int | None) -> Any:
    """Item of DerivationImageSequence: the slice whose uncertainty this is."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.DerivationDescription = DESCRIPTION
    item.DerivationCodeSequence = [rules.code(rules.SPATIAL_RESAMPLING)]
    item.SourceImageSequence = [rules.source_image(sop_class, uid, frame)]
    item.SourceImageSequence[0].SpatialLocationsPreserved = "YES"
    return item


def _reference(sop_class: str, uid: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def _light(part: Written, planes: Sequence[tuple[int, ...]], places: Sequence[Any]) -> list[Any]:
    """The derived slices as highdicom wants its sources: a few elements of each, with one pixel as the map has."""
    from pydicom.dataset import Dataset

    header, out = part.header, []
    for at, where in zip(planes, places, strict=True):
        item = Dataset()
        for keyword in (
            *rules.EMPTY_IF_MISSING, "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
            "PositionReferenceIndicator", "SpecificCharacterSet", "LossyImageCompression", "PatientAge",
            "LossyImageCompressionRatio", "LossyImageCompressionMethod", "StudyDescription", "PatientWeight",
            "PatientSize", "IssuerOfPatientID",
        ):  # fmt: skip
            setattr(item, keyword, header.get(keyword))
            if header.get(keyword) is None and keyword not in rules.EMPTY_IF_MISSING:
                delattr(item, keyword)
        if "SpecificCharacterSet" in item:
            item.SpecificCharacterSet = _character_set(item.SpecificCharacterSet)
        # Stand-ins, one a slice: of a multi-frame source highdicom would count all frames. Replaced by _meant.
        item.SOPClassUID, item.SOPInstanceUID = MR_IMAGE, rules.derived_uid(part.instances[at], at)
        item.Rows = item.Columns = 1
        item.PixelSpacing = [ds_string(v) for v in where.spacing]
        item.SliceThickness = None if where.between is None else ds_string(where.between)
        item.ImageOrientationPatient = [ds_string(v) for v in where.orientation]
        item.ImagePositionPatient = [ds_string(v) for v in where.position]
        out.append(item)
    return out


def _character_set(value: Any) -> Any:
    """The source's, or UTF-8 where highdicom would refuse it: several have code extensions, a single has none."""
    every = [str(each) for each in ([value] if isinstance(value, str) else value or [])]
    extended = [each.startswith("ISO 2022") for each in every]
    return value if every and all(e == (len(every) > 1) for e in extended) else "ISO_IR 192"


def _series_number(derivation: Derivation) -> int:
    number = derivation.series_number + 1
    while number in derivation.stack.used_numbers:
        number += 1
    return min(number, 2**31 - 1)


def _mapping(unit: str | None, largest: float) -> Any:
    from highdicom.pm import RealWorldValueMapping
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    code, meaning = _UNITS.get(unit or "", ("1", "no units"))
    explanation = "one standard deviation" + (f", in {unit}" if unit and code == "1" else "")
    return RealWorldValueMapping(
        lut_label="UNCERTAINTY",
        lut_explanation=rules.shorten(explanation, 64),
        unit=CodedConcept(code, "UCUM", meaning),
        value_range=(0.0, float(max(largest, np.finfo(np.float32).tiny))),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.SCT.StandardDeviation,
    )
