"""A folder as a scanner or a PACS exports it: series are listed by what they measure, chosen, never guessed."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import AXIAL, make_series, oblique, phantom
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.cli.main import main
from sciSR.errors import SciSRWarning, UnsupportedError, UsageError
from scisr_medical.dicom_adapter import adapter


def numbered(number: int, **change):
    """An edit that sets the series number and more."""

    def edit(dataset, k):
        dataset.SeriesNumber = number
        for keyword, value in change.items():
            setattr(dataset, keyword, value)

    return edit


def echoes(number: int, count: int = 2):
    """An edit that makes several echoes of each slice."""

    def edit(dataset, k):
        dataset.SeriesNumber, dataset.EchoTime = number, 10.0 * (1 + k % count)
        dataset.ImagePositionPatient[2] = 3.0 * (k // count)

    return edit


def quietly(path: Path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        return adapter.read(path, **options)


one_series = st.fixed_dictionaries(
    {
        "slices": st.integers(1, 4),
        "echoes": st.integers(1, 3),
        "volumes": st.integers(1, 2),
        "matrix": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "spacing": st.tuples(*[st.sampled_from([0.5, 0.9, 2.0, 3.3])] * 3),
        "thickness": st.sampled_from([None, 0, 0.8, 3.0]),
        "turned": st.booleans(),
    }
)


@given(series=st.lists(one_series, min_size=2, max_size=3))
@settings(max_examples=12)
def test_the_table_says_of_each_series_what_was_put_into_it(tmp_path_factory, series):
    folder = tmp_path_factory.mktemp("study")
    for number, each in enumerate(series, 3):
        across = each["spacing"][0]

        def edit(dataset, k, number=number, each=each, across=across):
            slice_number, rest = divmod(k, each["echoes"] * each["volumes"])
            echo, volume = divmod(rest, each["volumes"])
            dataset.SeriesNumber, dataset.EchoTime = number, 5.0 + echo
            dataset.TemporalPositionIdentifier = 1 + volume
            if each["thickness"] is None:
                del dataset.SliceThickness
            else:
                dataset.SliceThickness = each["thickness"]
            normal = np.cross(dataset.ImageOrientationPatient[:3], dataset.ImageOrientationPatient[3:])
            dataset.ImagePositionPatient = [round(float(v), 6) for v in slice_number * across * normal]

        images = each["slices"] * each["echoes"] * each["volumes"]
        make_series(
            folder / f"{number}",
            stored=phantom((images, *each["matrix"])),
            spacing=each["spacing"],
            orientation=oblique(0.2, 0.1, -0.3) if each["turned"] else AXIAL,
            uid=f"1.2.{number}",
            edit=edit,
        )
    record = adapter.describe(folder)
    assert list(record["series"]) == [str(n) for n in range(3, 3 + len(series))]
    for number, each in enumerate(series, 3):
        row = record["series"][str(number)]
        across, rows, columns = each["spacing"]
        assert row == {
            "modality": "MR",
            "images": each["slices"] * each["echoes"] * each["volumes"],
            "matrix": "{}x{}".format(*each["matrix"]),
            "slices": each["slices"],
            "pixel_mm": f"{rows:g}x{columns:g}",
            "between_mm": pytest.approx(across, abs=1e-4) if each["slices"] > 1 else None,
            "thick_mm": each["thickness"] or None,
            "echoes": each["echoes"],
            "volumes": each["volumes"],
        }
    with pytest.raises(UsageError, match="--series NUMBER") as caught:
        adapter.read(folder)
    for number, each in enumerate(series, 3):
        rows, columns = each["matrix"]
        images = each["slices"] * each["echoes"] * each["volumes"]
        assert re.search(
            rf"series {number} \(MR, {images} images? of {rows}x{columns}, pixels", str(caught.value)
        )


def test_info_lists_and_upscale_refuses_with_the_same_list_and_a_choice_is_obeyed(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    make_series(Path("in/a"), uid="1.2.3", edit=numbered(4))
    make_series(Path("in/b"), uid="1.2.4", stored=phantom((6, 6, 8), 1), edit=echoes(9))
    assert main(["info", "in"]) == 0
    table = capfd.readouterr().out.split("series\n")[-1]
    for word in ("between mm", "4", "10x12", "3.000", "2.500", "0.8x0.6", "6x8"):
        assert word.replace(" ", "_") in table
    assert main(["upscale", "in", "-o", "out", "-m", "nearest"]) == 2
    message = capfd.readouterr().err
    assert message.count("\n") == 1
    for part in (
        "series 4 (MR, 4 images of 10x12, pixels 0.8x0.6 mm, 4 slices every 3 mm, 2.5 mm thick)",
        "series 9 (MR, 6 images of 6x8, pixels 0.8x0.6 mm, 3 slices every 3 mm, 2.5 mm thick, 2 echoes)",
        "--series NUMBER",
    ):
        assert part in message
    assert not Path("out").exists()
    assert main(["upscale", "in", "-o", "out", "-m", "nearest", "--device", "cpu", "--series", "4"]) == 0
    assert {pydicom.dcmread(f).pixel_array.shape for f in Path("out").iterdir()} == {(20, 24)}
    assert main(["upscale", "in", "-o", "two", "-m", "nearest", "--series", "9"]) == 3
    assert "--echo 1 to 2" in capfd.readouterr().err
    arguments = ["--series", "9", "--echo", "2", "--device", "cpu"]
    assert main(["upscale", "in", "-o", "two", "-m", "nearest", *arguments]) == 0
    assert [pydicom.dcmread(f).EchoTime for f in sorted(Path("two").iterdir())] == [20.0] * 3


def test_a_folder_whose_series_could_each_be_upscaled_is_never_guessed(tmp_path):
    """Also where only one makes a volume without further options: the others may be what is wanted."""
    make_series(tmp_path / "volume", uid="1.2.3", edit=numbered(1))
    others = {
        "volume": ({}, numbered(2)),
        "one image": ({"stored": phantom((1, 10, 12))}, numbered(2)),
        "echoes": ({"stored": phantom((6, 4, 4))}, echoes(2)),
        "a slice missing": ({}, lambda d, k: (numbered(2)(d, k), at(d, [0, 3, 9, 12][k]))),
        "kinds": ({}, lambda d, k: (numbered(2)(d, k), setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "MP"[k % 2]]))),
        "exported twice": ({}, lambda d, k: (numbered(2)(d, k), at(d, [0, 3, 3, 6][k]))),
    }  # fmt: skip
    for what, (options, edit) in others.items():
        make_series(tmp_path / "other", uid="1.2.4", edit=edit, **options)
        with pytest.raises(UsageError, match="holds 2 series"):
            quietly(tmp_path)
        assert quietly(tmp_path, series="1")[0].shape == (4, 10, 12), what
        shutil.rmtree(tmp_path / "other")


def at(dataset, millimetres: float) -> None:
    dataset.ImagePositionPatient[2] = millimetres


@pytest.mark.parametrize("kind", ["directions", "localizer"])
def test_scouts_are_passed_over_and_said_so(tmp_path, kind):
    stored = make_series(tmp_path / "a", uid="1.2.3", edit=numbered(4))

    def scout(dataset, k):
        dataset.SeriesNumber = 1
        if kind == "directions":
            dataset.ImageOrientationPatient = list(oblique(k * 1.5, 0, k * 1.5))
        else:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    make_series(tmp_path / "scout", stored=phantom((3, 6, 6)), uid="1.2.4", edit=scout)
    with pytest.warns(SciSRWarning, match=r"took the only volume, series 4 .*passed over scouts: series 1 "):
        (image,) = adapter.read(tmp_path)
    assert np.array_equal(np.asarray(image), stored)


def test_series_with_the_same_number_are_told_apart_by_uid(tmp_path):
    first = make_series(tmp_path / "a", uid="1.2.3")
    second = make_series(tmp_path / "b", uid="1.2.4", stored=phantom((4, 10, 12), 7))
    with pytest.raises(UsageError, match=r"UID 1\.2\.3, series 5 .* UID 1\.2\.4; choose"):
        adapter.read(tmp_path)
    with pytest.raises(UsageError, match=r"more than one series is '5'.*--series UID"):
        adapter.read(tmp_path, series="5")
    assert np.array_equal(np.asarray(quietly(tmp_path, series="1.2.3")[0]), first)
    assert np.array_equal(np.asarray(quietly(tmp_path, series="1.2.4")[0]), second)
    assert list(adapter.describe(tmp_path)["series"]) == ["5 1.2.3", "5 1.2.4"]


def test_a_series_that_is_refused_is_refused_by_name_when_chosen(tmp_path):
    make_series(tmp_path / "a", uid="1.2.3", edit=numbered(4))
    colour = numbered(7, SOPClassUID=pydicom.uid.SecondaryCaptureImageStorage)
    make_series(tmp_path / "b", uid="1.2.4", edit=colour)
    with pytest.warns(SciSRWarning, match=r"4 x Secondary Capture Image Storage, series 7"):
        assert adapter.read(tmp_path)[0].shape == (4, 10, 12)
    with pytest.raises(UnsupportedError, match=r"Secondary Capture.*give the MR or CT series"):
        quietly(tmp_path, series="7")
    with pytest.raises(UsageError, match=r"no series is '8'; found series 4 "):
        quietly(tmp_path, series="8")


def export(folder: Path) -> dict[int, np.ndarray]:
    """PATIENT/STUDY/SERIES/IMnnnn with a DICOMDIR, as discs have it; some files gzipped."""
    truth = {}
    for number in (2, 3):
        series = folder / "PAT00001" / "STU00001" / f"SER0000{number}"
        name = "IM{:04d}".format
        truth[number] = make_series(
            series, stored=phantom((3, 5, 6), number), uid=f"1.2.{number}", edit=numbered(number), name=name
        )
    for file in sorted(folder.rglob("SER00003/*"))[:2]:
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    directory = pydicom.Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.99"
    directory.FileSetID, directory.DirectoryRecordSequence = "DISC", []
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    (folder / "VIEWER").mkdir()
    (folder / "VIEWER" / "viewer.exe").write_bytes(b"MZ" + bytes(300))
    (folder / "AUTORUN.INF").write_text("[autorun]")
    return truth


def test_a_disc_with_folders_and_a_dicomdir_is_read_from_any_of_its_folders(tmp_path):
    truth = export(tmp_path)
    assert adapter.sniff(tmp_path)
    assert list(adapter.describe(tmp_path)["series"]) == ["2", "3"]
    for number, stored in truth.items():
        (image,) = quietly(tmp_path, series=str(number))
        assert np.array_equal(np.asarray(image), stored)
        alone = tmp_path / "PAT00001" / "STU00001" / f"SER0000{number}"
        assert np.array_equal(np.asarray(quietly(alone)[0]), stored)


def test_the_directory_file_itself_is_refused_with_what_to_give(tmp_path):
    export(tmp_path)
    with pytest.raises(UnsupportedError, match="give the folder that it lies in"):
        adapter.read(tmp_path / "DICOMDIR")


def test_of_very_many_series_the_first_are_listed(tmp_path):
    for number in range(15):
        make_series(
            tmp_path / str(number), stored=phantom((1, 2, 2)), uid=f"1.2.{number}", edit=numbered(number)
        )
    with pytest.raises(
        UsageError, match=r"holds 15 series: series 0 .* series 11 .*and 3 more \(see scisr info\)"
    ):
        adapter.read(tmp_path)
    assert len(adapter.describe(tmp_path)["series"]) == 15


def test_info_of_one_series_needs_no_table_and_says_gap_and_overlap(tmp_path):
    for thickness, words in ((2.5, "a gap of 0.5 mm"), (3.0, "no gap"), (4.5, "an overlap of 1.5 mm")):
        make_series(tmp_path / "in", edit=numbered(4, SliceThickness=thickness))
        record = json.loads(json.dumps(adapter.describe(tmp_path / "in")))
        assert "series" not in record
        assert record["parts"][0]["slices_leave"] == words
        assert record["parts"][0]["grid"]["spacing"][0] == 3, (
            "the spacing is the distance, whatever the thickness"
        )
        assert adapter.read(tmp_path / "in")[0].slice_thickness == thickness


@pytest.mark.realdata
def test_real_series_in_one_folder_are_listed_and_chosen(shared_data, tmp_path):
    names = ("d2n_siemens_anatomical_001", "siemens_xa30_t1tfl_96_phantom", "d2n_ge_dti_002")
    for name in (*names, "siemens_xa30_colfa_rgb_8", "d2n_failing_sliceorientation_001"):
        with tarfile.open(
            shared_data / "dicom" / ("odd" if "failing" in name else "") / f"{name}.tar.xz"
        ) as archive:
            archive.extractall(tmp_path / name, filter="data")
    record = adapter.describe(tmp_path)
    rows = {n: (r["images"], r["slices"], r["matrix"], r["between_mm"]) for n, r in record["series"].items()}
    assert rows == {
        "4": (4, 4, "256x256", 1.0),
        "25": (16, 4, "64x64", 3.8),
        "202": (4, 4, "288x288", None),
        "5001": (96, 96, "128x128", 2.0),
    }
    assert any(
        "Secondary Capture Image Storage (colour, RGB), series 15001" in note for note in record["notes"]
    )
    for number, name in (("4", names[0]), ("5001", names[1])):
        (chosen,), (alone,) = quietly(tmp_path, series=number), quietly(tmp_path / name)
        assert np.allclose(chosen.grid.affine, alone.grid.affine)
        assert np.array_equal(np.asarray(chosen.data[0]), np.asarray(alone.data[0]))
