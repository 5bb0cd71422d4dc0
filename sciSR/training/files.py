"""The files of a configuration: what its patterns find below the root, and which of them are held out."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sciSR.errors import SciSRWarning, UsageError
from sciSR.training.config import DataConfig
from sciSR.training.split import name_group


@dataclass(frozen=True)
class Files:
    """The training and the held-out files, each in the order of their names.

    Parameters
    ----------
    root : Path
    train, validation : tuple of Path
        Below `root`; a folder stands for the DICOM series in it.
    missing : tuple of str
        Patterns that fit no file.
    """

    root: Path
    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    missing: tuple[str, ...] = ()


def find_files(data: DataConfig, root: Path | None = None) -> Files:
    """Expand the patterns, and hold out a share of the subjects if no validation files are named.

    Parameters
    ----------
    data : DataConfig
    root : Path, optional
        Instead of ``data.root``.

    Raises
    ------
    UsageError
        No file is found, or a file is named for training and for validation.
    """
    root = Path(data.root if root is None else root)
    missing: list[str] = []
    excluded = set(_expand(root, data.exclude, []))
    train = [path for path in _expand(root, data.train, missing) if path not in excluded]
    held = _expand(root, data.validation, missing)
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        warnings.warn(f"{root}: no file fits {named}; going on without", SciSRWarning, stacklevel=2)
    if not train and data.simulated < 1:
        raise UsageError(
            f"none of {len(data.train)} patterns in data.train fits a file",
            where=root,
            remedy="give the data's folder (--data, data.root)",
        )
    if twice := sorted(set(train) & set(held)):
        raise UsageError(
            "is named for training and for validation", where=twice[0], remedy="take it out of one of them"
        )
    if not held and train:
        train, held = hold_out(train, data, root)
    return Files(root, tuple(train), tuple(held), tuple(missing))


def _expand(root: Path, patterns: Iterable[str], missing: list[str]) -> list[Path]:
    found: dict[Path, None] = {}
    for pattern in patterns:
        fits = sorted(root.glob(pattern))
        if not fits:
            missing.append(pattern)
        found.update(dict.fromkeys(fits))
    return list(found)


def hold_out(train: list[Path], data: DataConfig, root: Path) -> tuple[list[Path], list[Path]]:
    """Part whole groups: those whose names' hashes are least, until they are the share that is wanted.

    At least one group trains and, if there are two, at least one is held out.
    """
    groups: dict[str, list[Path]] = {}
    for path in train:
        groups.setdefault(name_group(path.relative_to(root), data.group), []).append(path)
    order = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = min(len(order) - 1, max(1, math.ceil(data.validation_share * len(order))))
    held = {path for name in order[:count] for path in groups[name]} if data.validation_share > 0 else set()
    return [path for path in train if path not in held], [path for path in train if path in held]
