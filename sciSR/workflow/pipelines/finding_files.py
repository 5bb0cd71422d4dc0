"""Which files of a folder a pipeline takes: patterns, and what lies there that is no input."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sciSR.errors import SciSRError, UsageError
from sciSR.files import is_special
from sciSR.plugins import adapter_for, adapters
from sciSR.workflow.batch.filesystem import STATE

_BESIDE = frozenset(
    {".json", ".bval", ".bvec", ".bvals", ".bvecs", ".tsv", ".csv", ".txt", ".md", ".rst", ".log", ".pdf"}
    | {".html", ".htm", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".py", ".sh", ".db", ".sqlite"}
    | {".sha256", ".md5", ".lock", ".tmp", ".part", ".zip"}
)
"""What lies beside data and is none, unless a pattern names it."""
_OURS = re.compile(r"(?P<stem>.+)_(x\d+(\.\d+)?|iso|std|fused)")


@dataclass(frozen=True)
class Kept:
    """A file (or a folder that is one file's like, ``.zarr``) and its path relative to the inputs' folder."""

    path: Path
    relative: str


def all_files(
    folder: Path,
    patterns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    *,
    leave_out: Collection[Path] = (),
) -> list[Kept]:
    """The files below a folder that fit a pattern (all of them for none), in the order of their relative paths.

    Hidden files, folders of results and what is excluded are left out. Links to folders are not followed.

    Parameters
    ----------
    folder : Path
        May be a single file, too.
    patterns, exclude, leave_out
        As for :func:`matching_files`.

    Raises
    ------
    UsageError
        The folder is missing or can't be listed, or a pattern leads out of it.
    """
    check_patterns((*patterns, *exclude))
    if folder.is_file():
        return [Kept(folder, folder.name)]
    if not folder.is_dir():
        raise UsageError("no such folder of inputs", where=folder, remedy="give one with --input")
    closed = {path.resolve() for path in leave_out}
    expressions = [glob_expression(pattern) for pattern in patterns]
    return [
        each
        for each in _walk(folder, folder, closed)
        if not _excluded(each.relative, exclude)
        and (not expressions or any(expression.fullmatch(each.relative) for expression in expressions))
    ]


def matching_files(
    folder: Path, patterns: Sequence[str], exclude: Sequence[str] = (), *, leave_out: Collection[Path] = ()
) -> list[Kept]:
    """The files of a folder that are inputs, in the order of their relative paths.

    Of :func:`all_files`, sidecars, results of sciSR that lie beside what they were made from, and the second file of a
    pair are no inputs.

    Parameters
    ----------
    folder : Path
        May be a single file, too, which then is the input.
    patterns : sequence of str
        Relative to `folder`, as in the shell and without regard to case: ``*`` stays within a folder, ``**`` goes into
        folders. None: all files of a known format; a picture only where its folder holds nothing else.
    exclude : sequence of str
        Likewise; one without a slash is also held against each name in the path alone, and one that fits a folder
        leaves out all that is in it.
    leave_out : collection of Path
        Folders that are not looked into: the output.

    Raises
    ------
    UsageError
        As :func:`all_files`.
    """
    check_patterns(patterns)
    found = all_files(folder, (), exclude, leave_out=leave_out)
    if folder.is_file():
        return found
    found = _without_results(found)
    if not patterns:
        return _without_previews([each for each in found if _known(each.path)])
    named, swept = set(), set()
    for pattern in patterns:
        expression = glob_expression(pattern)
        fitting = {each for each in found if expression.fullmatch(each.relative)}
        (named if _names_a_suffix(pattern) else swept).update(fitting)
    swept = {each for each in swept - named if _suffix(each.path.name) not in _BESIDE}
    kept = set(_without_previews([each for each in found if each in swept])) | named
    return [each for each in found if each in kept]


def check_patterns(patterns: Iterable[str]) -> None:
    """Refuse what is not relative to the folder.

    Raises
    ------
    UsageError
    """
    for pattern in patterns:
        if pattern.startswith(("/", "~")) or ".." in Path(pattern).parts:
            raise UsageError(
                f"the pattern {pattern!r} leads out of the folder of inputs", remedy="give a relative one"
            )


@functools.lru_cache(maxsize=256)
def glob_expression(pattern: str) -> re.Pattern[str]:
    """A pattern of the shell as an expression for relative paths with slashes, without regard to case."""
    out = ""
    for number, part in enumerate(parts := pattern.strip("/").removeprefix("./").split("/")):
        last = number == len(parts) - 1
        if part == "**":
            out += ".*" if last else "(?:[^/]+/)*"
        else:
            out += _part_expression(part) + ("" if last else "/")
    return re.compile(out, re.IGNORECASE | re.DOTALL)


def _part_expression(part: str) -> str:
    out, at = "", 0
    while at < len(part):
        char, at = part[at], at + 1
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[" and (end := part.find("]", at + 1)) > 0:
            inside = part[at:end].replace("\\", r"\\").replace("[", r"\[")
            out += f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
            at = end + 1
        else:
            out += re.escape(char)
    return out


def _excluded(relative: str, exclude: Sequence[str]) -> bool:
    parts = relative.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(
        any(glob_expression(pattern).fullmatch(each) for each in above)
        or ("/" not in pattern and any(glob_expression(pattern).fullmatch(part) for part in parts))
        for pattern in exclude
    )


def _names_a_suffix(pattern: str) -> bool:
    return re.fullmatch(r".*\.[\w.]*\w", pattern.rsplit("/", 1)[-1]) is not None


def _walk(root: Path, folder: Path, closed: Collection[Path]) -> Iterator[Kept]:
    """All files that are not hidden; depth first, in the order of names."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"can't be listed: {error.strerror or error}", where=folder) from error
    stems = {split_suffix(entry.name)[0].casefold() for entry in entries}
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if not entry.is_dir(follow_symlinks=False):
            if not path.is_dir():  # a link to nowhere, or to itself, is an input that fails by name
                yield Kept(path, path.relative_to(root).as_posix())
        elif _suffix(entry.name) in _folder_suffixes():
            yield Kept(path, path.relative_to(root).as_posix())
        elif (
            path.resolve() not in closed
            and not (path / STATE).is_dir()
            and not _is_made_of(entry.name.casefold(), stems)  # a derived series beside its source
        ):
            yield from _walk(root, path, closed)


@functools.cache
def _suffixes() -> tuple[str, ...]:
    return tuple(sorted({s.lower() for a in adapters().values() for s in a.suffixes}, key=len, reverse=True))


@functools.cache
def _folder_suffixes() -> frozenset[str]:
    return frozenset(suffix for suffix in _suffixes() if suffix.endswith((".zarr", ".n5")))


def _suffix(name: str) -> str:
    """``.fits.gz`` of ``m51.fits.gz``: the longest that an adapter knows, else the last."""
    lower = name.lower()
    known = next((suffix for suffix in _suffixes() if lower.endswith(suffix)), None)
    return Path(lower).suffix if known is None else known


def split_suffix(relative: str) -> tuple[str, str]:
    """``("night/m51", ".fits.gz")``."""
    length = len(_suffix(relative.rsplit("/", 1)[-1]))
    return (relative[:-length], relative[-length:]) if length else (relative, "")


def _known(path: Path) -> bool:
    """Whether a file is of a known format: by its suffix, so that a damaged one fails by name; else by content."""
    suffix = _suffix(path.name)
    if suffix in _BESIDE:
        return False
    if suffix in _suffixes():
        return True
    if is_special(path):
        return False
    try:
        adapter_for(path)
    except SciSRError:
        return False
    return True


def _without_results(found: Sequence[Kept]) -> list[Kept]:
    """Without what sciSR made of another file here, and without the voxels that go with a header."""
    stems = {split_suffix(each.relative)[0].casefold() for each in found}
    headers = {each.relative.casefold() for each in found}
    return [each for each in found if not _is_result(each, stems) and not _second_of_pair(each, headers)]


def _is_result(each: Kept, stems: Collection[str]) -> bool:
    return _is_made_of(split_suffix(each.relative)[0].casefold(), stems)


def _is_made_of(stem: str, stems: Collection[str]) -> bool:
    """Whether a name is that of one of the others with what sciSR appends: ``m51_x2_std`` of ``m51``."""
    while (match := _OURS.fullmatch(stem)) is not None:
        stem = match["stem"]
        if stem in stems:
            return True
    return False


def _second_of_pair(each: Kept, names: Collection[str]) -> bool:
    match = re.fullmatch(r"(.*)\.img(\.gz)?", each.relative.casefold())
    return match is not None and any(f"{match[1]}.hdr{packed}" in names for packed in ("", ".gz"))


def _without_previews(found: Sequence[Kept]) -> list[Kept]:
    """Without pictures in folders that hold data: they are previews of them."""
    pictures = {
        suffix.lower() for a in adapters().values() if getattr(a, "previews", False) for suffix in a.suffixes
    }
    data = {each.path.parent for each in found if _suffix(each.path.name) not in pictures}
    return [each for each in found if _suffix(each.path.name) not in pictures or each.path.parent not in data]
