"""A run that is killed at any moment leaves the old output or none; a polite one leaves nothing else either."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
CHILD = Path(__file__).with_name("interrupted_run.py")
FORMATS = {"star_field.fits": "out.fits", "phantom.nii.gz": "out.nii.gz", "phantom_dicom": "out_series"}
MOMENTS = ["begin", "middle", "commit"]


def stop_at(moment: str, sample: str, output: Path, number: signal.Signals) -> int:
    """Start a run, send the signal at the moment, return the exit code."""
    words = [moment, "upscale", SAMPLES / sample, "-o", output, "--overwrite", "--model", "linear", "-q"]
    with subprocess.Popen([sys.executable, CHILD, *words], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "the moment has come\n"
        child.send_signal(number)
        return child.wait(timeout=60)


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("sample", FORMATS)
def test_kill_leaves_the_old_output(sample: str, moment: str, tmp_path: Path) -> None:
    output = tmp_path / FORMATS[sample]
    if sample == "phantom_dicom":
        output.mkdir()
        (output / "old.dcm").write_bytes(b"the old output")
    else:
        output.write_bytes(b"the old output")
    before = content(output)
    assert stop_at(moment, sample, output, signal.SIGKILL) == -signal.SIGKILL
    assert content(output) == before


@pytest.mark.parametrize("sample", FORMATS)
def test_kill_leaves_no_half_output(sample: str, tmp_path: Path) -> None:
    output = tmp_path / FORMATS[sample]
    assert stop_at("commit", sample, output, signal.SIGKILL) == -signal.SIGKILL
    assert not output.exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("sample", FORMATS)
def test_an_interrupted_run_cleans_up(sample: str, number: signal.Signals, code: int, tmp_path: Path) -> None:
    assert stop_at("middle", sample, tmp_path / FORMATS[sample], number) == code
    assert list(tmp_path.iterdir()) == []
