"""The ledger's file: SQLite, in the mode that its file system can bear, and its errors as one line."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sciSR.errors import ResourceError, SciSRError, UnreadableError, UsageError
from sciSR.workflow.batch.filesystem import is_network, kind

log = logging.getLogger(__name__)

FORMAT = 1
"""Of the tables and of what a fingerprint is made of; another one is not read."""

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    run INTEGER PRIMARY KEY,
    started REAL NOT NULL,
    ended REAL,
    configuration TEXT NOT NULL,  -- JSON, resolved
    software TEXT NOT NULL,       -- JSON: versions
    weights TEXT NOT NULL         -- JSON: SHA-256 by model
);
CREATE TABLE IF NOT EXISTS items (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL,          -- running, done, failed
    fingerprint TEXT NOT NULL,
    request TEXT NOT NULL,        -- JSON: steps, name and weights that the fingerprint is made of
    inputs TEXT NOT NULL,         -- JSON: [SHA-256, bytes, time of change] of each; no names, they may be a patient's
    attempts INTEGER NOT NULL,
    error TEXT,                   -- one line
    result TEXT,                  -- JSON
    run INTEGER,
    changed REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS outputs (
    path TEXT PRIMARY KEY,        -- relative to the output folder
    key TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    current INTEGER NOT NULL      -- 0: of an earlier result of the item
);
CREATE INDEX IF NOT EXISTS outputs_of ON outputs (key);
CREATE TABLE IF NOT EXISTS hashes (
    device INTEGER, inode INTEGER, bytes INTEGER, changed INTEGER, sha256 TEXT NOT NULL,
    PRIMARY KEY (device, inode, bytes, changed)
);
"""


def connect(path: Path, *, network: bool | None = None, called: Path | None = None) -> sqlite3.Connection:
    """Open or make a ledger. The caller holds the lock of its name.

    Parameters
    ----------
    path : Path
    network : bool, optional
        As its file system says by default. WAL needs memory that all users of a file share, and SQLite's own locks are
        not to be trusted there: a rollback journal then, and our lock instead of SQLite's.

    called : Path, optional
        What messages call it, where `path` is a copy.

    Raises
    ------
    UnreadableError
        It is damaged, or of another version.
    ResourceError
        The disk is full.
    """
    if network is None:
        network = is_network(path.parent)
        if network:
            log.info("%s: on %s, so with a rollback journal instead of WAL", path, kind(path.parent))
    called = path if called is None else called
    with readable_errors(called):
        if network:
            _leave_wal(path)
        options = "?nolock=1" if network else ""
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(path))}{options}", uri=True, isolation_level=None
        )
        try:
            connection.execute("PRAGMA busy_timeout = 10000")
            if network:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute(f"PRAGMA journal_mode = {'DELETE' if network else 'WAL'}")
            connection.execute("PRAGMA synchronous = FULL")
            _check(connection, called)
            make_tables(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _leave_wal(path: Path) -> None:
    """A ledger that was begun on a local disk and is now reached over a network: SQLite opens no WAL without locks."""
    try:
        with open(path, "rb") as stream:
            header = stream.read(20)
    except FileNotFoundError:
        return
    if header[18:20] != b"\x02\x02":
        return
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "PRAGMA locking_mode = EXCLUSIVE"
        )  # before anything is read: needs no shared memory then
        connection.execute("PRAGMA journal_mode = DELETE")


def make_tables(connection: sqlite3.Connection) -> None:
    """The tables, in one transaction; nothing where they are there."""
    connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise _damaged(path, found)
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, FORMAT):
        raise UnreadableError(
            f"a ledger of version {version}; this sciSR reads {FORMAT}",
            where=path,
            remedy="use the sciSR that made it, or another output folder",
        )


@contextlib.contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says into one line with a remedy."""
    try:
        yield
    except SciSRError:
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise ResourceError(
                "the disk is full",
                where=path,
                remedy="free some space and run again with --resume; what is done stays done",
            ) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise UsageError(f"the ledger can't be written: {error}", where=path) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
            raise UsageError("another program has the ledger open", where=path, remedy="close it") from error
        if code == sqlite3.SQLITE_IOERR:
            raise ResourceError(
                f"the ledger can't be written ({error}): the disk is full, over its quota, or failing",
                where=path,
                remedy="run again with --resume when it works; what is done stays done",
            ) from error
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> UnreadableError:
    return UnreadableError(
        f"the ledger is damaged ({reason})",
        where=path,
        remedy=f"remove {path.name} and its -wal and -shm files, and run again with --overwrite; outputs were not "
        "touched",
    )
