"""``--set a.b=value``: single values of a configuration, with the standard library alone."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Iterable
from typing import Any, get_args, get_type_hints

from sciSR.errors import UsageError
from sciSR.training.config import TrainConfig

FREE = ("arguments", "options", "card")
"""Keys below which any key may stand."""


def override(config: TrainConfig, settings: Iterable[str]) -> TrainConfig:
    """The configuration with some values replaced.

    Checked as far as that goes without pydantic: keys must exist, numbers stay numbers.

    Parameters
    ----------
    config : TrainConfig
    settings : iterable of str
        ``key.key=value``; a value is JSON (``5e-4``, ``[2, 3]``, ``null``), or else a word.

    Raises
    ------
    UsageError
        A key is unknown, or a value is no number where one is needed.
    """
    values = config.as_dict()
    for setting in settings:
        keys, value = parse(setting, _value)
        old = _look_up(values, keys, setting)
        number = isinstance(old, int | float) and not isinstance(old, bool)
        if number and (
            isinstance(value, bool | str | dict) or (value is None and not _optional(config, keys))
        ):
            raise UsageError(f"--set {setting}: {value!r} is no number (it was {old})")
        put(values, keys, value)
    return TrainConfig.from_dict(values)


def parse(setting: str, read: Callable[[str], Any]) -> tuple[list[str], Any]:
    """Keys and value of ``key.key=value``, the value read by `read`."""
    name, separator, text = setting.partition("=")
    keys = [key.strip() for key in name.split(".")]
    if not separator or not all(keys):
        raise UsageError(
            f"--set {setting}: not of the form key.key=value", remedy="e.g. --set optimizer.lr=5e-4"
        )
    return keys, read(text.strip())


def put(values: Any, keys: list[str], value: Any) -> None:
    """Set one value of nested dictionaries and lists; dictionaries are made where there are none."""
    here = values
    for key, after in zip(keys, [*keys[1:], None], strict=True):
        place = _place(here, key)
        if after is None:
            here[place] = value
        elif isinstance(here, list):
            here = here[place]
        else:
            if not isinstance(here.get(place), dict | list):
                here[place] = {}
            here = here[place]


def closest(key: str, known: Iterable[str]) -> str:
    """What to do about an unknown key."""
    known = list(known)
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _place(here: Any, key: str) -> Any:
    if isinstance(here, list):
        if not key.isdecimal() or int(key) >= len(here):
            raise UsageError(
                f"--set: there is no entry {key} in a list of {len(here)}", remedy="they count from 0"
            )
        return int(key)
    return key


def _look_up(values: Any, keys: list[str], setting: str) -> Any:
    """The value so far; an unknown key is an error, except where keys are free or the part was absent."""
    here = values
    for depth, key in enumerate(keys):
        if here is None or any(parent in FREE for parent in keys[:depth]):
            return None
        if isinstance(here, list):
            here = here[_place(here, key)]
        elif not isinstance(here, dict):
            raise UsageError(f"--set {setting}: {'.'.join(keys[:depth])} has no parts")
        elif key not in here:
            raise UsageError(f"--set {setting}: {key} is unknown", remedy=closest(key, here))
        else:
            here = here[key]
    return here


def _optional(config: Any, keys: list[str]) -> bool:
    """Whether a value may be None, by the type of its field."""
    *parents, last = keys
    for key in parents:
        config = getattr(config, key, None)
    hints = get_type_hints(type(config)) if dataclasses.is_dataclass(config) else {}
    return type(None) in get_args(hints.get(last))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
