"""One log an item: all that its worker said, without names that may be a patient's."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

from sciSR.workflow.pipelines.work import Task

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
    """Call the item's files by its key, unless the key holds their name anyway.

    Keys never hold a patient's name, so no file has to be opened to tell: the one at hand may have crashed a worker.
    """
    if path is None:
        return
    with contextlib.suppress(OSError):
        text = path.read_text(errors="replace")
        cleaned = without_names(text, task)
        if cleaned != text:
            path.write_text(cleaned)


def without_names(text: str, task: Task) -> str:
    """A text in which the item's files go by its key."""
    several = len(task.files) > 1
    for number, file in enumerate(task.files, 1):
        name, stem = os.path.basename(file), os.path.basename(file).split(".")[0]
        if not name or name not in text:
            continue
        known = bool(stem) and stem in task.key
        neutral = name if known else f"<{task.key}{f' file {number}' if several else ''}>"
        text = text.replace(file, neutral).replace(name, neutral)
    for folder, neutral in ((task.input, ""), (task.scratch, "<scratch>")):
        if folder:
            text = text.replace(f"{folder}{os.sep}", f"{neutral}{os.sep}" if neutral else "")
    return _QUOTED_VALUE.sub(r"\1 (not shown)", text)
