"""One run at a time over one folder, or over one shard of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciSR.errors import ResourceError, UsageError
from sciSR.files import translate_os_errors
from sciSR.workflow.batch.filesystem import is_network

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BEAT = 20.0
"""Seconds between signs of life of a run on a network file system."""
STALE = 15 * BEAT
"""Seconds without a sign of life after which such a run counts as dead."""
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)")


def conflict(one: str, other: str) -> bool:
    """Whether runs of these names may touch the same items: shards of one division never do.

    Parameters
    ----------
    one, other : str
        ``"ledger"``, ``"ledger-3-of-64"``.
    """
    a, b = _SHARD.fullmatch(one), _SHARD.fullmatch(other)
    return one == other or a is None or b is None or a[3] != b[3]


class RunLock:
    """Held while a run works on a folder; gone with the process, however that ends.

    On a local disk the system's own lock (flock), which dies with its process. On a network file system, where such
    locks may be missing, a file that only one can create and that shows signs of life.

    Parameters
    ----------
    state : Path
        ``OUTPUT/.scisr``.
    name : str
        Of the ledger.
    network : bool, optional
        As :func:`sciSR.workflow.batch.filesystem.is_network` says by default.
    """

    def __init__(self, state: Path, name: str, *, network: bool | None = None) -> None:
        self.path = state / f"{name}.lock"
        self.name = name
        self.network = (is_network(state) if network is None else network) or fcntl is None
        self._handle: int | None = None
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None

    def acquire(self) -> RunLock:
        """Take it, or say who holds it.

        Raises
        ------
        UsageError
            Another run is at work on this folder, or on a shard of it.
        """
        try:
            with translate_os_errors(self.path), gate(self.path.parent, network=self.network):
                self._take()
                for path in sorted(self.path.parent.glob("*.lock")):
                    if path != self.path and conflict(self.name, path.stem) and self._alive(path):
                        raise _taken(path)
        except BaseException:
            self.release()
            raise
        return self

    def release(self) -> None:
        """Let the next one in."""
        self._stop.set()
        if self._handle is not None:
            # Within the gate, so that nobody has just opened the file that goes.
            with contextlib.suppress(OSError), gate(self.path.parent, network=False):
                self.path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None
        elif self.network and self._token and _read(self.path).get("token") == self._token:
            self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """Still held? A machine that slept for minutes may have lost it to another.

        Raises
        ------
        ResourceError
        """
        if self.network and _read(self.path).get("token") != self._token:
            raise ResourceError(
                "another run has taken over this folder, since this one gave no sign of life",
                where=self.path.parent.parent,
                remedy="run again with --resume when it has ended",
            )

    def __enter__(self) -> RunLock:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _take(self) -> None:
        told = {"pid": os.getpid(), "host": socket.gethostname(), "start": time.time(), "token": self._token}
        text = json.dumps({**told, "network": self.network}).encode()
        if self.network:
            self._create(text)
            return
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise _taken(self.path) from None
        if _read(self.path).get("network") and self._alive(self.path):
            os.close(handle)
            raise _taken(self.path)
        os.ftruncate(handle, 0)
        os.pwrite(handle, text, 0)
        self._handle = handle

    def _create(self, text: bytes) -> None:
        while True:
            try:
                handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                break
            except FileExistsError:
                if self._alive(self.path):
                    raise _taken(self.path) from None
                # Of several that find it dead one moves it away; the others find nothing to move.
                aside = self.path.with_name(f".{self.path.name}.{self._token}")
                with contextlib.suppress(FileNotFoundError):
                    os.rename(self.path, aside)
                aside.unlink(missing_ok=True)
        with os.fdopen(handle, "wb") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        self._beat = threading.Thread(target=self._show_life, name="sciSR lock", daemon=True)
        self._beat.start()

    def _show_life(self) -> None:
        while not self._stop.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def _alive(self, path: Path) -> bool:
        """Whether the run that holds a lock file lives; it may reach the folder in another way than this one."""
        told = _read(path)
        if told.get("network"):
            here = told.get("host") == socket.gethostname() and isinstance(told.get("pid"), int)
            return not (here and not _process_lives(told["pid"])) and _age(path) < STALE
        if self.network and not told and _age(path) < BEAT:
            return True  # just made, its owner not yet written
        return fcntl is not None and _is_locked(path)


def held_by(path: Path) -> str | None:
    """Who holds a lock file, in words; None if nobody does.

    Parameters
    ----------
    path : Path
        ``OUTPUT/.scisr/ledger.lock``.
    """
    return _holder(path) if path.exists() and RunLock(path.parent, path.stem)._alive(path) else None


@contextlib.contextmanager
def gate(state: Path, *, network: bool) -> Iterator[None]:
    """Runs take their locks one after another, so that two that start together don't refuse each other."""
    if network:  # there both may be refused: a pity, but no harm
        yield
        return
    handle = os.open(state / ".gate", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _age(path: Path) -> float:
    """Seconds since the last sign of life by the file server's clock, which need not be ours; without end if gone."""
    probe = path.with_name(f".clock-{uuid.uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    except OSError:  # a read-only folder
        return time.time() - path.stat().st_mtime
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _is_locked(path: Path) -> bool:
    """Whether the system holds a lock of another on a file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a network file system without locks
        return False
    finally:
        os.close(handle)
    return False


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _taken(path: Path) -> UsageError:
    shard = _SHARD.fullmatch(path.stem)
    where = f" (shard {shard[2]}/{shard[3]})" if shard else ""
    return UsageError(
        f"another run is at work here{where}: {_holder(path)}",
        where=path.parent.parent,
        remedy="wait for it, or name another output folder",
    )


def _holder(path: Path) -> str:
    told = _read(path)
    who = f"process {told['pid']} on {told['host']}" if {"pid", "host"} <= told.keys() else "another process"
    if isinstance(told.get("start"), int | float):
        who += f", since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(told['start']))}"
    return who
