"""Series are found, chosen and sorted; what is no regular volume is refused by the two files that disagree."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import datasets, derive, make_series, oblique, phantom
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import GeometryError, SciSRWarning, UnreadableError, UnsupportedError, UsageError
from scisr_medical.dicom_adapter import adapter

OVERRIDE = "--irregular"


def at(millimetres):
    """An edit that puts slice k at ``millimetres[k]`` along z."""

    def edit(dataset, k):
        dataset.ImagePositionPatient[2] = millimetres[k]

    return edit


def refusal(folder: Path, **options) -> str:
    with pytest.raises(GeometryError) as caught:
        adapter.read(folder, **options)
    assert "\n" not in str(caught.value)
    assert "Doe" not in str(caught.value), "no patient data in messages"
    return str(caught.value)


def test_a_missing_slice_is_refused_naming_both_files_and_both_spacings(tmp_path):
    make_series(tmp_path / "in", edit=at([0, 3, 9, 12]))
    message = refusal(tmp_path / "in")
    for part in ("s001.dcm", "s002.dcm", "6 mm", "3 mm", "1 slice missing", OVERRIDE):
        assert part in message
    assert adapter.read(tmp_path / "in", irregular=True)[0].axes == ("n", "y", "x")


@given(gap=st.floats(1.03, 6), where=st.integers(1, 8), spacing=st.floats(0.5, 8))
@settings(max_examples=20)
def test_no_gap_goes_unseen(tmp_path_factory, gap, where, spacing):
    folder = tmp_path_factory.mktemp("gap")
    positions = [k * spacing + (gap - 1) * spacing * (k >= where) for k in range(9)]
    make_series(folder, stored=phantom((9, 2, 2)), edit=at([round(p, 6) for p in positions]))
    message = refusal(folder)
    assert f"s{where - 1:03d}.dcm" in message
    assert f"s{where:03d}.dcm" in message


def test_positions_rounded_by_the_scanner_are_no_gap(tmp_path):
    make_series(tmp_path / "in", edit=at([0.0, 1.33, 2.67, 4.0]))
    assert adapter.read(tmp_path / "in")[0].grid.spacing[0] == pytest.approx(4 / 3)


def test_duplicated_slices_are_refused_naming_both_files(tmp_path):
    make_series(tmp_path / "in", edit=at([0, 3, 3, 6]))
    message = refusal(tmp_path / "in")
    for part in ("duplicated", "s001.dcm", "s002.dcm", "0 mm", "3 mm", OVERRIDE):
        assert part in message


def test_a_file_exported_twice_is_a_duplicate(tmp_path):
    make_series(tmp_path / "in")
    shutil.copy(tmp_path / "in" / "s001.dcm", tmp_path / "in" / "copy.dcm")
    message = refusal(tmp_path / "in")
    assert "copy.dcm" in message
    assert "s001.dcm" in message


def test_mixed_orientations_are_refused_naming_both_files(tmp_path):
    def edit(dataset, k):
        if k == 2:
            dataset.ImageOrientationPatient = list(oblique(0.2, 0, 0))

    make_series(tmp_path / "in", edit=edit)
    message = refusal(tmp_path / "in")
    for part in ("mixed orientations", "s000.dcm", "s002.dcm", OVERRIDE):
        assert part in message


@pytest.mark.parametrize("degrees", [0.5, 14.0])
def test_gantry_tilt_is_refused_with_its_angle(tmp_path, degrees):
    sideways = 3 * np.tan(np.radians(degrees))

    def edit(dataset, k):
        dataset.ImagePositionPatient[1] = round(12.5 + k * sideways, 6)

    make_series(tmp_path / "in", modality="CT", edit=edit)
    message = refusal(tmp_path / "in")
    for part in (f"gantry tilt {degrees:.2f} degrees", "s000.dcm", "s003.dcm", "3 mm", OVERRIDE):
        assert part in message


def echoes(dataset, k):
    dataset.EchoTime = (10.0, 20.0)[k % 2]
    dataset.ImagePositionPatient[2] = 3.0 * (k // 2)


def test_several_echoes_are_refused_and_one_can_be_chosen(tmp_path):
    stored = make_series(tmp_path / "in", edit=echoes)
    message = refusal(tmp_path / "in")
    for part in ("2 echoes", "s000.dcm", "10 ms", "s001.dcm", "20 ms", "--echo", OVERRIDE):
        assert part in message
    for echo, planes in (("2", stored[1::2]), ("10ms", stored[::2])):
        image = adapter.read(tmp_path / "in", echo=echo)[0]
        assert np.array_equal(np.asarray(image), planes)
    with pytest.raises(UsageError, match=r"1 \(TE 10 ms\), 2 \(TE 20 ms\)"):
        adapter.read(tmp_path / "in", echo="3")


def test_magnitude_and_phase_are_never_mixed_and_one_can_be_chosen(tmp_path):
    def edit(dataset, k):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "MP"[k % 2], "ND"]
        dataset.AcquisitionNumber = 1 + k % 2
        dataset.ImagePositionPatient[2] = 3.0 * (k // 2)

    stored = make_series(tmp_path / "in", edit=edit)
    message = refusal(tmp_path / "in")
    for part in ("mixed image types", "s000.dcm has magnitude", "s001.dcm has phase", "--image-type"):
        assert part in message
    (image,) = adapter.read(tmp_path / "in", image_type="m")
    assert image.domain == "mr"
    assert np.array_equal(np.asarray(image), stored[::2])
    with pytest.warns(SciSRWarning, match="phase images"):
        (image,) = adapter.read(tmp_path / "in", image_type="P")
    assert image.domain == "generic", "no network was trained on phases"
    with pytest.raises(UsageError, match="types: M, ND, P"):
        adapter.read(tmp_path / "in", image_type="W")


def test_a_diffusion_series_whose_b_values_would_be_lost_says_so(tmp_path):
    make_series(
        tmp_path / "in",
        edit=lambda d, k: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]),
    )
    with pytest.warns(SciSRWarning, match="--keep-private"):
        adapter.read(tmp_path / "in")


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("pixel spacings", {"PixelSpacing": [0.8, 0.7]}),
        ("frames of reference", {"FrameOfReferenceUID": "1.2.8"}),
        ("rescale types", {"RescaleType": "OD"}),
        ("photometric interpretations", {"PhotometricInterpretation": "MONOCHROME1"}),
    ],
)
def test_slices_that_can_not_share_a_volume_are_refused(tmp_path, what, change):
    def edit(dataset, k):
        for keyword, value in change.items() if k == 3 else ():
            setattr(dataset, keyword, value)

    make_series(tmp_path / "in", modality="CT", edit=edit)
    message = refusal(tmp_path / "in")
    assert f"mixed {what}" in message
    assert "s003.dcm" in message


def test_mixed_matrix_sizes_become_one_image_each_when_overridden(tmp_path):
    make_series(tmp_path / "in", stored=phantom((2, 10, 12)))
    make_series(tmp_path / "in", stored=phantom((2, 6, 8)), name="small{}.dcm".format)
    assert "mixed matrix sizes" in refusal(tmp_path / "in")
    images = adapter.read(tmp_path / "in", irregular=True)
    assert sorted(i.shape for i in images) == [(2, 6, 8), (2, 10, 12)]
    assert sorted(i.part for i in images) == ["10x12", "6x8"]
    out = derive(tmp_path / "in", tmp_path / "out", 2, irregular=True)
    assert sorted((d.Rows, d.Columns) for d in out) == [(12, 16), (12, 16), (20, 24), (20, 24)]
    assert len({d.SOPInstanceUID for d in out}) == 4


def test_slices_without_a_position_are_refused_or_taken_one_by_one(tmp_path):
    def edit(dataset, k):
        del dataset.ImagePositionPatient

    make_series(tmp_path / "in", edit=edit)
    assert "ImagePositionPatient" in refusal(tmp_path / "in")
    out = derive(tmp_path / "in", tmp_path / "out", 2, irregular=True)
    assert "ImagePositionPatient" not in out[0], "a position is not made up"


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        ("TemporalPositionIdentifier", [1, 2]),
        ("AcquisitionNumber", [3, 9]),
        ("DiffusionBValue", [0.0, 1000.0]),
        ("TriggerTime", [11.0, 555.5]),
    ],
)
def test_a_time_or_diffusion_series_is_one_image_with_a_fourth_axis(tmp_path, attribute, values):
    def edit(dataset, k):
        dataset.ImagePositionPatient[2] = 3.0 * (k % 3)
        setattr(dataset, attribute, values[k // 3])

    stored = make_series(tmp_path / "in", stored=phantom((6, 10, 12)), edit=edit)
    with pytest.warns(SciSRWarning, match=attribute):
        (image,) = adapter.read(tmp_path / "in")
    assert image.axes == ("z", "y", "x", "t")
    assert image.shape == (3, 10, 12, 2)
    assert np.array_equal(np.asarray(image).transpose(3, 0, 1, 2).reshape(6, 10, 12), stored)
    out = derive(tmp_path / "in", tmp_path / "out", 2)
    assert [getattr(d, attribute) for d in out] == [values[k // 3] for k in range(6)], (
        "kept, instance by instance"
    )
    assert [d.InstanceNumber for d in out] == list(range(1, 7))


def test_an_incomplete_time_series_is_refused(tmp_path):
    def edit(dataset, k):
        dataset.ImagePositionPatient[2] = 3.0 * (k % 3)
        dataset.TemporalPositionIdentifier = 1 + k // 3

    make_series(tmp_path / "in", stored=phantom((5, 4, 4)), edit=edit)
    assert "2 images at one position, 1 at others" in refusal(tmp_path / "in")


def test_of_several_series_the_user_chooses_by_number_or_uid(tmp_path):
    first = make_series(tmp_path / "in" / "a", uid="1.2.3")
    second = make_series(
        tmp_path / "in" / "b",
        stored=phantom((3, 6, 6), 1),
        uid="1.2.4",
        edit=lambda d, k: setattr(d, "SeriesNumber", 6),
    )
    with pytest.raises(
        UsageError, match=r"series 5 .*4 images of 10x12.*series 6 .*3 images of 6x6.*--series"
    ):
        adapter.read(tmp_path / "in")
    assert np.array_equal(np.asarray(adapter.read(tmp_path / "in", series="5")[0]), first)
    assert np.array_equal(np.asarray(adapter.read(tmp_path / "in", series="1.2.4")[0]), second)
    with pytest.raises(UsageError, match="no series is '7'"):
        adapter.read(tmp_path / "in", series="7")


def test_the_only_volume_beside_a_localizer_is_taken_and_said_so(tmp_path):
    stored = make_series(tmp_path / "in" / "a", uid="1.2.3")

    def edit(dataset, k):
        dataset.SeriesNumber = 1
        dataset.ImageOrientationPatient = list(oblique(k * 1.5, 0, k * 1.5))

    make_series(tmp_path / "in" / "scout", stored=phantom((3, 6, 6)), uid="1.2.4", edit=edit)
    with pytest.warns(SciSRWarning, match="took the only volume, series 5"):
        (image,) = adapter.read(tmp_path / "in")
    assert np.array_equal(np.asarray(image), stored)


def test_the_derived_series_number_is_not_one_seen_in_the_study(tmp_path):
    make_series(tmp_path / "in" / "a", uid="1.2.3")
    make_series(tmp_path / "in" / "b", uid="1.2.4", edit=lambda d, k: setattr(d, "SeriesNumber", 100_005))
    out = derive(tmp_path / "in", tmp_path / "out", 2, series="5")
    assert out[0].SeriesNumber not in (5, 100_005)


def test_strangers_in_a_folder_are_ignored_with_a_note(tmp_path):
    stored = make_series(tmp_path / "in")
    (tmp_path / "in" / "README").write_text("about these images")
    (tmp_path / "in" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "in" / ".DS_Store").write_bytes(b"\0\1")
    (tmp_path / "in" / "._s000.dcm").write_bytes(b"\0\5\26\7")
    with pytest.warns(SciSRWarning, match=r"ignored 2 file\(s\) that are not DICOM images: DICOMDIR, README"):
        (image,) = adapter.read(tmp_path / "in")
    assert np.array_equal(np.asarray(image), stored)


def test_objects_that_are_no_images_are_left_out_by_name(tmp_path):
    stored = make_series(tmp_path / "in")
    report = pydicom.dcmread(tmp_path / "in" / "s000.dcm")
    del report.PixelData
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = pydicom.uid.RTStructureSetStorage
    report.SeriesInstanceUID = "1.2.77"
    report.save_as(tmp_path / "in" / "rt.dcm")
    with pytest.warns(SciSRWarning, match=r"1 x RT Structure Set Storage \(not an image\)"):
        (image,) = adapter.read(tmp_path / "in")
    assert np.array_equal(np.asarray(image), stored)
    with pytest.raises(UnsupportedError, match="RT Structure Set"):
        adapter.read(tmp_path / "in" / "rt.dcm")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mosaic", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}),
        ("colour image (RGB)", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}),
        ("Secondary Capture", {"SOPClassUID": pydicom.uid.SecondaryCaptureImageStorage}),
        ("Enhanced MR Color", {"SOPClassUID": pydicom.uid.EnhancedMRColorImageStorage}),
        ("Positron", {"SOPClassUID": pydicom.uid.PositronEmissionTomographyImageStorage}),
        ("multi-frame image (7 frames)", {"NumberOfFrames": 7}),
        (
            "CT localizer",
            {"SOPClassUID": pydicom.uid.CTImageStorage, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        ),
        ("Modality LUT", {"ModalityLUTSequence": [pydicom.Dataset()]}),
    ],
)
def test_what_can_not_be_upscaled_is_refused_by_name(tmp_path, name, change):
    def edit(dataset, k):
        for keyword, value in change.items():
            setattr(dataset, keyword, value)

    make_series(tmp_path / "in", edit=edit)
    with pytest.raises(UnsupportedError) as caught:
        adapter.read(tmp_path / "in")
    assert name in str(caught.value)


def test_a_damaged_file_in_the_folder_is_an_error_and_never_a_missing_slice(tmp_path):
    make_series(tmp_path / "in")
    victim = tmp_path / "in" / "s003.dcm"
    whole = victim.read_bytes()
    for size in (0, 100, 140, 400, 700, 900, len(whole) - 1):
        victim.write_bytes(whole[:size])
        with pytest.raises(UnreadableError, match=r"s003\.dcm"):
            adapter.read(tmp_path / "in")


def test_a_list_of_files_is_read_like_a_folder(tmp_path):
    stored = make_series(tmp_path / "in")
    (image,) = adapter.read_files(sorted((tmp_path / "in").iterdir())[:3])
    assert np.array_equal(np.asarray(image), stored[:3])


def test_nothing_is_said_about_an_ordinary_series(tmp_path):
    make_series(tmp_path / "in")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        derive(tmp_path / "in", tmp_path / "out", 2)


def test_info_describes_without_patient_data_and_says_why_a_series_is_refused(tmp_path):
    make_series(tmp_path / "in", edit=at([0, 3, 9, 12]))
    record = adapter.describe(tmp_path / "in")
    assert "uneven spacing" in record["parts"][0]["refused"]
    assert record["parts"][0]["shape"] == [4, 10, 12]
    assert not any(word in str(record) for word in ("Doe", "4711", "19700101"))
    assert "Research use only, not for diagnosis." in record["notes"]


def test_the_output_is_named_after_the_input(tmp_path):
    make_series(tmp_path / "study")
    assert adapter.default_output(tmp_path / "study", "2") == tmp_path / "study_x2"
    assert adapter.default_output(tmp_path / "study" / "s000.dcm", "1.5").name == "s000_x1.5.dcm"
    assert adapter.default_output(tmp_path / "study" / "IM0001", "2").name == "IM0001_x2.dcm"
    assert len(datasets(tmp_path / "study")) == 4
