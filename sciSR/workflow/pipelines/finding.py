"""What a pipeline works on: its inputs as items, in an order and with keys that are the same in every run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sciSR.errors import UnsupportedError
from sciSR.files import is_special
from sciSR.plugins import adapters
from sciSR.workflow.pipelines.config import Head, Inputs, Override
from sciSR.workflow.pipelines.finding_files import (
    Kept,
    glob_expression,
    matching_files,
    split_suffix,
)
from sciSR.workflow.pipelines.finding_layouts import found_in_layout, special_item
from sciSR.workflow.pipelines.finding_values import all_match, as_number
from sciSR.workflow.pipelines.headers import header_facts
from sciSR.workflow.pipelines.items import Item
from sciSR.workflow.pipelines.naming import fields, safe_name, short_hash, unnamed
from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.stack_names import record_name

PATH_FACTS = frozenset({"stem", "suffix", "folder"})
OWN_FIELDS = frozenset({"item", "branch"})
"""Fields of templates that are no facts of the files."""


def find_items(
    inputs: Inputs,
    folder: Path,
    *,
    without: Path | Collection[Path] | None = None,
    wanted: Collection[str] = (),
) -> list[Item]:
    """The items of a folder, in the order of their files' relative paths; DICOM series in that of their numbers.

    Parameters
    ----------
    inputs : Inputs
        Of the pipeline file.
    folder : Path
        What patterns are relative to; or a single file, which then is the one item.
    without : path or collection of Path, optional
        Folders below it that are not looked into: the output.
    wanted : collection of str
        Names of facts that templates and overrides speak of. Header keys among them are read from the files.

    Returns
    -------
    list of Item
        What can't be worked on is an item with a `problem`.

    Raises
    ------
    UsageError
        The request makes no sense as a whole: no such folder, a pattern that leads out of it, no BIDS dataset.
    """
    folder = Path(folder)
    leave_out = [] if without is None else [without] if isinstance(without, Path) else list(without)
    if inputs.bids is not None or inputs.dicom is not None:
        single = found_in_layout(inputs, folder, leave_out)
    else:
        kept = matching_files(folder, inputs.files, inputs.exclude, leave_out=leave_out)
        single = [_item_of(each) for each in kept]
    single = _with_headers(single, inputs, wanted)
    if inputs.group is None:
        return distinct(single)
    return distinct(_grouped(single, inputs.group, inputs.minimum))


def spoken_of(config: Head, nodes: Sequence[Node]) -> set[str]:
    """The facts that a pipeline's names, overrides and parameters ("flat_{FILTER}*.fits") speak of."""
    parameters = [*(node.parameters for node in nodes), *(each.set for each in config.overrides)]
    texts = [config.outputs.name, *_texts(parameters)]
    found = {field for text in texts for field in fields(text)}
    return found | {key for each in config.overrides for key in each.where}


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for each in value for text in _texts(each)] if isinstance(value, list | tuple) else []


def _with_headers(items: Sequence[Item], inputs: Inputs, wanted: Collection[str]) -> list[Item]:
    """Those whose headers fit, with the facts that filters, groups, names and overrides speak of."""
    grouping = inputs.group if isinstance(inputs.group, list) else []
    keys = set(inputs.header) | set(grouping) | set(wanted)
    if not keys - PATH_FACTS - OWN_FIELDS:
        return list(items)
    out = []
    for item in items:
        if item.problem is None and not keys - OWN_FIELDS <= set(item.facts):
            told, problem = header_facts(item.files[0])
            if problem is not None:  # it fails by name: nobody knows whether it was asked for
                out.append(dataclasses.replace(item, problem=problem))
                continue
            said = {key: text for key in sorted(keys) if (text := _fact(told, key))}
            item = dataclasses.replace(item, facts={**said, **item.facts})
        if item.problem is not None or all_match(inputs.header, item.facts):
            out.append(item)
    return out


def _item_of(each: Kept) -> Item:
    if is_special(each.path):
        return special_item(each)
    named = _neutral(each)
    return Item(safe_name(split_suffix(named)[0]) or "unnamed", files=(each.path,), facts=path_facts(named))


def _neutral(each: Kept) -> str:
    """The relative path, each name in it replaced where the file says that it is its patient's, or can't say so."""
    suffix = split_suffix(each.relative)[1].lower()
    formats = [a for a in adapters().values() if suffix in a.suffixes]
    if formats and not any(hasattr(a, "neutral_name") for a in formats):
        return each.relative
    if formats and not header_facts(each.path)[0]:  # damaged: it may have been named after anybody
        return unnamed("damaged", each.relative) + suffix
    parts = each.relative.split("/")
    stem, suffix = split_suffix(parts[-1])
    return "/".join(record_name(each.path, part) for part in (*parts[:-1], stem)) + suffix


def path_facts(relative: str) -> dict[str, str]:
    """What a path relative to the inputs' folder says: ``stem``, ``suffix``, ``folder`` (empty for no folder)."""
    folder, _, name = relative.rpartition("/")
    stem, suffix = split_suffix(name)
    return {"stem": stem, "suffix": suffix, "folder": folder}


def _grouped(items: Sequence[Item], group: str | Sequence[str], minimum: int) -> list[Item]:
    """Sequences of the items with equal facts; what has a problem stays by itself."""
    keys = [] if group == "all" else [group] if isinstance(group, str) else list(group)
    groups: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        if item.problem is None:
            groups.setdefault(tuple(_fact(item.facts, key) for key in keys), []).append(item)
    out = [
        _sequence(members, dict(zip(keys, values, strict=True)), minimum)
        for values, members in groups.items()
    ]
    return sorted([*out, *(item for item in items if item.problem is not None)], key=lambda item: item.files)


def _fact(facts: Mapping[str, str], key: str) -> str:
    folded = {name.casefold(): value for name, value in facts.items()}
    return facts.get(key, folded.get(key.casefold(), ""))


def _sequence(members: Sequence[Item], values: Mapping[str, str], minimum: int) -> Item:
    first = members[0].facts
    common = {k: v for k, v in first.items() if all(each.facts.get(k) == v for each in members[1:])}
    said = [f"{key}-{value}" if as_number(value) is not None else value for key, value in values.items()]
    key = "_".join(filter(None, map(safe_name, said))) or "all"
    files = tuple(sorted(file for each in members for file in each.files))
    problem = None
    if len(files) < minimum:
        problem = UnsupportedError(
            f"{len(files)} file{'s' * (len(files) != 1)} in this group, fewer than the minimum of {minimum}",
            where=key,
            remedy="lower 'minimum' under 'inputs', or leave them out with 'exclude'",
        )
    return Item(key, files, {**common, **values}, sequence=True, problem=problem)


def distinct(items: Iterable[Item]) -> list[Item]:
    """The items with keys that differ, without regard to case: by suffix, else by a hash of their files' names.

    Only keys that several have are changed, so that a file more or less in the folder rarely changes another's.
    """
    out = list(items)
    for longer in (_with_suffix, _with_hash):
        taken: dict[str, int] = {}
        for item in out:
            taken[item.key.casefold()] = taken.get(item.key.casefold(), 0) + 1
        out = [longer(item) if taken[item.key.casefold()] > 1 else item for item in out]
    return out


def _with_suffix(item: Item) -> Item:
    suffix = "" if item.sequence or len(item.files) != 1 else split_suffix(item.files[0].name)[1]
    return dataclasses.replace(item, key=safe_name(item.key + suffix))


def _with_hash(item: Item) -> Item:
    told = "\0".join([*(f"{k}={v}" for k, v in sorted(item.facts.items())), *(f.name for f in item.files)])
    return dataclasses.replace(item, key=safe_name(f"{item.key}-{short_hash(told)}"))


def matches(override: Override, item: Item, folder: Path) -> bool:
    """Whether an override is meant for an item: all that it says fits; one that says nothing is meant for all.

    Parameters
    ----------
    override : Override
        A pattern under `match` is held against the key, and against the path relative to `folder` and the name of
        each of its files.
    item : Item
    folder : Path
    """
    if override.match and not any(_names(pattern, item, folder) for pattern in override.match):
        return False
    return all_match(override.where, item.facts)


def _names(pattern: str, item: Item, folder: Path) -> bool:
    expression = glob_expression(pattern)
    names = {item.key}
    for file in item.files:
        names.add(file.name)
        if file.is_relative_to(folder):
            names.add(file.relative_to(folder).as_posix())
    return any(expression.fullmatch(name) for name in names)
