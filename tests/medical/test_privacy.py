"""Nothing that names a patient reaches what is printed, recorded or named; what pixels may tell is warned of."""

from __future__ import annotations

import json
import random
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import make_series, phantom
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from sciSR.cli.main import main
from sciSR.errors import PrivacyWarning, SciSRError
from scisr_medical.dicom_adapter import adapter
from scisr_medical.dicom_privacy import neutral_stem
from scisr_medical.nifti_adapter import adapter as nifti

MARK = "Zqx"
"""Stands in every identifying text of the samples."""

TEXTS = {
    "PatientName": f"{MARK}mann^Anna", "PatientID": f"{MARK}4711", "OtherPatientNames": f"{MARK}alias",
    "PatientAddress": f"{MARK} street 1", "PatientBirthName": f"{MARK}born", "PatientMotherBirthName": f"{MARK}mum",
    "PatientTelephoneNumbers": f"{MARK}555", "PatientComments": f"{MARK} comment", "AccessionNumber": f"{MARK}77",
    "AdditionalPatientHistory": f"{MARK} history", "InstitutionName": f"{MARK} clinic",
    "InstitutionAddress": f"{MARK} town", "InstitutionalDepartmentName": f"{MARK} ward",
    "ReferringPhysicianName": f"{MARK}ref^A", "PerformingPhysicianName": f"{MARK}perf^B",
    "OperatorsName": f"{MARK}op^C", "PhysiciansOfRecord": f"{MARK}rec^D", "NameOfPhysiciansReadingStudy": f"{MARK}read",
    "StudyDescription": f"{MARK} study", "SeriesDescription": f"{MARK} series", "ProtocolName": f"{MARK} protocol",
    "ImageComments": f"{MARK} image", "RequestedProcedureDescription": f"{MARK} request", "StationName": f"{MARK}MR1",
    "PerformedProcedureStepDescription": f"{MARK} step", "DeviceSerialNumber": f"{MARK}0815", "StudyID": f"{MARK}1",
    "RequestingPhysician": f"{MARK}rq", "Occupation": f"{MARK} job", "EthnicGroup": f"{MARK}eth",
    "CommentsOnThePerformedProcedureStep": f"{MARK} c", "AdmissionID": f"{MARK}adm", "FilterType": "x" * 20,
}  # fmt: skip
BIRTH = "19710203"


def name_everybody(dataset: Dataset, k: int) -> None:
    """All identifying attributes, some of them in a form that libraries complain about, quoting it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in TEXTS.items():
            setattr(dataset, keyword, value)
        dataset.PatientBirthDate = BIRTH
        dataset.PatientAge = f"{MARK}"
        dataset["PatientBirthTime"] = pydicom.DataElement("PatientBirthTime", "LO", f"{MARK}time")
        dataset.add_new(0x00091001, "LO", f"{MARK} private")
        dataset.add_new(0x00090010, "LO", f"{MARK} maker")
        item = Dataset()
        item.PatientID = f"{MARK}other"
        dataset.OtherPatientIDsSequence = [item]
        dataset.RequestAttributesSequence = [Dataset()]
        dataset.RequestAttributesSequence[0].ScheduledProcedureStepDescription = f"{MARK} scheduled"


def gap(dataset: Dataset, k: int) -> None:
    name_everybody(dataset, k)
    dataset.ImagePositionPatient[2] = [0, 3, 9, 12][k]


def doubled(dataset: Dataset, k: int) -> None:
    name_everybody(dataset, k)
    dataset.ImagePositionPatient[2] = 3.0 * (k // 2)
    dataset.EchoTime = (10.0, 20.0)[k % 2]


def ill_formed(dataset: Dataset, k: int) -> None:
    name_everybody(dataset, k)
    dataset["SliceThickness"] = pydicom.DataElement("SliceThickness", "LO", f"{MARK} thick")


def report(dataset: Dataset, k: int) -> None:
    name_everybody(dataset, k)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.BasicTextSRStorage


def silent(text: str) -> bool:
    return MARK.lower() not in text.lower() and BIRTH not in text


@pytest.mark.parametrize("edit", [name_everybody, gap, doubled, ill_formed, report])
@pytest.mark.parametrize("command", ["info", "upscale"])
@pytest.mark.parametrize("json_too", [False, True])
def test_no_command_says_who_the_patient_is(tmp_path, capfd, monkeypatch, edit, command, json_too):
    monkeypatch.chdir(tmp_path)
    make_series(Path("in"), edit=edit)
    extra = ["--json"] if json_too else []
    extra += (
        ["-vv", "--model", "linear", "--device", "cpu", "--out-dir", "out"] if command == "upscale" else []
    )
    code = main([command, "in", *extra])
    said = capfd.readouterr()
    assert silent(said.out), said.out
    assert silent(said.err), said.err
    assert code == (0 if edit is name_everybody or (command == "info" and edit is not ill_formed) else 3) or (
        command == "info"
    )
    names = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")]
    assert silent(" ".join(names))
    if command == "upscale":
        assert Path("out/in_x2").is_dir() == (code == 0), "what is refused leaves nothing behind"


def test_a_folder_of_several_series_is_listed_without_their_descriptions(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (4, 5):

        def edit(dataset, k, number=number):
            name_everybody(dataset, k)
            dataset.SeriesNumber = number

        make_series(Path("in") / str(number), uid=f"1.2.{number}", edit=edit)
    assert main(["info", "in"]) == 0
    assert main(["upscale", "in", "-o", "out"]) == 2
    assert main(["upscale", "in", "-o", "out", "--series", "6"]) == 2
    said = capfd.readouterr()
    assert "series 4" in said.err
    assert silent(said.out + said.err)


def test_the_record_written_into_a_derived_series_names_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_series(Path("in"), edit=name_everybody)
    assert main(["upscale", "in", "-m", "linear", "--device", "cpu", "-q", "-o", "out"]) == 0
    for file in Path("out").iterdir():
        dataset = pydicom.dcmread(file)
        assert silent(dataset.DerivationDescription)
        assert silent(str(dataset.ContributingEquipmentSequence[-1]))
        assert str(dataset.PatientName) == TEXTS["PatientName"], "the result is the same patient's"
        assert not any(element.tag.is_private for element in dataset)


def test_a_volume_written_as_nifti_carries_nothing_of_the_patient(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_series(Path("in"), edit=name_everybody)
    (image,) = adapter.read(Path("in"))
    try:
        with nifti.open_writer(Path("out.nii"), [image]) as writer:
            writer.put(0, (slice(None),) * 3, np.asarray(image))
            writer.commit([image])
    except SciSRError as error:
        assert silent(str(error))  # noqa: PT017  (a refusal is as good)
    for file in tmp_path.glob("out*"):
        assert silent(file.read_bytes().decode("latin-1"))


def test_a_nifti_file_s_free_texts_and_sidecar_stay_out_of_what_is_said(tmp_path, capfd, monkeypatch):
    import nibabel as nib

    monkeypatch.chdir(tmp_path)
    volume = nib.Nifti1Image(phantom((9, 8, 7)).astype(np.int16), np.diag([1, 1, 3, 1]))
    for field in ("descrip", "db_name", "aux_file"):
        volume.header[field] = f"{MARK} {field}"[:18].encode()
    volume.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"{MARK} comment".encode()))
    nib.save(volume, "in.nii.gz")
    record = {
        "PatientName": f"{MARK}mann",
        "PatientBirthDate": BIRTH,
        "EchoTime": 0.01,
        "SeriesDescription": MARK,
    }
    Path("in.json").write_text(json.dumps(record))
    assert main(["info", "in.nii.gz"]) == 0
    assert main(["info", "in.nii.gz", "--json"]) == 0
    assert main(["upscale", "in.nii.gz", "-m", "linear", "--device", "cpu", "-vv", "--json"]) == 0
    said = capfd.readouterr()
    assert silent(said.out), said.out
    assert silent(said.err), said.err
    (image,) = nifti.read(Path("in_x2.nii.gz"))
    assert silent(image.provenance.to_json())
    assert silent(json.dumps(json.loads(Path("in_x2.json").read_text())["SciSR"]))


@pytest.mark.parametrize("part", range(4))
def test_messages_about_damaged_headers_quote_no_text(tmp_path, part):
    """Bytes cut, doubled and overwritten anywhere: what is refused or warned of holds nothing of the header's texts."""
    make_series(tmp_path / "in", stored=phantom((1, 4, 4)), edit=name_everybody)
    whole = (tmp_path / "in" / "s000.dcm").read_bytes()
    rng, refused = random.Random(f"privacy {part}"), 0
    for number in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 2, 4])):
            at, width = rng.randrange(132, len(data)), rng.choice([1, 2, 6, 40])
            data[at : at + rng.choice([0, width])] = data[at - width : at] if rng.random() < 0.5 else b""
        file = tmp_path / f"m{number}.dcm"
        file.write_bytes(data)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            for use in (adapter.read, adapter.describe):
                try:
                    use(file)
                except SciSRError as error:
                    refused += 1
                    assert silent(str(error)), error  # noqa: PT017
            assert adapter.default_output(file, "2").suffix == ".dcm"
        assert silent(" ".join(str(w.message) for w in heard))
        file.unlink()
    assert refused > 10


letters = st.text(st.characters(codec="utf-8", categories=["Lu", "Ll"]), min_size=3, max_size=12)


@given(
    family=letters, given_name=letters, number=st.integers(10_000, 10**9),
    shape=st.sampled_from(["{f}_{g}", "{n}", "{g} {f} brain", "{f}{n}", "MR_{n}_T1", "{f}-{g}-20200101", "{F}"]),
)  # fmt: skip
def test_no_result_is_named_after_the_patient(tmp_path_factory, family, given_name, number, shape):
    folder = tmp_path_factory.mktemp("names")

    def edit(dataset, k):
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName, dataset.PatientID = f"{family}^{given_name}", str(number)

    make_series(folder / "in", stored=phantom((1, 2, 2)), edit=edit)
    name = shape.format(f=family, g=given_name, n=number, F=family.upper())
    stem = neutral_stem(folder / "in", name)
    assert re.fullmatch(r"series-[0-9a-f]{8}", stem), (name, stem)
    assert neutral_stem(folder / "in", name) == stem, "the same in every run"
    assert neutral_stem(folder / "in", "T1w_axial") == "T1w_axial"


def test_the_default_name_is_neutral_where_the_folder_is_named_after_the_patient(tmp_path):
    make_series(tmp_path / "Doe_Jane" / "t1")
    named = adapter.default_output(tmp_path / "Doe_Jane", "2")
    assert re.fullmatch(r"series-[0-9a-f]{8}_x2", named.name)
    assert adapter.default_output(tmp_path / "Doe_Jane" / "t1", "2").name == "t1_x2"
    shutil.copy(tmp_path / "Doe_Jane" / "t1" / "s000.dcm", tmp_path / "4711_1.dcm")
    assert re.fullmatch(
        r"series-[0-9a-f]{8}_x2.dcm", adapter.default_output(tmp_path / "4711_1.dcm", "2").name
    )


def test_a_pseudonym_that_the_file_calls_one_stays_in_the_name(tmp_path):
    def edit(dataset, k):
        dataset.PatientID, dataset.PatientIdentityRemoved = "S0421", "YES"

    make_series(tmp_path / "S0421", edit=edit)
    assert adapter.default_output(tmp_path / "S0421", "2").name == "S0421_x2"


def heard(folder: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        adapter.read(folder)
    return [str(w.message) for w in said if issubclass(w.category, PrivacyWarning)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned into the pixels"),
        ({"BurnedInAnnotation": "NO"}, None),
        ({"ConversionType": "WSD"}, "does not say whether text is burned"),
        ({"ConversionType": "WSD", "BurnedInAnnotation": "NO"}, None),
        ({"RecognizableVisualFeatures": "YES"}, "face"),
        ({}, None),
    ],
)
def test_what_the_pixels_may_tell_is_warned_of_in_one_line(tmp_path, change, expected):
    def edit(dataset, k):
        for keyword, value in change.items():
            setattr(dataset, keyword, value)

    make_series(tmp_path / "in", edit=edit)
    said = heard(tmp_path / "in")
    assert len(said) == (expected is not None)
    assert all(expected in line and "\n" not in line for line in said)
    assert all("not removed" in line or "removes none" in line for line in said), (
        "nothing is claimed to be removed"
    )


def test_overlays_are_said_to_be_left_out(tmp_path):
    def edit(dataset, k):
        dataset.add_new(0x60020010, "US", 10)

    make_series(tmp_path / "in", edit=edit)
    (line,) = heard(tmp_path / "in")
    assert "overlays" in line


def head(radii=(62, 78, 105), mm=4.0, noise=5, thick=12) -> np.ndarray:
    """An ellipsoid of tissue with a dark layer within, the size of a head, in air with some noise: (z, y, x)."""
    half = [int(r / mm) + 4 for r in radii]
    x, y, z = np.meshgrid(*(mm * np.arange(-h, h + 1) for h in half), indexing="ij")
    radii = np.array(radii, dtype=float)
    inside = [
        sum((c / r) ** 2 for c, r in zip((x, y, z), np.maximum(radii - s, 1), strict=True)) <= 1
        for s in (0, thick, thick + 6)
    ]
    values = 300.0 * inside[0] - 200 * inside[1] + 300 * inside[2]
    values += np.random.default_rng(5).integers(0, noise, values.shape)
    return values.transpose(2, 1, 0).astype(np.int64)


@pytest.mark.parametrize(
    ("what", "volume", "change", "warned"),
    [
        ("head", head(), {"BodyPartExamined": "HEAD"}, True),
        ("head", head(), {"BodyPartExamined": ""}, True),
        ("head", head(), {"RecognizableVisualFeatures": "NO"}, False),
        ("head-sized knee", head(), {"BodyPartExamined": "KNEE"}, False),
        ("head-sized spine", head(), {"BodyPartExamined": "CSPINE"}, False),
        ("skull-stripped", head((66, 82, 64), noise=1, thick=60), {"BodyPartExamined": "BRAIN"}, False),
        ("knee", head((60, 62, 75)), {"BodyPartExamined": ""}, False),
        ("abdomen", head((150, 110, 100)), {"BodyPartExamined": ""}, False),
    ],
)
def test_faces_are_warned_of_where_one_may_be(tmp_path, what, volume, change, warned):
    def edit(dataset, k):
        for keyword, value in change.items():
            setattr(dataset, keyword, value)

    make_series(tmp_path / "in", stored=volume, spacing=(4.0, 4.0, 4.0), edit=edit)
    assert (["face" in line for line in heard(tmp_path / "in")] == [True]) == warned


@pytest.mark.parametrize(
    ("name", "record", "warned"),
    [
        ("T1w", None, True),
        ("T1w", {"BodyPartExamined": "BRAIN"}, True),
        ("T1w", {"SkullStripped": True}, False),
        ("T1w", {"BodyPartExamined": "KNEE"}, False),
        ("T1w_defaced", None, False),
    ],
)
def test_faces_in_nifti_are_warned_of_unless_name_or_sidecar_say_that_there_is_none(
    tmp_path, name, record, warned
):
    import nibabel as nib

    file = tmp_path / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(head().astype(np.int16), np.diag([4, 4, 4, 1])), file)
    if record is not None:
        file.with_name(f"{name}.json").write_text(json.dumps(record))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        nifti.read(file)
    assert any(issubclass(w.category, PrivacyWarning) for w in said) == warned


def test_such_a_warning_is_printed_once_a_run_and_recorded_for_each_file(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        make_series(Path(name), edit=lambda d, k: setattr(d, "BurnedInAnnotation", "YES"))
    assert main(["upscale", "a", "b", "-m", "nearest", "--device", "cpu", "--out-dir", "out", "--json"]) == 0
    said = capfd.readouterr()
    assert said.err.count("burned into the pixels") == 1
    assert all("burned into" in str(r["warnings"]) for r in json.loads(said.out)["results"])


@pytest.mark.realdata
def test_real_heads_are_told_from_brains_knees_and_spines(shared_data):
    from scisr_medical.faces import may_show_face

    heads = ("fnndsc_eun", "openms_long_p19_study2_T1W", "torchio_fernando_T2", "openms_long_p20")
    others = ("openms_p07_T1", "pymskt_knee", "sct_t2s", "sct_t2_cervical_0p8", "phantom_GE", "torchio_dmri")
    files = sorted((shared_data / "mri").glob("*/*.nii.gz"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for names, expected in ((heads, True), (others, False)):
            for name in names:
                (file,) = (f for f in files if f.name.startswith(name))
                assert may_show_face(nifti.read(file)[0]) == expected, file.name
