"""The folder of a run: what kind of file system it lies on, and the part of it that is ours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from sciSR.errors import UsageError
from sciSR.files import translate_os_errors

STATE = ".scisr"
"""Everything of a run that is no output: ledger, locks, logs, scratch."""
SCRATCH = "scratch"

# Several machines may write there, memory is not shared between them, and locks of the system may be missing or lie.
_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "glusterfs", "gpfs", "lustre", "mmfs", "ncpfs",
    "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "vboxsf",
    "virtiofs", "vmhgfs", "wekafs",
}  # fmt: skip


def kind(path: Path | str) -> str:
    """Type of the file system that holds `path`, as the kernel calls it: ``"ext4"``, ``"nfs4"``, ``"fuse.sshfs"``.

    Parameters
    ----------
    path : path
        Need not exist; the first folder above it that does is asked about.

    Returns
    -------
    str
        Empty where the system does not tell (no ``/proc``).
    """
    real = nearest(path).resolve()
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    found, longest = "", -1
    for line in lines.splitlines():
        before, _, after = line.partition(" - ")
        words, more = before.split(" "), after.split(" ")
        if len(words) < 5 or not more[0]:
            continue
        # Blanks in names stand as \040 there.
        point = words[4].encode("ascii", "surrogateescape").decode("unicode_escape", "surrogateescape")
        # Of two mounts on one point the later one is seen.
        if real.is_relative_to(point) and len(point) >= longest:
            found, longest = more[0], len(point)
    return found


def is_network(path: Path | str) -> bool:
    """Whether other machines may reach `path` too, so that SQLite's WAL and the system's locks can't be trusted."""
    name = kind(path).lower()
    # fuseblk is a local disk of another system's format; what else runs in user space may reach anywhere.
    return name in _NETWORK or name == "fuse" or name.startswith("fuse.")


def nearest(path: Path | str) -> Path:
    """`path`, or the first folder above it that exists."""
    path = Path(path).absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def state_folder(output: Path | str) -> Path:
    """``OUTPUT/.scisr``, made if it is not there; refused early where nothing can be written.

    Raises
    ------
    UsageError
        The output is no folder, or read-only, or ``.scisr`` is a link that leads elsewhere.
    ResourceError
        The disk is full.
    """
    output = Path(output)
    state = output / STATE
    if output.exists() and not output.is_dir():
        raise UsageError("is no folder", where=output, remedy="name a folder for the outputs")
    if state.is_symlink() or (state / SCRATCH).is_symlink():
        link = state if state.is_symlink() else state / SCRATCH
        raise UsageError(
            "is a link; sciSR keeps its records in no place but this", where=link, remedy="remove it"
        )
    with translate_os_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        state.mkdir(exist_ok=True)
        probe = state / f".probe-{os.getpid()}"
        # Permission bits don't tell of read-only mounts, of quotas, or of what root may not do on a network.
        try:
            probe.write_bytes(b"sciSR")
        finally:
            probe.unlink(missing_ok=True)
    return state


def clear_scratch(folder: Path, names: Collection[str] | None = None) -> int:
    """Remove what dead runs have left in a scratch folder, which stays; links are removed, never followed.

    Parameters
    ----------
    folder : Path
    names : collection of str, optional
        Only entries of these names, or that begin with one and a dot; all by default.

    Returns
    -------
    int
        Entries removed.
    """
    if folder.is_symlink() or not folder.is_dir():
        return 0
    removed = 0
    for entry in list(folder.iterdir()):
        if names is not None and entry.name.lstrip(".").partition(".")[0] not in names:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)  # safe against links that appear meanwhile
        else:
            entry.unlink(missing_ok=True)
        removed += not os.path.lexists(entry)
    return removed
