"""How records and messages name stacks: by their files, unless a file is named after its patient."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sciSR.errors import SciSRError
from sciSR.files import is_special
from sciSR.image import Image


def record_name(path: Path | str, name: str | None = None) -> str:
    """A file's or folder's own name; one that says nothing where the file tells that this is its patient's.

    Parameters
    ----------
    path : path
        The input. Its format decides, see ``neutral_name`` of :class:`sciSR.adapter.Adapter`.
    name : str, optional
        Another name in question: of the folder it lies in.
    """
    from sciSR.plugins import adapter_for

    path = Path(os.path.realpath(path))  # resolve() raises for a link to itself
    name = path.name if name is None else name
    if is_special(path):  # opening a pipe may wait forever
        return name
    try:
        neutral = getattr(adapter_for(path), "neutral_name", None)
    except SciSRError:  # no longer there, or made in memory with a name
        return name
    return name if neutral is None else neutral(path, name)


def source_name(image: Image, number: int) -> str:
    """A file's name without its folders, which may say more than a reader should know."""
    return f"stack {number + 1}" if image.source is None else record_name(image.source)


def distinct_names(images: Sequence[Image]) -> list[str]:
    """How records name the stacks; files of one name in different folders are told apart by the folder."""
    names = [image.where if image.source is None else _with_part(image) for image in images]
    out = []
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        if names.count(name) > 1:
            parent = "" if image.source is None else Path(image.source).resolve().parent.name
            parent = parent and record_name(str(image.source), parent)
            name = f"{parent}/{name}" if parent else f"{name} {number + 1}"
        out.append(name)
    return [name if out.count(name) == 1 else f"{name} ({k + 1})" for k, name in enumerate(out)]


def _with_part(image: Image) -> str:
    name = record_name(str(image.source))
    return f"{name}[{image.part}]" if image.part else name


def neutral_texts(texts: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Messages for the record, in which inputs are called by their names for the record."""
    out = list(texts)
    for path in dict.fromkeys(paths):
        name, neutral = path.resolve().name, record_name(path)
        if name and neutral != name:
            out = [text.replace(name, neutral) for text in out]
    return out
