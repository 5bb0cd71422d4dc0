"""Puts an item's finished files into the output folder: all of them or none, and again after a kill.

Files are first made durable in the item's scratch folder, on the same file system; then each is renamed to its place,
the old one going into the scratch folder so that it can be put back if a later rename fails. A kill between two renames
leaves some new files beside some old ones or none. What was about to be put in place is noted beside the scratch folder
before the first rename, so that the item's next run may replace it though nothing else may be replaced.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from sciSR.errors import UsageError
from sciSR.files import atomic_output, translate_os_errors
from sciSR.provenance import file_sha256
from sciSR.workflow.batch.filesystem import STATE
from sciSR.workflow.pipelines.work import OutputFile, Task


def commit(task: Task, ready: Mapping[str, Path]) -> tuple[OutputFile, ...]:
    """Hash the files, make them durable, and rename them to their places.

    Parameters
    ----------
    task : Task
        Its `output`, `scratch`, `overwrite` and `may_replace` count.
    ready : mapping of str to Path
        Name below the output folder -> file or folder on the same file system.

    Returns
    -------
    tuple of OutputFile

    Raises
    ------
    UsageError
        A name that leaves the output folder, goes through a symbolic link, or is taken; a folder of a file's name.
    ResourceError
        The disk is full or fails. What was in place is there again then.
    """
    output, scratch = Path(task.output), Path(task.scratch)
    journal = journal_of(task)
    with translate_os_errors(output):
        own = {*task.may_replace, *_interrupted(journal, task, output)}
        targets = {name: place_of(output, name) for name in sorted(ready)}
        for name, target in targets.items():
            if os.path.lexists(target) and not (task.overwrite or name in own):
                raise taken(target)
            if target.is_dir() and not Path(ready[name]).is_dir():  # nobody's run has made it
                raise UsageError(
                    "is a folder, and a file is to be there", where=target, remedy="move it away"
                )
        made = tuple(_finished(name, Path(ready[name])) for name in targets)
        new = [n for n, t in targets.items() if n in own or not os.path.lexists(t)]
        _note(journal, task.key, new, made)
        with _Placing(scratch / "replaced") as placing:
            for name, target in targets.items():
                placing.put(Path(ready[name]), target, free=task.overwrite or name in own)
            for name in sorted(set(task.may_replace) - set(targets)):
                placing.take_away(place_of(output, name))
            for folder in {target.parent for target in targets.values()}:
                _fsync(folder)
    return made


def journal_of(task: Task) -> Path:
    """Where a commit notes what it is about to put in place: beside the scratch folder."""
    scratch = Path(task.scratch)
    return scratch.with_name(f"{scratch.name}.commit.json")


def place_of(output: Path, name: str) -> Path:
    """Where a name lies below the output folder.

    Raises
    ------
    UsageError
        Outside of it, among the run's own files, or through a symbolic link.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or parts[0] == STATE:
        raise UsageError(f"{name!r} is no name below the output folder", where=output)
    place = output
    for number, part in enumerate(parts, 1):
        place = place / part
        if place.is_symlink():
            raise UsageError(
                "is a symbolic link, which is not written through", where=place, remedy="take it away"
            )
        if number < len(parts) and place.is_file():
            raise UsageError("is a file, and a folder of outputs is to be there", where=place)
    return place


def taken(target: Path) -> UsageError:
    """What is said of an output that exists."""
    return UsageError("exists already", where=target, remedy="give --overwrite or another output")


def _interrupted(journal: Path, task: Task, output: Path) -> set[str]:
    """What a commit of this item had put in place when it was killed; nothing where it had come to its end, unless the
    item is done again over its own outputs.

    A file that is no longer what was put there is somebody's, and is not replaced.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, KeyError):
        told = json.loads(journal.read_text(encoding="utf-8"))
        if told["key"] != task.key:
            return set()
        made = {str(name): digest for name, digest, _ in told["outputs"]}
        there = {name for name, digest in made.items() if _is(place_of(output, name), digest)}
        return there & set(told["new"]) if task.may_replace or there < set(made) else set()
    return set()


def _is(path: Path, sha256: str) -> bool:
    return path.exists() and file_sha256(path) == sha256


def _note(journal: Path, key: str, new: list[str], made: Sequence[OutputFile]) -> None:
    """On disk before the first rename, and until the ledger has the item's result: it removes it."""
    told = {"key": key, "new": new, "outputs": [[each.path, each.sha256, each.bytes] for each in made]}
    with atomic_output(journal, overwrite=True) as temporary:
        temporary.write_text(json.dumps(told), encoding="utf-8")


def _finished(name: str, path: Path) -> OutputFile:
    """Durable, with its hash and size."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if not p.is_dir())
    for each in (path, *files):
        if each.is_symlink() or not each.exists():
            raise UsageError("is no finished file", where=name)
    for each in files:
        _fsync(each)
    for folder in (p for p in [path, *path.rglob("*")] if p.is_dir()):
        _fsync(folder)
    return OutputFile(name, file_sha256(path), sum(each.stat().st_size for each in files))


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse it for folders
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


class _Placing:
    """Renames that are undone if one of them fails."""

    def __init__(self, aside: Path) -> None:
        self.aside = aside
        self.placed: list[tuple[Path, Path | None]] = []
        self.made: list[Path] = []

    def __enter__(self) -> _Placing:
        shutil.rmtree(self.aside, ignore_errors=True)  # of a commit that was killed
        self.aside.mkdir(parents=True)
        return self

    def put(self, source: Path, target: Path, *, free: bool) -> None:
        """`source` in its place; what was there goes aside, if it may."""
        self._make(target.parent)
        old = self._keep(target) if free and os.path.lexists(target) else None
        self.placed.append((target, old))
        try:
            if free or source.is_dir():
                os.rename(source, target)
            else:
                _without_replacing(source, target)
        except FileExistsError:
            self.placed.pop()
            raise taken(target) from None

    def take_away(self, target: Path) -> None:
        """What an earlier run made of the item, and this one did not."""
        if os.path.lexists(target):
            self.placed.append((target, self._keep(target, leaving=False)))

    def _make(self, folder: Path) -> None:
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self.made += missing

    def _keep(self, target: Path, *, leaving: bool = True) -> Path:
        """The old output under a name in the scratch folder; a file also stays where it is until it is replaced."""
        old = self.aside / str(len(self.placed))
        if leaving and target.is_file():
            with contextlib.suppress(OSError):
                os.link(target, old)
                return old
        os.rename(target, old)
        return old

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            return
        for target, old in reversed(self.placed):
            with contextlib.suppress(OSError):
                if old is not None and old.exists():
                    if target.is_dir():
                        shutil.rmtree(target)
                    os.replace(old, target)
                elif target.is_dir():
                    shutil.rmtree(target)
                else:
                    target.unlink()
        for folder in self.made:
            with contextlib.suppress(OSError):  # not empty: another item has put something there
                folder.rmdir()


def _without_replacing(source: Path, target: Path) -> None:
    """A rename that fails where the target has appeared meanwhile."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:  # a file system without hard links
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from None
        os.rename(source, target)
    else:
        with contextlib.suppress(OSError):
            source.unlink()  # what happens to it is to change nothing in the output
