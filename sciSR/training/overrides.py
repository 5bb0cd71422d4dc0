"""``--set a.b=value`` on a configuration, with the standard library alone."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

from sciSR.errors import UsageError
from sciSR.training.config import TrainConfig


def override(config: TrainConfig, settings: Iterable[str]) -> TrainConfig:
    """The configuration with some values replaced.

    Parameters
    ----------
    config : TrainConfig
    settings : iterable of str
        ``key.key=value``; a value is JSON (``5e-4``, ``[2, 3]``, ``null``), or else a word.
    """
    values = config.as_dict()
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: no '='", remedy="write it as optimizer.lr=5e-4")
        _put(values, key.strip().split("."), _value(text.strip()), key)
    return TrainConfig.from_dict(values)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _put(values: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    *parents, last = keys
    free = False  # below arguments, options and the card any key may be new
    for parent in parents:
        _known(values, parent, name, free)
        free = free or parent in ("arguments", "options", "card")
        if values.get(parent) is None:
            values[parent] = {}
            free = True
        values = values[parent]
    _known(values, last, name, free)
    values[last] = value


def _known(values: Any, key: str, name: str, free: bool) -> None:
    if not isinstance(values, dict):
        raise UsageError(f"--set {name}: {key} is below a value that has no parts")
    if key not in values and not free:
        near = difflib.get_close_matches(key, values, 1)
        remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(values)}"
        raise UsageError(f"--set {name}: {key} is unknown", remedy=remedy)
