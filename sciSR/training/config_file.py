"""Training configurations in YAML: inheritance, overrides, and every error at once with its place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from sciSR.errors import ConfigurationError, UsageError
from sciSR.files import atomic_output
from sciSR.training.config import TrainConfig
from sciSR.training.config_sense import nonsense
from sciSR.training.overrides import closest, parse, put
from sciSR.training.run_folder import write_yaml
from sciSR.yaml_file import Lines, Place, Problem, faults, message, place_in, plain
from sciSR.yaml_file import parse as parse_file
from sciSR.yaml_file import value as yaml_value

BASE = "base"
EXAMPLES = "see configs/train for examples"
WHOLE = ("arguments", "options")
"""Dictionaries that are not merged: what one network or loss takes, another doesn't."""
NEEDED = {"name": "unnamed", "domain": "mr", "normalisation": "range", "model": {"architecture": "ECBSR"}}
"""Stand-ins for what is missing or wrong, while the rest is judged."""


def load_config(path: str | Path, sets: Iterable[str] = ()) -> TrainConfig:
    """Read a configuration.

    Parameters
    ----------
    path : str or Path
        YAML 1.2. A key ``base: other.yaml`` (relative to the file) fills in what the file leaves out, and so on;
        dictionaries are merged, everything else is replaced (the arguments too where the architecture is another).
    sets : iterable of str
        ``optimizer.lr=5e-4``: values that replace the file's; YAML too. ``loss.terms.0.weight`` counts from 0.

    Raises
    ------
    UsageError
        A file is missing or no YAML, or the values don't fit: all faults in one message, each with its key and line.
    """
    values, lines = _read(Path(path), ())
    for setting in sets:
        keys, value = parse(setting, yaml_value)
        put(values, keys, value)
        lines = {
            place: line for place, line in lines.items() if [str(key) for key in place[: len(keys)]] != keys
        }
        lines[tuple(int(key) if key.isdecimal() else key for key in keys)] = "--set"
    return check(values, str(path), lines)


def read(path: str | Path) -> tuple[dict[str, Any], Lines]:
    """Values of a YAML file and its bases as they stand, without any check, and the line of each."""
    return _read(Path(path), ())


def check(values: dict[str, Any], source: str, lines: Lines | None = None) -> TrainConfig:
    """A configuration from plain values.

    Parameters
    ----------
    values : dict
        As of :meth:`TrainConfig.as_dict`.
    source : str
        For the message.
    lines : dict, optional
        Places of the values, for the message.

    Raises
    ------
    UsageError
        With all faults.
    """
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(TrainConfig)
    try:
        config, problems = adapter.validate_python(values), {}
    except ValidationError as error:
        problems = _problems(error, values)
        config = _mended(adapter, values, problems)
    if config is not None:
        unclear = {("model",), ("model", "architecture")} & set(problems)
        for place, problem in nonsense(config):
            if not (unclear and place[0] == "model"):
                problems.setdefault(place, problem)
    if problems:
        raise ConfigurationError(
            message(problems, lines or {}), where=source, faults=faults(problems, lines or {})
        )
    assert config is not None
    return config


def dump(config: TrainConfig, path: str | Path) -> None:
    """Write a configuration with all its values."""
    with atomic_output(path, overwrite=True) as temporary:
        write_yaml(temporary, config.as_dict())


def _read(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], Lines]:
    """Values of a file and its bases, and where they stand."""
    resolved = path.resolve()
    if resolved in seen:
        chain = " -> ".join(item.name for item in (*seen, resolved))
        raise UsageError(f"its bases lead back to it ({chain})", where=path, remedy="take one 'base' out")
    values, lines = parse_file(path, examples=EXAMPLES)
    base = values.pop(BASE, None)
    if base is None:
        return values, lines
    if not isinstance(base, str):
        raise UsageError(f"base is {base!r}, expected a file name", where=path)
    below, places = _read(path.parent / base, (*seen, resolved))
    return _merged(below, values), places | lines


def _merged(below: Any, above: Any) -> Any:
    """`above` over `below`: dictionaries key by key, but `WHOLE` ones as they are."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if above.get("architecture", below.get("architecture")) != below.get("architecture"):
        below = {key: value for key, value in below.items() if key not in WHOLE}
    return below | {
        key: value if key in WHOLE else _merged(below.get(key), value) for key, value in above.items()
    }


def _problems(error: Any, values: dict[str, Any]) -> dict[Place, Problem]:
    """Pydantic's errors by place; those of the branches of a union are joined."""
    found: dict[Place, list[str]] = {}
    remedies: dict[Place, str] = {}
    for item in error.errors(include_url=False, include_context=False):
        place = place_in(item["loc"], values)
        if item["type"] == "unexpected_keyword_argument":
            text = "unknown key"
            remedies[place] = closest(str(place[-1]), _fields(place[:-1]))
        elif item["type"] == "missing":
            place, text = item["loc"], "is missing"
        else:
            text = plain(item)
        texts = found.setdefault(place, [])
        if text not in texts:
            texts.append(text)
    return {place: Problem(" or ".join(texts), remedies.get(place)) for place, texts in found.items()}


def _fields(place: Place) -> list[str]:
    """Keys that are known below a place."""
    kind: Any = TrainConfig
    for key in place:
        if isinstance(key, int):
            continue
        kind = _dataclass_in(get_type_hints(kind).get(key))
        if kind is None:
            return []
    return [item.name for item in dataclasses.fields(kind)]


def _dataclass_in(hint: Any) -> Any:
    """The dataclass in ``X``, ``X | None`` or ``tuple[X, ...]``."""
    if dataclasses.is_dataclass(hint):
        return hint
    if isinstance(hint, UnionType) or get_origin(hint) is not None:
        return next((found for part in get_args(hint) if (found := _dataclass_in(part)) is not None), None)
    return None


def _mended(adapter: Any, values: dict[str, Any], problems: dict[Place, Problem]) -> TrainConfig | None:
    """The configuration without the values that don't fit, so that the others can be judged in the same message; None
    if too little is left."""
    from pydantic import ValidationError

    copy = json.loads(json.dumps(values, default=str))
    for place in problems:
        here = copy
        until = next((n for n, key in enumerate(place) if isinstance(key, int)), len(place)) - 1
        for key in place[: max(0, until)]:
            here = here.get(key, {}) if isinstance(here, dict) else {}
        if isinstance(here, dict) and until >= 0:
            here.pop(place[until], None)
    try:
        return adapter.validate_python(_merged(NEEDED, copy))
    except ValidationError:
        return None
