"""A stranger's file where the summary is to be is said before any work, and stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from sciSR import Pipeline
from sciSR.errors import UsageError


@pytest.mark.parametrize("name", ["summary.html", "summary.json"])
def test_a_strangers_summary(tmp_path: Path, name: str) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    output.mkdir()
    (source / "a.fits").write_bytes(b"0")
    (output / name).write_text("mine")
    pipeline = Pipeline.from_dict({"pipeline": "t", "steps": [{"step": "read"}]})
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=f"{name}: is no summary of a run"):
            pipeline.run(source, output, overwrite=overwrite)
    assert (output / name).read_text() == "mine"
    assert not (output / ".scisr" / "logs").exists()
