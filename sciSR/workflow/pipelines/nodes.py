"""Steps and branches as a tree of nodes: what runs after what, for one item."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Node:
    """One step in one branch.

    Attributes
    ----------
    id : str
        ``"03-upscale"``, ``"03-upscale.cubic"`` in the branch cubic.
    step : str
        Name of the step's function.
    name : str
        How overrides and other steps speak of it: as the file says, or else the step's name.
    parameters : mapping
        Of the function, checked; JSON-ready.
    parent : str or None
        Id of the node whose product it takes; None for the first.
    branch : str
        ``""`` outside branches; ``"cubic"``; ``"cubic.sharp"`` after two sets of branches.
    """

    id: str
    step: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    branch: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "parameters": dict(self.parameters)}


def compile_steps(steps: Sequence[Any]) -> tuple[Node, ...]:
    """The tree that a list of steps means: what follows branches runs in each of them.

    Parameters
    ----------
    steps : sequence
        Checked entries of a pipeline file: a step with `step`, `name` and `parameters`, or `branches`.
    """
    nodes: list[Node] = []
    ends: list[tuple[str | None, str]] = [(None, "")]
    number = 0
    for entry in steps:
        branches = getattr(entry, "branches", None)
        if branches is None:
            number += 1
            ends = [_append(nodes, entry, number, parent, branch) for parent, branch in ends]
            continue
        split: list[tuple[str | None, str]] = []
        for parent, branch in ends:
            for label, inner in branches.items():
                end = (parent, f"{branch}.{label}" if branch else label)
                for offset, step in enumerate(inner, 1):
                    end = _append(nodes, step, number + offset, *end)
                split.append(end)
        number += max((len(inner) for inner in branches.values()), default=0)
        ends = split
    return tuple(nodes)


def _append(
    nodes: list[Node], entry: Any, number: int, parent: str | None, branch: str
) -> tuple[str | None, str]:
    suffix = f".{branch}" if branch else ""
    node = Node(
        id=f"{number:02d}-{entry.step}{suffix}",
        step=entry.step,
        name=entry.name or entry.step,
        parameters=entry.parameters(),
        parent=parent,
        branch=branch,
    )
    nodes.append(node)
    return node.id, branch


def with_overrides(
    nodes: Sequence[Node], changes: Mapping[str, Mapping[str, Any]], skip: Sequence[str] = ()
) -> tuple[Node, ...]:
    """The nodes with some parameters replaced and some steps left out, by name.

    The children of a step that is left out take the product of its parent.
    """
    parents = {node.id: node.parent for node in nodes}
    gone = {node.id for node in nodes if node.name in skip}

    def living(parent: str | None) -> str | None:
        while parent in gone:
            parent = parents[parent]
        return parent

    return tuple(
        dataclasses.replace(
            node, parameters={**node.parameters, **changes.get(node.name, {})}, parent=living(node.parent)
        )
        for node in nodes
        if node.id not in gone
    )


def chain(nodes: Sequence[Node], last: Node) -> tuple[Node, ...]:
    """The nodes from the first to `last`, along its parents."""
    by_id = {node.id: node for node in nodes}
    out = [last]
    while (parent := out[-1].parent) is not None:
        out.append(by_id[parent])
    return tuple(reversed(out))
