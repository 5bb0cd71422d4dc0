"""Which files train and which are held out: by subject or sky field, never by patch; overlap is refused."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sciSR.errors import UsageError
from sciSR.training.identity import Identity


def groups(identities: Sequence[Identity]) -> list[list[int]]:
    """Files that belong together: of one subject or object, of overlapping fields, or with the same pixels.

    Returns
    -------
    list of list of int
        Indices, each in one group; whatever is linked by others in between is one group.
    """
    parent = list(range(len(identities)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for a, b, _ in _links(identities):
        parent[root(a)] = root(b)
    members: dict[int, list[int]] = {}
    for k in range(len(identities)):
        members.setdefault(root(k), []).append(k)
    return list(members.values())


def hold_out(identities: Sequence[Identity], share: float) -> tuple[list[Path], list[Path]]:
    """Part whole groups, the same ones on every machine.

    Parameters
    ----------
    identities : sequence of Identity
    share : float
        Of the groups, rounded up. One group at least trains; if there are two, one at least is held out.

    Returns
    -------
    train, validation : list of Path
        In the order given.
    """
    parts = groups(identities)

    def rank(part: list[int]) -> bytes:
        return hashlib.sha256(min(min(identities[k].pixels) for k in part).encode()).digest()

    parts.sort(key=rank)
    count = min(len(parts) - 1, math.ceil(share * len(parts)))
    held = {k for part in parts[: max(count, 0)] for k in part}
    train = [each.path for k, each in enumerate(identities) if k not in held]
    return train, [each.path for k, each in enumerate(identities) if k in held]


def refuse_overlap(train: Sequence[Identity], validation: Sequence[Identity]) -> None:
    """Stop if a file that trains shows what a held-out one shows.

    Raises
    ------
    UsageError
        Naming both files and what they share.
    """
    both = [*train, *validation]
    for a, b, why in _links(both):
        first, second = min(a, b), max(a, b)
        if first < len(train) <= second:
            raise UsageError(
                f"trains, and {both[second].path} is held out: {why}",
                where=both[first].path,
                remedy="leave one of them out (data.exclude), or name what belongs together (data.group)",
            )


def _links(identities: Sequence[Identity]) -> Iterator[tuple[int, int, str]]:
    """Pairs of files that may not be parted, enough of them to connect each group, and why."""
    seen: dict[Hashable, list[int]] = {}
    for k, each in enumerate(identities):
        keys = [(("pixels", value), "they hold the same pixels") for value in each.pixels]
        keys += [
            (("name", name), f"both are of one subject or object{_told(name, each.path)}")
            for name in each.names
        ]
        for key, why in keys:
            for other in seen.setdefault(key, [])[:1]:
                yield other, k, why
            seen[key].append(k)
    yield from _fields(identities)


def _told(name: str, path: Path) -> str:
    """A name in brackets if the path tells it anyway: what a header names is not for messages."""
    return f" ({name})" if name.lower() in path.as_posix().lower() else ""


def _fields(identities: Sequence[Identity]) -> Iterator[tuple[int, int, str]]:
    """Pairs of overlapping fields."""
    owner = [k for k, each in enumerate(identities) for _ in each.fields]
    if not owner:
        return
    fields = [field for each in identities for field in each.fields]
    centres = np.array([field.centre for field in fields])
    radii = np.array([field.radius for field in fields])
    for k in range(len(fields)):
        chord = np.linalg.norm(centres[k + 1 :] - centres[k], axis=1) / 2
        near = 2 * np.arcsin(np.minimum(1, chord)) < radii[k] + radii[k + 1 :]
        for other in np.flatnonzero(near) + k + 1:
            if owner[k] != owner[other]:
                yield owner[k], owner[int(other)], "their fields overlap"
