"""What each value of a pipeline file may mean together with the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sciSR.workflow.pipelines.nodes import Node, chain, compile_steps
from sciSR.workflow.pipelines.work import StepNameMark
from sciSR.yaml_file import Place, Problem

Found = tuple[Place, Problem]


def nonsense(config: Any) -> Iterator[Found]:
    """Every value that can't work, with its place."""
    nodes = compile_steps(config.steps)
    yield from _names(config.steps)
    yield from _references(config.steps, nodes)
    yield from _overrides(config, nodes)
    yield from _models(config, nodes)
    yield from _outputs(config, nodes)
    yield from _inputs(config)


def entries(steps: Sequence[Any]) -> Iterator[tuple[Place, Any]]:
    """Each step of a file with its place."""
    for number, entry in enumerate(steps):
        branches = getattr(entry, "branches", None)
        if branches is None:
            yield ("steps", number), entry
            continue
        for label, inner in branches.items():
            for inside, step in enumerate(inner):
                yield ("steps", number, "branches", label, inside), step


def _names(steps: Sequence[Any]) -> Iterator[Found]:
    """A name that was chosen is for one step of a branch only."""
    seen: dict[str, Place] = {}
    for place, entry in entries(steps):
        if entry.name is None:
            continue
        before = seen.setdefault(entry.name, place)
        if before != place and before[:2] != place[:2]:
            yield (*place, "name"), Problem(f"{entry.name!r} is the name of another step")


def _references(steps: Sequence[Any], nodes: Sequence[Node]) -> Iterator[Found]:
    from sciSR.training.overrides import closest

    before: dict[str, set[str]] = {}
    for node in nodes:
        above = {each.name for each in chain(nodes, node)[:-1]}
        key = f"{node.step}/{node.name}"
        before[key] = before.get(key, above) & above
    for place, entry in entries(steps):
        for name, field in type(entry).model_fields.items():
            value = getattr(entry, name)
            if value is None or not any(isinstance(mark, StepNameMark) for mark in marks(field)):
                continue
            known = before[f"{entry.step}/{entry.name or entry.step}"]
            if value not in known:
                yield (*place, name), Problem(f"no step before is called {value!r}", closest(value, known))


def marks(field: Any) -> list[Any]:
    """What an annotation says besides its type, within ``X | None`` too."""
    from typing import get_args

    found = list(field.metadata)
    for part in get_args(field.annotation):
        found += list(getattr(part, "__metadata__", ()))
    return found


def _overrides(config: Any, nodes: Sequence[Node]) -> Iterator[Found]:
    from pydantic import ValidationError

    from sciSR.training.overrides import closest
    from sciSR.workflow.pipelines.registry import steps

    by_name: dict[str, Node] = {node.name: node for node in nodes}
    for number, override in enumerate(config.overrides):
        place: Place = ("overrides", number)
        if not override.match and not override.where:
            yield place, Problem("fits no item", "give 'match' or 'where'")
        for position, name in enumerate(override.skip):
            if name not in by_name:
                where = (*place, "skip", position)
                yield where, Problem(f"no step is called {name!r}", closest(name, by_name))
        for name, changes in override.set.items():
            if name not in by_name:
                yield (*place, "set", name), Problem(f"no step is called {name!r}", closest(name, by_name))
                continue
            node = by_name[name]
            entry = steps()[node.step].entry
            try:
                entry.model_validate({"step": node.step, **node.parameters, **changes})
            except ValidationError as error:
                yield from _wrong_changes(error, changes, (*place, "set", name), entry)


def _models(config: Any, nodes: Sequence[Node]) -> Iterator[Found]:
    """Names that no model has here: each item would fail of them."""
    from sciSR.models.user_models import known_names
    from sciSR.training.overrides import closest

    steps = {node.name: node.step for node in nodes}
    named = [
        ((*place, "model"), entry.model) for place, entry in entries(config.steps) if entry.step == "upscale"
    ]
    named += [
        (("overrides", number, "set", name, "model"), changes["model"])
        for number, override in enumerate(config.overrides)
        for name, changes in override.set.items()
        if steps.get(name) == "upscale" and "model" in changes
    ]
    known = sorted(known_names())
    for place, model in named:
        # A name with a suffix is a file, which its step looks for.
        if isinstance(model, str) and model not in known and not Path(model).suffix:
            yield place, Problem(f"there is no model {model!r}", closest(model, known))


def _wrong_changes(error: Any, changes: dict[str, Any], place: Place, entry: Any) -> Iterator[Found]:
    from sciSR.training.overrides import closest
    from sciSR.yaml_file import place_in, plain

    seen: set[Place] = set()
    for item in error.errors(include_url=False):
        where = (*place, *place_in(item["loc"], changes))
        if where in seen:
            continue
        seen.add(where)
        if item["type"] == "extra_forbidden":
            yield where, Problem("unknown key", closest(str(item["loc"][-1]), list(entry.model_fields)))
        else:
            yield where, Problem(plain(item))


def _outputs(config: Any, nodes: Sequence[Node]) -> Iterator[Found]:
    branches = {node.branch for node in nodes}
    writing = {node.branch for node in nodes if node.step in ("write", "report")}
    if len(writing) > 1 and "{branch}" not in config.outputs.name:
        several = ", ".join(sorted(writing)[:3])
        yield (
            ("outputs", "name"),
            Problem(f"the branches {several} would have outputs of one name", "put {branch} into it"),
        )
    if branches == {""} and "{branch}" in config.outputs.name:
        yield ("outputs", "name"), Problem("there are no branches", "take {branch} out")


def _inputs(config: Any) -> Iterator[Found]:
    inputs = config.inputs
    if inputs.bids is not None and inputs.dicom is not None:
        yield ("inputs",), Problem("has both bids and dicom", "give one of them")
    if inputs.dicom is not None and inputs.header:
        yield ("inputs", "header"), Problem("is for FITS files and BIDS sidecars", "use dicom.tags")
