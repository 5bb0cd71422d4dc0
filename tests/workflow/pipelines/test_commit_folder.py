"""A folder that somebody made of an output's name keeps what lies in it, with --overwrite and --resume too."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_tasks import make_task

from sciSR.errors import UsageError
from sciSR.workflow.pipelines.commit import commit


@pytest.mark.parametrize("fields", [{"overwrite": True}, {"may_replace": ("a.fits",)}])
def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path, fields: dict[str, object]) -> None:
    task = make_task(tmp_path, [], (), **fields)
    made = Path(task.scratch) / "made.fits"
    made.parent.mkdir(parents=True)
    made.write_bytes(b"new")
    mine = Path(task.output) / "a.fits" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(UsageError, match=r"a\.fits: is a folder"):
        commit(task, {"a.fits": made})
    assert mine.read_text() == "precious"
