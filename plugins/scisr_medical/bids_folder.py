"""The folder that a BIDS derivative goes to: what it may be, and the files that make it a dataset."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from sciSR import __version__
from sciSR.errors import UsageError
from sciSR.files import atomic_output
from scisr_medical.bids_derivative import BIDSIGNORE, README, dataset_description, derived_name, is_ours
from scisr_medical.bids_layout import BidsDataset, read_json

BIDS_VERSION = "1.11.0"


def check_out_dir(dataset: BidsDataset, out_dir: Path) -> None:
    """Refuse an output folder that is the input, lies within it, or holds something else.

    ``derivatives/`` of the input is the one place in it that BIDS keeps for results.

    Raises
    ------
    UsageError
    """
    source, target = dataset.root.resolve(), out_dir.resolve()
    if target == source:
        raise UsageError("the output folder is the input dataset", where=out_dir, remedy="name another")
    if source in target.parents and source / "derivatives" not in target.parents:
        raise UsageError(
            "the output folder lies within the input dataset",
            where=out_dir,
            remedy="name one outside, or one of its own in its derivatives/",
        )
    if out_dir.exists() and not out_dir.is_dir():
        raise UsageError("is no folder", where=out_dir)
    file = out_dir / "dataset_description.json"
    if not file.is_file():
        if out_dir.is_dir() and any(out_dir.glob("sub-*")):
            raise UsageError(
                "holds subjects, but no dataset_description.json",
                where=out_dir,
                remedy="name an empty folder",
            )
        return
    found = read_json(file)
    if not is_ours(found):
        raise UsageError("holds another dataset", where=out_dir, remedy="name an empty folder")
    if found.get("Name") != derived_name(dataset.description):
        raise UsageError(
            f"holds results of another dataset ({found.get('Name')})",
            where=out_dir,
            remedy="name a folder for each dataset",
        )


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the ones that were not there, the uppermost first.

    Raises
    ------
    UsageError
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()][::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"can't make the output folder: {error.strerror}", where=folder) from error
    return missing


def prepare(dataset: BidsDataset, out_dir: Path) -> None:
    """Write what makes the output folder a BIDS derivative, as far as it is not there yet.

    Raises
    ------
    UsageError
        The folder can't be made or written.
    """
    make_folders(out_dir)
    where = Path(os.path.relpath(dataset.root.resolve(), out_dir.resolve())).as_posix()
    description = dataset_description(dataset.description, where, __version__, BIDS_VERSION, _code_url())
    contents = {
        "dataset_description.json": json.dumps(description, indent=2, ensure_ascii=False) + "\n",
        "README.md": README,
        ".bidsignore": BIDSIGNORE,
    }
    for name, content in contents.items():
        target = out_dir / name
        if target.is_file() and (name != "dataset_description.json" or _same(target, content)):
            continue  # a README that somebody wrote on is theirs
        with atomic_output(target, overwrite=True) as temporary:
            temporary.write_text(content, encoding="utf-8")


def _same(file: Path, content: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return file.read_text(encoding="utf-8") == content
    return False


def _code_url() -> str | None:
    """The project's address, if the installed package says it."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        urls = metadata("sciSR").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    known = dict(url.split(", ", 1) for url in urls if ", " in url)
    return next((known[name] for name in ("Repository", "Source", "Homepage") if name in known), None)
