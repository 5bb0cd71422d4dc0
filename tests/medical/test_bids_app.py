"""``scisr-bids``: a derivative that the official validator passes, reruns that skip, and honest exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bids_samples import (
    BVAL,
    BVEC,
    QUICK,
    check_valid,
    dataset,
    rich_dataset,
    run,
    sidecar_of,
    snapshot,
    volume,
    write_json,
)

from sciSR import __version__
from sciSR.provenance import file_sha256
from sciSR.workflow.run import upscale_file
from scisr_medical.bids_app import spread
from scisr_medical.bids_check import find_validator

NAME = "sub-01/anat/sub-01_res-x2_desc-sciSR_T2w.nii.gz"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return dataset(tmp_path / "raw")


def test_input_and_output_pass_the_official_validator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = rich_dataset(tmp_path / "raw"), tmp_path / "out"
    before = snapshot(raw)
    # The command validates its input itself.
    assert run(raw, out, "participant", "--suffix", "T2w", "bold", "dwi", "--model", "linear") == 0
    assert capsys.readouterr().out.splitlines() == ["sub-01  ok  3 written", "sub-02  ok  3 written"]
    thin = ("participant", "--suffix", "T2w", "bold", "dwi", "--isotropic", *QUICK)
    assert run(raw, out, *thin) == 0  # beside the others: the resolution is in the name
    assert len(list(out.rglob("*.nii.gz"))) == 12
    check_valid(out, without_warning=("Description", "GeneratedBy", "SourceDatasets", "License"))
    assert snapshot(raw) == before


def test_a_rich_dataset_keeps_tables_times_and_inherited_keys(tmp_path: Path) -> None:
    raw, out = rich_dataset(tmp_path / "raw"), tmp_path / "out"
    assert run(raw, out, "participant", "--suffix", "T2w", "--suffix", "bold", "dwi", *QUICK) == 0
    stem = out / "sub-02/ses-a/dwi/sub-02_ses-a_dir-AP_res-x2_desc-sciSR_dwi"
    assert Path(f"{stem}.bval").read_bytes() == BVAL.encode()
    assert Path(f"{stem}.bvec").read_bytes() == BVEC.encode()
    bold = out / "sub-01/func/sub-01_task-rest_res-x2_desc-sciSR_bold.nii.gz"
    assert nib.load(bold).shape == (16, 16, 4, 3)
    assert nib.load(bold).header.get_zooms()[3] == pytest.approx(1.5)
    record = sidecar_of(bold)
    assert record["RepetitionTime"] == 1.5
    assert record["SliceTiming"] == [0.0, 0.75, 0.375, 1.125]  # no slice was made in between
    assert record["TotalReadoutTime"] == pytest.approx(0.0005 * 15)
    assert record["SciSR"]["Original"] == {"TotalReadoutTime": 0.0035}
    anatomy = sidecar_of(out / "sub-02/ses-a/anat/sub-02_ses-a_res-x2_desc-sciSR_T2w.nii.gz")
    assert (anatomy["EchoTime"], anatomy["MagneticFieldStrength"]) == (0.1, 3)


def test_the_field_of_view_is_kept(raw: Path, tmp_path: Path) -> None:
    assert run(raw, tmp_path / "out", "participant", "--participant-label", "01", *QUICK) == 0
    before = nib.load(raw / "sub-01/anat/sub-01_T2w.nii.gz")
    after = nib.load(tmp_path / "out" / NAME)
    for edge in (-0.5, None):
        corners = [
            image.affine @ [*(n - 0.5 if edge is None else edge for n in image.shape[:3]), 1]
            for image in (before, after)
        ]
        np.testing.assert_allclose(corners[0], corners[1], atol=1e-4)


def test_a_dataset_gets_the_voxels_that_scisr_upscale_makes(raw: Path, tmp_path: Path) -> None:
    assert run(raw, tmp_path / "out", "participant", "--model", "auto", "--skip-bids-validation") == 0
    alone = tmp_path / "alone.nii.gz"
    upscale_file(raw / "sub-01/anat/sub-01_T2w.nii.gz", alone)
    one, other = (nib.load(file) for file in (alone, tmp_path / "out" / NAME))
    np.testing.assert_array_equal(one.get_fdata(), other.get_fdata())
    np.testing.assert_array_equal(one.affine, other.affine)


def test_isotropic_volumes_have_slices_of_their_own(tmp_path: Path) -> None:
    raw, out = rich_dataset(tmp_path / "raw"), tmp_path / "out"
    write_json(raw / "bold.json", SliceThickness=3.5)
    words = ("participant", "--participant-label", "01", "--suffix", "bold", "--spacing", "1.3", *QUICK)
    assert run(raw, out, *words) == 0
    [image] = out.rglob("*.nii.gz")
    assert image.name == "sub-01_task-rest_res-iso1p3_desc-sciSR_bold.nii.gz"
    record, zooms = sidecar_of(image), nib.load(image).header.get_zooms()
    assert "SliceTiming" not in record
    assert record["SciSR"]["Dropped"] == ["SliceTiming"]
    assert record["SciSR"]["Original"]["SliceThickness"] == 3.5
    assert record["SliceThickness"] == record["SpacingBetweenSlices"] == pytest.approx(zooms[2], abs=1e-5)
    assert zooms[3] == pytest.approx(1.5)
    [*_, step] = record["SciSR"]["Steps"]
    assert step["slice_thickness_mm"] == pytest.approx(3.5, abs=1e-4)  # an inherited key


def test_what_is_isotropic_already_is_skipped_by_name(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = nib.Nifti1Image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.eye(4))
    nib.save(image, raw / "sub-01/anat/sub-01_T2w.nii.gz")
    assert run(raw, tmp_path / "out", "participant", "--isotropic", *QUICK) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("sub-01  skipped  1 already isotropic")
    assert second == "sub-02  ok  1 written"
    assert not (tmp_path / "out" / "sub-01").exists()


@pytest.mark.parametrize(
    "words", [("--isotropic", "--scale", "2"), ("--self", "full"), ("--scale", "0.5"), ("--model", "no-such")]
)
def test_settings_that_make_no_sense_are_refused_before_any_work(
    raw: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert run(raw, tmp_path / "out", "participant", *QUICK, *words) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--uncertainty",), ("--gain", "2"), ("--read-noise", "3")])
def test_a_deviation_that_would_not_be_written_is_not_offered(
    raw: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    for way in ((), ("--isotropic",)):
        assert run(raw, out, "participant", *QUICK, *way, *option) == 2
    assert not out.exists()


def test_the_record_tells_inputs_settings_and_result(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(raw, out, "participant", "--participant-label", "sub-01", "--scale", "1.5", *QUICK) == 0
    [image] = out.rglob("*.nii.gz")
    assert image.name == "sub-01_res-x1p5_desc-sciSR_T2w.nii.gz"
    record = sidecar_of(image)["SciSR"]
    assert record["Settings"] == {"scale": "1.5", "model": "linear"}
    assert record["InputSHA256"] == file_sha256(raw / "sub-01/anat/sub-01_T2w.nii.gz")
    assert record["OutputSHA256"] == file_sha256(image)
    assert [step["step"] for step in record["Steps"]] == ["read", "upscale"]
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "sciSR"
    assert described["GeneratedBy"][0]["Version"] == __version__
    assert described["DatasetLinks"] == {"raw": "../raw"}
    assert "not for diagnosis" in (out / "README.md").read_text()


def test_sources_resolve_to_the_files_they_came_from(raw: Path) -> None:
    out = raw / "derivatives" / "scisr"
    assert run(raw, out, "participant", *QUICK) == 0
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    for image in out.rglob("*.nii.gz"):
        [source] = sidecar_of(image)["Sources"]
        _, name, relative = source.split(":")
        file = out / links[name] / relative
        assert file_sha256(file) == sidecar_of(image)["SciSR"]["InputSHA256"]


def test_results_in_derivatives_are_no_input_of_the_next_run(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = raw / "derivatives" / "scisr"
    assert run(raw, out, "participant", *QUICK) == 0
    before = snapshot(raw)
    capsys.readouterr()
    assert run(raw, out, "participant", *QUICK) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sub-01  skipped  1 finished before",
        "sub-02  skipped  1 finished before",
    ]
    assert snapshot(raw) == before


def test_masks_and_labels_are_only_touched_when_asked_and_stay_labels(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    volume(raw / "sub-01/anat/sub-01_desc-brain_mask.nii.gz", dtype=np.uint8)
    assert run(raw, out, "participant", *QUICK) == 0
    assert not list(out.rglob("*_mask*"))
    assert run(raw, out, "participant", "--suffix", "mask", *QUICK[2:]) == 0
    [mask] = out.rglob("*_mask.nii.gz")
    assert mask.name == "sub-01_res-x2_desc-brainSciSR_mask.nii.gz"
    assert nib.load(mask).get_data_dtype() == np.uint8
    assert set(np.unique(nib.load(mask).dataobj)) == {0, 1}


def test_one_bad_subject_does_not_stop_the_others(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = raw / "sub-01/anat/sub-01_T2w.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-500])
    out = tmp_path / "out"
    assert run(raw, out, "participant", *QUICK) == 4
    said = capsys.readouterr()
    first, second = said.out.splitlines()
    assert said.err == ""  # not twice
    assert first.startswith("sub-01  failed  sub-01_T2w.nii.gz: ")
    assert str(tmp_path) not in first
    assert second == "sub-02  ok  1 written"
    assert not (out / "sub-01").exists()
    assert run(raw, out, "participant", "--participant-label", "01", *QUICK) == 3


def test_a_subject_that_fails_in_part_counts_what_was_written(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(b"nothing of the kind")
    assert run(raw, tmp_path / "out", "participant", *QUICK) == 4
    assert capsys.readouterr().out.startswith("sub-01  failed  1 written, 1 failed  sub-01_T1w.nii.gz: ")


def test_content_that_was_not_fetched_is_named(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = raw / "sub-01/anat/sub-01_T2w.nii.gz"
    image.unlink()
    image.symlink_to("../../.git/annex/objects/gone")
    assert run(raw, tmp_path / "out", "participant", *QUICK) == 4
    assert "only a link; fetch it" in capsys.readouterr().out


def test_links_are_followed_but_their_names_are_not_used(raw: Path, tmp_path: Path) -> None:
    image = raw / "sub-01/anat/sub-01_T2w.nii.gz"
    content = tmp_path / "annex" / "SHA256E-s123--abc.nii.gz"
    content.parent.mkdir()
    image.rename(content)
    image.symlink_to(os.path.relpath(content, image.parent))
    write_json(raw / "T2w.json", EchoTime=0.09)
    assert run(raw, tmp_path / "out", "participant", *QUICK) == 0
    assert sidecar_of(tmp_path / "out" / NAME)["EchoTime"] == 0.09


def test_unknown_labels_are_refused_with_those_there_are(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raw, tmp_path / "out", "participant", "--participant-label", "01", "99", *QUICK) == 2
    assert "no participant 99 here; there are 01, 02" in capsys.readouterr().err
    assert run(raw, tmp_path / "out", "participant", "--suffix", "FLAIR", *QUICK) == 2
    assert "there are T2w" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_subject_without_the_image_is_skipped_by_name(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume(raw / "sub-02/anat/sub-02_T1w.nii.gz")
    assert run(raw, tmp_path / "out", "participant", "--suffix", "T1w", *QUICK) == 0
    assert capsys.readouterr().out.splitlines() == ["sub-01  skipped  no such image", "sub-02  ok  1 written"]


@pytest.mark.parametrize("place", ["", "sub-01", "derivatives", "new/../sub-02/x"])
def test_nothing_is_ever_written_into_the_input(raw: Path, place: str) -> None:
    before = snapshot(raw)
    assert run(raw, raw / place, "participant", *QUICK) == 2
    assert snapshot(raw) == before


def test_folders_that_hold_something_else_are_refused(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    write_json(other / "dataset_description.json", Name="x", GeneratedBy=[{"Name": "fMRIPrep"}])
    assert run(raw, other, "participant", *QUICK) == 2
    assert "another dataset" in capsys.readouterr().err
    unmarked = tmp_path / "unmarked"
    (unmarked / "sub-01").mkdir(parents=True)
    assert run(raw, unmarked, "participant", *QUICK) == 2
    second = dataset(tmp_path / "second", Name="Other blobs")
    assert run(raw, tmp_path / "out", "participant", *QUICK) == 0
    assert run(second, tmp_path / "out", "participant", *QUICK) == 2
    assert "another dataset (sciSR of Blobs)" in capsys.readouterr().err


def test_two_sources_of_one_result_are_refused(raw: Path, tmp_path: Path) -> None:
    volume(raw / "sub-01/anat/sub-01_T2w.nii")
    assert run(raw, tmp_path / "out", "participant", *QUICK) == 2
    assert not (tmp_path / "out").exists()


def test_an_invalid_dataset_is_refused_unless_told_otherwise(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_validator() is None:
        pytest.skip("bids-validator-deno is not installed")
    (raw / "sub-01/anat/sub-01_Doe_Jane.nii.gz").write_bytes(b"x")
    assert run(raw, tmp_path / "out", "participant", *QUICK[:2]) == 2
    said = capsys.readouterr().err
    assert "the bids-validator finds errors" in said
    assert "Doe" not in said
    assert run(raw, tmp_path / "out", "participant", *QUICK) == 0


def test_json_is_one_document_and_names_no_machine_path(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raw, tmp_path / "out", "participant", *QUICK, "--json") == 0
    text = capsys.readouterr().out
    results = json.loads(text)["results"]
    assert [each["participant"] for each in results] == ["01", "02"]
    assert results[0]["images"][0]["output"] == NAME
    assert results[0]["images"][0]["parts"][0]["model"] == "linear"
    assert str(tmp_path) not in text


def test_nothing_of_the_person_is_in_what_is_written_or_said(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(raw / "T2w.json", PatientName="Doe^Jane", PatientID="4711", EchoTime=0.09)
    out = tmp_path / "out"
    assert run(raw, out, "participant", *QUICK, "--json", "-vv") == 0
    said = "".join(capsys.readouterr())
    written = "".join(file.read_text() for file in out.rglob("*") if file.suffix in (".json", ".md"))
    for word in ("Doe", "4711"):
        assert word not in said
        assert word not in written


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("a b participant --suffix T1w T2w -q", "a b participant --suffix T1w --suffix T2w -q"),
        ("--participant_label 01 a b participant", "--participant-label 01 a b participant"),
        (
            "a b participant --participant_label 01 02 --scale 2",
            "a b participant --participant-label 01 --participant-label 02 --scale 2",
        ),
        ("a b participant --suffix=T1w --scale 2", "a b participant --suffix=T1w --scale 2"),
    ],
)
def test_lists_of_labels_may_follow_one_option(words: str, meant: str) -> None:
    assert spread(words.split()) == meant.split()


def test_help_and_version_answer_without_a_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert __version__ in capsys.readouterr().out
    assert run("--help") == 0
    assert "not for diagnosis" in capsys.readouterr().out
    assert run("raw", "out", "group") == 2
