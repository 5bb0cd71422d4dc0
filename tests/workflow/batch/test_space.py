"""Full disks and read-only folders: said before any work, and without harm in the middle of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_disk import on_small_disk

from sciSR.errors import ResourceError, UsageError
from sciSR.workflow.batch.space import check_space, free_bytes, in_bytes

CHILD = Path(__file__).with_name("full_disk.py")


@pytest.mark.parametrize("mode", ["local", "network"])
def test_a_disk_that_fills_up(mode: str, tmp_path: Path) -> None:
    told = on_small_disk(CHILD, str(tmp_path), mode)
    assert told["checked"].startswith(f"5 {tmp_path}/out: about 1 MB will be written, ")
    for run in ("full", "again"):
        assert told[run].startswith("5 ")
        assert "disk is full" in told[run]
    assert told["damaged"] == []
    assert told["resumed"] == "all done"
    assert told["missing"] == told["strange"] == []
    for run in ("read-only", "checked read-only"):
        assert told[run] == f"2 {tmp_path}/out: not permitted: Read-only file system"
    assert told["dry run"] == ["done", "new"]


def test_more_than_is_free_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as told:
        check_space(tmp_path / "new", free_bytes(tmp_path) + 10**9)
    assert "free some space" in str(told.value)
    assert check_space(tmp_path / "new", 1000) > 1000


def test_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="is no folder"):
        check_space(tmp_path / "file", 1)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1234567, "1.23 MB"), (5e15, "5e+03 TB")]
)
def test_bytes_in_words(count: float, words: str) -> None:
    assert in_bytes(count) == words
