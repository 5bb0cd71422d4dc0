"""What has been done in a folder, of what, and how: so that a run can be killed at any instant and go on."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciSR.files import encodable
from sciSR.workflow.batch.filesystem import SCRATCH, STATE, clear_scratch, is_network, state_folder
from sciSR.workflow.batch.ledger_journal import claimed, forget_journal, placed, scratch_name
from sciSR.workflow.batch.ledger_judging import Judge
from sciSR.workflow.batch.ledger_past import Past
from sciSR.workflow.batch.ledger_privacy import without_names
from sciSR.workflow.batch.ledger_reading import read_together
from sciSR.workflow.batch.ledger_shards import LEDGER, carry_over
from sciSR.workflow.batch.ledger_tables import connect, readable_errors
from sciSR.workflow.batch.lock import RunLock
from sciSR.workflow.pipelines.work import ItemResult, OutputFile, Task


class Ledger:
    """Of one run (or shard) over one output folder. A context manager; open it with :meth:`open`.

    An item is done when one transaction has written its result, its outputs' SHA-256 and the fingerprint of what it
    was made of, after all outputs were in their places. Whatever was killed before that is done again.

    Attributes
    ----------
    output : Path
    path : Path
        The SQLite file.
    carried : int
        Items taken over from ledgers of other shards.
    """

    def __init__(
        self, output: Path, path: Path, lock: RunLock | None, connection: sqlite3.Connection
    ) -> None:
        self.output = output
        self.path = path
        self.carried = 0
        self._lock = lock
        self._connection = connection
        self._judge = Judge(output, path, connection)
        self._run: int | None = None
        self._weights: dict[str, str] = {}

    @classmethod
    def open(
        cls,
        output: Path | str,
        *,
        name: str = LEDGER,
        check_inputs: bool = False,
        network: bool | None = None,
    ) -> Ledger:
        """Take the lock, open or make the ledger, and clear away what dead runs have left.

        Parameters
        ----------
        output : path
            Folder of the outputs; made if it does not exist.
        name : str
            See :func:`sciSR.workflow.batch.ledger_shards.ledger_name`.
        check_inputs : bool
            Read all inputs again; otherwise those whose size, inode and time of change are as they were count as
            unchanged.
        network : bool, optional
            Whether other machines reach the folder; as its file system says by default.

        Raises
        ------
        UsageError
            Another run is at work here, or nothing can be written.
        UnreadableError
            The ledger is damaged.
        ResourceError
            The disk is full.
        """
        output = Path(output).absolute()
        state = state_folder(output)
        network = is_network(state) if network is None else network
        lock = RunLock(state, name, network=network).acquire()
        try:
            path = state / f"{name}.sqlite"
            ledger = cls(output, path, lock, connect(path, network=network))
        except BaseException:
            lock.release()
            raise
        try:
            ledger._judge.trust_hashes = not check_inputs
            with readable_errors(path):
                ledger.carried = carry_over(ledger._connection, path, network)
                ledger._clear_away()
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def read(cls, output: Path | str) -> Ledger:
        """What all ledgers of a folder know together, without taking a lock or writing anything there.

        Only :meth:`finished`, :meth:`why`, :meth:`results`, :meth:`outputs_of` and :meth:`past` are for such a one.
        A folder without a ledger, or that does not exist, gives an empty one.

        Raises
        ------
        UnreadableError
            A ledger is damaged.
        """
        output = Path(output).absolute()
        return cls(output, output / STATE / f"{LEDGER}.sqlite", None, read_together(output))

    def begin(self, config: Mapping[str, Any], software: Mapping[str, str] | None = None, **more: Any) -> int:
        """Note that a run begins.

        Parameters
        ----------
        config : mapping
            Resolved configuration, JSON-ready.
        software : mapping of str to str, optional
            Versions; of sciSR, Python and the libraries at hand by default.
        **more
            Kept with the software.

        Returns
        -------
        int
            Number of the run.
        """
        from sciSR.workflow.batch.software import versions

        told = {**(versions() if software is None else software), **more}
        with readable_errors(self.path):
            cursor = self._connection.execute(
                "INSERT INTO runs (started, configuration, software, weights) VALUES (?, ?, ?, ?)",
                (time.time(), json.dumps(config, default=str), json.dumps(told, default=str), "{}"),
            )
        self._run = cursor.lastrowid
        assert self._run is not None
        return self._run

    def finished(self, task: Task) -> ItemResult | None:
        """The earlier result of this very task, if its outputs are still what they were.

        Returns
        -------
        ItemResult or None
            With status ``"skipped"``; None if there is something to do, see :meth:`why`.
        """
        return self._judge.judgement(task)[1]

    def why(self, task: Task) -> str:
        """Why a task is to be done: ``"new"``, ``"input changed"``, ``"parameters changed: upscale.model"``,
        ``"output missing: m51.fits"``, ``"output changed: ..."``, ``"failed before: ..."``, ``"interrupted before"``;
        ``"done"`` if it is not.
        """
        return self._judge.judgement(task)[0]

    def started(self, task: Task) -> None:
        """Note that a task is about to be worked on; its inputs are hashed now."""
        request = self._judge.begin(task)
        fingerprint = f"unreadable {uuid.uuid4().hex}" if request is None else request.fingerprint
        asked = "{}" if request is None else request.asked_json
        inputs = "[]" if request is None else request.inputs_json
        with readable_errors(self.path):
            if request is not None:
                self._note_weights(request.asked["weights"])
            self._connection.execute(
                "INSERT INTO items VALUES (?, 'running', ?, ?, ?, 1, NULL, NULL, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET state = 'running', fingerprint = excluded.fingerprint, "
                "request = excluded.request, inputs = excluded.inputs, attempts = attempts + 1, error = NULL, "
                "result = NULL, run = excluded.run, changed = excluded.changed",
                (task.key, fingerprint, asked, inputs, self._run, time.time()),
            )

    def record(self, task: Task, result: ItemResult) -> None:
        """Note what became of a task, with its outputs, in one transaction.

        Raises
        ------
        ResourceError
            The disk is full, or another run has taken over; the item is then done again by the next run.
        """
        if self._lock is not None:
            self._lock.check()
        if result.status == "skipped":
            return
        if self._judge.row(task.key) is None:  # failed before it was begun: its input is missing, say
            self.started(task)
        told = without_names(result, task)
        fingerprint = f"changed {uuid.uuid4().hex}" if self._judge.changed_meanwhile(task) else None
        message = None if told.error is None else encodable(str(told.error.get("message", "")))
        with readable_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.execute(
                    "UPDATE items SET state = ?, error = ?, result = ?, changed = ?, run = ?, "
                    "fingerprint = coalesce(?, fingerprint) WHERE key = ?",
                    (
                        told.status,
                        message,
                        json.dumps(told.as_dict(), default=str),
                        time.time(),
                        self._run,
                        fingerprint,
                        task.key,
                    ),
                )
                if result.status == "done":
                    self._own(task.key, result.outputs, current=True)
                else:  # killed between its last rename and its answer: what is there is its own
                    self._own(task.key, self._unowned(placed(task)), current=False)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        forget_journal(Path(task.scratch))

    def owns(self, path: Path | str) -> bool:
        """Whether a file is here because a run of this ledger put it here, so that a later one may replace it.

        Parameters
        ----------
        path : path
            Absolute, or relative to the output folder.
        """
        relative = os.path.relpath(self.output / path, self.output)
        with readable_errors(self.path):
            found = self._connection.execute("SELECT 1 FROM outputs WHERE path = ?", (relative,)).fetchone()
        return found is not None

    def outputs_of(self, key: str) -> list[str]:
        """Outputs of an item, of earlier results too: relative paths."""
        with readable_errors(self.path):
            rows = self._connection.execute("SELECT path FROM outputs WHERE key = ? ORDER BY path", (key,))
            return [path for (path,) in rows]

    def results(self) -> list[ItemResult]:
        """All results, of earlier runs and other shards too, in order of their keys."""
        with readable_errors(self.path):
            rows = self._connection.execute("SELECT result FROM items WHERE result IS NOT NULL ORDER BY key")
            return [ItemResult.from_dict(json.loads(text)) for (text,) in rows]

    def past(self) -> Past:
        """What items took that are done: for estimates."""
        with readable_errors(self.path):
            return Past(self._connection)

    def close(self) -> None:
        """Note that the run has ended, and let the next one in."""
        try:
            if self._run is not None:
                with readable_errors(self.path):
                    self._connection.execute(
                        "UPDATE runs SET ended = ? WHERE run = ?", (time.time(), self._run)
                    )
        finally:
            self._connection.close()
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            # A full disk that ended the run must not hide behind the note that it ended.
            self._run = None
        self.close()

    def _own(self, key: str, files: tuple[OutputFile, ...], *, current: bool) -> None:
        if current:
            self._connection.execute("UPDATE outputs SET current = 0 WHERE key = ?", (key,))
        self._connection.executemany(
            "INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?, ?)",
            [(each.path, key, each.sha256, each.bytes, int(current)) for each in files],
        )

    def _unowned(self, files: tuple[OutputFile, ...]) -> tuple[OutputFile, ...]:
        return tuple(each for each in files if not self.owns(each.path))

    def _note_weights(self, weights: Mapping[str, str]) -> None:
        """On the run's record, each model once."""
        if self._run is not None and not weights.items() <= self._weights.items():
            self._weights |= weights
            told = (json.dumps(self._weights), self._run)
            self._connection.execute("UPDATE runs SET weights = ? WHERE run = ?", told)

    def _clear_away(self) -> None:
        """Remove the scratch folders of dead runs; outputs that they had put into place, unrecorded, are ours."""
        scratch = self.path.parent / SCRATCH
        mine = None
        if self.path.stem != LEDGER:  # the other shards may be at work
            rows = self._connection.execute("SELECT key FROM items WHERE state = 'running'")
            mine = {scratch_name(key) for (key,) in rows}
        for key, files in claimed(scratch, self.output, mine):
            self._own(key, files, current=False)
        clear_scratch(scratch, mine)
