"""Names of items and results: templates filled in, and texts made fit for any file system."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping
from hashlib import sha256

from sciSR.errors import UsageError

_FIELD = re.compile(r"\{([^{}]*)\}")
_LONGEST = 150  # bytes of a name; file systems allow 255, suffixes and temporary names come on top
_SEPARATORS = "_.- "
UNNAMED = ("damaged", "special")
"""What a key says of a file that it does not name: one that can't be read, or a pipe or a device."""


def fields(template: str) -> tuple[str, ...]:
    """The fields of a template, each once: ``"{OBJECT}_{branch}"`` -> ``("OBJECT", "branch")``."""
    return tuple(dict.fromkeys(_FIELD.findall(template)))


def fill(template: str, facts: Mapping[str, str]) -> str:
    """A name without suffix, within folders where the template has them.

    A field that is empty takes the separator before it along: ``"{stem}_{branch}"`` is ``"m51"`` outside branches. A
    folder that comes out empty is none.

    Parameters
    ----------
    template : str
        Text with fields in braces; ``"{OBJECT}_{FILTER}"``, ``"{subject}/{item}"``. Where ``{folder}`` stands for a
        folder, its own folders stay folders; within a name they are joined by ``__``.
    facts : mapping of str to str
        A field's name is looked up as it stands, else without regard to case.

    Returns
    -------
    str
        Fit for any file system; see :func:`safe_name`.

    Raises
    ------
    UsageError
        A field that is no fact of this item, a brace without its partner, a path that leads out, or an empty name.
    """
    if "{" in _FIELD.sub("", template) or "}" in _FIELD.sub("", template):
        raise UsageError(
            f"the name {template!r} has a brace without its partner", remedy="write fields as {stem}"
        )
    parts = template.split("/")
    if "\\" in template or template.startswith("/") or {".", ".."} & set(parts):
        raise UsageError(f"the name {template!r} is no relative path", remedy="give folders of the outputs")
    *folders, name = [part for part in parts if part] or [""]
    filled = [
        *(folder for part in folders for folder in _folders(part, facts, template)),
        _fill_part(name, facts, template),
    ]
    if not filled[-1]:
        raise UsageError(
            f"the name {template!r} comes out empty here", remedy="add a field such as {item} or {stem}"
        )
    return "/".join(filter(None, filled))


def _folders(part: str, facts: Mapping[str, str], template: str) -> list[str]:
    if part == "{folder}" and "folder" in facts:
        return [safe_name(each) for each in facts["folder"].split("/")]
    return [_fill_part(part, facts, template)]


def _fill_part(part: str, facts: Mapping[str, str], template: str) -> str:
    folded = {name.casefold(): name for name in facts}
    out, at = "", 0
    for match in _FIELD.finditer(part):
        out, at = out + part[at : match.start()], match.end()
        value = _look_up(match[1], facts, folded, template)
        if value:
            out += value
        elif out[-1:] and out[-1] in _SEPARATORS:
            out = out[:-1]
        elif not out and at < len(part) and part[at] in _SEPARATORS:
            at += 1
    return safe_name(out + part[at:])


def _look_up(field: str, facts: Mapping[str, str], folded: Mapping[str, str], template: str) -> str:
    name = field if field in facts else folded.get(field.casefold())
    if name is not None:
        return safe_name(str(facts[name]))
    known = sorted(facts)
    near = difflib.get_close_matches(field, known, 1)
    remedy = f"did you mean {{{near[0]}}}?" if near else f"there are {', '.join(known)}"
    raise UsageError(f"the name {template!r} asks for {{{field}}}, which this item lacks", remedy=remedy)


def safe_name(text: str) -> str:
    """Letters, digits and ``_ . - +`` of a text; what else it holds becomes dashes.

    Folders of a path are joined by ``__``. It does not begin with a dot or a dash, nor end in a separator, so that it
    is neither hidden nor taken for an option; it has at most 150 bytes, the end of a longer one being its hash.
    """
    text = unicodedata.normalize("NFC", text).replace("\\", "/").strip("/ ")
    text = re.sub(r"\s*/+\s*", "__", text)
    text = re.sub(r"[^\w.+-]+", "-", text).lstrip(".-").rstrip(_SEPARATORS)
    if len(text.encode()) > _LONGEST:
        head = text.encode()[: _LONGEST - 9].decode(errors="ignore").rstrip(_SEPARATORS)
        text = f"{head}-{short_hash(text)}"
    return text


def unnamed(kind: str, path: str) -> str:
    """A key that does not repeat a path that may hold a patient's name.

    Parameters
    ----------
    kind : str
        One of :data:`UNNAMED`.
    path : str
        Relative to the input folder.
    """
    return f"{kind}-{short_hash(path)}"


def is_unnamed(key: str) -> bool:
    """Whether a key is one of :func:`unnamed`."""
    return re.fullmatch(rf"({'|'.join(UNNAMED)})-[0-9a-f]{{8}}", key) is not None


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that stand for a text."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
