"""What a derived image says about itself: identity, geometry, history, privacy, one test a rule."""

from __future__ import annotations

import io
import shutil
import subprocess
from fractions import Fraction

import numpy as np
import PIL.Image
import pydicom
import pytest
from dicom_samples import datasets, dciodvfy_errors, derive, make_series, phantom, write_all

from sciSR.errors import UsageError, VerificationError
from sciSR.image import Image
from sciSR.testing import refine_nearest
from scisr_medical.dicom_adapter import adapter

COPIED = (
    "SOPClassUID", "StudyInstanceUID", "FrameOfReferenceUID", "PositionReferenceIndicator", "PatientName", "PatientID",
    "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "PatientPosition", "Modality",
    "ImageOrientationPatient", "AcquisitionDate", "EchoTime", "RepetitionTime", "FlipAngle", "AcquisitionMatrix",
    "Manufacturer", "SliceThickness",
)  # fmt: skip


def pair(tmp_path, scale=2, write=None, **make):
    """Source and derived datasets of a small series."""
    make_series(tmp_path / "in", **make)
    return datasets(tmp_path / "in"), derive(tmp_path / "in", tmp_path / "out", scale, write)


def test_patient_study_frame_and_acquisition_are_copied(tmp_path):
    source, out = pair(tmp_path)
    for before, after in zip(source, out, strict=True):
        for keyword in COPIED:
            assert after[keyword].value == before[keyword].value, keyword


def test_every_instance_and_the_series_get_new_unique_uids(tmp_path):
    source, out = pair(tmp_path)
    uids = {d.SOPInstanceUID for d in out} | {out[0].SeriesInstanceUID}
    assert len(uids) == 5
    assert len({d.SeriesInstanceUID for d in out}) == 1
    assert not uids & ({d.SOPInstanceUID for d in source} | {source[0].SeriesInstanceUID})
    for each in out:
        assert each.SOPInstanceUID.is_valid
        assert each.file_meta.MediaStorageSOPInstanceUID == each.SOPInstanceUID
        assert each.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian


def test_uids_repeat_for_the_same_result_and_change_with_the_pixels(tmp_path):
    make_series(tmp_path / "in")
    one, again, other = (derive(tmp_path / "in", tmp_path / f"out{k}", (2, 2, 3)[k]) for k in range(3))
    assert [d.SOPInstanceUID for d in one] == [d.SOPInstanceUID for d in again]
    assert not {d.SOPInstanceUID for d in one} & {d.SOPInstanceUID for d in other}


def test_the_image_is_called_derived_and_keeps_its_kind(tmp_path):
    _, out = pair(tmp_path)
    assert list(out[0].ImageType) == ["DERIVED", "SECONDARY", "OTHER", "M", "ND"]
    assert [d.InstanceNumber for d in out] == [1, 2, 3, 4]
    assert out[0].SeriesDescription == "T1 axial sciSR x2"


@pytest.mark.parametrize("kept", ["MPR", "PROJECTION IMAGE", "PHASE MAP"])
def test_defined_terms_of_the_image_type_stay(tmp_path, kept):
    _, out = pair(tmp_path, edit=lambda d, k: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", kept]))
    assert list(out[0].ImageType) == ["DERIVED", "SECONDARY", kept]


def test_an_axial_ct_stays_axial(tmp_path):
    _, out = pair(tmp_path, modality="CT")
    assert list(out[0].ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]


def test_the_history_names_software_method_sources_and_the_warning(tmp_path):
    source, out = pair(tmp_path)
    for before, after in zip(source, out, strict=True):
        text = after.DerivationDescription
        assert len(text) <= 1024
        for part in (
            "sciSR 0.1.0",
            "nearest",
            "rows 2, columns 2",
            "0.8 x 0.6 mm",
            "2.5 mm",
            "Research use only, not for diagnosis",
        ):
            assert part in text
        assert after.DerivationCodeSequence[0].CodeValue == "113085"
        (origin,) = after.SourceImageSequence
        assert origin.ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert origin.ReferencedSOPClassUID == before.SOPClassUID
        assert origin.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        equipment = after.ContributingEquipmentSequence[-1]
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert equipment.SoftwareVersions == "0.1.0"
        assert "Research use only, not for diagnosis" in after.ImageComments
        assert after.ContentQualification == "RESEARCH"


def test_the_history_carries_the_complete_checksum_of_the_weights(tmp_path):
    make_series(tmp_path / "in")
    image = refine_nearest(adapter.read(tmp_path / "in")[0], Fraction(2))
    sha = "ab" * 32
    image = image.replace(
        provenance=image.provenance.add(software="sciSR", step="upscale", model="net", weights_sha256=sha)
    )
    out = datasets(write_all([image], tmp_path / "out"))
    assert f"net (weights sha256 {sha})" in out[0].DerivationDescription


def test_an_earlier_history_is_kept_behind_the_new_one(tmp_path):
    def edit(dataset, k):
        dataset.DerivationDescription, dataset.ImageComments = "denoised " * 200, "left knee"

    _, out = pair(tmp_path, edit=edit)
    assert len(out[0].DerivationDescription) == 1024
    assert "Earlier: denoised" in out[0].DerivationDescription
    assert out[0].ImageComments.endswith("left knee")


def test_dates_of_creation_are_now_and_of_acquisition_are_kept(tmp_path):
    _, out = pair(tmp_path)
    assert out[0].AcquisitionDate == "20200102"
    for keyword in ("SeriesDate", "ContentDate", "InstanceCreationDate"):
        assert out[0][keyword].value > "20200102"


def test_private_elements_overlays_icons_and_curves_are_left_behind(tmp_path):
    def edit(dataset, k):
        dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", b"position" * 3)
        dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", 1000)
        dataset.add_new(0x60000010, "US", 10)
        dataset.add_new(0x60003000, "OW", b"\0" * 16)
        dataset.add_new(0x50000010, "US", 10)
        dataset.IconImageSequence = [pydicom.Dataset()]
        item = pydicom.Dataset()
        item.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", 1000)
        dataset.ReferencedImageSequence = [item]

    _, out = pair(tmp_path, edit=edit)
    tags = [e.tag for e in out[0].iterall()]
    assert not [t for t in tags if t.is_private or t.group in (0x5000, 0x6000)]
    assert "IconImageSequence" not in out[0]
    kept = derive(tmp_path / "in", tmp_path / "kept", 2, {"keep_private": "0019"})
    assert kept[0][0x0019, 0x100C].value == 1000
    assert (0x0029, 0x1010) not in kept[0]


def test_a_group_that_is_not_private_can_not_be_kept(tmp_path):
    make_series(tmp_path / "in")
    with pytest.raises(UsageError, match="0018"):
        derive(tmp_path / "in", tmp_path / "out", 2, {"keep_private": "0018"})


def test_once_lossy_always_lossy(tmp_path):
    def edit(dataset, k):
        dataset.LossyImageCompression, dataset.LossyImageCompressionRatio = "01", 7.5
        dataset.LossyImageCompressionMethod = "ISO_15444_1"

    _, out = pair(tmp_path, edit=edit)
    assert out[0].LossyImageCompression == "01"
    assert float(out[0].LossyImageCompressionRatio) == 7.5
    assert out[0].LossyImageCompressionMethod == "ISO_15444_1"


def test_a_lossy_source_that_does_not_say_so_gives_a_result_that_does(tmp_path):
    def edit(dataset, k):
        plane = phantom((1, 16, 16), top=200)[0].astype(np.uint8)
        stream = io.BytesIO()
        PIL.Image.fromarray(plane).save(stream, "JPEG", quality=95)
        dataset.Rows = dataset.Columns = 16
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        del dataset.PixelData
        dataset.add_new("PixelData", "OB", pydicom.encaps.encapsulate([stream.getvalue()]))
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit

    source, out = pair(tmp_path, edit=edit, stored=phantom((2, 16, 16)))
    assert "LossyImageCompression" not in source[0]
    assert out[0].LossyImageCompression == "01"
    assert np.abs(out[0].pixel_array[::2, ::2] - phantom((1, 16, 16), top=200)[0]).max() < 16


def test_smallest_and_largest_value_are_those_of_the_new_pixels(tmp_path):
    def edit(dataset, k):
        dataset.add_new("SmallestImagePixelValue", "US", 1)
        dataset.add_new("LargestImagePixelValue", "US", 2)
        dataset.add_new("LargestPixelValueInSeries", "US", 3)

    _, out = pair(tmp_path, edit=edit)
    for each in out:
        assert (each.SmallestImagePixelValue, each.LargestImagePixelValue) == (
            each.pixel_array.min(),
            each.pixel_array.max(),
        )
        assert "LargestPixelValueInSeries" not in each


def test_numbers_fit_into_decimal_strings(tmp_path):
    _, out = pair(
        tmp_path,
        scale=3,
        spacing=(1 / 3, 0.123456789012, 0.45000000794729),
        origin=(-103.79415804148, 0.1, 1e-7),
    )
    for keyword in ("PixelSpacing", "ImagePositionPatient", "SliceLocation", "SpacingBetweenSlices"):
        value = out[2].get_item(keyword).value
        text = value.decode() if isinstance(value, bytes) else str(value)
        assert all(len(part.strip()) <= 16 for part in text.split("\\")), keyword


def test_slice_location_is_the_distance_along_the_normal(tmp_path):
    _, out = pair(tmp_path, edit=lambda d, k: setattr(d, "SliceLocation", 99))
    assert [float(d.SliceLocation) for d in out] == pytest.approx([-40, -37, -34, -31])
    assert all(float(d.SpacingBetweenSlices) == 3 for d in out)
    assert all(float(d.SliceThickness) == 2.5 for d in out)


def test_windows_are_copied_since_the_unit_is(tmp_path):
    def edit(dataset, k):
        dataset.WindowCenter, dataset.WindowWidth = 40 + k, 400

    _, out = pair(tmp_path, modality="CT", edit=edit)
    assert [float(d.WindowCenter) for d in out] == [40, 41, 42, 43]


def test_a_lookup_table_stays_only_where_stored_values_keep_their_meaning(tmp_path):
    def edit(dataset, k):
        table = pydicom.Dataset()
        table.LUTDescriptor = [2, 0, 16]
        table.add_new("LUTData", "OW", b"\0\0\1\0")
        dataset.VOILUTSequence = [table]

    _, kept = pair(tmp_path / "mr", edit=edit)
    assert "VOILUTSequence" in kept[0]
    _, dropped = pair(tmp_path / "ct", modality="CT", edit=edit)
    assert "VOILUTSequence" not in dropped[0], "HU are stored as they are now"


def test_words_and_nested_items_of_a_big_endian_source_are_turned_round(tmp_path):
    def edit(dataset, k):
        table = pydicom.Dataset()
        table.LUTDescriptor = [2, 0, 16]
        table.add_new("LUTData", "OW", b"\x00\x01\x02\x03")  # 1 and 515, high byte first
        dataset.VOILUTSequence = [table]
        dataset.WindowCenter = 40

    _, out = pair(tmp_path, edit=edit, syntax=pydicom.uid.ExplicitVRBigEndian)
    assert out[0].VOILUTSequence[0].LUTData == b"\x01\x00\x03\x02"
    assert out[0].VOILUTSequence[0].LUTDescriptor == [2, 0, 16]
    assert float(out[0].WindowCenter) == 40
    assert list(out[0].AcquisitionMatrix) == [10, 0, 0, 12]


def test_no_patient_data_in_file_names(tmp_path):
    pair(tmp_path, name="Doe_Jane_{}.dcm".format)
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [f"IM_{k:04d}.dcm" for k in range(1, 5)]


def test_synthetic_data_are_marked_on_request(tmp_path):
    _, out = pair(tmp_path)
    assert "SyntheticData" not in out[0]
    assert derive(tmp_path / "in", tmp_path / "s", 2, {"synthetic_data": True})[0].SyntheticData == "YES"


def test_an_inversion_time_that_may_not_stand_there_moves_where_it_may(tmp_path):
    _, out = pair(tmp_path, edit=lambda d, k: setattr(d, "InversionTime", 900))
    assert out[0]["InversionTimes"].value == 900
    assert "InversionTime" not in out[0]


def test_required_attributes_that_the_source_lacks_are_added_empty(tmp_path):
    def edit(dataset, k):
        for keyword in (
            "PatientID",
            "StudyID",
            "EchoTrainLength",
            "PatientPosition",
            "FrameOfReferenceUID",
            "BodyPartExamined",
        ):
            delattr(dataset, keyword)
        dataset.PatientAge = "45Y"

    _, out = pair(tmp_path, edit=edit)
    assert out[0]["PatientID"].is_empty
    assert len({d.FrameOfReferenceUID for d in out}) == 1
    assert out[0].PatientAge == "045Y"


@pytest.mark.parametrize("modality", ["MR", "CT"])
@pytest.mark.parametrize("shape", [(4, 10, 12), (1, 7, 9)])
@pytest.mark.parametrize("pad", [None, 0])
def test_dciodvfy_finds_no_error(tmp_path, modality, shape, pad):
    def edit(dataset, k):
        if pad is not None:
            dataset.add_new("PixelPaddingValue", "US", pad)

    make_series(tmp_path / "in", modality=modality, stored=phantom(shape), edit=edit)
    derive(tmp_path / "in", tmp_path / "out", 2)
    for file in sorted((tmp_path / "out").iterdir())[:2]:
        assert dciodvfy_errors(file) == []


def test_dcentvfy_finds_patient_study_and_series_the_same_in_all_files(tmp_path):
    if shutil.which("dcentvfy") is None:
        pytest.skip("dcentvfy (Debian package dicom3tools) is not installed")
    pair(tmp_path)
    files = sorted(map(str, [*(tmp_path / "in").iterdir(), *(tmp_path / "out").iterdir()]))
    run = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, timeout=60, check=False)
    assert run.stderr + run.stdout == ""


def test_an_image_made_in_memory_has_no_series_to_be_derived_from(tmp_path):
    image = Image.from_array(np.ones((2, 4, 4), np.float32))
    with pytest.raises(UsageError, match="needs the series it is derived from"):
        adapter.open_writer(tmp_path / "out", [image])
    assert not (tmp_path / "out").exists()


def test_a_name_that_promises_another_format_is_refused(tmp_path):
    make_series(tmp_path / "in")
    images = adapter.read(tmp_path / "in")
    with pytest.raises(UsageError, match="does not become a nifti file; name a folder"):
        adapter.open_writer(tmp_path / "out.nii.gz", images)


def test_overwriting_never_destroys_the_input_or_anything_but_a_series(tmp_path):
    make_series(tmp_path / "in")
    images = adapter.read(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("three years")
    with pytest.raises(UsageError, match=r"holds more than a DICOM series \(thesis\.txt\)"):
        adapter.open_writer(tmp_path / "out", images, overwrite=True)
    (tmp_path / "note").write_text("a file")
    with pytest.raises(UsageError, match="is a file, the result is a folder"):
        adapter.open_writer(tmp_path / "note", images, overwrite=True)
    derive(tmp_path / "in", tmp_path / "again", 2)
    with pytest.raises(UsageError, match="is the input or a folder around it"):
        adapter.open_writer(tmp_path / "again", adapter.read(tmp_path / "again"), overwrite=True)
    assert len(derive(tmp_path / "in", tmp_path / "again", 2, {"overwrite": True})) == 4


def test_a_single_file_can_not_hold_several_slices(tmp_path):
    make_series(tmp_path / "in")
    images = adapter.read(tmp_path / "in")
    with pytest.raises(UsageError, match="one slice, the result has 4"):
        adapter.open_writer(tmp_path / "out.dcm", images)


def test_pixels_that_never_came_are_noticed_and_nothing_is_written(tmp_path):
    make_series(tmp_path / "in")
    images = adapter.read(tmp_path / "in")
    with adapter.open_writer(tmp_path / "out", images) as writer:
        writer.put(0, (0, slice(None), slice(None)), np.zeros((10, 12), np.float32))
        with pytest.raises(VerificationError, match="only 120 of 480 pixels"):
            writer.commit(images)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]
