"""What is found in a BIDS dataset, and which metadata an image inherits."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from bids_samples import dataset, volume, write_json
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import SciSRWarning, UnreadableError, UnsupportedError, UsageError
from scisr_medical.bids_layout import BidsDataset, parse_name

labels = st.text(string.ascii_letters + string.digits + "+", min_size=1, max_size=6)
keys = st.text(string.ascii_lowercase, min_size=2, max_size=5)


@given(st.dictionaries(keys, labels, max_size=5), st.sampled_from(["T2w", "bold", "dwi"]))
def test_a_name_is_the_sum_of_its_parts(entities: dict[str, str], suffix: str) -> None:
    name = "_".join([*(f"{key}-{label}" for key, label in entities.items()), suffix]) + ".nii.gz"
    parsed = parse_name(name)
    assert parsed is not None
    assert dict(parsed.entities) == entities
    assert parsed.stem + parsed.ending == name


@pytest.mark.parametrize(
    "name",
    ["T1.final version.nii.gz", "sub-01-T2w.nii.gz", "sub_01_T2w.nii.gz", "sub-01_sub-02_T2w.nii", "README"],
)
def test_other_names_are_none_of_bids(name: str) -> None:
    assert parse_name(name) is None


@given(st.dictionaries(keys, labels, max_size=4), st.dictionaries(keys, labels, max_size=4))
def test_metadata_apply_if_they_have_no_entity_that_the_image_lacks(
    some: dict[str, str], more: dict[str, str]
) -> None:
    def name(entities: dict[str, str]) -> str:
        return "_".join([*(f"{key}-{label}" for key, label in entities.items()), "T2w.json"])

    upper, lower = parse_name(name(some)), parse_name(name(some | more))
    assert upper is not None
    assert lower is not None
    overridden = any(more.get(key, label) != label for key, label in some.items())
    assert upper.applies_to(lower) == (not overridden)


def one_image(root: Path, **conditions: tuple[str, ...]) -> tuple[BidsDataset, object]:
    found = BidsDataset(root)
    [image] = found.images("01", **conditions)
    return found, image


def test_lower_sidecars_override_higher_ones_and_add_to_them(tmp_path: Path) -> None:
    root = dataset(tmp_path / "raw", ("01",))
    write_json(root / "T2w.json", EchoTime=1, FlipAngle=1, Manufacturer="top")
    write_json(root / "sub-01/sub-01_T2w.json", FlipAngle=2, Manufacturer="middle")
    write_json(root / "sub-01/anat/sub-01_T2w.json", Manufacturer="bottom")
    write_json(root / "T1w.json", EchoTime=9, Unrelated=True)
    write_json(root / "acq-hi_T2w.json", EchoTime=8, Unrelated=True)
    found, image = one_image(root)
    assert found.metadata(image) == {"EchoTime": 1, "FlipAngle": 2, "Manufacturer": "bottom"}


def test_several_sidecars_of_one_folder_are_said_and_the_more_specific_counts(tmp_path: Path) -> None:
    root = dataset(tmp_path / "raw", ("01",))
    write_json(root / "sub-01/anat/T2w.json", EchoTime=1, FlipAngle=1)
    write_json(root / "sub-01/anat/sub-01_T2w.json", EchoTime=2)
    found, image = one_image(root)
    with pytest.warns(SciSRWarning, match="2 sidecars of one folder"):
        assert found.metadata(image) == {"EchoTime": 2, "FlipAngle": 1}


def test_tables_are_taken_from_the_lowest_place_alone(tmp_path: Path) -> None:
    root = dataset(tmp_path / "raw", ())
    volume(root / "sub-01/dwi/sub-01_dir-AP_dwi.nii.gz", (4, 4, 3, 2))
    (root / "dwi.bval").write_text("0 1\n")
    found, image = one_image(root, suffixes=("dwi",))
    assert found.companion(image, ".bval") == root / "dwi.bval"
    (root / "sub-01/dwi/sub-01_dwi.bval").write_text("0 2\n")
    (root / "sub-01/dwi/sub-01_dir-PA_dwi.bval").write_text("0 3\n")
    found, image = one_image(root, suffixes=("dwi",))
    assert found.companion(image, ".bval") == root / "sub-01/dwi/sub-01_dwi.bval"
    (root / "sub-01/dwi/dir-AP_dwi.bval").write_text("0 4\n")
    found, image = one_image(root, suffixes=("dwi",))
    with pytest.raises(UnsupportedError, match=r"several \.bval files"):
        found.companion(image, ".bval")


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000, "\xff\xfe"])
def test_a_damaged_sidecar_is_refused_by_name(tmp_path: Path, content: str) -> None:
    root = dataset(tmp_path / "raw", ("01",))
    (root / "T2w.json").write_bytes(content.encode("latin-1"))
    found, image = one_image(root)
    with pytest.raises(UnreadableError, match=r"T2w\.json"):
        found.metadata(image)


def test_derivatives_and_hidden_files_are_no_input(tmp_path: Path) -> None:
    root = dataset(tmp_path / "raw", ("01",))
    volume(root / "derivatives/other/sub-01/anat/sub-01_desc-x_T2w.nii.gz")
    volume(root / "derivatives/sub-09/anat/sub-09_T2w.nii.gz")
    volume(root / "sourcedata/sub-08/anat/sub-08_T2w.nii.gz")
    (root / "sub-01/anat/._sub-01_T2w.nii.gz").write_bytes(b"of macOS")
    found = BidsDataset(root)
    assert found.subjects == ("01",)
    assert [str(image.relative) for image in found.images("01")] == ["sub-01/anat/sub-01_T2w.nii.gz"]


def test_conditions_choose_images(tmp_path: Path) -> None:
    root = dataset(tmp_path / "raw", ())
    for session in ("a", "b"):
        stem = f"sub-01/ses-{session}/{{}}/sub-01_ses-{session}"
        volume(root / (stem.format("anat") + "_T1w.nii.gz"), (3, 3, 3))
        volume(root / (stem.format("func") + "_task-x_sbref.nii.gz"), (3, 3, 3))
        volume(root / (stem.format("dwi") + "_sbref.nii.gz"), (3, 3, 3))
    found = BidsDataset(root)
    assert found.sessions(["01"]) == ("a", "b")
    assert len(found.images("01")) == 6
    assert len(found.images("01", suffixes=("sbref",))) == 4
    assert len(found.images("01", suffixes=("sbref",), datatypes=("dwi",))) == 2
    [one] = found.images("01", suffixes=("sbref",), datatypes=("dwi",), sessions=("b",))
    assert one.relative.name == "sub-01_ses-b_sbref.nii.gz"
    assert one.subject == "01"


def test_labels_may_have_their_prefix_and_unknown_ones_are_told(tmp_path: Path) -> None:
    found = BidsDataset(dataset(tmp_path / "raw", ("01", "02", "03")))
    assert found.chosen_subjects(["sub-03", "01", "01"]) == ("01", "03")
    with pytest.raises(UsageError, match="no participant 7 here; there are 01, 02, 03"):
        found.chosen_subjects(["01", "7"])
    with pytest.raises(UsageError, match="no session x here; there are no sessions"):
        found.chosen_sessions(("01",), ["x"])


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        BidsDataset(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no dataset_description"):
        BidsDataset(tmp_path)
    write_json(tmp_path / "dataset_description.json", Name="x")
    with pytest.raises(UsageError, match="BIDSVersion is missing"):
        BidsDataset(tmp_path)
