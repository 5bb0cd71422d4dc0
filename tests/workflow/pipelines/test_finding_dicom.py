"""Inputs of a DICOM export: whatever the order and the folders, a series is an item, and its name tells nobody's."""

from __future__ import annotations

import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from dicom_samples import make_series
from pydicom.dataset import Dataset

from sciSR.errors import SciSRWarning, UsageError
from sciSR.plugins import adapters
from sciSR.workflow.pipelines.config import Dicom, Inputs
from sciSR.workflow.pipelines.finding import find_items
from sciSR.workflow.pipelines.items import Item
from sciSR.workflow.pipelines.pipeline import Pipeline


def series(folder: Path, number: int, *, description: str = "", modality: str = "MR", kind: str = "") -> None:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.SeriesNumber = number
        dataset.SeriesInstanceUID = f"1.2.3.{number}"
        dataset.SeriesDescription = description
        dataset.PatientName = "Doe^Jane"
        dataset.PatientID = "PID77"
        dataset.MagneticFieldStrength = 3
        if kind:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", kind]

    make_series(
        folder, modality=modality, edit=edit, uid=f"1.2.3.{number}", name=f"{number}_{{:02d}}.dcm".format
    )


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Two studies in folders that tell nothing, the files of all series mixed, and what else is on such a disc."""
    series(tmp_path / "made", 2, description="T2 sag Jane")
    series(tmp_path / "made", 10, description="T1 ax")
    series(tmp_path / "made", 3, modality="CT")
    disc, draw = tmp_path / "disc", random.Random(3)
    files = sorted((tmp_path / "made").iterdir())
    draw.shuffle(files)
    for count, file in enumerate(files):
        target = disc / f"DOE_JANE/{count % 3}/IM{count:04d}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    (disc / "README.TXT").write_text("viewer")
    (disc / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(400))
    return disc


def found(folder: Path, **filters: Any) -> list[Item]:
    return find_items(Inputs(dicom=Dicom(**filters)), folder)


def test_a_series_is_an_item_whatever_the_folders(export: Path) -> None:
    items = found(export)
    assert [item.facts["SeriesNumber"] for item in items] == ["2", "3", "10"]
    assert [len(item.files) for item in items] == [4, 4, 4]
    assert [item.facts["Modality"] for item in items] == ["MR", "CT", "MR"]
    for item in items:
        assert item.problem is None
        [image] = adapters()["dicom"].read_files(item.files)
        assert image.data.shape == (4, 10, 12)


def test_keys_are_the_same_from_anywhere_and_tell_nobodys_name(export: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(export / "DOE_JANE", tmp_path / "elsewhere")
    one, two = found(export), found(moved)
    assert [item.key for item in one] == [item.key for item in two]
    told = str([(item.key, item.facts) for item in one]).lower()
    assert not any(word in told for word in ("doe", "jane", "pid77", "sag"))


def test_headers_choose_series(export: Path) -> None:
    def numbers(**filters: Any) -> list[str]:
        return [item.facts["SeriesNumber"] for item in found(export, **filters)]

    assert numbers(modality=["CT"]) == ["3"]
    assert numbers(description=["t2*"]) == ["2"]
    assert numbers(description=["*jane", "T1*"], modality=["MR"]) == ["2", "10"]
    assert numbers(tags={"MagneticFieldStrength": ">= 3", "SeriesNumber": "> 2"}) == ["3", "10"]
    assert numbers(tags={"PatientID": "PID77", "Modality": "CT"}) == ["3"]


def test_an_unknown_keyword_is_refused_with_what_was_meant(export: Path) -> None:
    with pytest.raises(UsageError, match="did you mean MagneticFieldStrength"):
        found(export, tags={"MagneticFieldStrenght": 3})


def test_scouts_and_other_objects_are_left_out_with_a_warning(tmp_path: Path) -> None:
    series(tmp_path, 1, kind="LOCALIZER")
    series(tmp_path, 2)
    with pytest.warns(SciSRWarning, match="1 localizer series"):
        assert [item.facts["SeriesNumber"] for item in found(tmp_path)] == ["2"]


def test_a_damaged_slice_makes_its_series_fail_and_no_other(tmp_path: Path) -> None:
    series(tmp_path, 1)
    series(tmp_path, 2)
    file = tmp_path / "2_03.dcm"
    file.write_bytes(file.read_bytes()[:-40])  # the header still says which series it is of
    good, bad = found(tmp_path)
    assert good.problem is None
    assert "2_03.dcm" in str(bad.problem)
    assert found(tmp_path, modality=["CT"]) == []
    file.write_bytes(b"\xff" * 3000)
    assert len(found(tmp_path, modality=["CT"])) == 1  # nobody knows what it was: never dropped in silence


def test_a_file_damaged_beyond_recognition_fails_by_itself_or_with_its_only_neighbour(tmp_path: Path) -> None:
    series(tmp_path / "a", 1)
    series(tmp_path / "b", 2)
    (tmp_path / "b/9.dcm").write_bytes(b"\xff" * 3000)
    good, bad = found(tmp_path)
    assert good.problem is None
    assert "9.dcm" in str(bad.problem)
    shutil.copytree(tmp_path / "a", tmp_path / "b", dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "a")
    one, two, alone = found(tmp_path)
    assert one.problem is None
    assert two.problem is None
    assert "it may be a slice" in str(alone.problem)


def test_single_files_by_pattern_tell_nobodys_name_either(export: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        items = find_items(Inputs(files="**/IM*"), export)
    assert len(items) == 12
    assert not any("doe" in f"{item.key} {item.facts}".lower() for item in items)


def test_a_damaged_single_file_that_can_not_tell_whose_it_is_goes_by_no_name(tmp_path: Path) -> None:
    (tmp_path / "Doe_Jane").mkdir()
    (tmp_path / "Doe_Jane" / "DOE^JANE.dcm").write_bytes(bytes(128) + b"DICM" + bytes(400))
    (tmp_path / "Jane.dcm").symlink_to("nowhere")
    (tmp_path / "Jane_2.dcm").write_bytes(bytes(128) + b"DICM" + b"Doe^Jane" * 100)
    items = find_items(Inputs(files="**/*"), tmp_path)
    assert all(item.key.startswith("damaged-") for item in items)
    assert not any("jane" in str(item.facts).lower() for item in items)


def test_damaged_files_are_not_recorded_by_a_patients_name(tmp_path: Path) -> None:
    """What can't be read is named before any step runs: in the plan, the result, the ledger and the summary."""
    series(tmp_path / "in" / "Doe_Jane", 4)
    slices = sorted((tmp_path / "in" / "Doe_Jane").iterdir())
    slices[1].write_bytes(slices[1].read_bytes()[:-50])
    slices[1].rename(slices[1].with_name("DOE^JANE_01"))
    (tmp_path / "in" / "PID77.dcm").write_bytes(b"")
    pipeline = Pipeline.from_dict(
        {"pipeline": "p", "inputs": {"dicom": {}}, "steps": [{"step": "read"}, {"step": "write"}]}
    )
    plan = pipeline.plan(tmp_path / "in", tmp_path / "out")
    run = pipeline.run(tmp_path / "in", tmp_path / "out")
    told = str(plan.as_dict()) + str(run.as_dict())
    told += "".join(p.read_text("latin-1") for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert [result.status for result in run.results] == ["failed", "failed"]
    assert "truncated" in told
    assert not any(name in told.lower() for name in ("doe", "jane", "pid77"))


def test_a_colour_model_that_no_standard_knows_is_not_quoted(tmp_path: Path) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.PhotometricInterpretation = "DOE JANE"

    make_series(tmp_path, edit=edit)
    with pytest.warns(SciSRWarning, match=r"colour image \(unknown") as said:
        assert found(tmp_path) == []
    assert "DOE" not in str(said[0].message)
