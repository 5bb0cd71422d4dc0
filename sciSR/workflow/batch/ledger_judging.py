"""Whether an item is done, and if not why: its request and its outputs against what the ledger has."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from sciSR.provenance import file_sha256
from sciSR.workflow.batch.ledger_inputs import Hasher, Request, differences
from sciSR.workflow.batch.ledger_tables import readable_errors
from sciSR.workflow.pipelines.work import ItemResult, OutputFile, Task

DONE = "done"
NEW = "new"


class Judge:
    """Compares tasks with a ledger.

    Parameters
    ----------
    output : Path
    path : Path
        Of the ledger, for messages.
    connection : sqlite3.Connection

    Attributes
    ----------
    trust_hashes : bool
        Whether inputs whose size, inode and time of change are as they were count as unchanged.
    """

    def __init__(self, output: Path, path: Path, connection: sqlite3.Connection) -> None:
        self.trust_hashes = True
        self._output = output
        self._path = path
        self._connection = connection
        self._begun: dict[str, Request | None] = {}

    def row(self, key: str) -> sqlite3.Row | None:
        """The item as it stands in the ledger."""
        with readable_errors(self._path):
            cursor = self._connection.execute("SELECT * FROM items WHERE key = ?", (key,))
            cursor.row_factory = sqlite3.Row
            found: sqlite3.Row | None = cursor.fetchone()
            return found

    def request(self, task: Task) -> Request | None:
        """What the task asks for; None where its inputs can't be read, which the worker will then say by name."""
        hasher = Hasher(self._connection, trust=self.trust_hashes)
        try:
            with readable_errors(self._path):
                return hasher.request(task)
        except OSError:
            return None

    def begin(self, task: Task) -> Request | None:
        """What the task asks for now, before it is worked on."""
        request = self._begun[task.key] = self.request(task)
        return request

    def changed_meanwhile(self, task: Task) -> bool:
        """Whether an input is no longer what it was when the task was begun."""
        before = self._begun.pop(task.key, None)
        return before is not None and self.request(task) != before

    def judgement(self, task: Task) -> tuple[str, ItemResult | None]:
        """What is to be done and why, and the earlier result if nothing is."""
        row = self.row(task.key)
        if row is None:
            return NEW, None
        if row["state"] == "running":
            return "interrupted before", None
        if row["state"] != DONE:
            return f"failed before: {row['error']}", None
        request = self.request(task)
        if request is None:
            return "input can't be read", None
        if request.fingerprint != row["fingerprint"]:
            before = json.loads(row["request"])
            if request.asked == before:
                return "input changed", None
            return f"parameters changed: {', '.join(differences(before, request.asked))}", None
        result = ItemResult.from_dict(json.loads(row["result"]))
        for each in result.outputs:
            if (problem := self._problem(each)) is not None:
                return problem, None
        return DONE, result.replace(status="skipped")

    def _problem(self, file: OutputFile) -> str | None:
        """What is wrong with an output, read through; None if it is as it was made."""
        path = self._output / file.path
        if path.is_symlink():
            return f"output changed: {file.path}"
        if not path.exists():
            return f"output missing: {file.path}"
        try:
            same = file_sha256(path) == file.sha256
        except OSError:
            same = False
        return None if same else f"output changed: {file.path}"
