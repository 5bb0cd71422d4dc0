"""One log an item: all that its worker said, without names that may be a patient's."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from sciSR.workflow.pipelines.work import ItemResult, Task

LARGEST = 16 << 20
"""Bytes above which the beginning of a log is kept and the rest dropped: a worker must not fill the disk with words."""

_QUOTED_VALUE = re.compile(r"(Invalid value for VR \w+:).*")


def log_path(folder: Path | None, key: str) -> Path | None:
    """Where an item's log lies."""
    return None if folder is None else folder / f"{key}.log"


def open_log(path: str | Path) -> int:
    """A descriptor that appends; links are not followed.

    Raises
    ------
    OSError
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags, 0o666)


def begin_log(path: Path | None, task: Task, software: str) -> None:
    """A new log: the item, and its steps with all parameters. A log that can't be written stops no item."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        if path.is_symlink():
            path.unlink()
        head = [f"{software}: {task.key}: {len(task.files)} file(s), seed {task.seed}"]
        head += [f"  {node.id} {json.dumps(dict(node.parameters), default=str)}" for node in task.nodes]
        handle = open_log(path)
        try:
            os.ftruncate(handle, 0)
            _write(handle, "\n".join(head))
        finally:
            os.close(handle)


def add_to_log(path: Path | None, line: str) -> None:
    """A line of the supervisor's."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        handle = open_log(path)
        try:
            _write(handle, line)
        finally:
            os.close(handle)


def _write(handle: int, text: str) -> None:
    os.write(handle, f"{text}\n".encode(errors="replace"))


def bound_log(path: Path | None) -> None:
    """Cut a log that has grown too large."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        if path.stat().st_size > LARGEST:
            os.truncate(path, LARGEST // 2)
            add_to_log(path, "\n... more was said here and is dropped ...")


def clean_log(path: Path | None, task: Task) -> None:
    """Take names that may be a patient's out of a log, and bytes that are no text; see :func:`without_names`."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        raw = path.read_bytes()
        cleaned = without_names(raw.decode(errors="replace"), task).encode()
        if cleaned != raw:
            path.write_bytes(cleaned)


def without_names(text: str, task: Task) -> str:
    """A text in which an item's files, and the folders that they lie in, go by the item's key.

    Names stay that the key holds too, since keys never hold a patient's name, and those of formats that know no
    patients. No file is opened to tell: the one at hand may have crashed a worker.
    """
    public = _public_suffixes()
    folders: set[str] = set()
    neutral: dict[str, str] = {}
    for number, file in enumerate(task.files, 1):
        name, stem = os.path.basename(file), os.path.basename(file).split(".")[0]
        relative = os.path.relpath(file, task.input) if task.input else name
        if name.lower().endswith(public):
            neutral.setdefault(file, name)
            continue
        if stem and stem in task.key:
            said = name
        else:
            said = f"<{task.key} file {number}>" if len(task.files) > 1 else f"<{task.key}>"
        for each in (file, relative, name):
            if not (each.isdecimal() and len(each) <= 4):  # "12" alone is a number, and tells of nobody
                neutral.setdefault(each, said)
        folders.update(os.path.dirname(relative).split(os.sep))
    text = _replaced(text, neutral)
    for folder, instead in ((task.input, ""), (task.scratch, "<scratch>/"), (task.output, "")):
        if folder:
            text = text.replace(f"{folder}{os.sep}", instead)
    for folder in sorted(folders - {"", ".", ".."}, key=len, reverse=True):
        if folder not in task.key:
            text = re.sub(rf"(?<=/){re.escape(folder)}\b|\b{re.escape(folder)}(?=/)", "<folder>", text)
    return _QUOTED_VALUE.sub(r"\1 (not shown)", text)


def _replaced(text: str, names: Mapping[str, str]) -> str:
    """All names at once, the longest first, where they stand as words: ``a/1`` is no part of ``a/12``."""
    found = sorted((name for name in names if name and name in text), key=len, reverse=True)
    if not found:
        return text
    words = re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, found))})(?![^\W_])")
    return words.sub(lambda match: names[match[0]], text)


def result_without_names(result: ItemResult, task: Task) -> ItemResult:
    """A result whose error and warnings name files as logs do."""
    error = result.error
    if error is not None:
        error = {**error, "message": without_names(str(error.get("message", "")), task)}
    return result.replace(error=error, warnings=tuple(without_names(text, task) for text in result.warnings))


@functools.cache
def _public_suffixes() -> tuple[str, ...]:
    """Of files that are never named after a patient: their format has no ``neutral_name``."""
    from sciSR.plugins import adapters

    known = adapters().values()
    medical = {s for a in known if hasattr(a, "neutral_name") for s in a.suffixes}
    return tuple({s for a in known for s in a.suffixes} - medical)
