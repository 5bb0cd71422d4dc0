"""Small tasks for tests of the ledger: the work is a hash of the input, put into place by the real commit."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRError
from sciSR.files import translate_os_errors
from sciSR.workflow.batch.ledger import Ledger
from sciSR.workflow.batch.ledger_journal import scratch_name
from sciSR.workflow.pipelines.commit import commit
from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.pipelines.results import failure
from sciSR.workflow.pipelines.work import ItemResult, Task

NODES = (
    Node("01-read", "read", "read"),
    Node("02-upscale", "upscale", "upscale", {"model": "cubic", "scale": 2}, "01-read"),
    Node("03-write", "write", "write", {}, "02-upscale"),
)


def task(folder: Path, key: str, **fields: Any) -> Task:
    """A task over ``folder/in/KEY.dat``, made where it is missing."""
    source = folder / "in" / f"{key}.dat"
    source.parent.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        source.write_bytes(f"input {key}".encode())
    output = folder / "out"
    given = {
        "key": key,
        "files": (str(source),),
        "facts": {"stem": key},
        "sequence": False,
        "nodes": NODES,
        "name": "{item}",
        "input": str(folder / "in"),
        "output": str(output),
        "scratch": str(output / ".scisr" / "scratch" / scratch_name(key)),
    }
    return Task(**{**given, **fields})


def tasks(folder: Path, count: int) -> list[Task]:
    return [task(folder, f"item-{number:03d}") for number in range(count)]


def expected(task: Task) -> dict[str, bytes]:
    """Outputs of a task: two files, decided by its input and its steps."""
    digest = hashlib.sha256(Path(task.files[0]).read_bytes() + str(task.nodes).encode()).hexdigest()
    return {f"{task.key}.txt": digest.encode() * 20, f"more/{task.key}.txt": digest[::-1].encode()}


def work(task: Task) -> ItemResult:
    """Do a task as a worker does it: scratch first, then all outputs at once; what goes wrong is the item's."""
    scratch = Path(task.scratch)
    ready = {}
    try:
        with translate_os_errors(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
            for number, (name, content) in enumerate(expected(task).items()):
                ready[name] = scratch / str(number)
                ready[name].write_bytes(content)
        return ItemResult(task.key, "done", commit(task, ready), seconds=0.5, peak_bytes=1000)
    except SciSRError as error:
        return failure(task.key, error)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run(ledger: Ledger, todo: Iterable[Task]) -> list[str]:
    """Do what is not done, as a resumed run does; the keys of what was done now."""
    from dataclasses import replace

    done = []
    for each in todo:
        if ledger.finished(each) is None:
            each = replace(each, may_replace=tuple(ledger.outputs_of(each.key)))
            ledger.started(each)
            ledger.record(each, work(each))
            done.append(each.key)
    return done


def files_in(output: Path) -> set[str]:
    """All outputs, without what is sciSR's own."""
    return {
        path.relative_to(output).as_posix()
        for path in output.rglob("*")
        if path.is_file() and ".scisr" not in path.parts
    }
