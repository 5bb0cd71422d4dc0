"""`make demo`: every promise of its table holds, and the pictures are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


def test_every_promise_of_the_demonstration_holds(tmp_path: Path) -> None:
    command = [sys.executable, SAMPLES / "demo.py", "--output", tmp_path / "out", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ok ") == 14
    assert " NO " not in done.stdout
    for name in ("star_field.png", "phantom.png", "phantom_dicom.png"):
        head = (tmp_path / "out" / name).read_bytes()[:8]
        assert head == b"\x89PNG\r\n\x1a\n"
