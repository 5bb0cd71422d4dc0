"""Which blocks are done: one line each, on disk before the next is begun, so that a killed run goes on where it was."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TextIO

from sciSR.errors import UsageError
from sciSR.files import translate_os_errors

VERSION = 1


class Journal:
    """A file of JSON lines beside the temporary output: what the run is, then each finished block.

    One run at a time: the file is locked while it is open, and the lock goes with the process.

    Attributes
    ----------
    head : mapping or None
        What the run is; None where it has not begun.
    done : dict
        Answers of finished blocks by number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head: Mapping[str, Any] | None = None
        self.done: dict[int, Mapping[str, Any]] = {}
        with translate_os_errors(path):
            self._stream: TextIO = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (closed in close())
        self._lock()
        self._load()

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            return
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise UsageError("another run is writing this output", where=self.path) from None
        except OSError:  # a file system without locks
            return

    def _load(self) -> None:
        self._stream.seek(0)
        good = 0
        for line in self._stream:
            try:
                entry = json.loads(line) if line.endswith("\n") else None
            except ValueError:
                entry = None
            if entry is None or (good == 0 and entry.get("version") != VERSION):
                break  # torn by a kill, or another version's: what follows counts for nothing
            if good == 0:
                self.head = entry
            else:
                self.done[int(entry["block"])] = entry
            good += len(line.encode())
        self._stream.seek(0)
        self._stream.truncate(good)
        self._stream.seek(0, os.SEEK_END)

    def begin(self, head: Mapping[str, Any]) -> None:
        """Forget everything and write what the run is."""
        self.done = {}
        self._stream.seek(0)
        self._stream.truncate()
        self.head = {"version": VERSION, **head}
        self._write(self.head)

    def finish(self, answer: Mapping[str, Any]) -> None:
        """A block is done and its pixels are on disk."""
        self.done[int(answer["block"])] = answer
        self._write(answer)

    def _write(self, entry: Mapping[str, Any]) -> None:
        with translate_os_errors(self.path):
            self._stream.write(json.dumps(entry, separators=(",", ":")) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def remove(self) -> None:
        """The run is finished, or wanted no more."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """A journal without a finished block is nothing that another run could go on with."""
        if not self.done:
            self.path.unlink(missing_ok=True)
        self.close()
