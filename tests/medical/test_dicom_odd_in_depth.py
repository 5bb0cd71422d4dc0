"""DICOM that is no series of images, or none that makes a volume: one line with what, where and what to do."""

from __future__ import annotations

import tarfile
import warnings

import numpy as np
import pydicom
import pytest
from dicom_samples import make_series, phantom
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid

from sciSR.cli.main import main
from sciSR.errors import GeometryError, SciSRWarning, UnsupportedError
from scisr_medical.dicom_adapter import adapter
from scisr_medical.dicom_grid import SPACING_TOLERANCE

NO_IMAGES = {
    "a PDF": (uid.EncapsulatedPDFStorage, {"EncapsulatedDocument": b"%PDF-1.4\n", "Modality": "DOC"}),
    "an ECG": (uid.TwelveLeadECGWaveformStorage, {"WaveformSequence": [], "Modality": "ECG"}),
    "a report": (uid.BasicTextSRStorage, {"ContentSequence": [], "Modality": "SR"}),
    "a dose report": (uid.XRayRadiationDoseSRStorage, {"ContentSequence": [], "Modality": "SR"}),
    "a presentation state": (uid.GrayscaleSoftcopyPresentationStateStorage, {"Modality": "PR"}),
    "contours": (uid.RTStructureSetStorage, {"ROIContourSequence": [], "Modality": "RTSTRUCT"}),
    "a key object note": (uid.KeyObjectSelectionDocumentStorage, {"Modality": "KO"}),
    "raw data": (uid.RawDataStorage, {"Modality": "MR"}),
    "spectroscopy": (uid.MRSpectroscopyStorage, {"SpectroscopyData": b"\0" * 16, "Modality": "MR"}),
    "a secret kind": ("1.3.46.670589.11.0.0.12.1", {"Modality": "MR"}),
}
OTHER_IMAGES = {
    "a capture": (uid.SecondaryCaptureImageStorage, {"ConversionType": "WSD", "Modality": "OT"}),
    "a colour capture": (
        uid.SecondaryCaptureImageStorage,
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
    ),
    "RGB in an MR image": (
        uid.MRImageStorage,
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
    ),
    "a palette": (uid.MRImageStorage, {"PhotometricInterpretation": "PALETTE COLOR"}),
    "an X-ray": (uid.DigitalXRayImageStorageForPresentation, {"Modality": "DX"}),
    "an ultrasound": (uid.UltrasoundImageStorage, {"Modality": "US"}),
    "a segmentation": (uid.SegmentationStorage, {"Modality": "SEG", "NumberOfFrames": 1}),
}


def become(sop_class: str, change: dict, *, image: bool):
    """An edit that turns a slice into another kind of object."""

    def edit(dataset, k):
        if not image:
            for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
                delattr(dataset, keyword)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        for keyword, value in change.items():
            setattr(dataset, keyword, value)
        dataset.SeriesNumber, dataset.SeriesInstanceUID = 9, "1.2.9.9"
        if dataset.get("SamplesPerPixel") == 3 and image:
            dataset.PixelData = dataset.PixelData * 3

    return edit


@pytest.mark.parametrize("what", [*NO_IMAGES, *OTHER_IMAGES])
def test_what_is_no_mr_or_ct_image_is_refused_by_name_and_left_out_of_a_folder(tmp_path, what, capfd):
    image = what in OTHER_IMAGES
    sop_class, change = (OTHER_IMAGES if image else NO_IMAGES)[what]
    make_series(tmp_path / "odd", stored=phantom((1, 4, 5)), edit=become(sop_class, change, image=image))
    assert main(["upscale", str(tmp_path / "odd"), "-o", str(tmp_path / "out"), "-m", "nearest"]) == 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    name = pydicom.uid.UID(sop_class).name
    assert (name if name != sop_class else "unknown SOP class") in said or "colour image" in said
    assert "; give" in said, "says what to do"
    assert [p.name for p in tmp_path.iterdir()] == ["odd"], "nothing is written"
    stored = make_series(tmp_path / "in")
    (tmp_path / "odd" / "s000.dcm").rename(tmp_path / "in" / "odd.dcm")
    with pytest.warns(SciSRWarning, match=r"left out 1 DICOM object\(s\): 1 x .*, series 9"):
        (image,) = adapter.read(tmp_path / "in")
    assert np.array_equal(np.asarray(image), stored)


def edited(**change):
    def edit(dataset, k):
        for keyword, value in change.items():
            value = value[k] if isinstance(value, list) else value
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return edit


@pytest.mark.parametrize(
    ("thickness", "expected", "said"),
    [
        (2.5, 2.5, None),
        (None, None, None),
        (0, None, None),
        (-1, None, None),
        ([5, 5, 4, 5], 5, "differs among the slices .4 to 5 mm.: the median 5 mm is taken"),
        ([5, None, 5, 5], 5, "1 of 4 images have no SliceThickness"),
        ([0, 0, 0, 3], 3, "3 of 4 images have no SliceThickness"),
        ([3.0, 3.0001, 3, 3], pytest.approx(3, abs=1e-3), None),
    ],
)
def test_the_thickness_of_slices_is_read_apart_from_their_distance(tmp_path, thickness, expected, said):
    make_series(tmp_path / "in", edit=edited(SliceThickness=thickness))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        (image,) = adapter.read(tmp_path / "in")
    assert image.slice_thickness == expected
    assert image.grid.spacing[0] == pytest.approx(3)
    if said is None:
        assert not heard
    else:
        with pytest.warns(SciSRWarning, match=said):
            adapter.read(tmp_path / "in")


def test_loose_slices_have_no_thickness_of_a_volume(tmp_path):
    make_series(tmp_path / "in")
    assert adapter.read(tmp_path / "in", irregular=True)[0].slice_thickness is None


@given(off=st.floats(0.0, 0.1), spacing=st.floats(0.5, 8), which=st.integers(1, 3))
@settings(max_examples=15)
def test_the_stated_tolerance_of_the_increment_is_the_one_applied(tmp_path_factory, off, spacing, which):
    """A gap may differ from the median one by 1 % of it and 0.006 mm; the message says how much that is."""
    folder = tmp_path_factory.mktemp("increment")
    shift = off * spacing
    tolerance = SPACING_TOLERANCE * spacing + 0.006
    if abs(shift - tolerance) < 1e-3:
        return

    def edit(dataset, k):
        dataset.ImagePositionPatient[2] = round(k * spacing + (shift if k >= which else 0), 6)

    make_series(folder, stored=phantom((5, 2, 2)), edit=edit)
    if shift < tolerance:
        assert adapter.read(folder)[0].shape == (5, 2, 2)
    else:
        with pytest.raises(
            GeometryError, match=rf"expected {spacing:.4g} mm within {tolerance:.2g} mm.*--irregular"
        ):
            adapter.read(folder)


@pytest.mark.parametrize("slices", [1, 2])
def test_one_and_two_slices_are_upscaled_in_their_plane(tmp_path, slices):
    stored = make_series(tmp_path / "in", stored=phantom((slices, 8, 9)))
    (image,) = adapter.read(tmp_path / "in")
    assert np.array_equal(np.asarray(image), stored)
    assert image.slice_thickness == 2.5


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.RLELossless, uid.JPEGLSLossless])
def test_a_codec_that_differs_from_slice_to_slice_gives_the_voxels_all_the_same(tmp_path, syntax):
    def edit(dataset, k):
        if k % 2:
            dataset.compress(syntax, generate_instance_uid=False)

    stored = make_series(tmp_path / "in", stored=phantom((4, 40, 36)), edit=edit)
    assert np.array_equal(np.asarray(adapter.read(tmp_path / "in")[0]), stored)


@pytest.mark.realdata
def test_four_codecs_of_one_real_series_give_the_same_voxels(shared_data, tmp_path):
    voxels = []
    for codec in ("j2k", "jpeg", "jpegls", "rle"):
        name = f"d2n_generic_compressed_{codec}_001"
        with tarfile.open(shared_data / "dicom" / f"{name}.tar.xz") as archive:
            archive.extractall(tmp_path / name, filter="data")
        voxels.append(np.asarray(adapter.read(tmp_path / name)[0]))
    assert voxels[0].std() > 50
    assert all(np.array_equal(each, voxels[0]) for each in voxels[1:])


def test_slices_of_a_volume_are_needed_to_make_it_isotropic(tmp_path):
    from sciSR.throughplane import plan_isotropic

    make_series(tmp_path / "one", stored=phantom((1, 16, 16)))
    make_series(tmp_path / "two", stored=phantom((2, 16, 16)))
    with pytest.raises(GeometryError, match="one slice"):
        plan_isotropic(adapter.read(tmp_path / "one")[0], device="cpu")
    plan = plan_isotropic(adapter.read(tmp_path / "two")[0], model="linear", device="cpu")
    assert plan.output.shape[0] == 10, "3 mm between slices, pixels of 0.6 mm"
    with pytest.raises(GeometryError, match="leave --isotropic out"):
        plan_isotropic(adapter.read(tmp_path / "two", irregular=True)[0], device="cpu")


def test_a_file_that_only_looks_like_dicom_is_refused_in_one_line(tmp_path, capfd):
    (tmp_path / "no.dcm").write_bytes(bytes(128) + b"DICM" + b"%PDF-1.7 not DICOM at all" * 40)
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "pdf.dcm").write_bytes(b"%PDF-1.7\n" * 100)
    (tmp_path / "folder").mkdir()
    for name in ("no.dcm", "empty.dcm", "pdf.dcm", "folder"):
        assert main(["upscale", str(tmp_path / name), "-o", str(tmp_path / "out.dcm")]) == 3
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert name in said
    assert not (tmp_path / "out.dcm").exists()


ODD = {
    "d2n_failing_gantrytilting_001": "gantry tilt 14.00 degrees",
    "d2n_failing_notavolume_001": "duplicated slices",
    "d2n_failing_sliceincrement_001": "expected 5 mm within 0.056 mm",
    "d2n_failing_sliceincrement_002": "expected 0.7497 mm within 0.013 mm",
    "d2n_failing_sliceorientation_001": "mixed orientations",
    "d2n_failing_slicecount_001": "",
    "bad_sequence.dcm": "",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "emri_small_jpeg_2k_lossless_too_short.dcm",
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", ODD)
def test_each_real_odd_file_is_upscaled_or_refused_in_one_line_with_nothing_written(
    shared_data, name, tmp_path, capfd
):
    source = shared_data / "dicom" / "odd" / name
    if not name.endswith(".dcm"):
        with tarfile.open(source.with_name(name + ".tar.xz")) as archive:
            archive.extractall(tmp_path / "in", filter="data")
        source = tmp_path / "in"
    out = tmp_path / ("out.dcm" if name.endswith(".dcm") else "out")
    code = main(["upscale", str(source), "-o", str(out), "-m", "nearest", "--device", "cpu"])
    said = capfd.readouterr().err
    if not ODD[name]:
        assert code == 0
        assert out.exists()
        return
    assert code == 3
    assert said.count("\n") == 1
    assert ODD[name] in said
    assert [p.name for p in tmp_path.iterdir() if p.name != "in"] == []


def test_the_kinds_of_refusal_all_name_a_remedy(tmp_path):
    make_series(tmp_path / "in", edit=mosaic)
    with pytest.raises(UnsupportedError) as caught:
        adapter.read(tmp_path / "in")
    assert caught.value.remedy


def mosaic(dataset, k):
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
