"""Items whose outputs would have one name: said before any work, or the last one would take the others' place."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from sciSR.errors import SciSRError, UsageError
from sciSR.workflow.pipelines.finding_files import split_suffix
from sciSR.workflow.pipelines.items import Item
from sciSR.workflow.pipelines.naming import fill
from sciSR.workflow.pipelines.nodes import Node, chain

SAME = {"read", "evaluate", "verify", "report", "write"}
"""Steps that hand on the file that they were given."""


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
    named = [(item, [] if item.problem else list(_names(item, template, nodes_of(item)))) for item in items]
    # Files are opened for their suffixes only where it is the suffix that tells two outputs apart.
    shared = Counter(name for _, names in named for name in {name for name, _ in names})
    owners: dict[tuple[str, str], str] = {}
    found = []
    for item, names in named:
        outputs = {(name, _suffix(item, line)) for name, line in names if shared[name] > 1}
        taken = min((output for output in outputs if output in owners), default=None)
        if taken is None:
            owners |= dict.fromkeys(outputs, item.key)
        else:
            problem = UsageError(
                f"its output would be called {''.join(taken)}, as that of {owners[taken]}",
                where=item.key,
                remedy=f"put {{item}} or {{folder}} into the outputs' name, which is {template!r}",
            )
            item = dataclasses.replace(item, problem=problem)
        found.append(item)
    return found


def _names(item: Item, template: str, nodes: Sequence[Node]) -> Iterator[tuple[str, tuple[Node, ...]]]:
    """What an item puts into the output folder: a name without suffix, and the steps that lead to it."""
    for node in nodes:
        if node.step in ("write", "report"):
            facts = {"item": item.key, **item.facts, "branch": node.branch}
            # A name that can't be filled in fails with the item itself, and says more there.
            with contextlib.suppress(UsageError):
                yield fill(node.parameters.get("output") or template, facts), chain(nodes, node)


def _suffix(item: Item, line: Sequence[Node]) -> str:
    """Of what the last of these steps writes: as it says; that of the format once a step has made something new,
    ``.fits`` of ``.fit``; or else the input's own."""
    from sciSR.plugins import adapter_for
    from sciSR.workflow.pipelines.products import suffix_of

    if line[-1].step == "report":
        return ".html"
    for node in reversed(line):
        if node.step == "write" and node.parameters.get("format"):
            return f".{node.parameters['format'].lstrip('.')}"
        if node.step not in SAME:
            with contextlib.suppress(SciSRError, OSError):  # its first step says what is wrong with the file
                return suffix_of(adapter_for(item.files[0]), item.files[0])
    return split_suffix(item.files[0].name)[1] if item.files else ""
