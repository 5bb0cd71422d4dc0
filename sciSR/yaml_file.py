"""YAML 1.2 files read safely, with the line of each value, and pydantic's complaints in plain words at their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.errors import UsageError

Place = tuple[str | int, ...]
Lines = dict[Place, str]
"""Where each value stands, "file:line"."""
LARGEST = 1 << 20
"""Bytes: no configuration is longer."""
DEEPEST = 100
"""Brackets within each other."""
MOST_NODES = 200_000
"""Values, those that aliases repeat counted again: more is an attack, or no configuration."""
WORDS = (
    ("Input should", "must"),
    ("Tuple should", "must"),
    ("String should", "must"),
    ("List should", "must"),
    ("Dictionary should", "must"),
    ("Value error, ", ""),
    (" after validation", ""),
    (", unable to parse string as a number", ""),
    (", unable to parse string as an integer", ""),
    ("a valid dictionary", "keys with values"),
    ("a valid integer", "a whole number"),
    ("a valid ", "a "),
)
"""Pydantic's words, and plain ones."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one value, and what to do about it."""

    text: str
    remedy: str | None = None


def parse(path: Path, *, examples: str = "see docs") -> tuple[dict[str, Any], Lines]:
    """Values of a file as plain dictionaries and lists, and the line of each.

    Parameters
    ----------
    path : Path
        UTF-8. Tags of other languages' objects are refused, and so are duplicate keys.
    examples : str
        Where to look, for the message about a file that can't be read.

    Raises
    ------
    UsageError
        Missing, too large, no YAML, or no mapping.
    """
    from ruamel.yaml import YAML, YAMLError

    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"larger than {LARGEST >> 20} MiB: no configuration", where=path)
        text = path.read_text(encoding="utf-8")
        check_depth(text, path)
        yaml = YAML(typ="safe", pure=True)
        tree = yaml.compose(text)
        check_size(tree, path)
        values = None if tree is None else yaml.constructor.construct_document(tree)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UsageError(f"can't be read ({reason})", where=path, remedy=examples) from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark is not None else path
        raise UsageError(
            f"not valid YAML ({getattr(error, 'problem', None) or error})", where=place
        ) from error
    except UsageError:
        raise
    except (
        Exception
    ) as error:  # a date of the 30th of February, nested too deeply, a tag whose value does not fit
        raise UsageError(f"not valid YAML ({type(error).__name__}: {error})", where=path) from error
    if not isinstance(values, dict):
        raise UsageError("no configuration: expected keys with values", where=path)
    return values, {place: f"{path.name}:{line}" for place, line in lines_of(tree, ())}


def value(text: str) -> Any:
    """The value of ``--set key=VALUE``, read as YAML.

    Raises
    ------
    UsageError
    """
    from ruamel.yaml import YAML, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        remedy = f"a text that holds {{ }} [ ] : or # goes in quotes: '\"{text}\"'"
        raise UsageError(f"--set: {text!r} is not valid YAML", remedy=remedy) from error


def check_depth(text: str, path: Path) -> None:
    """Refuse brackets in brackets in brackets before they are parsed, which takes the longer the more there are.

    Raises
    ------
    UsageError
    """
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        if depth > DEEPEST:
            raise UsageError(f"values nested more than {DEEPEST} deep", where=path)


def check_size(tree: Any, path: Path) -> None:
    """Refuse a document whose aliases multiply it: a few hundred bytes can mean billions of values.

    Raises
    ------
    UsageError
    """
    sizes: dict[int, int] = {}

    def size(node: Any, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise UsageError("a value contains itself", where=path, remedy="take the alias out")
        if id(node) not in sizes:
            inner: list[Any] = []
            if node is not None and isinstance(node.value, list):
                mapping = node.id == "mapping"
                if mapping and not all(isinstance(key.value, str) for key, _ in node.value):
                    raise UsageError("a key is a list or a mapping", where=path, remedy="keys are names")
                inner = [part for pair in node.value for part in pair] if mapping else node.value
            sizes[id(node)] = 1 + sum(size(each, (*above, id(node))) for each in inner)
        if sizes[id(node)] > MOST_NODES:
            raise UsageError(f"more than {MOST_NODES} values", where=path, remedy="take aliases out")
        return sizes[id(node)]

    size(tree, ())


def lines_of(node: Any, place: Place) -> Iterator[tuple[Place, int]]:
    """(place, line) of every value below a YAML node."""
    if node is None or not isinstance(node.value, list):
        return
    if node.id == "mapping":
        for key, value in node.value:
            name = key.value if isinstance(key.value, str) else str(key.value)  # a key may be a list
            yield (*place, name), key.start_mark.line + 1
            yield from lines_of(value, (*place, name))
    else:
        for index, value in enumerate(node.value):
            yield (*place, index), value.start_mark.line + 1
            yield from lines_of(value, (*place, index))


def place_in(location: tuple[str | int, ...], values: Any) -> Place:
    """The part of pydantic's location that is in the values: it names the branches of unions too."""
    place: list[str | int] = []
    for key in location:
        inside = (isinstance(values, dict) and key in values) or (
            isinstance(values, list) and isinstance(key, int) and key < len(values)
        )
        if not inside:
            continue
        place.append(key)
        values = values[key]
    return tuple(place)


def plain(item: dict[str, Any]) -> str:
    """One of pydantic's errors in plain words, with the value where it is short."""
    text = str(item["msg"])
    for said, better in WORDS:
        text = text.replace(said, better)
    shown = repr(item["input"])
    return f"{text}, not {shown}" if len(shown) < 60 and ", not " not in text else text


def message(problems: dict[Place, Problem], lines: Lines, whole: str = "configuration") -> str:
    """All problems in one line, each with its key and its line of the file."""
    texts = faults(problems, lines, whole)
    count = f"{len(texts)} errors: " if len(texts) > 1 else ""
    return count + "; ".join(texts)


def faults(problems: dict[Place, Problem], lines: Lines, whole: str = "configuration") -> list[str]:
    """Each problem with its key and its line of the file, in the order of the lines."""
    texts = []
    for place in sorted(problems, key=lambda place: _sort_key(place, lines)):
        problem = problems[place]
        name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).lstrip(".")
        line = line_of(place, lines)
        remedy = f" ({problem.remedy})" if problem.remedy else ""
        texts.append(f"{name or whole}{f' [{line}]' if line else ''}: {problem.text}{remedy}")
    return texts


def line_of(place: Place, lines: Lines) -> str | None:
    """The line of a value, or of what it stands in."""
    return next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)


def _sort_key(place: Place, lines: Lines) -> tuple[int, str]:
    """By line, then by name."""
    number = (line_of(place, lines) or "").rpartition(":")[2]
    return (int(number) if number.isdecimal() else 0, str(place))
