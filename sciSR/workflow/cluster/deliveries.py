"""Outputs made on a cluster get to their places once, whatever is lost, comes back or is killed.

A cluster's engine runs a task again when it has lost sight of its worker, and that worker may live on and finish too.
So a worker puts nothing into the output folder by itself. Each attempt works in a folder of its own::

    OUTPUT/.scisr/cluster/ledger/RUN/attempts/ITEM-TOKEN/files/...     what the steps made
    OUTPUT/.scisr/cluster/ledger/RUN/items/ITEM/delivery.json          whose attempt it was, and its result
    OUTPUT/.scisr/cluster/ledger/RUN/items/ITEM/files/...              what is still on its way

1. A finished attempt renames its folder to ``items/ITEM``. A folder can't be renamed over one that is not empty, so one
   attempt wins; the others take its result for theirs.
2. The files are moved on to their places. A move takes its source away, so no file gets there twice, no matter how many
   processes do it, and a delivery that was interrupted by a kill is finished by whoever comes next.
3. A run that ends, or a new one that begins, renames the folder RUN. Whoever still works in it then has nowhere to
   deliver to, even if it wakes up a week later.

Only renames are asked of the file system, no locks: NFS, Lustre, GPFS and BeeGFS all have them in one step.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.errors import ResourceError, SciSRError
from sciSR.files import translate_os_errors
from sciSR.workflow.batch.filesystem import STATE
from sciSR.workflow.pipelines.commit import place_of, taken
from sciSR.workflow.pipelines.work import ItemResult, Task

NOTE = "delivery.json"
FILES = "files"
_CLOSED = ".closed-"


@dataclass(frozen=True)
class Deliveries:
    """Of one run. Its methods may be called by many processes on many machines at once.

    Attributes
    ----------
    output : Path
    folder : Path
        See the module's text.
    """

    output: Path
    folder: Path

    @classmethod
    def open(cls, output: Path, name: str = "ledger") -> Deliveries:
        """A folder for a new run; runs before it can't deliver any more.

        Parameters
        ----------
        output : Path
        name : str
            Of the run's ledger, whose lock the caller holds.
        """
        with settled(output, name):
            pass
        folder = _home(output, name) / uuid.uuid4().hex[:12]
        with translate_os_errors(folder):
            for part in ("attempts", "items"):
                (folder / part).mkdir(parents=True)
        return cls(output, folder)

    @property
    def still_open(self) -> bool:
        """Whether the run goes on."""
        return (self.folder / "items").exists()

    def attempt(self, key: str) -> Path:
        """An empty folder for one attempt at an item, with a folder for its files in it."""
        attempt = self.folder / "attempts" / f"{_digest(key)}-{uuid.uuid4().hex[:12]}"
        with translate_os_errors(attempt), _still_open(self):
            attempt.mkdir()
            (attempt / FILES).mkdir()
        return attempt

    def attempts(self, key: str) -> int:
        """Attempts at an item that have begun and not ended: those at work, and those that were lost."""
        return len(list((self.folder / "attempts").glob(f"{_digest(key)}-*")))

    def delivered(self, key: str) -> ItemResult | None:
        """The result of an item that has been delivered in this run; what is still on its way is put into place."""
        place = self.folder / "items" / _digest(key)
        return _settle(self.output, place) if (place / NOTE).exists() else None

    def deliver(self, task: Task, result: ItemResult, attempt: Path) -> ItemResult:
        """Put the files of an attempt into the output folder, unless another attempt was first.

        Parameters
        ----------
        task : Task
            As it was planned: with the real output folder.
        result : ItemResult
            Of an item that is done; its outputs lie in ``attempt/files`` under their names.
        attempt : Path
            From :meth:`attempt`; gone afterwards.

        Returns
        -------
        ItemResult
            Of the attempt that was first.

        Raises
        ------
        UsageError
            An output exists and may not be replaced.
        ResourceError
            The run has ended meanwhile, or the disk fails.
        """
        place = self.folder / "items" / _digest(task.key)
        names = [each.path for each in result.outputs]
        token = attempt.name
        note = {
            "key": task.key,
            "token": token,
            "free": [name for name in names if task.overwrite or name in task.may_replace],
            "remove": sorted(set(task.may_replace) - set(names)),
            "result": result.as_dict(),
        }
        with translate_os_errors(self.output):
            if not place.exists():
                for name in names:
                    if os.path.lexists(target := place_of(self.output, name)) and name not in note["free"]:
                        raise taken(target)
            with _still_open(self):
                _write(attempt / NOTE, note)
                _fsync(attempt)
                if not _rename_folder(attempt, place) and _read(place).get("token") != token:
                    shutil.rmtree(attempt, ignore_errors=True)
                _fsync(place.parent)
                return _settle(self.output, place)

    def close(self) -> None:
        """Whoever still works for this run has nowhere to deliver to from now on."""
        closed = self.folder.with_name(_CLOSED + self.folder.name)
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.folder, closed)
        shutil.rmtree(closed, ignore_errors=True)


@contextlib.contextmanager
def settled(output: Path, name: str = "ledger") -> Iterator[list[ItemResult]]:
    """End what runs before this one have left: nobody can deliver to them any more, and what is on its way gets there.

    The records are removed at the end of the block, so that a kill within it loses none.

    Parameters
    ----------
    output : Path
    name : str
        Of the runs' ledger, whose lock the caller holds.

    Yields
    ------
    list of ItemResult
        What has been delivered and perhaps not been reported, because the run was killed.
    """
    home = _home(output, name)
    results: list[ItemResult] = []
    closed: list[Path] = []
    with translate_os_errors(home):
        for run in sorted(home.iterdir()) if home.is_dir() and not home.is_symlink() else ():
            if not run.name.startswith(_CLOSED):
                aside = run.with_name(_CLOSED + run.name)
                os.rename(run, aside)
                run = aside
            closed.append(run)
            for place in sorted((run / "items").glob(f"*/{NOTE}")):
                with contextlib.suppress(
                    SciSRError
                ):  # in the way of a file: the item is done again, and says so
                    results.append(_settle(output, place.parent))
    yield results
    for run in closed:
        shutil.rmtree(run, ignore_errors=True)


def _home(output: Path, name: str) -> Path:
    return Path(output) / STATE / "cluster" / name


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _settle(output: Path, place: Path) -> ItemResult:
    """Move what is still on its way; does nothing the second time."""
    note = _read(place)
    result = ItemResult.from_dict(note["result"])
    files = place / FILES
    if not files.exists():
        return result
    free = set(note["free"])
    for name in note["remove"]:
        _away(place_of(output, name), place)
    parents = set()
    for each in result.outputs:
        target = place_of(output, each.path)
        _move(files / each.path, target, place, free=each.path in free)
        parents.add(target.parent)
    for parent in parents:
        _fsync(parent)
    shutil.rmtree(files, ignore_errors=True)
    return result


def _move(source: Path, target: Path, place: Path, *, free: bool) -> None:
    """To its place, unless somebody has moved it before."""
    if not os.path.lexists(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not free:
        _move_without_replacing(source, target)
        return
    old = _away(target, place) if target.is_dir() or source.is_dir() else None
    try:
        os.rename(source, target)
    except FileNotFoundError:
        # Moved by another meanwhile: what went aside is the new one, then.
        if old is not None and not os.path.lexists(target):
            os.rename(old, target)


def _move_without_replacing(source: Path, target: Path) -> None:
    try:
        if source.is_dir():
            if target.is_dir() or not _rename_folder(source, target):
                raise taken(target)
            return
        os.link(source, target)
    except FileNotFoundError:
        if os.path.lexists(source):
            raise
        return  # moved by another meanwhile
    except FileExistsError:
        # Linked, then killed before the other name was gone: that is the same file.
        with contextlib.suppress(FileNotFoundError):
            if not os.path.samefile(source, target):
                raise taken(target) from None
    except OSError as error:  # a file system without hard links
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        if os.path.lexists(target):
            raise taken(target) from None
        with contextlib.suppress(FileNotFoundError):
            os.rename(source, target)
        return
    source.unlink(missing_ok=True)


def _away(target: Path, place: Path) -> Path | None:
    """What is at `target` goes into the records, which are removed with the run."""
    if not os.path.lexists(target):
        return None
    old = place / f"replaced-{uuid.uuid4().hex[:8]}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(target, old)
    return old


def _rename_folder(source: Path, target: Path) -> bool:
    """Whether `source` has become `target`; False where a folder is there already."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        if error.errno == errno.ENOENT and target.exists():
            return False  # NFS answers so to the second copy of a request whose first one has passed
        raise
    return True


@contextlib.contextmanager
def _still_open(deliveries: Deliveries) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if deliveries.still_open:
            raise
        raise ResourceError("the run that this belongs to has ended", where=deliveries.output) from error


def _write(path: Path, value: dict[str, Any]) -> None:
    with open(path, "x", encoding="utf-8") as stream:
        json.dump(value, stream, default=str)
        stream.flush()
        os.fsync(stream.fileno())


def _read(place: Path) -> dict[str, Any]:
    return json.loads((place / NOTE).read_text(encoding="utf-8"))


def _fsync(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some network file systems refuse it for folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
