"""Derived enhanced images: one file in, one file out, with new frames on the refined grid and the same acquisition."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import dciodvfy_errors, oblique, write_all
from enhanced_samples import at_each, make_enhanced, values, volume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian
from test_dicom_geometry import corners, places
from test_dicom_through_plane import resampled

from sciSR.errors import UnsupportedError, UsageError
from scisr_medical.dicom_adapter import adapter
from scisr_medical.dicom_functional_groups import frame_groups
from scisr_medical.dicom_streaming import save_streamed

ONE, TWO = Fraction(1), Fraction(2)
OBLIQUE = oblique(0.3, -0.2, 0.1)


def derived(tmp_path: Path, frames, factors=(ONE, TWO, TWO), write=None, read=None, **make):
    """The source's and the derived dataset, and the image that was written."""
    source = make_enhanced(tmp_path / "in.dcm", frames, **make)
    [image] = adapter.read(source, **(read or {}))
    result = resampled(image, factors)
    out = write_all([result], tmp_path / "out.dcm", **(write or {}))
    return pydicom.dcmread(source), pydicom.dcmread(out) if out.is_file() else out, result


def groups(dataset: Dataset) -> list[Dataset]:
    return [frame_groups(dataset, k) for k in range(int(dataset.NumberOfFrames))]


def times(count: int, name: str, step: float = 1, first: float = 1):
    """Volumes that differ in one field."""
    return [
        f
        for k in range(count)
        for f in volume((3, 6, 8), seed=k, orientation=OBLIQUE, **{name: first + k * step})
    ]


def test_one_enhanced_file_becomes_one_of_the_same_class_with_new_identity(tmp_path):
    source, out, _ = derived(tmp_path, volume())
    assert out.SOPClassUID == source.SOPClassUID == out.file_meta.MediaStorageSOPClassUID
    assert out.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    new = [
        out.SOPInstanceUID,
        out.SeriesInstanceUID,
        out.DimensionOrganizationSequence[0].DimensionOrganizationUID,
    ]
    assert len(set(new)) == 3
    assert not set(new) & {source.SOPInstanceUID, source.SeriesInstanceUID, "1.2.3.4.5"}
    for keyword in (
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "PatientID",
        "AccessionNumber",
        "AcquisitionDateTime",
    ):
        assert out[keyword].value == source[keyword].value
    assert list(out.ImageType) == ["DERIVED", "PRIMARY", "T1", "RESAMPLED"]
    assert (out.Rows, out.Columns, out.NumberOfFrames) == (20, 24, 4)
    assert out.SeriesNumber != source.SeriesNumber
    assert (out.ContentQualification, out.LossyImageCompression) == ("RESEARCH", "00")
    assert "Research use only, not for diagnosis" in out.ImageComments


@pytest.mark.parametrize("kind", ["MR", "CT", "PT", "legacy MR", "legacy CT"])
def test_each_kind_can_be_read_again_on_its_grid_and_with_its_values(tmp_path, kind):
    _, out, result = derived(
        tmp_path, volume(orientation=OBLIQUE), (Fraction(5, 4), TWO, Fraction(1, 2)), kind=kind
    )
    [again] = adapter.read(tmp_path / "out.dcm")
    assert np.array_equal(np.asarray(again), np.asarray(result))
    index = corners(result.shape)
    assert np.abs(places(again.grid.affine, index) - places(result.grid.affine, index)).max() < 1e-6
    assert "Legacy" not in out.SOPClassUID.name
    assert out.Modality == kind.split()[-1]


@pytest.mark.parametrize(
    ("factors", "count"), [((ONE, TWO, TWO), 4), ((Fraction(9, 4), ONE, Fraction(1, 2)), 9)]
)
def test_each_frame_says_where_it_is_how_large_and_how_thick(tmp_path, factors, count):
    _, out, result = derived(tmp_path, volume(orientation=OBLIQUE), factors)
    between = 3 / float(factors[0])
    for k, each in enumerate(groups(out)):
        measures = each.PixelMeasuresSequence[0]
        assert list(measures.PixelSpacing) == pytest.approx([0.8 / factors[1], 0.6 / factors[2]])
        assert float(measures.SpacingBetweenSlices) == pytest.approx(between)
        assert float(measures.SliceThickness) == pytest.approx(2.5 if factors[0] == 1 else between)
        found = np.array(each.PlanePositionSequence[0].ImagePositionPatient, float)
        assert found == pytest.approx(places(result.grid.affine, np.array([k, 0.0, 0.0])), abs=1e-6)
        content = each.FrameContentSequence[0]
        assert (content.StackID, content.InStackPositionNumber) == ("1", k + 1)
        assert list(content.DimensionIndexValues) == [1, k + 1]
        assert list(each.MRImageFrameTypeSequence[0].FrameType) == ["DERIVED", "PRIMARY", "T1", "RESAMPLED"]
    assert len(out.PerFrameFunctionalGroupsSequence) == out.NumberOfFrames == count


def test_frames_name_their_source_frames_whatever_order_they_lay_in(tmp_path):
    frames = volume((5, 6, 8))
    order = [3, 0, 4, 1, 2]
    source, out, _ = derived(tmp_path, [frames[k] for k in order])
    for k, each in enumerate(groups(out)):
        [item] = each.DerivationImageSequence
        assert item.DerivationCodeSequence[0].CodeValue == "113085"
        assert "Research use only" in item.DerivationDescription
        [origin] = item.SourceImageSequence
        assert origin.ReferencedFrameNumber == order.index(k) + 1
        assert origin.ReferencedSOPInstanceUID == source.SOPInstanceUID
    [study] = out.SourceImageEvidenceSequence
    [series] = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (
        source.StudyInstanceUID,
        source.SeriesInstanceUID,
    )
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_a_new_slice_names_the_two_that_bracket_it(tmp_path):
    _, out, _ = derived(tmp_path, volume((4, 6, 8)), (Fraction(9, 4), ONE, ONE))
    for k, each in enumerate(groups(out)):
        below = int(np.floor((k + 0.5) * 4 / 9 - 0.5))
        numbers = [int(s.ReferencedFrameNumber) for s in each.DerivationImageSequence[0].SourceImageSequence]
        assert {n for n in (below + 1, below + 2) if 1 <= n <= 4} <= set(numbers)
        assert "original slice thickness 2.5 mm" in each.DerivationImageSequence[0].DerivationDescription


@pytest.mark.parametrize(
    ("name", "step", "pointer"),
    [
        ("temporal", 1, "TemporalPositionIndex"),
        ("echo", 2.5, "EffectiveEchoTime"),
        ("b_value", 500, "DiffusionBValue"),
    ],
)
def test_volumes_keep_what_tells_them_apart_and_are_numbered_by_it(tmp_path, name, step, pointer):
    count = 3
    frames = times(count, name, step)
    dimensions = ("stack", "place", name)
    source = make_enhanced(tmp_path / "in.dcm", frames, dimensions=dimensions)
    if name == "echo":
        [image] = adapter.read(source, echo="2")
        write_all([resampled(image, (ONE, TWO, TWO))], tmp_path / "out.dcm")
        out = pydicom.dcmread(tmp_path / "out.dcm")
        assert {float(g.MREchoSequence[0].EffectiveEchoTime) for g in groups(out)} == {3.5}
        return
    [image] = adapter.read(source)
    result = resampled(image, (Fraction(4, 3), TWO, TWO))
    write_all([result], tmp_path / "out.dcm")
    out = pydicom.dcmread(tmp_path / "out.dcm")
    assert out.NumberOfFrames == 4 * count
    pointers = [pydicom.datadict.keyword_for_tag(i.DimensionIndexPointer) for i in out.DimensionIndexSequence]
    assert pointers == ["StackID", "InStackPositionNumber", pointer]
    index = [tuple(g.FrameContentSequence[0].DimensionIndexValues) for g in groups(out)]
    assert index == [(1, k + 1, v + 1) for v in range(count) for k in range(4)]
    [again] = adapter.read(tmp_path / "out.dcm")
    assert np.array_equal(np.asarray(again), np.asarray(result))
    if name == "b_value":
        assert [g.MRDiffusionSequence[0].DiffusionBValue for g in groups(out)] == [1.0] * 4 + [501.0] * 4 + [
            1001.0
        ] * 4


def test_volumes_that_differ_in_the_direction_only_keep_it_and_are_counted(tmp_path):
    directions = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    frames = [f for d in directions for f in volume((3, 6, 8), b_value=800.0, direction=d)]
    _, out, _ = derived(tmp_path, frames, dimensions=("stack", "place", "direction"))
    assert len({tuple(g.FrameContentSequence[0].DimensionIndexValues) for g in groups(out)}) == 9
    kept = {tuple(g.MRDiffusionSequence[0].DiffusionGradientDirectionSequence[0].DiffusionGradientOrientation)
            for g in groups(out)}  # fmt: skip
    assert kept == set(directions)


def test_the_acquisition_of_each_frame_is_kept_and_what_all_share_stands_once(tmp_path):
    def edit(dataset):
        timing, average = Dataset(), Dataset()
        timing.RepetitionTime, timing.FlipAngle, timing.EchoTrainLength = 2500.0, 90.0, 7
        average.NumberOfAverages = 2.0
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.MRTimingAndRelatedParametersSequence, shared.MRAveragesSequence = [timing], [average]
        for k, each in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            content = each.FrameContentSequence[0]
            content.FrameAcquisitionDateTime = f"2020010203040{k}"
            content.FrameAcquisitionNumber = k + 7

    _, out, _ = derived(tmp_path, at_each(volume(), echo=12.5), edit=edit)
    shared = out.SharedFunctionalGroupsSequence[0]
    assert shared.MRTimingAndRelatedParametersSequence[0].RepetitionTime == 2500
    assert shared.MRAveragesSequence[0].NumberOfAverages == 2
    assert shared.MREchoSequence[0].EffectiveEchoTime == 12.5
    assert shared.FrameVOILUTSequence[0].WindowCenter == 400
    for k, each in enumerate(out.PerFrameFunctionalGroupsSequence):
        assert set(each.dir()) == {"DerivationImageSequence", "FrameContentSequence", "PlanePositionSequence"}
        content = each.FrameContentSequence[0]
        assert (content.FrameAcquisitionNumber, content.FrameAcquisitionDateTime) == (
            k + 7,
            f"2020010203040{k}",
        )


def test_frames_with_their_own_rescale_keep_their_values_to_half_a_step(tmp_path):
    frames = [
        f.__class__(**(vars(f) | {"slope": 0.5 + k, "intercept": -3.0 * k})) for k, f in enumerate(volume())
    ]
    _, out, _ = derived(tmp_path, frames)
    pairs = {
        (float(p.RescaleSlope), float(p.RescaleIntercept))
        for p in (g.PixelValueTransformationSequence[0] for g in groups(out))
    }
    assert len(pairs) == 1, "one pair for the whole image"
    [(slope, intercept)] = pairs
    found = out.pixel_array[:, ::2, ::2] * slope + intercept
    assert np.abs(found - values(frames)).max() <= slope / 2 + 1e-6


def test_real_world_values_are_the_same_however_they_are_stored(tmp_path):
    def edit(dataset):
        item, unit = Dataset(), Dataset()
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "ms", "UCUM", "ms"
        item.LUTLabel, item.LUTExplanation, item.MeasurementUnitsCodeSequence = "T2", "T2", [unit]
        item.RealWorldValueSlope, item.RealWorldValueIntercept = 0.25, 10.0
        item.add_new("RealWorldValueFirstValueMapped", "US", 0)
        item.add_new("RealWorldValueLastValueMapped", "US", 4095)
        dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [item]

    # Values beyond 16 bits of the source's pair: the result is stored in another way.
    frames = volume((3, 6, 8), slope=0.5, intercept=-7.0)
    source = make_enhanced(tmp_path / "in.dcm", frames, edit=edit)
    [image] = adapter.read(source)
    image = resampled(image, (ONE, TWO, TWO))
    wide = np.asarray(image) * 100.0
    write_all([image.replace(data=wide.astype(np.float32))], tmp_path / "out.dcm")
    out = pydicom.dcmread(tmp_path / "out.dcm")
    mapping = groups(out)[0].RealWorldValueMappingSequence[0]
    assert mapping.RealWorldValueSlope != 0.25
    real = out.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    stored = (wide + 7.0) / 0.5
    assert np.abs(real - (stored * 0.25 + 10)).max() <= mapping.RealWorldValueSlope * 0.51
    assert mapping.RealWorldValueLastValueMapped == 65535
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "ms"


def test_private_elements_and_groups_go_unless_they_are_asked_for(tmp_path):
    def edit(dataset):
        dataset.private_block(0x0029, "ACME HEADER", create=True).add_new(0x10, "LO", "Doe")
        for each in dataset.PerFrameFunctionalGroupsSequence:
            inner = Dataset()
            inner.private_block(0x2005, "ACME FRAME", create=True).add_new(0x11, "DS", "3.5")
            each.private_block(0x2005, "ACME FRAME", create=True).add_new(0x0F, "SQ", [inner])

    _, out, _ = derived(tmp_path, volume(), edit=edit)
    assert not [e.tag for e in out.iterall() if e.tag.is_private]
    (tmp_path / "kept").mkdir()
    _, kept, _ = derived(tmp_path / "kept", volume(), edit=edit, write={"keep_private": "2005"})
    assert {e.tag.group for e in kept.iterall() if e.tag.is_private} == {0x2005}
    assert groups(kept)[2][0x2005, 0x100F].value[0][0x2005, 0x1011].value == 3.5


def test_a_big_endian_and_lossy_source(tmp_path):
    def edit(dataset):
        dataset.LossyImageCompression, dataset.LossyImageCompressionRatio = "01", 8.0

    frames = volume()
    _, out, _ = derived(tmp_path, frames, syntax=ExplicitVRBigEndian, edit=edit)
    assert (out.LossyImageCompression, float(out.LossyImageCompressionRatio)) == ("01", 8.0)
    assert np.array_equal(out.pixel_array[:, ::2, ::2], values(frames))


def test_classic_writes_one_file_a_slice_into_a_folder_named_without_dcm(tmp_path):
    def edit(dataset):
        timing = Dataset()
        timing.RepetitionTime, timing.FlipAngle = 2500.0, 90.0
        dataset.SharedFunctionalGroupsSequence[0].MRTimingAndRelatedParametersSequence = [timing]
        dataset.EchoPulseSequence, dataset.MRAcquisitionType = "GRADIENT", "2D"

    frames = at_each(volume(orientation=OBLIQUE), echo=12.5)
    source, folder, result = derived(tmp_path, frames, write={"classic": True}, edit=edit)
    assert folder == tmp_path / "out"
    files = [pydicom.dcmread(f) for f in sorted(folder.iterdir())]
    assert [f.InstanceNumber for f in files] == [1, 2, 3, 4]
    for k, each in enumerate(files):
        assert each.SOPClassUID.name == "MR Image Storage"
        assert "NumberOfFrames" not in each
        assert "SharedFunctionalGroupsSequence" not in each
        assert (float(each.EchoTime), float(each.RepetitionTime), float(each.FlipAngle)) == (12.5, 2500, 90)
        assert (each.ScanningSequence, each.MRAcquisitionType) == ("GR", "2D")
        [origin] = each.SourceImageSequence
        assert (origin.ReferencedSOPInstanceUID, origin.ReferencedFrameNumber) == (
            source.SOPInstanceUID,
            k + 1,
        )
        assert dciodvfy_errors(Path(each.filename)) == []
    [again] = adapter.read(folder)
    assert np.array_equal(np.asarray(again), np.asarray(result))
    assert again.grid.affine == pytest.approx(result.grid.affine, abs=1e-6)


def test_classic_pet_is_refused_before_any_work(tmp_path):
    image = adapter.read(make_enhanced(tmp_path / "in.dcm", volume(), kind="PT"))[0]
    with pytest.raises(UnsupportedError, match="modality PT are not written; leave out --classic"):
        adapter.open_writer(tmp_path / "out", [image], classic=True)


def test_loose_frames_are_stacked_by_orientation(tmp_path):
    frames = [*volume((2, 6, 8)), *volume((2, 6, 8), orientation=OBLIQUE, stack="2")]
    _, out, _ = derived(tmp_path, frames, read={"irregular": True}, dimensions=())
    content = [g.FrameContentSequence[0] for g in groups(out)]
    assert [(c.StackID, c.InStackPositionNumber) for c in content] == [("1", 1), ("1", 2), ("2", 1), ("2", 2)]


def test_dciodvfy_finds_no_error(tmp_path):
    frames = [f for k in range(2) for f in volume((3, 6, 8), seed=k, temporal=k + 1, echo=9.0)]
    dimensions = ("stack", "place", "temporal")
    derived(tmp_path, frames, (Fraction(8, 3), TWO, Fraction(1, 2)), dimensions=dimensions)
    assert dciodvfy_errors(tmp_path / "out.dcm") == []


def test_a_folder_is_written_where_the_name_is_no_dcm(tmp_path):
    image = adapter.read(make_enhanced(tmp_path / "in.dcm", volume()))[0]
    folder = write_all([resampled(image, (ONE, TWO, TWO))], tmp_path / "out")
    assert [f.name for f in folder.iterdir()] == ["IM_0001.dcm"]
    with pytest.raises(UsageError, match="is the input"):
        adapter.open_writer(tmp_path / "in.dcm", [image], overwrite=True)


def test_what_does_not_fit_into_one_file_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(UnsupportedError, match=r"5\.0 GiB of pixels do not fit .* give --classic"):
        save_streamed(tmp_path / "a.dcm", Dataset(), "PixelData", 5 << 30, [], remedy="give --classic")
    assert not list(tmp_path.iterdir())


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    slices=st.integers(2, 6),
    fine=st.integers(2, 20),
    orientation=st.builds(oblique, *(st.floats(-3, 3) for _ in range(3))),
    step=st.floats(0.5, 9),
)
def test_the_field_of_view_is_exact_for_any_factor(tmp_path_factory, slices, fine, orientation, step):
    folder = tmp_path_factory.mktemp("e")
    frames = volume((slices, 4, 6), orientation=orientation, step=step)
    derived(folder, frames, (Fraction(fine, slices), Fraction(1, 2), Fraction(4, 3)))
    before, after = (adapter.read(folder / f"{n}.dcm")[0].grid for n in ("in", "out"))
    edge = np.array([0.5, 0.5, 0.5])
    for at in (0, 1):
        old, new = (at * np.array(g.shape) - edge for g in (before, after))
        assert after.world(new) == pytest.approx(before.world(old), abs=1e-4)


def test_the_time_of_an_inversion_is_told_in_the_word_of_an_enhanced_image():
    """Some scanners leave it under the classic InversionTime, where readers of enhanced images do not look."""
    from scisr_medical.dicom_enhanced_frames import normalise_modifier

    modifier = Dataset()
    modifier.InversionRecovery, modifier.InversionTime = "YES", "1400.00"
    normalise_modifier(modifier, "3D")
    assert modifier.InversionTimes == 1400.0
    modifier.InversionTimes = [900.0, 1800.0]
    normalise_modifier(modifier, "3D")
    assert list(modifier.InversionTimes) == [900.0, 1800.0]
