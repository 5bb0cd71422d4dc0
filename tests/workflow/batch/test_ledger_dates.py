"""An input that was rewritten in its place is seen, whatever date its content bears."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from batch_tasks import run, task

from sciSR.workflow.batch import ledger_inputs
from sciSR.workflow.batch.ledger import Ledger


def test_a_date_that_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = task(tmp_path, "one")
    path = Path(each.files[0])
    monkeypatch.setattr(ledger_inputs, "_TICK", -1)  # as if it had lain there for long
    with Ledger.open(each.output) as ledger:
        run(ledger, [each])
    before, content = path.stat(), path.read_bytes()[::-1]
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of the file system has ticks
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    with Ledger.open(each.output) as ledger:
        assert ledger.why(each) == "input changed"
