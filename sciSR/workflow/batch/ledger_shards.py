"""Ledgers of several shards over one folder: what one of them has done, a later run need not do again."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from sciSR.errors import UsageError
from sciSR.workflow.batch.filesystem import STATE
from sciSR.workflow.batch.ledger_tables import connect, readable_errors
from sciSR.workflow.batch.lock import conflict

LEDGER = "ledger"
_NAME = re.compile(r"ledger(-\d+-of-\d+)?")


def ledger_name(shard: tuple[int, int] | None = None) -> str:
    """Name of a run's ledger and lock.

    Parameters
    ----------
    shard : (int, int), optional
        Number, from 1, and how many there are.

    Raises
    ------
    UsageError
    """
    if shard is None:
        return LEDGER
    number, count = shard
    if not 1 <= number <= count:
        raise UsageError(f"shard {number}/{count}: there are shards 1 to {count}", remedy="give --shard 1/64")
    return f"{LEDGER}-{number}-of-{count}"


def ledgers(output: Path) -> list[Path]:
    """All ledgers of a folder."""
    return [path for path in sorted((output / STATE).glob("ledger*.sqlite")) if _NAME.fullmatch(path.stem)]


def carry_over(connection: sqlite3.Connection, path: Path, network: bool | None = None) -> int:
    """Take into a ledger what others over the same folder know better, because they know it later.

    Of one division, shards have no items in common, so only ledgers of another division are read; none of them can be
    at work, since the lock is held.

    Parameters
    ----------
    connection : sqlite3.Connection
        Of the ledger.
    path : Path
        Of the ledger.
    network : bool, optional

    Returns
    -------
    int
        Items taken over.
    """
    taken = 0
    for other in ledgers(path.parent.parent):
        if other == path or not conflict(path.stem, other.stem):
            continue
        theirs = connect(other, network=network)
        with closing(theirs), readable_errors(path):
            taken += merge(connection, theirs)
    return taken


def merge(connection: sqlite3.Connection, theirs: sqlite3.Connection) -> int:
    """Take over items that were noted later than one's own, each with its outputs, and hashes of inputs.

    Returns
    -------
    int
        Items taken over.
    """
    known = dict(connection.execute("SELECT key, changed FROM items"))
    newer = [k for k, t in theirs.execute("SELECT key, changed FROM items") if t > known.get(k, 0.0)]
    connection.execute("BEGIN IMMEDIATE")
    try:
        for key in newer:
            [row] = theirs.execute("SELECT * FROM items WHERE key = ?", (key,))
            *fields, _, changed = row  # runs are counted in each ledger for itself
            connection.execute(
                "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*fields, None, changed)
            )
            connection.execute("UPDATE outputs SET current = 0 WHERE key = ?", (key,))
            rows = theirs.execute("SELECT * FROM outputs WHERE key = ?", (key,))
            connection.executemany("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?, ?)", rows)
        hashes = theirs.execute("SELECT * FROM hashes")
        connection.executemany("INSERT OR IGNORE INTO hashes VALUES (?, ?, ?, ?, ?)", hashes)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return len(newer)
