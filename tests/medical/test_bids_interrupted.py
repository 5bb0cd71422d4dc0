"""A run over a BIDS dataset that is interrupted leaves nothing that passes for a result, and the next one goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bids_samples import QUICK, dataset, run, sidecar_of, snapshot

from sciSR.provenance import file_sha256

CHILD = Path(__file__).with_name("bids_interrupted.py")


def interrupted(moment: str, number: signal.Signals, *words: object) -> int:
    command = [sys.executable, str(CHILD), moment, str(int(number)), *map(str, words)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode


@pytest.mark.parametrize("moment", ["image", "sidecar"])
def test_a_killed_run_is_resumed_without_overwrite(moment: str, tmp_path: Path) -> None:
    raw, out = dataset(tmp_path / "raw"), tmp_path / "out"
    before = snapshot(raw)
    words = (raw, out, "participant", *QUICK)
    assert interrupted(moment, signal.SIGKILL, *words) == -signal.SIGKILL
    assert not list(out.rglob("*_T2w.json"))
    assert run(*words) == 0
    images = list(out.rglob("*.nii.gz"))
    assert len(images) == 2
    for image in images:
        assert sidecar_of(image)["SciSR"]["OutputSHA256"] == file_sha256(image)
    assert not list(out.rglob("*.tmp"))
    assert snapshot(raw) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_polite_end_leaves_no_trace_of_the_unfinished_subject(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    raw, out = dataset(tmp_path / "raw"), tmp_path / "out"
    assert interrupted("sidecar", number, raw, out, "participant", *QUICK) == code
    names = sorted(str(file.relative_to(out)) for file in out.rglob("*"))
    assert names == [".bidsignore", "README.md", "dataset_description.json"]


def test_a_killed_redo_is_found_out(tmp_path: Path) -> None:
    raw, out = dataset(tmp_path / "raw", ("01",)), tmp_path / "out"
    words = (raw, out, "participant", *QUICK)
    assert run(*words) == 0
    redo = (*words, "--model", "cubic", "--overwrite")
    assert interrupted("sidecar", signal.SIGKILL, *redo) == -signal.SIGKILL
    assert run(*words) == 2  # a new image beside an old sidecar is no result of either run
    assert run(*redo) == 0
