"""The files of a configuration: what its patterns find below the root, what each is, and which are held out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sciSR.errors import SciSRError, SciSRWarning, UsageError
from sciSR.training.config import TrainConfig
from sciSR.training.identity import Identity, identify
from sciSR.training.parallel import each_in_order
from sciSR.training.split import groups, hold_out, refuse_overlap

_NAMED = 3


@dataclass(frozen=True)
class Files:
    """The training and the held-out files, each in the order of the patterns, then of the names.

    Parameters
    ----------
    root : Path
    train, validation : tuple of Path
        Below `root`; a folder stands for the DICOM series in it.
    group : dict of Path to str
        Name of the subject or field of each file; files of one group have the same.
    missing : tuple of str
        Patterns that fit no file.
    left_out : dict of Path to str
        Files that can't be used, and why.
    """

    root: Path
    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    group: dict[Path, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    left_out: dict[Path, str] = field(default_factory=dict)


def find_files(
    config: TrainConfig, root: Path | None = None, tell: Callable[[int, int], None] = lambda done, total: None
) -> Files:
    """Expand the patterns, open every file once, and settle who trains and who is held out.

    What is missing or can't be read is left out with one warning.

    Parameters
    ----------
    config : TrainConfig
        Its `data` names patterns, groups and the share that is held out where no validation files are named.
    root : Path, optional
        Instead of ``config.data.root``.
    tell : callable
        Gets the number of files opened and of all.

    Raises
    ------
    UsageError
        No file is found, a pattern can't be looked for, or the same subject, field or pixels are named for training and
        for validation.
    """
    data = config.data
    root = Path(data.root if root is None else root)
    missing: list[str] = []
    excluded = set(_expand(root, data.exclude, []))
    train = [path for path in _expand(root, data.train, missing) if path not in excluded]
    held = _expand(root, data.validation, missing)
    if missing:
        _warn(f"{root}: no file fits {_few(missing)}; going on without")
    if not train and data.simulated < 1:
        raise UsageError(
            f"none of {len(data.train)} patterns in data.train fits a file",
            where=root,
            remedy="name the data's folder (--data, data.root)",
        )
    known, left_out = _inspect([*train, *held], root, config, tell)
    if left_out:
        first = next(iter(left_out.items()))
        _warn(f"left out {_few([path.name for path in left_out])}: {first[1]}")
    train, held = [path for path in train if path in known], [path for path in held if path in known]
    if not train and data.simulated < 1:
        raise UsageError(f"none of {len(left_out)} files can be used: {first[1]}", where=root)
    if held:
        refuse_overlap([known[path] for path in train], [known[path] for path in held])
    elif train:
        if data.validation:
            _warn(
                f"{root}: no file of data.validation can be used; a share of the training files is held out instead"
            )
        train, held = hold_out([known[path] for path in train], data.validation_share)
    return Files(
        root, tuple(train), tuple(held), _names(list(known.values()), root), tuple(missing), left_out
    )


def _expand(root: Path, patterns: Iterable[str], missing: list[str]) -> list[Path]:
    """Files and folders that fit, each once; a folder that others are in is not meant itself."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        try:
            fits = [path for path in sorted(root.glob(pattern)) if not path.name.startswith(".")]
        except (NotImplementedError, ValueError) as error:  # absolute, empty, or with ** inside a name
            raise UsageError(
                f"the pattern {pattern!r} can't be looked for below a folder ({error})",
                where=root,
                remedy="give it relative to data.root, e.g. '**/*.fits'",
            ) from error
        inside = {parent for path in fits for parent in path.parents}
        fits = [path for path in fits if path not in inside]
        if not fits:
            missing.append(pattern)
        found.update(dict.fromkeys(fits))
    return list(found)


def _inspect(
    paths: Sequence[Path], root: Path, config: TrainConfig, tell: Callable[[int, int], None]
) -> tuple[dict[Path, Identity], dict[Path, str]]:
    """Identity of each file that can be used, and why each other one can't."""
    paths = list(dict.fromkeys(paths))
    jobs = [(path, root, config.domain, config.data.group) for path in paths]
    known: dict[Path, Identity] = {}
    left_out: dict[Path, str] = {}
    for done, (path, found) in enumerate(
        zip(paths, each_in_order(_identity, jobs, config.data.workers), strict=True), start=1
    ):
        if isinstance(found, Identity):
            known[path] = found
        else:
            left_out[path] = found
        tell(done, len(paths))
    return known, left_out


def _identity(job: tuple[Path, Path, str, str | None]) -> Identity | str:
    try:
        return identify(*job)
    except SciSRError as error:
        return str(error)


def _names(identities: list[Identity], root: Path) -> dict[Path, str]:
    """A name for each group: that of its first file."""
    named = {}
    for part in groups(identities):
        first = identities[part[0]]
        name = first.names[0] if first.names else first.path.relative_to(root).as_posix()
        named.update({identities[k].path: name for k in part})
    return named


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _warn(message: str) -> None:
    warnings.warn(message, SciSRWarning, stacklevel=4)
