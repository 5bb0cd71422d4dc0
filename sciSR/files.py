"""Atomic writing and bounded reading: what every adapter uses so that no file is ever half there."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sciSR.errors import ResourceError, SciSRError, UnreadableError, UsageError

_CHUNK = 1 << 22


def check_output(target: Path | str, *, overwrite: bool = False) -> Path:
    """Refuse early what can't be written: an existing target, a missing or read-only folder.

    Raises
    ------
    UsageError
        The target exists and `overwrite` is False, or its folder is missing or not writable.
    """
    target = Path(target)
    if os.path.lexists(target) and not overwrite:  # a link to nowhere is in the way too
        raise UsageError("exists already", where=target, remedy="give --overwrite or another output")
    folder = target.parent
    if not folder.is_dir():
        raise UsageError("the output's folder does not exist", where=folder, remedy="make it first")
    if not os.access(folder, os.W_OK):
        raise UsageError("the output's folder is not writable", where=folder)
    return target


@contextlib.contextmanager
def atomic_output(target: Path | str, *, overwrite: bool = False, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success fsync and rename it over `target`.

    A run that fails or is killed at any moment leaves the old target or none. The temporary name starts with a
    dot and ends in ``.tmp``; it is removed on failure. A `target` that is a symbolic link is in the way like any other
    file, and with `overwrite` the link itself is replaced: nothing is ever written to where it leads.

    Parameters
    ----------
    target : path
    overwrite : bool
        Replace an existing target; otherwise its existence is an error, at the start and again at the end.
    folder : bool
        Yield an empty folder instead of a file name. An existing *folder* target is only replaced if it is
        empty or `overwrite` is True.

    Raises
    ------
    UsageError
        See :func:`check_output`.
    ResourceError
        The disk is full.
    """
    target = Path(target)
    if folder and target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        overwrite = True
    check_output(target, overwrite=overwrite)
    temporary = _temporary(target, folder=folder)
    try:
        with translate_os_errors(target):
            yield temporary
            put_in_place(temporary, target, overwrite=overwrite)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _temporary(target: Path, *, folder: bool) -> Path:
    """A new file or folder beside `target`. Its name can't be guessed, and one that is there already, be it a link, is
    never opened (O_EXCL, mkdir)."""
    names = {"prefix": f".{target.name[:80]}.", "suffix": ".tmp", "dir": target.parent}
    if folder:
        return Path(tempfile.mkdtemp(**names))
    handle, name = tempfile.mkstemp(**names)
    os.close(handle)
    return Path(name)


def put_in_place(temporary: Path, target: Path, *, overwrite: bool = False) -> None:
    """Fsync a finished file or folder and rename it to `target` on the same file system; all or nothing."""
    _fsync_tree(temporary)
    _set_mode(temporary)
    _commit(temporary, target, overwrite=overwrite)


def _set_mode(path: Path) -> None:
    """mkstemp makes private files; give the mode that a plain open() would have given."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _fsync_tree(path: Path) -> None:
    for each in [*path.rglob("*"), path] if path.is_dir() else [path]:
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _commit(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if temporary.is_dir():
        # A folder can't be replaced in one step: move the old one aside, the new one in, then drop the old.
        aside = None
        if os.path.lexists(target):
            if not overwrite:
                raise UsageError(
                    "appeared while this run was working", where=target, remedy="give --overwrite"
                )
            aside = target.with_name(f".{target.name}.{os.getpid()}.old")
            os.rename(target, aside)
        try:
            os.rename(temporary, target)
        except OSError:
            if aside is not None:
                os.rename(aside, target)
            raise
        if aside is not None and (aside.is_symlink() or not aside.is_dir()):
            aside.unlink()  # the link that stood there; what it leads to is left alone
        elif aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    elif overwrite:
        os.replace(temporary, target)
    else:
        try:
            os.link(temporary, target)  # fails if the target has appeared meanwhile; rename would not
        except FileExistsError:
            raise UsageError(
                "appeared while this run was working", where=target, remedy="give --overwrite"
            ) from None
        except OSError:  # a file system without hard links
            if target.exists():
                raise UsageError("exists already", where=target, remedy="give --overwrite") from None
            os.replace(temporary, target)
    with contextlib.suppress(OSError):
        _fsync_directory(target.parent)


def _fsync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def translate_os_errors(where: Path | str) -> Iterator[None]:
    """Turn a full disk or a missing permission into an error with the path and the remedy."""
    try:
        yield
    except SciSRError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                "the disk is full", where=where, remedy="free some space; nothing was written"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UsageError(f"not permitted: {error.strerror}", where=where) from error
        # Too large for this file system, an I/O error, a lost network folder: still one line with the path.
        raise ResourceError(f"can't be written: {error.strerror or error}", where=where) from error
    except MemoryError as error:
        raise ResourceError("out of memory", where=where, remedy="give a smaller --tile") from error


def encodable(text: str) -> str:
    """A text as UTF-8 can hold it: bytes of a file name that are none of its characters come out as ``\\udce9``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_special(path: Path | str) -> bool:
    """Whether it is a pipe, a socket or a device: opening one may wait forever, or never come to its end."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def check_regular_file(path: Path | str) -> int:
    """Size of a readable regular file in bytes.

    Raises
    ------
    UnreadableError
        Missing, a folder, a device, empty, or without permission.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise UnreadableError("no such file", where=path)
        if not path.is_file():
            raise UnreadableError("not a regular file", where=path)
        size = path.stat().st_size
        if size == 0:
            raise UnreadableError("the file is empty (0 bytes)", where=path)
        with open(path, "rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=path) from error
    if head.startswith(b"version https://git-lfs"):
        raise UnreadableError(
            "is a Git LFS pointer, not the file itself", where=path, remedy="run 'git lfs pull'"
        )
    return size


def inflate(
    path: Path | str,
    target: Path | str,
    *,
    compression: str,
    limit: int,
) -> int:
    """Decompress a ``gzip`` or ``bz2`` file to `target`, checking its CRC and the size as it grows.

    Parameters
    ----------
    limit : int
        Bytes above which the input is taken for a decompression bomb.

    Returns
    -------
    int
        Decompressed bytes.

    Raises
    ------
    UnreadableError
        Truncated, failing its CRC, or larger than `limit` when decompressed.
    """
    import bz2
    import zlib

    opener = {"gzip": gzip.open, "bz2": bz2.open}[compression]
    total = 0
    try:
        with opener(path, "rb") as source, open(target, "wb") as sink:
            while chunk := source.read(_CHUNK):
                total += len(chunk)
                if total > limit:
                    raise UnreadableError(
                        f"grows beyond {limit / 1e9:.1f} GB when decompressed",
                        where=path,
                        remedy="decompress it yourself if you trust it",
                    )
                sink.write(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableError(f"damaged {compression} data: {error}", where=path) from error
    except OSError as error:
        if error.errno is None:  # bz2 and gzip report bad data as a bare OSError
            raise UnreadableError(f"damaged {compression} data: {error}", where=path) from error
        raise
    return total
