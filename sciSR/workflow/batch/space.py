"""Whether the disk has room for what a run will write, asked before any work."""

from __future__ import annotations

import shutil
from pathlib import Path

from sciSR.errors import ResourceError
from sciSR.files import translate_os_errors
from sciSR.workflow.batch.filesystem import nearest, state_folder

RESERVE = 64 * 2**20
"""Bytes that stay free for ledger, logs and summary."""


def free_bytes(output: Path | str) -> int:
    """Bytes that this user may still write on the file system of `output`; quotas are not known."""
    return shutil.disk_usage(nearest(output)).free


def check_space(output: Path | str, needed: int) -> int:
    """Refuse early what has no room.

    Parameters
    ----------
    output : path
        Made if it does not exist.
    needed : int
        Bytes of all outputs still to be made and of what the workers hold on disk meanwhile.

    Returns
    -------
    int
        Free bytes.

    Raises
    ------
    ResourceError
        The disk has less free, with some reserve.
    UsageError
        Nothing can be written there.
    """
    state_folder(output)
    with translate_os_errors(output):
        free = free_bytes(output)
    if needed + RESERVE > free:
        raise ResourceError(
            f"about {in_bytes(needed)} will be written, {in_bytes(free)} are free",
            where=output,
            remedy="free some space, name another output folder, or run a part of the items; nothing was written",
        )
    return free


def in_bytes(count: float) -> str:
    """``1234567`` -> ``"1.2 MB"``."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
