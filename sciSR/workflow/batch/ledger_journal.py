"""Outputs that a worker had put into place when all was killed, before the ledger knew of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path

from sciSR.provenance import file_sha256
from sciSR.workflow.pipelines.work import OutputFile, Task

JOURNAL = ".commit.json"
"""A file of this ending lies beside an item's scratch folder from before its first output is put into place until the
ledger has its result."""


def scratch_name(key: str) -> str:
    """Name of an item's scratch folder."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def journal_of(scratch: Path) -> Path:
    """The journal beside an item's scratch folder."""
    return scratch.with_name(f"{scratch.name}{JOURNAL}")


def forget_journal(scratch: Path) -> None:
    """The ledger has the item's result."""
    journal_of(scratch).unlink(missing_ok=True)


def placed(task: Task) -> tuple[OutputFile, ...]:
    """What a worker that did not answer had put into place of a task, byte for byte as its journal names it."""
    scratch = Path(task.scratch)
    found = claimed(scratch.parent, Path(task.output), {scratch.name})
    return tuple(file for key, files in found if key == task.key for file in files)


def claimed(
    scratch: Path, output: Path, names: Collection[str] | None = None
) -> Iterator[tuple[str, tuple[OutputFile, ...]]]:
    """Outputs in their places, byte for byte as journals of dead workers name them.

    Parameters
    ----------
    scratch : Path
        Folder of the items' scratch folders.
    output : Path
    names : collection of str, optional
        Of the scratch folders that count; all by default.

    Yields
    ------
    str
        Key of the item.
    tuple of OutputFile
    """
    if scratch.is_symlink() or not scratch.is_dir():
        return
    for journal in sorted(scratch.glob(f"*{JOURNAL}")):
        if names is not None and journal.name.removesuffix(JOURNAL) not in names:
            continue
        try:
            told = json.loads(journal.read_text(encoding="utf-8"))
            files = [OutputFile(*each) for each in told["outputs"]]
            yield str(told["key"]), tuple(each for each in files if _is(output / each.path, each.sha256))
        except (OSError, ValueError, TypeError, KeyError):
            continue  # not one of ours, or half a file on a disk that lost power


def _is(path: Path, sha256: str) -> bool:
    return path.exists() and not path.is_symlink() and file_sha256(path) == sha256
