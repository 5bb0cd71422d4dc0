"""Progress: a bar with the time left on a terminal, plain text elsewhere, silence when asked."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sciSR.cli.progress import shown

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


def stderr_on_a_terminal(*words: object) -> str:
    """What a run writes to a terminal as its stderr."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sciSR", *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    ) as run:
        os.close(theirs)
        seen = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # Linux reports the closed terminal as an error
                break
            if not chunk:
                break
            seen += chunk
        os.close(ours)
        assert run.wait() == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


def test_a_terminal_sees_a_bar_with_name_share_and_time_left(tmp_path: Path) -> None:
    words = ["upscale", SAMPLES / "phantom.nii.gz", "-o", tmp_path / "out.nii.gz", "--model", "cubic"]
    seen = stderr_on_a_terminal(*words)
    assert re.search(r"phantom\.nii\.gz .*\d+% left \S*:\S*", seen)


def test_a_file_sees_plain_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 20.0, 21.0, 40.0, 50.0])
    monkeypatch.setattr("sciSR.cli.progress.time.monotonic", lambda: next(clock))
    with shown("m51.fits", quiet=False) as report:
        assert report is not None
        for fraction in (0.05, 0.5, 0.55, 0.8, 1.0):
            report(fraction)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["m51.fits: 50%, about 20 s left", "m51.fits: 80%, about 10 s left"]


def test_quiet_has_no_progress() -> None:
    with shown("m51.fits", quiet=True) as report:
        assert report is None
