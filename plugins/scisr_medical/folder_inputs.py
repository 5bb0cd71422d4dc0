"""What pipelines find in a folder: the images of a BIDS dataset, the series of a DICOM export."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from sciSR.adapter import FoundInput
from sciSR.errors import SciSRError, UnreadableError, UsageError
from scisr_medical.input_facts import ACQUISITION, bids_facts, header_texts


def bids_inputs(root: Path, files: Sequence[Path]) -> list[FoundInput]:
    """The images of a dataset that are among some files, by subject and name.

    Facts: the entities of the name (``sub``, also as ``subject``; ``ses``, also as ``session``; ``task``, ...),
    ``datatype`` and ``suffix``.

    Raises
    ------
    UsageError
        The folder is no BIDS dataset, or holds no subjects.
    """
    from scisr_medical.bids_layout import BidsDataset

    dataset, among = BidsDataset(root), set(files)
    images = [image for subject in dataset.chosen_subjects(()) for image in dataset.images(subject)]
    return [
        FoundInput(
            name=image.name.stem,
            files=(image.path,),
            facts={
                **bids_facts(image.path.name),
                "datatype": image.datatype,
                "suffix": image.name.suffix,
                "stem": image.name.stem,
                "folder": image.relative.parent.as_posix(),
            },
        )
        for image in sorted(images, key=lambda image: image.relative.as_posix())
        if image.path in among
    ]


@dataclass
class _Gathered:
    """The files of one series while they are found."""

    instances: list[Any] = field(default_factory=list)
    problem: SciSRError | None = None
    files: set[Path] = field(default_factory=set)


def dicom_inputs(files: Sequence[Path], keywords: Sequence[str] = ()) -> list[FoundInput]:
    """The series of MR, CT and PET images among some files, by number.

    Other objects (captures, reports, presentation states) and localizers are left out with a warning. A damaged file
    makes the series fail that it belongs to, if it still says which, or whose folder it shares with no other; else it
    fails by itself, and series whose slices then have a gap fail when they are read.

    Parameters
    ----------
    files : sequence of Path
    keywords : sequence of str
        Elements of the header, by their keyword, that filters ask for: ``"SeriesDescription"``.

    Raises
    ------
    UsageError
        No such keyword.
    """
    _check_keywords(keywords)
    series, orphans, refused = _gather(files)
    _give_to_only_neighbour(series, orphans)
    scouts = {uid for uid, each in series.items() if _is_localizer(each)}
    _warn_of_left_out(refused, len(scouts))
    found = [_of_series(uid, each, keywords) for uid, each in series.items() if uid not in scouts]
    found += [_of_orphan(file, error) for file, error in orphans.items()]
    return sorted(found, key=lambda each: (_number(each.facts), each.name))


def _gather(files: Sequence[Path]) -> tuple[dict[str, _Gathered], dict[Path, SciSRError], list[str]]:
    from scisr_medical.dicom_instance import read_instances
    from scisr_medical.dicom_io import looks_like_dicom, translate
    from scisr_medical.dicom_series import DICOM_NAMES

    series: dict[str, _Gathered] = {}
    orphans: dict[Path, SciSRError] = {}
    refused: list[str] = []
    for file in files:
        if file.name.upper() == "DICOMDIR":
            continue
        if not looks_like_dicom(file) and not file.name.lower().endswith(DICOM_NAMES):
            continue
        try:
            with translate(file, quote=False):
                instances = read_instances(file)
        except SciSRError as error:
            uid = _series_of_damaged(file)
            if uid:
                each = series.setdefault(uid, _Gathered())
                each.problem, each.files = each.problem or error, each.files | {file}
            else:
                orphans[file] = error
            continue
        for instance in instances:
            if instance.refusal is not None:
                refused.append(instance.refusal)
                continue
            each = series.setdefault(instance.series_uid, _Gathered())
            each.instances.append(instance)
            each.files.add(file)
    return series, orphans, refused


def _series_of_damaged(file: Path) -> str:
    from scisr_medical.dicom_io import translate

    try:
        with translate(file, quote=False):
            return header_texts(file, ("SeriesInstanceUID",)).get("SeriesInstanceUID", "")
    except SciSRError:
        return ""


def _give_to_only_neighbour(series: Mapping[str, _Gathered], orphans: dict[Path, SciSRError]) -> None:
    for file in list(orphans):
        beside = [each for each in series.values() if any(f.parent == file.parent for f in each.files)]
        if len(beside) == 1:
            beside[0].problem = beside[0].problem or orphans[file]
            beside[0].files.add(file)
            del orphans[file]


def _is_localizer(each: _Gathered) -> bool:
    return any("LOCALIZER" in instance.image_type for instance in each.instances)


def _warn_of_left_out(refused: Sequence[str], scouts: int) -> None:
    import warnings
    from collections import Counter

    from sciSR.errors import SciSRWarning

    words = [f"{count} x {kind}" for kind, count in sorted(Counter(refused).items())]
    words += [f"{scouts} localizer series"] if scouts else []
    if words:
        warnings.warn(f"left out DICOM objects: {'; '.join(words)}", SciSRWarning, stacklevel=4)


def _of_series(uid: str, each: _Gathered, keywords: Sequence[str]) -> FoundInput:
    files = tuple(sorted(each.files))
    readable = sorted({instance.path for instance in each.instances})
    facts, hidden = {}, {}
    if readable:
        wanted = tuple(dict.fromkeys((*ACQUISITION, *keywords)))
        texts = header_texts(readable[0], wanted)
        facts = {key: texts[key] for key in ACQUISITION if key in texts}
        hidden = {key: text for key, text in texts.items() if key not in facts}
        facts["slices"] = str(len(each.instances))
    number = facts.get("SeriesNumber", "")
    digest = sha256(uid.encode()).hexdigest()[:8]
    name = "-".join(filter(None, ("series", number, digest)))
    problem = each.problem
    if problem is not None:
        problem = type(problem)(
            f"the series holds a file that can't be used: {problem}",
            remedy="fetch it again, or exclude the series",
        )
    return FoundInput(name, files, {**facts, "stem": name, "series": digest}, hidden, problem)


def _of_orphan(file: Path, error: SciSRError) -> FoundInput:
    digest = sha256(file.name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    problem = UnreadableError(
        f"{error}; it may be a slice of a series beside it", remedy="fetch it again, or exclude it"
    )
    return FoundInput(f"damaged-{digest}", (file,), {"stem": f"damaged-{digest}"}, {}, problem)


def _number(facts: Mapping[str, str]) -> tuple[bool, int]:
    text = facts.get("SeriesNumber", "")
    return (not text.isdigit(), int(text) if text.isdigit() else 0)


def _check_keywords(keywords: Sequence[str]) -> None:
    from pydicom.datadict import keyword_dict

    for keyword in keywords:
        if keyword not in keyword_dict:
            near = difflib.get_close_matches(keyword, keyword_dict, 1)
            remedy = f"did you mean {near[0]}?" if near else "give a keyword such as SeriesDescription"
            raise UsageError(f"no element of DICOM is called {keyword!r}", remedy=remedy)
