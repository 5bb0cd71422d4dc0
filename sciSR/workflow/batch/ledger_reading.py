"""Ledgers read without a lock and without a trace: for a dry run, or for a summary of many shards."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sciSR.errors import UsageError
from sciSR.workflow.batch.filesystem import is_network
from sciSR.workflow.batch.ledger_shards import ledgers, merge
from sciSR.workflow.batch.ledger_tables import connect, make_tables, readable_errors
from sciSR.workflow.batch.lock import held_by


def read_together(output: Path) -> sqlite3.Connection:
    """All ledgers of a folder as one, in memory; of items that several know, what was noted last.

    Parameters
    ----------
    output : Path

    Raises
    ------
    UnreadableError
        One of them is damaged.
    UsageError
        One is being written on a network file system, where it can't be read meanwhile.
    """
    together = sqlite3.connect(":memory:", isolation_level=None)
    make_tables(together)
    for path in ledgers(output):
        with _opened(path) as theirs, readable_errors(path):
            merge(together, theirs)
    return together


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if held_by(path.with_suffix(".lock")) is not None:
        if is_network(path):
            raise UsageError("a run is at work here", where=path.parent.parent, remedy="wait for it")
        # SQLite's own locks let us read while the other writes.
        with (
            readable_errors(path),
            closing(sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True)) as live,
        ):
            yield live
        return
    # What a killed run has left is put right when it is opened: in a copy, since nothing is to be written here.
    with tempfile.TemporaryDirectory(prefix="scisr-ledger-") as folder:
        for ending in ("", "-wal", "-journal"):
            part = path.with_name(path.name + ending)
            if part.exists():
                shutil.copyfile(part, Path(folder) / part.name)
        with closing(connect(Path(folder) / path.name, network=False, called=path)) as copy:
            yield copy
