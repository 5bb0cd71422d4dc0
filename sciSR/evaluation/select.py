"""Which networks are meant: names, paths, lists of them, and the groups ``all``, ``all-mri-x2``, ``classical``.

Groups hold the shipped networks and the user's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sciSR.errors import ModelError, UsageError
from sciSR.inference.candidates import PREFERRED
from sciSR.models.files import list_models, load_spec
from sciSR.models.spec import FORWARD_MODELS, ModelSpec
from sciSR.models.user_models import list_user_models

DOMAINS = {
    "mr": "mr",
    "mri": "mr",
    "astro": "astronomy",
    "astronomy": "astronomy",
    "sky": "astronomy",
    "natural": "natural",
}
"""What a domain may be called, and what it is."""

_GROUP = re.compile(r"all(?:-(?P<domain>[a-z]+))?(?:-x(?P<scale>\d+))?")
_DOMAIN_OF_IMAGES = {"generic": "natural"}


@dataclass(frozen=True)
class Task:
    """One network with one forward model at one of its scales.

    Attributes
    ----------
    weights : str
        Name or path.
    spec : ModelSpec
    forward : str
    scale : int
    of_group : bool
        From ``all...``: left out on images of another domain, instead of being insisted on.
    """

    weights: str
    spec: ModelSpec
    forward: str
    scale: int
    of_group: bool = False

    def fits(self, domain: str) -> bool:
        """Whether it is to be run on images of this domain."""
        return not self.of_group or self.spec.domain == _DOMAIN_OF_IMAGES.get(domain, domain)


def select(models: str | Sequence[str], forward: str | None = None, scale: int | None = None) -> list[Task]:
    """The tasks that a wish amounts to; none for the classical methods, which are always there.

    Parameters
    ----------
    models : str or sequence of str
        Names, paths, ``all``, ``all-x2``, ``all-mri``, ``all-astro-x4``, ``classical``; or several with commas between.
    forward : str, optional
        Instead of each network's own forward models.
    scale : int, optional
        Instead of each network's own; of groups only those that can make it.

    Raises
    ------
    ModelError
        Unknown model or group, a group without members, or a scale that a network can't make.
    """
    if forward is not None and forward not in FORWARD_MODELS:
        raise UsageError(
            f"unknown forward model {forward!r}", remedy=f"use one of {', '.join(FORWARD_MODELS)}"
        )
    words = [models] if isinstance(models, str) else list(models)
    tasks: dict[tuple[str, str, int], Task] = {}
    for word in (part.strip() for each in words for part in each.split(",") if part.strip()):
        if word == "classical":
            continue
        group = _GROUP.fullmatch(word)
        found = _members(word, group, scale) if group and not Path(word).exists() else [_single(word, scale)]
        for weights, spec, factor in found:
            for each in (forward,) if forward else spec.forward_models:
                task = Task(weights, spec, each, factor, bool(group))
                tasks.setdefault((str(weights), each, factor), task)
    return list(tasks.values())


def default_forward(domain: str) -> str:
    """What the classical methods alone are examined with."""
    return PREFERRED.get(domain, "bicubic")


def _single(word: str, scale: int | None) -> tuple[str, ModelSpec, int]:
    spec = load_spec(word)
    factor = scale or spec.scale
    if factor not in spec.factors:
        able = ", ".join(f"x{each}" for each in spec.factors)
        raise ModelError(f"model {spec.name} refines by {able}, not by {factor}", remedy="leave --scale away")
    return word, spec, factor


def _members(word: str, group: re.Match[str], scale: int | None) -> list[tuple[str, ModelSpec, int]]:
    name, wanted = group["domain"], int(group["scale"]) if group["scale"] else scale
    if name is not None and name not in DOMAINS:
        raise ModelError(
            f"group {word!r}: no domain is called {name!r}", remedy=f"use one of {', '.join(DOMAINS)}"
        )
    found = [
        (spec.name, spec, factor)
        for spec in [*list_models(), *list_user_models()]
        if name is None or spec.domain == DOMAINS[name]
        for factor in ((wanted,) if wanted else spec.factors)
        if factor in spec.factors
    ]
    if not found:
        raise ModelError(f"no model is in the group {word!r}", remedy="'scisr models' lists what there is")
    return found
