"""``scisr verify`` finds every planted fault in derived DICOM series, classic and enhanced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from series_faults import Edit, Series, each, files, make_good, overlay, put
from volume_faults import everything, failures, failures_told

import sciSR
from sciSR.cli.main import main


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Series]:
    return make_good(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("name", ["mr", "ct", "isotropic", "enhanced"])
def test_good_output_passes(good, name):
    found = sciSR.verify_files(good[name].input, good[name].output)
    assert failures(found) == []
    assert found.passed


# -- faults -----------------------------------------------------------------------------------------------------------


def positions_of_the_source(path: Path) -> None:
    """ImagePositionPatient left at the centre of the old first pixel."""
    old = [pydicom.dcmread(f) for f in files(path.parent / "source")]
    places = sorted((d.ImagePositionPatient for d in old), key=lambda p: float(p[2]))
    news = sorted(files(path), key=lambda f: float(pydicom.dcmread(f).ImagePositionPatient[2]))
    for file, place in zip(news, places, strict=True):
        dataset = pydicom.dcmread(file)
        dataset.ImagePositionPatient = place
        dataset.save_as(file)


def same_uids(path: Path) -> None:
    """SOPInstanceUID of the source images, in the file meta information too."""
    old = [pydicom.dcmread(f).SOPInstanceUID for f in files(path.parent / "source")]

    def change(dataset: Dataset, k: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = old[k]

    each(change)(path)


def meta_stale(dataset: Dataset, k: int) -> None:
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"


def missing(path: Path) -> None:
    files(path)[5].unlink()


def missing_at_the_end(path: Path) -> None:
    files(path)[-1].unlink()


def twice(path: Path) -> None:
    dataset = pydicom.dcmread(files(path)[3])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.77"
    dataset.save_as(path / "again.dcm")


def swapped(path: Path) -> None:
    """Two slices with one another's position."""
    one, two = (pydicom.dcmread(files(path)[k]) for k in (2, 8))
    one.ImagePositionPatient, two.ImagePositionPatient = two.ImagePositionPatient, one.ImagePositionPatient
    for k, dataset in ((2, one), (8, two)):
        dataset.save_as(files(path)[k])


def squeezed(path: Path) -> None:
    """All positions towards the first by two parts in a hundred."""
    first = np.array(pydicom.dcmread(files(path)[0]).ImagePositionPatient, float)

    def change(dataset: Dataset, k: int) -> None:
        place = np.array(dataset.ImagePositionPatient, float)
        dataset.ImagePositionPatient = [round(float(v), 6) for v in first + 0.98 * (place - first)]

    each(change)(path)


def few_bits(dataset: Dataset, k: int) -> None:
    dataset.BitsStored, dataset.HighBit = 8, 7


def original(dataset: Dataset, k: int) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]


def sources_nowhere(dataset: Dataset, k: int) -> None:
    dataset.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.4.5.6"


def sources_of_others(dataset: Dataset, k: int) -> None:
    dataset.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.1" if k > 3 else "1.2.3.12"


def largest_stale(dataset: Dataset, k: int) -> None:
    dataset.LargestImagePixelValue = 17


def turned_pixels(dataset: Dataset, k: int) -> None:
    stored = dataset.pixel_array[:, ::-1]
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()


def shifted_pixels(dataset: Dataset, k: int) -> None:
    dataset.PixelData = np.roll(dataset.pixel_array, 1, axis=0).tobytes()


def overlay_kept(dataset: Dataset, k: int) -> None:
    overlay(dataset)


def one_patient_changed(dataset: Dataset, k: int) -> None:
    dataset.PatientID = "4712"


def frame_of_other_group(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    item = dataset.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence[0]
    item.ImagePositionPatient = [float(v) + 0.4 for v in item.ImagePositionPatient]
    dataset.save_as(path)


def measures(**values: object) -> Edit:
    def edit(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        item = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        for keyword, value in values.items():
            setattr(item, keyword, value)
        dataset.save_as(path)

    return edit


def frame_sources(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = 1
    dataset.save_as(path)


FAULTS: dict[str, tuple[str, Edit, str]] = {
    "PixelSpacing stale": ("mr", put(PixelSpacing=[0.8, 0.6]), "geometry: corners by highdicom"),
    "PixelSpacing in the other order": ("mr", put(PixelSpacing=[0.3, 0.4]), "key (0028,0030) PixelSpacing"),
    "position not moved": ("mr", positions_of_the_source, "geometry: voxel centres by highdicom"),
    "positions squeezed": ("mr", squeezed, "field of view: edge to edge"),
    "orientation changed": ("mr", put(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), "no regular volume"),
    "SOPInstanceUID reused": ("mr", same_uids, "metadata: new instances"),
    "one SOPInstanceUID for all": ("mr", put(SOPInstanceUID="1.2.3.55"), "metadata: new instances"),
    "MediaStorageSOPInstanceUID stale": ("mr", each(meta_stale), "metadata: file meta information"),
    "SeriesInstanceUID kept": ("mr", put(SeriesInstanceUID="1.2.3"), "metadata: new series"),
    "StudyInstanceUID changed": ("mr", put(StudyInstanceUID="1.2.99"), "key (0020,000d) StudyInstanceUID"),
    "FrameOfReferenceUID changed": (
        "mr",
        put(FrameOfReferenceUID="1.2.98"),
        "key (0020,0052) FrameOfReferenceUID",
    ),
    "RescaleIntercept lost": ("ct", put(RescaleIntercept=0), "values: scale of values"),
    "RescaleSlope doubled": ("ct", put(RescaleSlope=1), "values: scale of values"),
    "RescaleSlope lost": ("ct", put(RescaleSlope=None), "key (0028,1053) RescaleSlope: lost"),
    "one slice missing": ("mr", missing, "no regular volume"),
    "last slice missing": ("mr", missing_at_the_end, "field of view"),
    "one slice twice": ("mr", twice, "no regular volume"),
    "slices swapped": ("mr", swapped, "geometry: order of slices"),
    "BitsStored too small": ("mr", each(few_bits), "values: bits"),
    "LargestImagePixelValue stale": ("mr", each(largest_stale), "values: smallest and largest value"),
    "display window empty": ("ct", put(WindowCenter=30000, WindowWidth=10), "values: display window"),
    "ImageType still ORIGINAL": ("mr", each(original), "metadata: derived"),
    "PatientID changed": ("mr", each(one_patient_changed), "key (0010,0020) PatientID"),
    "PatientID changed in one": ("mr", each(one_patient_changed, only=4), "key (0010,0020) PatientID"),
    "PatientName lost": ("mr", put(PatientName=""), "key (0010,0010) PatientName"),
    "sources point nowhere": ("mr", each(sources_nowhere), "metadata: sources"),
    "sources lie elsewhere": ("mr", each(sources_of_others), "metadata: sources"),
    "EchoTime changed": ("mr", put(EchoTime=99), "key (0018,0081) EchoTime"),
    "SliceThickness changed": ("mr", put(SliceThickness=1), "key (0018,0050) SliceThickness"),
    "losses hidden": ("mr", put(LossyImageCompression="00"), "metadata: lossy compression"),
    "overlay kept": ("mr", each(overlay_kept), "key (6000,xxxx) overlay"),
    "pixels turned": ("mr", each(turned_pixels), "is flipped along x"),
    "pixels shifted": ("mr", each(shifted_pixels), "geometry: content in place"),
    "spacing stale after new slices": (
        "isotropic",
        put(SpacingBetweenSlices=3),
        "geometry: SpacingBetweenSlices",
    ),
    "thickness stale after new slices": (
        "isotropic",
        put(SliceThickness=2.5),
        "key (0018,0050) SliceThickness",
    ),
    "location stale after new slices": ("isotropic", put(SliceLocation=7.5), "key (0020,1041) SliceLocation"),
    "spacing of frames stale": (
        "enhanced",
        measures(PixelSpacing=[0.8, 0.6]),
        "geometry: corners by highdicom",
    ),
    "thickness of frames changed": ("enhanced", measures(SliceThickness=9.0), "SliceThickness"),
    "one frame moved": ("enhanced", frame_of_other_group, "no regular volume"),
    "frames of one source": ("enhanced", frame_sources, "metadata: sources"),
    "enhanced original": (
        "enhanced",
        put(ImageType=["ORIGINAL", "PRIMARY", "T1", "NONE"]),
        "metadata: derived",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(good, tmp_path, name, capsys):
    which, edit, words = FAULTS[name]
    bad = good[which].copy(tmp_path / "bad")
    if bad.input.is_dir():
        (tmp_path / "source").symlink_to(bad.input)
    edit(bad.output)
    assert main(["verify", str(bad.input), str(bad.output), "--json"]) == 6
    told = failures_told(capsys.readouterr().out)
    assert any(words in line for line in told), told


# -- privacy and lists ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mr", "enhanced"])
def test_nothing_of_the_patient_is_shown(good, name):
    said = everything(sciSR.verify_files(good[name].input, good[name].output))
    for secret in ("Doe", "4711", "19700101", "1.2.3.1", "20200102"):
        assert secret not in said


def test_each_attribute_is_listed_once_for_the_series(good):
    keys = [k.key for k in sciSR.verify_files(good["mr"].input, good["mr"].output).keys]
    assert len(keys) == len(set(keys))
    assert any("PixelSpacing" in key for key in keys)
    assert "(0029,xxxx) private" in keys


def test_classic_output_of_an_enhanced_file_passes(good, tmp_path):
    from series_faults import refined, write_all

    from scisr_medical.dicom_adapter import adapter

    images = [refined(image, [1, 2, 2]) for image in adapter.read(good["enhanced"].input)]
    write_all(images, tmp_path / "classic", classic=True)
    assert failures(sciSR.verify_files(good["enhanced"].input, tmp_path / "classic")) == []


def test_loose_slices_pass(good, tmp_path):
    """Slices that are no volume: each in its own plane."""
    source = tmp_path / "loose"
    source.mkdir()
    for k, file in enumerate(files(good["mr"].input)):
        if k not in (3, 4, 8):
            (source / file.name).write_bytes(file.read_bytes())
    from series_faults import refined, write_all

    from scisr_medical.dicom_adapter import adapter

    images = [refined(image, [1, 2, 2]) for image in adapter.read(source, irregular=True)]
    write_all(images, tmp_path / "out")
    assert failures(sciSR.verify_files(source, tmp_path / "out", irregular=True)) == []


def test_a_coarser_series_passes(good, tmp_path):
    """Means of two by two pixels."""
    from fractions import Fraction

    from series_faults import write_all

    from scisr_medical.dicom_adapter import adapter

    [image] = adapter.read(good["mr"].input)
    slices, rows, columns = image.shape
    means = np.asarray(image.data[:, :, :], float).reshape(slices, rows // 2, 2, columns // 2, 2).mean((2, 4))
    half = Fraction(1, 2)
    write_all(
        [image.replace(data=means, grid=image.grid.refine((Fraction(1), half, half)))], tmp_path / "out"
    )
    assert failures(sciSR.verify_files(good["mr"].input, tmp_path / "out")) == []


# -- the record -------------------------------------------------------------------------------------------------------


def test_a_tampered_record_is_found(good, tmp_path):
    """The hash of the input in DerivationDescription is true, until somebody changes it."""
    from sciSR.workflow.run import upscale_file

    source, target = good["ct"].input, tmp_path / "out"
    upscale_file(source, target, scale=2, model="cubic")
    told = sciSR.verify_files(source, target)
    assert told.made_by == f"sciSR {sciSR.__version__}"
    assert next(c for c in told.checks if c.name == "hash of the input").status == "passed"

    def change(dataset: Dataset, k: int) -> None:
        words = dataset.DerivationDescription
        at = words.index("sha256 ") + 7
        dataset.DerivationDescription = words[:at] + "0" * 64 + words[at + 64 :]

    each(change)(target)
    assert any("hash of the input" in line for line in failures(sciSR.verify_files(source, target)))
