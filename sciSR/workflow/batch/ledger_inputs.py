"""What an item was asked to be made of: hashes of its inputs, its steps, its weights, as one fingerprint."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from sciSR.errors import UsageError
from sciSR.provenance import file_sha256
from sciSR.workflow.batch.ledger_tables import FORMAT
from sciSR.workflow.pipelines.naming import fields, fill
from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.pipelines.work import InputPathMark, Task

_TICK = 2_000_000_000
"""Nanoseconds: times of change can be as coarse (FAT), and what changes later in the same tick looks the same."""


@dataclass(frozen=True)
class InputRecord:
    """One input as it was: SHA-256, bytes, time of change in seconds."""

    sha256: str
    bytes: int
    changed: float


@dataclass(frozen=True)
class Request:
    """What is asked of one item.

    Attributes
    ----------
    inputs : tuple of InputRecord
        Of the item's files in order, then of the files that its steps' parameters name.
    asked : mapping
        ``steps``, ``name``, ``facts`` (those in the name), ``weights``, ``seed``, ``sequence``; JSON-ready.
    """

    inputs: tuple[InputRecord, ...]
    asked: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides what the outputs are."""
        parts = [FORMAT, [each.sha256 for each in self.inputs], self.asked]
        return hashlib.sha256(_json(parts).encode()).hexdigest()

    @property
    def asked_json(self) -> str:
        return _json(self.asked)

    @property
    def inputs_json(self) -> str:
        return _json([[each.sha256, each.bytes, each.changed] for each in self.inputs])


class Hasher:
    """SHA-256 of files, read once as long as size, time of change and inode stay.

    Parameters
    ----------
    connection : sqlite3.Connection
        Of the ledger, which keeps the hashes without the files' names.
    trust : bool
        Whether hashes of earlier runs are believed.
    """

    def __init__(self, connection: sqlite3.Connection, *, trust: bool = True) -> None:
        self._connection = connection
        self._trust = trust

    def record(self, path: Path) -> InputRecord:
        """Of one file, or of a folder's files in order.

        Raises
        ------
        OSError
        """
        if path.is_dir():
            files = [self.record(each) for each in sorted(path.rglob("*")) if each.is_file()]
            joined = hashlib.sha256(b"".join(bytes.fromhex(each.sha256) for each in files)).hexdigest()
            return InputRecord(
                joined, sum(each.bytes for each in files), max((each.changed for each in files), default=0.0)
            )
        seen = os.stat(path)
        if not stat.S_ISREG(seen.st_mode):  # a pipe would be waited for without end
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        # Of the inode: that of the content can be set back, and is, by rsync and by cp -p.
        identity = (_signed(seen.st_dev), _signed(seen.st_ino), seen.st_size, seen.st_ctime_ns)
        where = "device = ? AND inode = ? AND bytes = ? AND changed = ?"
        row = self._connection.execute(f"SELECT sha256 FROM hashes WHERE {where}", identity).fetchone()
        if row is None or not self._trust:
            row = (file_sha256(path),)
            if abs(time.time_ns() - seen.st_ctime_ns) > _TICK:
                self._connection.execute(
                    "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?)", (*identity, *row)
                )
        return InputRecord(row[0], seen.st_size, seen.st_mtime_ns / 1e9)

    def request(self, task: Task) -> Request:
        """What a task asks for.

        Raises
        ------
        OSError
            An input can't be read.
        """
        files = [Path(path) for path in task.files]
        files += [path for node in task.nodes for path in named_files(node, task)]
        asked = {
            "steps": [node.as_dict() for node in task.nodes],
            "name": task.name,
            "facts": {name: task.facts[name] for name in sorted(fields(task.name)) if name in task.facts},
            "sequence": task.sequence,
            "seed": task.seed,
            "weights": self._weights_of(task.nodes),
        }
        return Request(tuple(self.record(path) for path in files), asked)

    def _weights_of(self, nodes: Sequence[Node]) -> dict[str, str]:
        """SHA-256 of the weights that the nodes' models may use, by model."""
        models = {str(node.parameters["model"]) for node in nodes if node.parameters.get("model")}
        return {model: self._weights(model) for model in sorted(models)}

    def _weights(self, model: str) -> str:
        """Of a model's file; of all shipped ones together where the image decides; empty for classical methods."""
        paths = _weights_files(model)
        records = [self.record(path).sha256 for path in paths]
        if len(records) <= 1:
            return "".join(records)
        return hashlib.sha256("".join(records).encode()).hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of a request has changed, in the file's words: ``["upscale.model", "upscale.scale"]``."""
    old, new = ({node["id"]: node for node in asked.get("steps", ())} for asked in (before, now))
    found = []
    if list(old) != list(new):
        found.append("steps")
    for name in old.keys() & new.keys():
        one, other = old[name]["parameters"], new[name]["parameters"]
        label = new[name]["name"] + (f"[{new[name]['branch']}]" if new[name]["branch"] else "")
        found += [
            f"{label}.{key}" for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)
        ]
    if before.get("weights") != now.get("weights") and not found:
        changed = [
            model for model, sha in now["weights"].items() if before.get("weights", {}).get(model) != sha
        ]
        found.append("weights of " + ", ".join(changed or sorted(now["weights"])))
    words = {"name": "outputs.name", "facts": "outputs.name", "seed": "seed", "sequence": "inputs.group"}
    found += [word for key, word in words.items() if before.get(key) != now.get(key)]
    return list(dict.fromkeys(found)) or ["steps"]


def named_files(node: Node, task: Task) -> list[Path]:
    """Files that a node's parameters name, in order: darks, a reference. Those that are not there are left out.

    Parameters
    ----------
    node : Node
    task : Task
        Patterns are relative to its input folder, and their fields are its facts.
    """
    facts = {"item": task.key, **task.facts, "branch": node.branch}
    found = []
    for name in sorted(_path_parameters(node.step)):
        value = node.parameters.get(name)
        for pattern in [value] if isinstance(value, str) else value or ():
            with contextlib.suppress(UsageError):  # a field that this item lacks: its step will say so
                for field in fields(pattern):
                    pattern = pattern.replace(f"{{{field}}}", glob.escape(fill(f"{{{field}}}", facts)))
                found += sorted(
                    Path(task.input, path) for path in glob.glob(pattern, root_dir=task.input, recursive=True)
                )
    return found


@cache
def _path_parameters(step: str) -> frozenset[str]:
    """Names of a step's parameters that are paths; none of a step that is not installed."""
    from sciSR.workflow.pipelines.registry import steps

    known = steps().get(step)
    if known is None:
        return frozenset()
    hints = get_type_hints(known.function, include_extras=True)
    return frozenset(name for name, hint in hints.items() if _has_mark(hint))


def _has_mark(hint: Any) -> bool:
    """Whether an annotation, or one inside of it (``list[InputPath] | None``), is marked as a path."""
    if any(isinstance(each, InputPathMark) for each in getattr(hint, "__metadata__", ())):
        return True
    inner = (*getattr(hint, "__args__", ()), getattr(hint, "__origin__", None))
    return any(_has_mark(each) for each in inner if each is not None and each is not hint)


def _weights_files(model: str) -> list[Path]:
    # Without sciSR.models, which imports torch: the process that keeps the ledger needs none.
    shipped = {
        path.stem: path for path in sorted((Path(__file__).parents[2] / "weights").glob("*.safetensors"))
    }
    if model == "auto":
        return list(shipped.values())
    if Path(model).suffix and Path(model).is_file():
        return [Path(model)]
    return [shipped[model]] if model in shipped else _users(model)


def _users(model: str) -> list[Path]:
    from sciSR.models.user_models import RESERVED, user_paths

    return [user_paths()[model]] if model not in RESERVED and model in user_paths() else []


def _signed(number: int) -> int:
    """SQLite's integers have a sign; inodes on some file systems use all 64 bits."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=True, default=str)
