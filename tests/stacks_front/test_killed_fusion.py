"""A fusion that is killed at any moment leaves the old files or none; a polite one leaves nothing else either."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stack_phantom import three_stacks

NAMES = ("iso.nii.gz", "iso_std.nii.gz", "iso.json", "iso.png")


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return three_stacks(tmp_path_factory.mktemp("stacks"), spacing=(4.0, 4.0, 8.0), thickness=8.0)


def stop_at(moment: str, stacks: list[Path], folder: Path, number: signal.Signals, *words: str) -> int:
    """Run up to the moment, send the signal, return the exit code."""
    script = Path(__file__).with_name("interrupted_fusion.py")
    command = [sys.executable, str(script), moment, "fuse", *map(str, stacks)]
    command += ["-o", str(folder / "iso.nii.gz"), "--no-slice-motion", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line.strip() == "the moment has come", process.stderr.read()
        process.send_signal(number)
        return process.wait(60)


@pytest.mark.parametrize("moment", ["solved", "commit"])
def test_a_killed_fusion_leaves_the_old_files(moment: str, stacks: list[Path], tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_text(f"old {name}")
    assert stop_at(moment, stacks, tmp_path, signal.SIGKILL, "--overwrite") == -signal.SIGKILL
    assert {name: (tmp_path / name).read_text() for name in NAMES} == {name: f"old {name}" for name in NAMES}


def test_a_fusion_killed_while_it_writes_leaves_no_file(stacks: list[Path], tmp_path: Path) -> None:
    assert stop_at("commit", stacks, tmp_path, signal.SIGKILL) == -signal.SIGKILL
    assert not any((tmp_path / name).exists() for name in NAMES)


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("working", signal.SIGINT, 130),
        ("solved", signal.SIGTERM, 143),
        ("staged", signal.SIGTERM, 143),
        ("commit", signal.SIGHUP, 129),
    ],
)
def test_an_interrupted_fusion_leaves_nothing(
    moment: str, number: signal.Signals, code: int, stacks: list[Path], tmp_path: Path
) -> None:
    assert stop_at(moment, stacks, tmp_path, number) == code
    assert list(tmp_path.iterdir()) == []
