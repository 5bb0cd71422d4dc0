"""Pipeline files: read, checked as a whole, with every error at its line."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, get_args

from sciSR.errors import ConfigurationError
from sciSR.workflow.pipelines.config import Head, Strict
from sciSR.yaml_file import Lines, Place, Problem, faults, parse, place_in, plain
from sciSR.yaml_file import value as yaml_value

EXAMPLES = "see configs/pipelines for examples"
STAND_IN = "read"
"""Takes the place of a step that is none, while the others are judged."""


@functools.cache
def model() -> type[Head]:
    """The model of a whole file, with the entries of all installed steps."""
    from pydantic import Field, create_model

    from sciSR.workflow.pipelines.registry import steps

    entries = tuple(step.entry for step in steps().values())
    union: Any = entries[0]
    for entry in entries[1:]:
        union = union | entry
    one = Annotated[union, Field(discriminator="step")] if len(entries) > 1 else union
    branches = create_model(
        "Branches",
        __base__=Strict,
        __doc__="Several ways to go on; the steps after it run in each of them.",
        branches=(
            dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w-]*$")], list[one]],
            Field(min_length=1, description="Steps by name of the branch; an empty list goes on unchanged."),
        ),
    )
    return create_model(
        "PipelineFile",
        __base__=Head,
        __doc__="A sciSR pipeline: inputs, steps, outputs.",
        steps=(list[one | branches], Field(min_length=1, description="What is done to each item, in order.")),
    )


def load_pipeline(path: Path | str, sets: Iterable[str] = ()) -> tuple[Head, Lines]:
    """Read a pipeline file.

    Parameters
    ----------
    path : path
        YAML 1.2.
    sets : iterable of str
        ``limits.memory=4 GB``, ``steps.3.scale=4``: values that replace the file's; counted from 0.

    Returns
    -------
    Head
        With ``steps``.
    dict
        The line of each value.

    Raises
    ------
    ConfigurationError
        All faults in one message, each with its key and line.
    """
    from sciSR.training.overrides import parse as parse_setting
    from sciSR.training.overrides import put

    values, lines = parse(Path(path), examples=EXAMPLES)
    for setting in sets:
        keys, value = parse_setting(setting, yaml_value)
        put(values, keys, value)
        lines[tuple(int(key) if key.isdecimal() else key for key in keys)] = "--set"
    return check_pipeline(values, str(path), lines), lines


def check_pipeline(values: Mapping[str, Any], source: str, lines: Lines | None = None) -> Any:
    """A pipeline from plain values.

    Raises
    ------
    ConfigurationError
        With all faults.
    """
    from pydantic import ValidationError

    problems: dict[Place, Problem] = {}
    config = None
    try:
        config = model().model_validate(values)
    except ValidationError as error:
        problems = _problems(error, values)
    whole = config if config is not None else _mended(values, problems)
    if whole is not None:
        from sciSR.workflow.pipelines.sense import nonsense

        for place, problem in nonsense(whole):
            if not any(place[: len(known)] == known for known in problems):
                problems.setdefault(place, problem)
    if problems:
        told = faults(problems, lines or {}, whole="pipeline")
        count = f"{len(told)} errors: " if len(told) > 1 else ""
        raise ConfigurationError(count + "; ".join(told), where=source, faults=told)
    return config


def _mended(values: Mapping[str, Any], problems: Mapping[Place, Problem]) -> Any:
    """The pipeline without what is wrong by itself, so that the rest is judged in the same message; None if too little
    is left."""
    from pydantic import ValidationError

    copy: Any = deepcopy(dict(values))
    for place, problem in problems.items():
        if problem.text == "is missing":
            continue
        above = _at(copy, place[:-1]) if place else None
        if isinstance(above, dict) and place[-1] == "step":
            kept = {"name": above["name"]} if isinstance(above.get("name"), str) else {}
            above.clear()
            above.update({"step": STAND_IN, **kept})
        elif isinstance(above, dict):
            above.pop(place[-1], None)
        elif isinstance(above, list) and place[0] == "steps" and len(place) == 2:
            above[int(place[-1])] = {"step": STAND_IN}
        elif isinstance(above, list):
            copy.pop(str(place[0]), None)
    copy.setdefault("pipeline", "unnamed")
    try:
        return model().model_validate(copy)
    except ValidationError:
        return None


def _problems(error: Any, values: Mapping[str, Any]) -> dict[Place, Problem]:
    """Pydantic's errors by place; those of several branches of a union are joined."""
    found: dict[Place, list[str]] = {}
    remedies: dict[Place, str] = {}
    given = dict(values)
    for item in _wanted(error.errors(include_url=False, include_context=True), given):
        place = place_in(item["loc"], given)
        if item["type"] == "extra_forbidden":
            text = "unknown key"
            remedies[place] = _closest(str(place[-1]), _known(place[:-1], given))
        elif item["type"] == "missing":
            place, text = (*place, item["loc"][-1]), "is missing"
        elif item["type"] in ("union_tag_invalid", "literal_error") and _is_step(place, given):
            place, text, remedies[place] = _unknown_step(place, given)
        elif item["type"] in ("union_tag_not_found", "model_attributes_type"):
            text, remedies[place] = _no_step(_at(given, place))
        else:
            text = plain(item)
        texts = found.setdefault(place, [])
        if text not in texts:
            texts.append(text)
    return {place: Problem(" or ".join(texts), remedies.get(place)) for place, texts in found.items()}


def _wanted(items: list[Any], values: Any) -> Iterator[Any]:
    """Without what concerns the other kind of entry: an entry with branches is no step, and the reverse."""
    for item in items:
        location = item["loc"]
        if len(location) > 2 and location[0] == "steps":
            entry = _at(values, location[:2])
            branching = isinstance(entry, dict) and "branches" in entry
            if branching != (location[2] == "Branches"):
                continue
        yield item


def _is_step(place: Place, values: Any) -> bool:
    entry = _at(values, place)
    return (isinstance(entry, dict) and "step" in entry) or (bool(place) and place[-1] == "step")


def _unknown_step(place: Place, values: Any) -> tuple[Place, str, str]:
    """(place, text, remedy) for a step that nobody offers."""
    from sciSR.workflow.pipelines.registry import steps

    entry = place if place[-1] != "step" else place[:-1]
    name = _at(values, (*entry, "step"))
    place = (*entry, "step")
    return place, f"there is no step {name!r}", _closest(str(name), list(steps()))


def _no_step(entry: Any) -> tuple[str, str | None]:
    """(text, remedy) for an entry of a list of steps that does not say which it is."""
    from sciSR.workflow.pipelines.registry import steps

    if isinstance(entry, dict):
        named = next((key for key in entry if key in steps()), None)
        remedy = None if named is None else f"write '- step: {named}', its parameters below it"
        return "must have 'step: NAME' or 'branches:'", remedy
    known = entry if entry in list(steps()) else "NAME"
    return "is empty" if entry is None else f"is {entry!r} alone", f"write '- step: {known}'"


def _at(values: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _known(place: Place, values: Any) -> list[str]:
    """Keys that may stand at a place."""
    from sciSR.workflow.pipelines.registry import steps

    entry = _at(values, place)
    if place and place[0] == "steps" and isinstance(entry, dict):
        if "branches" in entry:
            return ["branches"]
        step = steps().get(str(entry.get("step")))
        if step is not None:
            return list(step.entry.model_fields)
    kind: Any = model()
    for key in place:
        if isinstance(key, int) or kind is None:
            continue
        field = kind.model_fields.get(key)
        kind = None if field is None else _model_in(field.annotation)
    return [] if kind is None else list(kind.model_fields)


def _model_in(hint: Any) -> Any:
    """The model in ``X``, ``X | None`` or ``list[X]``."""
    if isinstance(hint, type) and hasattr(hint, "model_fields"):
        return hint
    return next((found for part in get_args(hint) if (found := _model_in(part)) is not None), None)


def _closest(word: str, known: Iterable[str]) -> str:
    from sciSR.training.overrides import closest

    return closest(word, known)
