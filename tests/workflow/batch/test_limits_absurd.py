"""Limits that mean nothing are refused in plain words; one beyond all memory is no limit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_steps import task

from sciSR.cli.main import main
from sciSR.workflow.batch.limits import Limits
from sciSR.workflow.batch.supervisor import ProcessExecutor


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--time-limit=1.2.3", "must be a time like 90"),
        ("--memory-limit=1.2.3", "must be a size like '8 GB'"),
    ],
)
def test_two_points(tmp_path: Path, option: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("pipeline: t\nsteps: [{step: read}]\n")
    assert main(["run", str(path), "-i", str(tmp_path), "-o", str(tmp_path / "out"), option]) == 2
    assert said in capsys.readouterr().err


def test_more_memory_than_a_machine_can_count(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    executor = ProcessExecutor(1, Limits(memory=10**31, retries=0), preload=("hostile_workers",))
    (result,) = executor.run([task(tmp_path, "one", "good")])
    assert result.ok, result.error
