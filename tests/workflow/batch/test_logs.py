"""An item's log: all that its worker said, and no patient's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_steps import task

from sciSR.workflow.batch.limits import Limits, Patience
from sciSR.workflow.batch.logs import LARGEST, begin_log, bound_log, without_names
from sciSR.workflow.batch.supervisor import supervise
from sciSR.workflow.batch.worker_source import WorkerSource

ONCE = Limits(retries=0)
QUICK = Patience(grace=0.3, pauses=())


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()


def logged(folder: Path, source: WorkerSource, step: str, limits: Limits = ONCE, /, **given: object) -> str:
    path = folder / "logs" / "item.log"
    supervise(task(folder, "item", step, **given), limits, log=path, source=source, patience=QUICK)
    return path.read_text(errors="strict")


def test_a_log_has_parameters_what_was_said_and_where_it_fell(tmp_path: Path, source: WorkerSource) -> None:
    text = logged(tmp_path, source, "segfault")
    assert "01-segfault {}" in text
    assert "about to fall" in text
    assert "Segmentation fault" in text
    assert "hostile_steps.py" in text, "the stack at the time"
    assert text.rstrip().splitlines()[-1].startswith("failed: item: crashed in native code (SIGSEGV)")


def test_a_log_has_the_traceback_of_what_nobody_expected(tmp_path: Path, source: WorkerSource) -> None:
    (tmp_path / "marks").mkdir()
    text = logged(tmp_path, source, "count", folder=str(tmp_path / "marks"), fail="unexpected")
    assert "Traceback" in text
    assert "RuntimeError: nobody thought of this" in text


def test_garbage_is_kept_readable(tmp_path: Path, source: WorkerSource) -> None:
    assert "garbagegarbage" in logged(tmp_path, source, "shout")


def test_all_attempts_are_in_one_log(tmp_path: Path, source: WorkerSource) -> None:
    text = logged(tmp_path, source, "fall_once", Limits(retries=1), mark=str(tmp_path / "mark"))
    assert "SIGSEGV" in text
    assert "attempt 2 of 2" in text
    assert "\ndone (" in text


def test_a_second_run_begins_a_new_log(tmp_path: Path, source: WorkerSource) -> None:
    (tmp_path / "marks").mkdir()
    first = logged(tmp_path, source, "segfault")
    again = logged(tmp_path, source, "count", folder=str(tmp_path / "marks"), fail="refuse")
    assert "Segmentation fault" in first
    assert "Segmentation fault" not in again


def test_names_of_files_are_not_in_the_log(tmp_path: Path, source: WorkerSource) -> None:
    folder = tmp_path / "in" / "DOE^JANE"
    folder.mkdir(parents=True)
    file = folder / "Doe_Jane_1970.dcm"
    file.write_bytes(b"x")
    path = tmp_path / "logs" / "item.log"
    given = task(tmp_path, "item", "name_files", files=(str(file),))
    result = supervise(given, ONCE, log=path, source=source)
    assert "doe" not in str(result.as_dict()).lower()
    text = path.read_text()
    assert "make sense of" in text
    assert "<item>" in text
    assert "doe" not in text.lower()


def test_names_that_the_key_holds_anyway_stay(tmp_path: Path) -> None:
    given = task(tmp_path, "m51", "good", files=("/data/night/m51.fits",))
    assert without_names("bad: /data/night/m51.fits[1]", given) == "bad: m51.fits[1]"


def test_frames_of_formats_without_patients_are_named(tmp_path: Path) -> None:
    files = ("/data/night/frame_001.fits", "/data/night/frame_002.fits")
    given = task(tmp_path, "M51_Ha", "good", files=files)
    assert without_names(f"truncated: {files[1]}", given) == "truncated: frame_002.fits"


def test_files_called_by_numbers_do_not_turn_numbers_into_names(tmp_path: Path) -> None:
    files = tuple(f"/data/DOE^JANE/{number}" for number in (1, 4, 12, 12345678))
    given = task(tmp_path, "series-7", "good", files=files, input="/data")
    said = without_names("/data/DOE^JANE/12: 937.1 mm from 12345678, expected 4 mm; 12 slices", given)
    assert said == "<series-7 file 3>: 937.1 mm from <series-7 file 4>, expected 4 mm; 12 slices"


def test_values_that_a_library_quotes_are_not_in_the_log(tmp_path: Path) -> None:
    given = task(tmp_path, "item", "good")
    assert "Doe" not in without_names("UserWarning: Invalid value for VR PN: 'Doe^Jane'.", given)


def test_a_log_does_not_grow_without_end(tmp_path: Path) -> None:
    path = tmp_path / "item.log"
    path.write_bytes(b"x" * (LARGEST + 1))
    bound_log(path)
    assert path.stat().st_size < LARGEST
    assert "dropped" in path.read_text()[-100:]


def test_links_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    path = tmp_path / "item.log"
    path.symlink_to(precious)
    begin_log(path, task(tmp_path, "item", "good"), "sciSR")
    assert precious.read_text() == "keep me"
    assert not path.is_symlink()


def test_a_log_that_can_not_be_written_fails_no_item(tmp_path: Path, source: WorkerSource) -> None:
    (tmp_path / "logs").write_text("in the way")
    path = tmp_path / "logs" / "item.log"
    assert supervise(task(tmp_path, "item", "good"), ONCE, log=path, source=source).ok
