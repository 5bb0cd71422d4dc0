"""A folder of DICOM files with a pipe among them was waited for without end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
SNIFF = """
import sys
from sciSR.plugins import adapter_for
print(adapter_for(sys.argv[1]).name)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
@pytest.mark.parametrize("with_slices", [False, True])
def test_a_pipe_in_a_folder_is_not_opened(tmp_path: Path, with_slices: bool) -> None:
    os.mkfifo(tmp_path / "a_pipe")
    if with_slices:
        folder = next(p for p in sorted(SAMPLES.iterdir()) if p.is_dir() and any(p.glob("*.dcm")))
        for file in folder.glob("*.dcm"):
            shutil.copy(file, tmp_path)
    # In a process of its own: what waits for a pipe can't be told to stop.
    done = subprocess.run(
        [sys.executable, "-c", SNIFF, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    if with_slices:
        assert done.stdout.strip() == "dicom"
    else:
        assert "UnreadableError" in done.stderr
