"""An index of a folder of outputs: a row each with picture and verdict, and a page for each beside it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sciSR.errors import SciSRError, SciSRWarning, UsageError
from sciSR.files import atomic_output, check_output
from sciSR.provenance import file_sha256
from sciSR.report.page import LIMIT, Composed, compose, default_page
from sciSR.report.page_facts import STEPS
from sciSR.report.page_images import preview
from sciSR.report.page_render import render
from sciSR.report.page_words import in_short, mood_of, number, verdict

_THUMBNAIL = 96
_RANK = {"bad": 0, "caution": 1, "unknown": 2, "good": 3}
_MOST_CANDIDATES = 2000


def write_index(
    folder: Path,
    page: Path | str | None = None,
    *,
    inputs: Path | str | None = None,
    overwrite: bool = False,
    options: Mapping[str, Any] | None = None,
) -> tuple[Path, list[dict[str, Any]]]:
    """Write the index, and a page for each output that has none yet.

    Parameters
    ----------
    folder : Path
        Its files (and folders of DICOM files) that have a record of sciSR; of other tools' outputs those that are named
        after a file in `inputs`.
    page : path, optional
        ``summary.html`` in the folder by default.
    inputs : path, optional
        Folder to look for the inputs in; by default the outputs' own and the one above it. They are known by the
        SHA-256 in the outputs' records.
    overwrite : bool
        Replace the index and the pages; otherwise pages that exist are linked as they are.
    options : mapping, optional
        Of the formats, for reading.

    Returns
    -------
    Path
        The index, below 3 MB.
    list of dict
        One row each, JSON-ready.

    Raises
    ------
    UsageError
        No folder, no outputs in it, or the index exists.
    """
    if not folder.is_dir():
        raise UsageError("is no folder of outputs", where=folder)
    target = folder / "summary.html" if page is None else Path(page)
    check_output(target, overwrite=overwrite)
    finder = InputFinder([Path(inputs)] if inputs is not None else [folder, folder.resolve().parent])
    rows = [_row(output, finder, target, overwrite, options) for output in outputs_in(folder, finder)]
    if not rows:
        raise UsageError("holds no outputs of sciSR", where=folder, remedy="name their inputs with --inputs")
    text = _text(folder, rows)
    with atomic_output(target, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target, [{k: v for k, v in row.items() if k not in ("picture", "rank")} for row in rows]


def outputs_in(folder: Path, finder: InputFinder) -> Iterator[Path]:
    """Files and folders that hold a result, by name; a standard deviation belongs to the result beside it."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() in (".html", ".json", ".txt", ".csv", ".log"):
            continue
        if _is_deviation(path):
            continue
        record = _record(path)
        if record is None:
            continue
        if any(s.get("step") in STEPS for s in record) or (not record and finder.by_name(path)):
            yield path


def _is_deviation(path: Path) -> bool:
    """Whether a file is named as the standard deviation of another that lies beside it."""
    stem, dot, rest = path.name.partition(".")
    own = re.sub(r"(_std|_uncertainty(_\d+)?)$", "", stem)
    return own != stem and path.with_name(own + dot + rest).exists()


def _record(path: Path) -> Sequence[Mapping[str, Any]] | None:
    """The steps in a file's record; None where it can't be read."""
    from sciSR.plugins import adapter_for
    from sciSR.verify.checking import with_record

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SciSRWarning)
            adapter = adapter_for(path)
            images = adapter.read(path)
            return with_record(adapter, images[0]).provenance.steps if images else None
    except SciSRError:
        return None


class InputFinder:
    """Finds the input of an output: by the hash in its record, first among files of a like name.

    Parameters
    ----------
    folders : sequence of Path
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._hashes: dict[Path, str] = {}
        self._listing: list[Path] | None = None

    def candidates(self) -> list[Path]:
        """All that may be an input, in order."""
        if self._listing is None:
            found = [path for folder in self.folders if folder.is_dir() for path in sorted(folder.iterdir())]
            plain = [
                p for p in found if not p.name.startswith(".") and p.suffix.lower() not in (".html", ".json")
            ]
            self._listing = plain[:_MOST_CANDIDATES]
        return self._listing

    def by_name(self, output: Path) -> list[Path]:
        """Those after which the output may be named: ``m51.fits`` of ``m51_x2.fits``."""
        stem = _stem(output)
        near = [p for p in self.candidates() if stem.startswith(_stem(p)) and p.resolve() != output.resolve()]
        return sorted(near, key=lambda p: -len(_stem(p)))

    def of(self, output: Path, record: Sequence[Mapping[str, Any]]) -> Path | None:
        """The input of an output with this record."""
        digest = next((s["input_sha256"] for s in record if s.get("input_sha256")), None)
        near = self.by_name(output)
        if digest is None:
            return near[0] if near else None
        own = output.resolve()
        # Outside of a named folder only files of a like name are worth reading through.
        rest = self.candidates() if len(self.folders) == 1 else []
        for path in dict.fromkeys([*near, *rest]):
            if path.resolve() != own and self._hash(path) == digest:
                return path
        return None

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            try:
                self._hashes[path] = file_sha256(path)
            except OSError:
                self._hashes[path] = ""
        return self._hashes[path]


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _row(
    output: Path, finder: InputFinder, index: Path, overwrite: bool, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A row of the table; the page is written unless there is one."""
    page = default_page(output)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SciSRWarning)
            made = compose(finder.of(output, _record(output) or ()), output, options=options)
            if overwrite or not page.exists():
                with atomic_output(page, overwrite=overwrite) as temporary:
                    temporary.write_text(made.text, encoding="utf-8")
    except SciSRError as error:
        return _failed_row(output, error)
    return {**_told(made), "link": _link(page, index)}


def _link(page: Path, index: Path) -> str:
    """Relative where it can be, so that the folder can move."""
    try:
        relative = page.resolve().relative_to(index.resolve().parent)
    except ValueError:
        return page.resolve().as_uri()
    return "./" + quote(os.fsencode(relative.as_posix()))


def _failed_row(output: Path, error: SciSRError) -> dict[str, Any]:
    from sciSR.workflow.stack_names import record_name

    blank = dict.fromkeys(
        (
            "method",
            "scale",
            "agreement",
            "agreement_value",
            "failed",
            "weak",
            "weak_value",
            "std",
            "std_value",
        ),
        "",
    )
    return {
        **blank, "name": record_name(output), "about": "", "mood": "bad", "rank": 0, "picture": "", "link": "",
        "verdict": f"No page could be made: {error.what}",
    }  # fmt: skip


def _told(made: Composed) -> dict[str, Any]:
    facts, scene = made.facts, made.scene
    findings = verdict(facts)
    mood = mood_of(findings)
    step = facts.step
    told, std = step.get("agreement") or {}, step.get("uncertainty") or {}
    share, median = told.get("max_relative_to_range"), std.get("median")
    checked, backed = facts.verification, facts.support
    picture = scene.pictures.get("after-whole", scene.pictures["after"])
    return {
        "name": facts.output_name,
        "about": f"from {facts.input_name}" if facts.input_name else "its input was not found",
        "mood": mood,
        "rank": _RANK[mood],
        "verdict": in_short(findings),
        "method": str(step.get("model", "")),
        "scale": str(step.get("scale", "")) if not isinstance(step.get("scale"), Mapping) else "",
        "agreement": number(share),
        "agreement_value": "" if share is None else share,
        "failed": "" if checked is None else sum(c.status == "failed" for c in checked.checks),
        "weak": "–" if backed is None else f"{len(backed.unsupported)} of {len(backed.features)}",
        "weak_value": "" if backed is None else len(backed.unsupported),
        "std": "–" if median is None else f"{number(median)} {facts.after.unit or ''}".strip(),
        "std_value": "" if median is None else median,
        "picture": preview(picture, scene.layers["after"]["shown"], _THUMBNAIL),
    }


def _text(folder: Path, rows: Sequence[dict[str, Any]]) -> str:
    """The index; without its last pictures where it would be too large."""
    counts = {
        mood: sum(row["mood"] == mood for row in rows) for mood in ("good", "caution", "bad", "unknown")
    }
    words = {"good": "good", "caution": "with a caution", "bad": "failed a check", "unknown": "not known"}
    said = ", ".join(f"{n} {words[mood]}" for mood, n in counts.items() if n)
    worst = next((mood for mood in ("bad", "caution", "good") if counts[mood]), "unknown")
    notes: list[str] = []
    kept = list(rows)
    while True:
        text = render(
            "index.html.j2",
            viewer=False,
            name=folder.resolve().name,
            lead=f"{len(rows)} output{'s' if len(rows) != 1 else ''}",
            mood=worst,
            verdict=f"All {len(rows)} are good."
            if counts["good"] == len(rows) > 1
            else f"{said[:1].upper()}{said[1:]}.",
            rows=kept,
            notes=notes,
        )
        pictures = [number for number, row in enumerate(kept) if row["picture"]]
        if len(text.encode("utf-8")) < LIMIT or not pictures:
            return text
        notes = ["Some pictures are left out to keep the page small."]
        for number_ in pictures[len(pictures) // 2 :]:
            kept[number_] = {**kept[number_], "picture": ""}
