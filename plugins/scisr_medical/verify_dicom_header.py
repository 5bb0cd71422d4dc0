"""What became of each attribute of a DICOM series: listed once for the series, not for each file.

Values are shown where they are numbers or defined terms and not the patient's; everything else is "(not shown)".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sciSR.verify.result import Fate, KeyChange
from scisr_medical.verify_dicom_frames import PER_FRAME, SHARED, Frame, Volume, source_of
from scisr_medical.verify_dicom_geometry import expected_plane
from scisr_medical.verify_dicom_rules import ABSENT, MAY_DIFFER, Context, empty, same, verdict

HIDDEN = "(not shown)"
_SHOWN = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "FD", "FL", "CS", "AT", "SV", "UV"})
_CLASSES = ("SOPClassUID", "MediaStorageSOPClassUID", "TransferSyntaxUID")
_PIXELS = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009})
_MOST = 400
"""Slices whose headers are compared; of longer series so many, evenly spread."""
Key = tuple[str, ...]


def header_changes(before: Volume, after: Volume, factors: tuple[float, ...]) -> list[KeyChange]:
    """Attributes of both series, in the order of their tags; then private ones by group."""
    outcomes: dict[Key, dict[tuple[str, str, bool], list[Any]]] = {}
    total, flats = 0, _Flats()
    every = [*after]
    for at, frame in every[:: max(1, -(-len(every) // _MOST))]:
        total += 1
        source = source_of(at, after, before, factors[0])
        context = _context(at, source, frame, before, after, factors)
        old, new = flats[source], flats[frame]
        for key in {**old, **new}:
            change = _change(key, old.get(key, _NOTHING), new.get(key, _NOTHING), context)
            kinds = outcomes.setdefault(key, {})
            kinds.setdefault(change[:3], [0, change[3], change[4]])[0] += 1
    return [entry for key in sorted(outcomes, key=_order) for entry in _entries(key, outcomes[key], total)]


_NOTHING: tuple[Any, str] = (ABSENT, "")


def _context(
    at: tuple[int, ...],
    source: Frame,
    frame: Frame,
    before: Volume,
    after: Volume,
    factors: tuple[float, ...],
) -> Context:
    between = None if after.step is None else float(np.linalg.norm(after.step))
    expected = expected_plane(at, before, after, factors)[:, 2] if source.placed else None
    return Context(
        source, frame, factors, between, expected, (source.number is None) != (frame.number is None)
    )


def _change(
    key: Key, old: tuple[Any, str], new: tuple[Any, str], context: Context
) -> tuple[str, str, bool, str, str]:
    """Fate, rule, whether it is allowed, and both values as text."""
    if key[0] == "private":
        fate = "lost" if new[0] is ABSENT else "added" if old[0] is ABSENT else "kept"
        if fate == "kept" and old[0] != new[0]:
            return "changed", "private; in part left out or not told by any standard", True, old[1], new[1]
        rule = {"lost": "private; may repeat the old geometry", "kept": "private; not checked"}.get(
            fate, "private"
        )
        return fate, rule, True, old[1], new[1]
    if key[0] == "overlay":
        if old[0] is ABSENT:
            return "added", "of the program that wrote it", True, old[1], new[1]
        kept = new[0] is not ABSENT
        return ("kept" if kept else "lost"), "drawn on other pixels", not kept, old[1], new[1]
    keyword = key[-1]
    rule, allowed = verdict(keyword, old[0], new[0], context)
    if len(key) > 1 and key[0] in MAY_DIFFER:
        rule, allowed = MAY_DIFFER[key[0]], True
    if key[0] == "ReferencedImageSequence" and new[0] is ABSENT and not allowed:
        allowed = not context.before.header.get("ReferencedImageEvidenceSequence")
        rule = "nothing says in which study to look for them"
    gone, came = new[0] is ABSENT, old[0] is ABSENT
    fate = (
        "added"
        if came or (empty(old[0]) and not gone and not empty(new[0]))
        else "lost"
        if gone
        else "changed"
    )
    if same(old[0], new[0]):
        fate = "kept"
    if fate == "kept" and allowed:
        rule = ""
    return fate, rule, allowed, old[1], new[1]


def _entries(key: Key, kinds: Mapping[tuple[str, str, bool], list[Any]], total: int) -> Iterator[KeyChange]:
    """One for each fate; with the number of slices where not all share it."""
    for (fate, rule, allowed), (count, old, new) in kinds.items():
        words = rule if count == total else f"{rule}{'; ' if rule else ''}in {count} of {total} slices"
        kind: Fate = fate  # type: ignore[assignment]
        yield KeyChange(_name(key), kind, old, new, words, allowed)


def _order(key: Key) -> tuple[Any, ...]:
    from pydicom.datadict import tag_for_keyword

    if key[0] in ("private", "overlay"):
        return (2, 0, key)
    tags = [tag_for_keyword(k) or 0 for k in key]
    return (len(key) > 1, tags[0], tuple(tags), key)


def _name(key: Key) -> str:
    from pydicom.datadict import tag_for_keyword

    if key[0] == "private":
        return f"({key[1]},xxxx) private"
    if key[0] == "overlay":
        return f"({key[1]},xxxx) overlay or curve"
    words = []
    for keyword in key:
        tag = tag_for_keyword(keyword)
        words.append(keyword if tag is None else f"({tag >> 16:04x},{tag & 0xFFFF:04x}) {keyword}")
    return " > ".join(words)


class _Flats:
    """Headers as plain values by keyword; those of a file are made once, those of a frame for the frame."""

    def __init__(self) -> None:
        self._files: dict[Any, dict[Key, tuple[Any, str]]] = {}

    def __getitem__(self, frame: Frame) -> dict[Key, tuple[Any, str]]:
        if frame.path not in self._files:
            if len(self._files) > 8:
                self._files.clear()
            self._files[frame.path] = _file(frame.header)
        found = self._files[frame.path]
        return found if frame.number is None else {**found, **_groups(frame)}


def _file(header: Any) -> dict[Key, tuple[Any, str]]:
    out: dict[Key, tuple[Any, str]] = {}
    private: dict[tuple[str, str], list[Any]] = {}
    for part in (getattr(header, "file_meta", None) or (), header):
        for tag in list(part.keys()) if part else ():
            if int(tag) in _PIXELS or tag.element == 0:
                continue
            kind = "private" if tag.is_private else "overlay" if tag.group >> 8 in (0x50, 0x60) else ""
            if kind:
                private.setdefault((kind, f"{tag.group:04x}"), []).append(_raw(part, tag))
                continue
            element = _element(part, tag)
            if element is None:
                out[f"({tag.group:04x},{tag.element:04x})",] = ("can't be decoded", HIDDEN)
            elif element.keyword not in (SHARED, PER_FRAME):
                keyword = element.keyword or f"({tag.group:04x},{tag.element:04x})"
                out[keyword,] = (_plain(element), _text(keyword, element))
    for (kind, group), values in private.items():
        out[kind, group] = (tuple(values), f"{len(values)} elements")
    return out


def _raw(part: Any, tag: Any) -> Any:
    item = part.get_item(tag)
    value = getattr(item, "value", None)
    return int(tag), value if isinstance(value, bytes) else repr(type(value))


def _element(part: Any, tag: Any) -> Any:
    try:
        return part[tag]
    except Exception:  # undecodable: compared as such
        return None


def _groups(frame: Frame) -> dict[Key, tuple[Any, str]]:
    """Attributes of the functional groups that hold for a frame."""
    out: dict[Key, tuple[Any, str]] = {}
    private = 0
    for group, items in frame.groups().items():
        for element in items[0] if len(items) else ():
            if element.tag.is_private:
                private += 1
            elif element.keyword:
                out[group, element.keyword] = (_plain(element), _text(element.keyword, element))
    if private:
        out["private", "functional groups"] = (private, f"{private} elements")
    return out


def _plain(element: Any) -> Any:
    """A value that can be compared: numbers, text without blanks at its ends, sequences without private elements."""
    value = element.value
    if element.VR == "SQ":
        return tuple(
            tuple((int(e.tag), _plain(e)) for e in item if not e.tag.is_private and e.tag.element)
            for item in value or ()
        )
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ")
    if value is None:
        return ""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return _single(value)
    return tuple(_single(v) for v in value)


def _single(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    try:  # decimal strings that pydicom keeps as text
        return float(value) if type(value).__name__ == "DSdecimal" else text
    except (TypeError, ValueError):
        return text


def _text(keyword: str, element: Any) -> str:
    value = element.value
    if value in (None, "", b"") or (hasattr(value, "__len__") and len(value) == 0):
        return ""
    if element.VR == "SQ":
        return f"{len(value)} items"
    if keyword in _CLASSES:
        return str(getattr(value, "name", value))
    if element.VR not in _SHOWN or (keyword.startswith("Patient") and keyword != "PatientPosition"):
        return HIDDEN
    many = hasattr(value, "__iter__") and not isinstance(value, str)
    words = [str(v) for v in (value if many else [value])]
    text = "\\".join(words)
    return text if len(text) <= 80 else text[:77] + "..."
