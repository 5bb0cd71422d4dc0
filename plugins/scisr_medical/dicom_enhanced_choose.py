"""What the frames of enhanced multi-frame files make together: one image, or several to choose from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sciSR.errors import GeometryError, UsageError
from scisr_medical.dicom_grid import IRREGULAR
from scisr_medical.dicom_instance import Instance
from scisr_medical.dicom_listing import echo_times

_LISTED = 8

VolumeKey = tuple[str, Callable[[Instance], Any], bool]
"""What tells volumes apart: its name, its value, and whether the same values must be there at every position."""


def choose_stack(instances: Sequence[Instance], wanted: str, where: Path) -> list[Instance]:
    """The frames of one stack, by its StackID.

    Raises
    ------
    UsageError
        There is no such stack; the known ones are listed.
    """
    chosen = [i for i in instances if i.stack == wanted.strip()]
    if not chosen:
        known = ", ".join(_counts([i.stack for i in instances if i.stack is not None])) or "none"
        raise UsageError(
            f"no stack {wanted!r}; stacks: {known}",
            where=where,
            remedy="give --stack with one of their StackIDs; only enhanced multi-frame files have them",
        )
    return chosen


def check_one_kind(instances: Sequence[Instance], where: Path) -> None:
    """Refuse a series of classic and of enhanced images: they say the same things in different words.

    Raises
    ------
    GeometryError
    """
    classic = [i for i in instances if i.frame is None]
    if classic and len(classic) < len(instances):
        frame = next(i for i in instances if i.frame is not None)
        raise GeometryError(
            f"mixes classic images ({classic[0].name}) with enhanced ones ({frame.name}) in one series",
            where=where,
            remedy="give the files of one kind",
        )


def check_files(instances: Sequence[Instance], where: Path) -> None:
    """Refuse a series of which parts are missing or stand twice.

    Raises
    ------
    GeometryError
        One enhanced file given twice; a concatenation without all of its files.
    """
    seen: dict[str, Path] = {}
    for each in instances:
        if each.frame is not None and seen.setdefault(each.sop_uid, each.path) != each.path:
            one, two = (os.path.relpath(p, where) for p in (seen[each.sop_uid], each.path))
            raise GeometryError(
                f"{one} and {two} are the same image (one SOPInstanceUID)",
                where=where,
                remedy="leave one out",
            )
    parts: dict[str, dict[int, Instance]] = {}
    for each in instances:
        if each.concatenation is not None:
            parts.setdefault(each.concatenation[0], {})[each.concatenation[1]] = each
    for found in parts.values():
        total = max(max(found), *((i.concatenation or ("", 0, 0))[2] or 0 for i in found.values()))
        if missing := [k for k in range(1, total + 1) if k not in found]:
            some = found[min(found)].path.name
            raise GeometryError(
                f"{some} is part {min(found)} of {total} of one image (a concatenation), "
                f"and part {missing[0]} is missing",
                where=where,
                remedy=f"give the folder that holds all parts, or {IRREGULAR}",
            )


def dimension_key(groups: Sequence[Sequence[Instance]]) -> list[VolumeKey]:
    """How the dimension indices tell apart the frames that lie at one position; empty where they do not.

    Only those indices count that differ within a position: whatever the file calls its dimensions (the names may be
    missing, or private), the others tell the positions themselves.
    """
    frames = [i for group in groups for i in group]
    lengths = {len(i.dimensions) for i in frames}
    names = {i.dimension_names for i in frames}
    if len(lengths) != 1 or lengths == {0} or len(names) != 1:
        return []
    count, (named,) = lengths.pop(), names
    varying = [c for c in range(count) if any(len({i.dimensions[c] for i in g}) > 1 for g in groups)]
    if not varying or any(len({i.stack for i in g}) > 1 for g in groups):
        return []
    known = [named[c] for c in varying if len(named) == count and named[c]]
    what = " and ".join(known) if len(known) == len(varying) else "DimensionIndexValues"
    return [(what, lambda i: tuple(i.dimensions[c] for c in varying), True)]


def file_key(groups: Sequence[Sequence[Instance]]) -> list[VolumeKey]:
    """One file a volume: files with another InstanceNumber and another SOPInstanceUID, so no file stands twice."""
    frames = [i for group in groups for i in group]
    if any(i.frame is None for i in frames):
        return []
    files = {(i.path, i.number, i.sop_uid) for i in frames}
    if len({number for _, number, _ in files}) < len(files) or len({uid for *_, uid in files}) < len(files):
        return []
    if any(len({i.stack for i in g}) > 1 for g in groups):
        return []
    return [("InstanceNumber (one file a volume)", lambda i: i.number, True)]


def explain(error: GeometryError, instances: Sequence[Instance], where: Path) -> GeometryError:
    """The error that says what the frames are and how to choose, where they are several images.

    Parameters
    ----------
    error : GeometryError
        Why the frames make no one volume.
    """
    if all(i.frame is None for i in instances):
        return error
    kinds = list(dict.fromkeys(i.component for i in instances))
    stacks = _counts([i.stack for i in instances if i.stack is not None])
    echoes = echo_times(instances)
    if len(kinds) > 1:
        what = [f"{sum(i.component == k for i in instances)} of {k} ({_word(instances, k)})" for k in kinds]
        listing, option = f"{len(kinds)} kinds of frames: {', '.join(what)}", "--image-type"
    elif len(stacks) > 1:
        some = ", ".join(stacks[:_LISTED]) + (", ..." if len(stacks) > _LISTED else "")
        listing, option = f"{len(stacks)} stacks: {some}", "--stack"
    elif len(echoes) > 1:
        times = ", ".join(f"{k} (TE {t:g} ms)" for k, t in enumerate(echoes[:_LISTED], 1))
        listing, option = f"{len(echoes)} echoes: {times}{', ...' if len(echoes) > _LISTED else ''}", "--echo"
    else:
        return error
    return GeometryError(
        f"holds {listing}, which make no one image ({error.what})",
        where=where,
        remedy=f"choose with {option}, or {IRREGULAR}",
    )


def note_stacks(instances: Sequence[Instance]) -> list[str]:
    """What to say of frames that make one image, but not in the usual way."""
    notes = []
    if (count := len({i.stack for i in instances if i.stack is not None})) > 1:
        notes.append(f"{count} stacks lie in one row and are taken as one volume; --stack takes one of them")
    if any(i.palette for i in instances):
        notes.append(
            "a supplemental palette gives some values a colour; the values are upscaled, the palette is not used"
        )
    return notes


def _counts(names: Sequence[str]) -> list[str]:
    return [f"{name} ({count} frames)" for name, count in Counter(names).items()]


def _word(instances: Sequence[Instance], component: str) -> str:
    """A value of --image-type that takes the frames of this component and no others."""
    wanted = [i.kinds for i in instances if i.component == component]
    others = frozenset().union(*(i.kinds for i in instances if i.component != component))
    words = frozenset.intersection(*wanted) - others
    longest = [w for w in sorted(words, key=lambda w: (-len(w), w)) if w not in ("ORIGINAL", "DERIVED")]
    return f"--image-type {longest[0]}" if longest else "no type of its own"
