"""A disk that fills up in the middle ends a run in one line that says how to go on, and nothing is half written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("run_on_full_disk.py")


def test_a_run_goes_on_after_room_is_made(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare to make a small disk with")
    private = [unshare, "--user", "--map-root-user", "--mount"]
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no namespaces to mount a small disk in")
    words = [*private, sys.executable, str(CHILD), str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    if not told["mounted"]:
        pytest.skip("this system allows no mounts in a namespace")
    assert told["full"].startswith(f"5 {tmp_path}/out/")
    assert told["full"].endswith("free some space and run again with --resume; what is done stays done")
    assert told["whole"]
    assert told["left"] == []
    assert json.loads(told["resumed"])["failed"] == 0
    assert told["files"] == ["0.fits", "1.fits", "2.fits", "summary.html", "summary.json"]
