"""Tasks over copies of the sample files, for tests of steps and of the runner."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sciSR.workflow.pipelines.nodes import Node, compile_steps
from sciSR.workflow.pipelines.registry import steps
from sciSR.workflow.pipelines.work import ItemResult, Task

SAMPLES = Path(__file__).resolve().parents[3] / "data_samples"


class _Branches:
    def __init__(self, values: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self.branches = {name: [_entry(each) for each in inner] for name, inner in values.items()}


def _entry(values: Mapping[str, Any]) -> Any:
    if "branches" in values:
        return _Branches(values["branches"])
    return steps()[values["step"]].entry.model_validate(values)


def tree(*entries: Mapping[str, Any]) -> tuple[Node, ...]:
    """The nodes of steps and branches as a pipeline file has them."""
    return compile_steps([_entry(values) for values in entries])


def make_task(folder: Path, files: Sequence[Path], nodes: Sequence[Node], **fields: Any) -> Task:
    """A task over some files; those that are not in its input folder are copied there first."""
    source, output = folder / "in", folder / "out"
    source.mkdir(exist_ok=True)
    output.mkdir(exist_ok=True)
    found = []
    for path in files:
        target = path if source in path.parents else source / path.name
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        elif path != target:
            shutil.copy(path, target)
        found.append(str(target))
    values = {
        "key": "item1",
        "files": tuple(found),
        "facts": {"stem": "item1"},
        "sequence": False,
        "nodes": tuple(nodes),
        "name": "{item}_hr",
        "input": str(source),
        "output": str(output),
        "scratch": str(output / ".scisr" / "scratch" / "item1"),
    }
    return Task(**{**values, **fields})


def outputs_of(task: Task) -> dict[str, bytes]:
    """Everything in the output folder but what is the run's own."""
    folder = Path(task.output)
    files = (p for p in folder.rglob("*") if p.is_file() and ".scisr" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def records(result: ItemResult) -> dict[str, Mapping[str, Any]]:
    """What each step recorded, by its id without number."""
    return {step["id"][3:]: step["record"] for step in result.steps}


def assert_done(result: ItemResult) -> None:
    """Done, and small enough to be sent around."""
    assert result.error is None
    assert result.status == "done"
    text = json.dumps(result.as_dict(), allow_nan=False)
    assert ItemResult.from_dict(json.loads(text)) == result
    assert len(text) < 60_000
