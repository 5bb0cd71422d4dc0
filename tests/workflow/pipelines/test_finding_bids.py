"""Inputs of a BIDS dataset: filters by entities, several files of one subject as one sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bids_samples import dataset, write_json

from sciSR.errors import UsageError
from sciSR.workflow.pipelines.config import Bids, Inputs
from sciSR.workflow.pipelines.finding import find_items
from sciSR.workflow.pipelines.items import Item


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = dataset(tmp_path_factory.mktemp("bids"), subjects=())
    for name in (
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_acq-ax_run-1_T2w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_acq-sag_run-2_T2w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_acq-ax_T2w.nii.gz",
        "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
        "derivatives/other/sub-02/anat/sub-02_T2w.nii.gz",
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"0")  # names alone are looked at
    write_json(root / "sub-02/anat/sub-02_T2w.json", EchoTime=0.1)
    return root


def found(root: Path, group: Any = None, exclude: Any = (), **filters: Any) -> list[Item]:
    return find_items(Inputs(bids=Bids(**filters), group=group, exclude=list(exclude)), root)


def keys(root: Path, **filters: Any) -> list[str]:
    return [item.key for item in found(root, **filters)]


def test_images_are_named_as_bids_names_them(study: Path) -> None:
    assert keys(study) == [
        "sub-01_ses-a_T1w",
        "sub-01_ses-a_acq-ax_run-1_T2w",
        "sub-01_ses-a_acq-sag_run-2_T2w",
        "sub-01_ses-a_task-rest_bold",
        "sub-01_ses-b_acq-ax_T2w",
        "sub-02_T2w",
    ]


def test_entities_choose(study: Path) -> None:
    assert keys(study, suffix=["T1w", "bold"]) == ["sub-01_ses-a_T1w", "sub-01_ses-a_task-rest_bold"]
    assert keys(study, datatype=["func"]) == ["sub-01_ses-a_task-rest_bold"]
    assert keys(study, subject=["sub-02"]) == keys(study, subject=["02"]) == ["sub-02_T2w"]
    assert keys(study, session=["b"]) == ["sub-01_ses-b_acq-ax_T2w"]
    assert keys(study, suffix=["T*"], entities={"acq": ["ax"]}, session=["a"]) == [
        "sub-01_ses-a_acq-ax_run-1_T2w"
    ]
    assert keys(study, suffix=["T2w"], exclude=["sub-01/**"]) == ["sub-02_T2w"]


def test_facts_are_entities(study: Path) -> None:
    [item] = found(study, suffix=["bold"])
    assert item.facts == {
        **{"sub": "01", "subject": "01", "ses": "a", "session": "a", "task": "rest"},
        **{"datatype": "func", "suffix": "bold"},
        **{"stem": "sub-01_ses-a_task-rest_bold", "folder": "sub-01/ses-a/func"},
    }


def test_orientations_of_a_session_are_one_sequence(study: Path) -> None:
    one, two, three = found(study, group=["sub", "ses", "suffix"], suffix=["T2w"])
    assert [one.key, two.key, three.key] == ["sub-01_a_T2w", "sub-01_b_T2w", "sub-02_T2w"]
    assert len(one.files) == 2
    assert one.sequence
    assert one.facts["session"] == "a"
    assert "acq" not in one.facts


def test_sidecars_can_be_asked(study: Path) -> None:
    items = find_items(
        Inputs(bids=Bids(suffix=["T2w"], subject=["02"]), header={"EchoTime": "> 0.05"}), study
    )
    assert [str(item.problem) for item in items] != ["None"]  # one byte is no image: it fails by name


def test_sidecars_of_images_choose(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    write_json(root / "sub-02/anat/sub-02_T2w.json", EchoTime=0.1, PatientName="Doe")
    items = find_items(Inputs(bids=Bids(), header={"EchoTime": "> 0.05"}), root)
    assert [item.key for item in items] == ["sub-02_T2w"]
    assert "Doe" not in str(items)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset_description\.json"):
        found(tmp_path)
