"""A disk that fills up in the middle ends a run in one line that says how to go on, and nothing is half written."""

from __future__ import annotations

import json
from pathlib import Path

from small_disk import on_small_disk

CHILD = Path(__file__).with_name("run_on_full_disk.py")


def test_a_run_goes_on_after_room_is_made(tmp_path: Path) -> None:
    told = on_small_disk(CHILD, str(tmp_path))
    assert told["full"].startswith(f"5 {tmp_path}/out/")
    assert told["full"].endswith("free some space and run again with --resume; what is done stays done")
    assert told["whole"]
    assert told["left"] == []
    assert json.loads(told["resumed"])["failed"] == 0
    assert told["files"] == ["0.fits", "1.fits", "2.fits", "summary.html", "summary.json"]
