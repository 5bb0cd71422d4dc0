"""Where things lie in a BIDS dataset: images by subject, what their names say, and the metadata that they inherit.

Rules as in the BIDS specification 1.11, "Common principles". Paths are used as they stand and never resolved: in
DataLad datasets they are links into an annex, and the names behind those links say nothing.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from sciSR.errors import SciSRWarning, UnreadableError, UnsupportedError, UsageError

DATATYPES = ("anat", "dwi", "fmap", "func", "perf")
"""Folders that hold MR images."""
IMAGE_ENDINGS = (".nii.gz", ".nii")
_LABEL = re.compile(r"[0-9a-zA-Z+]+")
_NAME = re.compile(r"(?P<stem>[^.]+)(?P<ending>(\.[0-9a-zA-Z]+)+)")
_LARGEST_JSON = 64 << 20
_LISTED = 20  # labels that a refusal names


@dataclass(frozen=True)
class BidsName:
    """A file's name taken apart: ``sub-01_acq-hi_T2w.nii.gz``.

    Attributes
    ----------
    entities : tuple of (str, str)
        Keys and labels in their order in the name: ``(("sub", "01"), ("acq", "hi"))``.
    suffix : str
        ``"T2w"``.
    ending : str
        ``".nii.gz"``.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str
    ending: str

    def get(self, key: str) -> str | None:
        """The label of an entity; None without it."""
        return dict(self.entities).get(key)

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return "_".join([*(f"{key}-{label}" for key, label in self.entities), self.suffix])

    def applies_to(self, other: BidsName) -> bool:
        """Whether metadata of this name describe a data file of the other: no entity that the other lacks."""
        return self.suffix == other.suffix and set(self.entities) <= set(other.entities)


def parse_name(name: str) -> BidsName | None:
    """The parts of a name, or None if it is none of BIDS."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    *pairs, suffix = match["stem"].split("_")
    if not re.fullmatch("[0-9a-zA-Z]+", suffix):
        return None
    entities = []
    for pair in pairs:
        key, _, label = pair.partition("-")
        if not re.fullmatch("[a-z]+", key) or not _LABEL.fullmatch(label):
            return None
        entities.append((key, label))
    if len(dict(entities)) != len(entities):
        return None
    return BidsName(tuple(entities), suffix, match["ending"])


@dataclass(frozen=True)
class BidsImage:
    """One image of a dataset.

    Attributes
    ----------
    path : Path
        As it stands in the dataset; may be a link to nowhere if its content was not fetched.
    relative : PurePosixPath
        From the dataset's root: ``sub-01/anat/sub-01_T2w.nii.gz``.
    name : BidsName
    datatype : str
    """

    path: Path
    relative: PurePosixPath
    name: BidsName
    datatype: str

    @property
    def subject(self) -> str:
        """The label, without ``sub-``."""
        return self.relative.parts[0].removeprefix("sub-")


class BidsDataset:
    """A dataset to read from.

    Parameters
    ----------
    root : Path
        The folder with ``dataset_description.json``.

    Raises
    ------
    UsageError
        There is no such folder, or it is no BIDS dataset.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise UsageError("no such folder", where=root, remedy="give the root of a BIDS dataset")
        file = self.root / "dataset_description.json"
        if not file.is_file():
            raise UsageError(
                "is no BIDS dataset: it has no dataset_description.json",
                where=root,
                remedy="give the folder that holds it",
            )
        self.description = read_json(file)
        for key in ("Name", "BIDSVersion"):
            if not isinstance(self.description.get(key), str):
                raise UsageError(
                    f"{key} is missing", where=file, remedy="BIDS wants it; see the bids-validator"
                )
        self._listed: dict[Path, tuple[tuple[Path, BidsName], ...]] = {}

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """The labels of all subjects, sorted; ``derivatives/`` and ``sourcedata/`` are other datasets."""
        return tuple(sorted(_labels(self.root, "sub")))

    def chosen_subjects(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Those asked for, with or without ``sub-``; all of them for none.

        Raises
        ------
        UsageError
            A label that is not there; the dataset has no subjects.
        """
        if not self.subjects:
            raise UsageError("holds no subjects: no folder is called sub-...", where=self.root)
        return _chosen("participant", "sub", labels, self.subjects) if labels else self.subjects

    def images(
        self,
        subject: str,
        *,
        sessions: Sequence[str] = (),
        datatypes: Sequence[str] = (),
        suffixes: Sequence[str] = (),
    ) -> list[BidsImage]:
        """The images of a subject, by name; without a condition, of all sessions, data types or suffixes."""
        own = f"sub-{subject}"
        folders = [PurePosixPath(own), *(PurePosixPath(own, f"ses-{s}") for s in self.sessions([subject]))]
        if sessions:
            folders = [folder for folder in folders[1:] if folder.name.removeprefix("ses-") in sessions]
        found = [
            image
            for folder in folders
            for datatype in (datatypes or DATATYPES)
            for image in self._images_of(folder / datatype, subject)
        ]
        return [image for image in found if not suffixes or image.name.suffix in suffixes]

    def sessions(self, subjects: Sequence[str]) -> tuple[str, ...]:
        """The labels of all sessions of some subjects, sorted."""
        return tuple(
            sorted({label for subject in subjects for label in _labels(self.root / f"sub-{subject}", "ses")})
        )

    def chosen_sessions(self, subjects: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
        """Those asked for, with or without ``ses-``; none for none.

        Raises
        ------
        UsageError
            A label that no chosen subject has.
        """
        return _chosen("session", "ses", labels, self.sessions(subjects)) if labels else ()

    def metadata(self, image: BidsImage) -> dict[str, Any]:
        """All sidecars that apply to an image, merged from the root downwards.

        Raises
        ------
        UnreadableError
            One is no JSON object.
        """
        merged: dict[str, Any] = {}
        for files in self._applicable(image, ".json"):
            if len(files) > 1:
                warnings.warn(
                    f"{image.relative}: {len(files)} sidecars of one folder apply, where BIDS allows one; those with "
                    "more entities count more",
                    SciSRWarning,
                    stacklevel=2,
                )
            for file in files:
                merged |= read_json(file)
        return merged

    def companion(self, image: BidsImage, ending: str) -> Path | None:
        """The table that applies to an image (``.bval``, ``.bvec``, ``.tsv``): the lowest in the tree.

        Raises
        ------
        UnsupportedError
            Two of one folder apply alike.
        """
        for files in reversed(list(self._applicable(image, ending))):
            counts = [len(_name_of(file).entities) for file in files]
            if counts.count(counts[-1]) > 1:
                names = ", ".join(file.name for file in files)
                raise UnsupportedError(
                    f"several {ending} files of one folder apply: {names}",
                    where=image.relative,
                    remedy="BIDS allows one; rename or remove the others",
                )
            return files[-1]
        return None

    def _applicable(self, image: BidsImage, ending: str) -> Iterator[list[Path]]:
        """For each level from the root down that has any: what applies, the least specific first."""
        folder = self.root
        for part in ("", *image.relative.parts[:-1]):
            folder = folder / part
            found = [
                (len(name.entities), file)
                for file, name in self._metadata_files(folder)
                if name.ending == ending and name.applies_to(image.name)
            ]
            if found:
                yield [file for _, file in sorted(found)]

    def _metadata_files(self, folder: Path) -> tuple[tuple[Path, BidsName], ...]:
        if folder not in self._listed:
            names = [(entry, parse_name(entry)) for entry in _entries(folder)]
            self._listed[folder] = tuple(
                (folder / entry, name)
                for entry, name in names
                if name is not None and name.ending not in IMAGE_ENDINGS
            )
        return self._listed[folder]

    def _images_of(self, relative: PurePosixPath, subject: str) -> Iterator[BidsImage]:
        folder = self.root / relative
        for entry in _entries(folder):
            name = parse_name(entry)
            if name is None or name.ending not in IMAGE_ENDINGS or name.get("sub") != subject:
                continue
            yield BidsImage(folder / entry, relative / entry, name, relative.name)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; numbers that JSON has no word for (NaN) become null.

    Raises
    ------
    UnreadableError
    """
    try:
        if file.stat().st_size > _LARGEST_JSON:
            raise UnreadableError("is too large for a sidecar (over 64 MB)", where=file)
        record = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=lambda _: None)
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=file) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError("is no valid JSON", where=file, remedy="see the bids-validator") from error
    if not isinstance(record, Mapping):
        raise UnreadableError("holds no JSON object", where=file, remedy="see the bids-validator")
    return dict(record)


def _entries(folder: Path) -> list[str]:
    """Names in a folder, sorted; none if it can't be listed. Hidden ones (``._sub-01...`` of macOS) are left out."""
    try:
        return sorted(entry for entry in os.listdir(folder) if not entry.startswith("."))
    except OSError:
        return []


def _labels(folder: Path, key: str) -> list[str]:
    found = [entry.removeprefix(f"{key}-") for entry in _entries(folder) if entry.startswith(f"{key}-")]
    return [label for label in found if _LABEL.fullmatch(label) and (folder / f"{key}-{label}").is_dir()]


def _chosen(what: str, key: str, wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    labels = dict.fromkeys(label.removeprefix(f"{key}-") for label in wanted)
    if unknown := [label for label in labels if label not in known]:
        rest = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        raise UsageError(
            f"no {what} {', '.join(unknown)} here",
            remedy=f"there are {', '.join(known[:_LISTED])}{rest}" if known else f"there are no {what}s",
        )
    return tuple(label for label in known if label in labels)


def _name_of(file: Path) -> BidsName:
    name = parse_name(file.name)
    assert name is not None
    return name
