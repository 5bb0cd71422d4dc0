"""Two items never write one output: it is said before any work, with --overwrite too."""

from __future__ import annotations

from pathlib import Path

import pytest

from sciSR import Pipeline


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "step", "failing"),
    [
        ("{stem}", {"step": "write"}, [False, True]),
        ("{folder}/{stem}", {"step": "write"}, [False, False]),
        ("{item}", {"step": "write", "output": "one"}, [False, True]),
        ("{stem}", {"step": "report"}, [False, True]),
    ],
)
def test_the_later_of_two_items_fails(
    tmp_path: Path, name: str, step: dict[str, str], failing: list[bool], overwrite: bool
) -> None:
    for folder in ("one", "two"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "a.fits").write_bytes(b"0")
    pipeline = Pipeline.from_dict(
        {
            "pipeline": "t",
            "inputs": {"files": ["**/*.fits"]},
            "steps": [{"step": "read"}, {"step": "upscale", "model": "cubic"}, step],
            "outputs": {"name": name},
        }
    )
    plan = pipeline.plan(tmp_path / "in", tmp_path / "out", overwrite=overwrite)
    assert [item.failing for item in plan.items] == failing


def test_suffixes_tell_outputs_apart(tmp_path: Path) -> None:
    for each in ("a.fits", "a.nii"):
        (tmp_path / each).write_bytes(b"0")
    steps = [{"step": "read"}, {"step": "write"}]
    pipeline = Pipeline.from_dict({"pipeline": "t", "steps": steps, "outputs": {"name": "{stem}"}})
    assert [item.problem for item in pipeline.items(tmp_path, tmp_path / "out")] == [None, None]
