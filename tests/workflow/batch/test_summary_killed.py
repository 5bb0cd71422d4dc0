"""A run that is killed as it writes its summary leaves nothing that the next run does not take away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sciSR.workflow.batch.summary import write_summary
from sciSR.workflow.pipelines.results import RunResult

KILLED = """
import os, signal, sys
from pathlib import Path
from sciSR.files import atomic_output

with atomic_output(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_summary_is_cleared_away(tmp_path: Path) -> None:
    for name in ("summary.html", "summary.json"):
        assert (
            subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name)], check=False).returncode == -9
        )
    assert len(list(tmp_path.iterdir())) == 2
    write_summary(tmp_path, RunResult("night", tmp_path, tmp_path, (), 0.0))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["summary.html", "summary.json"]
