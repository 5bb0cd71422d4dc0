"""Uncertainty as DICOM Parametric Map: highdicom and dciodvfy judge."""

from __future__ import annotations

from fractions import Fraction

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_samples import dciodvfy_errors, make_series, oblique, phantom, write_all
from enhanced_samples import make_enhanced, volume
from test_dicom_through_plane import resampled

from sciSR.errors import SciSRWarning, UsageError
from scisr_medical.dicom_adapter import adapter

FACTORS = (Fraction(7, 4), Fraction(2), Fraction(3, 2))


def uncertain(image, factors=FACTORS, seed=0):
    """A result with a standard deviation that differs everywhere."""
    result = resampled(image, factors)
    sigma = np.random.default_rng(seed).uniform(0.5, 9, result.shape).astype(np.float32)
    return result.replace(uncertainty=sigma)


def judged(path, result, sigma):
    """highdicom's volume of a map lies on the image's grid and holds sigma."""
    highdicom_map = highdicom.pm.ParametricMap.from_dataset(pydicom.dcmread(path))
    found = highdicom_map.get_volume(apply_voi_transform=False)
    affine, array = found.affine.copy(), found.array
    if affine[:3, 0] @ result.grid.affine[:3, 0] < 0:
        affine[:3, 3] += affine[:3, 0] * (len(array) - 1)
        affine[:3, 0] *= -1
        array = array[::-1]
    assert affine == pytest.approx(result.grid.affine, abs=1e-4)
    assert np.array_equal(array, sigma)


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_a_classic_series_gets_a_map_in_its_folder(tmp_path, modality):
    make_series(tmp_path / "in", modality=modality, orientation=oblique(0.3, 0.2, 0.1))
    result = uncertain(adapter.read(tmp_path / "in")[0])
    out = write_all([result], tmp_path / "out", uncertainty=True)
    assert len(list(out.glob("IM_*"))) == 7
    path = out / "SD_0001.dcm"
    judged(path, result, result.uncertainty)
    assert dciodvfy_errors(path) == []
    found, first = pydicom.dcmread(path), pydicom.dcmread(out / "IM_0001.dcm")
    assert found.SOPClassUID.name == "Parametric Map Storage"
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "AccessionNumber"):
        assert found[keyword].value == first[keyword].value
    assert found.SeriesInstanceUID != first.SeriesInstanceUID
    assert found.ContentQualification == "RESEARCH"
    assert found.ContentDescription == "Standard deviation. Research use only, not for diagnosis."
    mapping = found.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.RealWorldValueSlope == 1
    unit = mapping.MeasurementUnitsCodeSequence[0].CodeValue
    assert unit == ("1" if modality == "MR" else "[hnsf'U]")


def test_each_frame_names_the_slice_whose_uncertainty_it_is(tmp_path):
    make_series(tmp_path / "in")
    out = write_all([uncertain(adapter.read(tmp_path / "in")[0])], tmp_path / "out", uncertainty=True)
    written = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, out.glob("IM_*"))}
    for each in pydicom.dcmread(out / "SD_0001.dcm").PerFrameFunctionalGroupsSequence:
        [source] = each.DerivationImageSequence[0].SourceImageSequence
        there = written[source.ReferencedSOPInstanceUID].ImagePositionPatient
        assert list(each.PlanePositionSequence[0].ImagePositionPatient) == pytest.approx(list(there))


def test_the_series_is_read_again_beside_its_map(tmp_path):
    make_series(tmp_path / "in")
    result = uncertain(adapter.read(tmp_path / "in")[0])
    out = write_all([result], tmp_path / "out", uncertainty=True)
    with pytest.warns(SciSRWarning, match="Parametric Map"):
        [again] = adapter.read(out)
    assert again.shape == result.shape


def test_an_enhanced_image_gets_a_map_beside_it_one_for_each_volume(tmp_path):
    frames = [f for k in (1, 2) for f in volume((4, 6, 8), seed=k, temporal=k)]
    source = make_enhanced(tmp_path / "in.dcm", frames, dimensions=("stack", "place", "temporal"))
    result = uncertain(adapter.read(source)[0])
    out = write_all([result], tmp_path / "out.dcm", uncertainty=True)
    image = pydicom.dcmread(out)
    for volume_number in (0, 1):
        path = tmp_path / f"out_uncertainty_00{volume_number + 1}.dcm"
        judged(path, result, result.uncertainty[..., volume_number])
        assert dciodvfy_errors(path) == []
        frames = [
            int(g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
            for g in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
        ]
        assert sorted(frames) == list(range(1 + 7 * volume_number, 8 + 7 * volume_number))
        reference = pydicom.dcmread(path).ReferencedSeriesSequence[0]
        assert reference.SeriesInstanceUID == image.SeriesInstanceUID
        assert [r.ReferencedSOPInstanceUID for r in reference.ReferencedInstanceSequence] == [
            image.SOPInstanceUID
        ]


def test_unknown_uncertainty_is_padding_and_never_a_number(tmp_path):
    def edit(dataset, k):
        dataset.add_new("PixelPaddingValue", "US", 0)

    stored = phantom((3, 6, 8))
    stored[:, 0, :] = 0
    make_series(tmp_path / "in", stored=stored, edit=edit)
    image = adapter.read(tmp_path / "in")[0]
    sigma = np.full(image.shape, 2.0, np.float32)
    sigma[1, 3, 4] = np.nan
    out = write_all([image.replace(uncertainty=sigma)], tmp_path / "out", uncertainty=True)
    found = pydicom.dcmread(out / "SD_0001.dcm")
    assert found.FloatPixelPaddingValue == -1
    expected = np.where(np.isnan(sigma) | (stored == 0), -1, sigma)
    order = np.argsort([g.PlanePositionSequence[0].ImagePositionPatient[2] for g in
                        found.PerFrameFunctionalGroupsSequence])  # fmt: skip
    assert np.array_equal(found.pixel_array[order], expected)


def test_without_an_uncertainty_the_image_is_written_and_the_missing_map_told(tmp_path):
    make_series(tmp_path / "in")
    with pytest.warns(SciSRWarning, match="no uncertainty map was written"):
        out = write_all(adapter.read(tmp_path / "in"), tmp_path / "out", uncertainty=True)
    assert sorted(f.name[:3] for f in out.iterdir()) == ["IM_"] * 4


def test_without_the_option_no_map_is_written(tmp_path):
    make_series(tmp_path / "in")
    out = write_all([uncertain(adapter.read(tmp_path / "in")[0])], tmp_path / "out")
    assert not list(out.glob("SD_*"))


def test_loose_slices_get_no_map(tmp_path):
    make_series(tmp_path / "in")
    images = adapter.read(tmp_path / "in", irregular=True)
    with pytest.raises(UsageError, match="needs a regular volume"):
        adapter.open_writer(tmp_path / "out", images, uncertainty=True)


def test_a_map_that_exists_is_not_overwritten(tmp_path):
    source = make_enhanced(tmp_path / "in.dcm", volume())
    (tmp_path / "out_uncertainty.dcm").write_bytes(b"mine")
    result = uncertain(adapter.read(source)[0])
    with pytest.raises(UsageError, match="exists already"):
        write_all([result], tmp_path / "out.dcm", uncertainty=True)
    assert (tmp_path / "out_uncertainty.dcm").read_bytes() == b"mine"
    assert not (tmp_path / "out.dcm").exists()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("ISO 2022 IR 13", "ISO_IR 192"),
        ("ISO_IR 100", "ISO_IR 100"),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], ["ISO 2022 IR 6", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 87"], "ISO_IR 192"),
    ],
)
def test_text_of_any_character_set_is_kept(tmp_path, written, expected):
    """Scanners write single values with code extensions, which the standard does not allow."""
    make_series(tmp_path / "in")
    for path in (tmp_path / "in").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SpecificCharacterSet, dataset.StudyDescription = written, "Yamada"
        dataset.save_as(path)
    out = write_all([uncertain(adapter.read(tmp_path / "in")[0])], tmp_path / "out", uncertainty=True)
    found = pydicom.dcmread(out / "SD_0001.dcm")
    assert found.SpecificCharacterSet == expected
    assert found.StudyDescription == "Yamada"
