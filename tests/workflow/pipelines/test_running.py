"""One item through a pipeline's steps: all of its outputs or none, whatever happens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import sciSR
from sciSR.provenance import file_sha256
from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.pipelines.registry import steps
from sciSR.workflow.pipelines.running import run_task
from sciSR.workflow.pipelines.work import ItemResult, Task

SAMPLES = Path(__file__).resolve().parents[3] / "data_samples"


def line(*entries: Mapping[str, Any]) -> tuple[Node, ...]:
    """Nodes one after another, with the defaults of their steps."""
    nodes: list[Node] = []
    for number, values in enumerate(entries, 1):
        entry = steps()[values["step"]].entry.model_validate(values)
        parent = nodes[-1].id if nodes else None
        name = entry.name or entry.step
        nodes.append(Node(f"{number:02d}-{entry.step}", entry.step, name, entry.parameters(), parent))
    return tuple(nodes)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Task]:
    """A task over some files, which are copied into an input folder first."""

    def task(files: Sequence[Path], nodes: Sequence[Node], **fields: Any) -> Task:
        source, output = tmp_path / "in", tmp_path / "out"
        source.mkdir(exist_ok=True)
        output.mkdir(exist_ok=True)
        found = []
        for path in files:
            target = source / path.name
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True)
            else:
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

    return task


def outputs_of(task: Task) -> dict[str, bytes]:
    """Everything in the output folder but what is the run's own."""
    folder = Path(task.output)
    files = (p for p in folder.rglob("*") if p.is_file() and ".scisr" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def assert_done(result: ItemResult) -> None:
    assert result.error is None
    assert result.status == "done"
    text = json.dumps(result.as_dict(), allow_nan=False)
    assert ItemResult.from_dict(json.loads(text)) == result
    assert len(text) < 100_000


SIMPLE = ({"step": "read"}, {"step": "upscale", "model": "linear"}, {"step": "write"})


@pytest.mark.parametrize("name", ["star_field.fits", "phantom.nii.gz", "phantom_dicom"])
def test_a_pipeline_of_one_step_is_the_command(make: Callable[..., Task], name: str, tmp_path: Path) -> None:
    """Same pixels, same record, and ``scisr verify`` of the original and the output passes."""
    task = make([SAMPLES / name], line(*SIMPLE))
    result = run_task(task)
    assert_done(result)
    made = Path(task.output) / result.outputs[0].path
    assert {output.path.partition(".")[0] for output in result.outputs} == {"item1_hr"}
    for output in result.outputs:
        place = Path(task.output) / output.path
        assert file_sha256(place) == output.sha256
    found = sciSR.verify_files(task.files[0], made)
    assert found.passed, [check for check in found.checks if check.status == "failed"]
    digests = [s["input_sha256"] for s in sciSR.read_all(made)[0].provenance.steps if "input_sha256" in s]
    assert not digests or digests == [file_sha256(task.files[0])]
    assert not Path(task.scratch).exists()
    assert sorted(p.name for p in Path(task.output).iterdir()) == sorted(
        [".scisr", *{o.path for o in result.outputs}]
    )
