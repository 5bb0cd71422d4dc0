"""Items whose outputs would have one name: said before any work, or the last one would take the others' place."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

from sciSR.errors import UsageError
from sciSR.workflow.pipelines.finding_files import split_suffix
from sciSR.workflow.pipelines.items import Item
from sciSR.workflow.pipelines.naming import fill
from sciSR.workflow.pipelines.nodes import Node


def without_clashes(
    items: Iterable[Item], template: str, nodes_of: Callable[[Item], Sequence[Node]]
) -> list[Item]:
    """The items; one that would write what an earlier one writes has a problem.

    Parameters
    ----------
    items : iterable of Item
    template : str
        Of the outputs' names.
    nodes_of : callable
        Gives an item's steps.
    """
    owners: dict[tuple[str, str], str] = {}
    found = []
    for item in items:
        if item.problem is None:
            names = list(dict.fromkeys(_outputs(item, template, nodes_of(item))))
            taken = next((name for name in names if name in owners), None)
            if taken is None:
                owners |= dict.fromkeys(names, item.key)
            else:
                problem = UsageError(
                    f"its output would be called {taken[0]}, as that of {owners[taken]}",
                    where=item.key,
                    remedy=f"put {{item}} or {{folder}} into the outputs' name, which is {template!r}",
                )
                item = dataclasses.replace(item, problem=problem)
        found.append(item)
    return found


def _outputs(item: Item, template: str, nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Names with what decides the suffix: the input's own where a step keeps the format."""
    suffix = split_suffix(item.files[0].name)[1] if item.files else ""
    for node in nodes:
        if node.step in ("write", "report"):
            facts = {"item": item.key, **item.facts, "branch": node.branch}
            # A name that can't be filled in fails with the item itself, and says more there.
            with contextlib.suppress(UsageError):
                name = fill(node.parameters.get("output") or template, facts)
                kind = ".html" if node.step == "report" else str(node.parameters.get("format") or suffix)
                yield name, f".{kind.lstrip('.')}"
