"""Which trained network `auto` takes, and how often a network must be applied to reach a factor."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sciSR.models.spec import ModelSpec

DEFAULT_ARCHITECTURE = "ECBSR"
"""Preferred where it is trained for the task: the best quality for its time (docs/models.md)."""

MEASURED_BETTER = {("astronomy", 2): "ESPCN"}
"""Tasks at which a smaller network measured better and is several times faster; a test holds this to the cards."""


def default_architecture(domain: str, scale: int) -> str:
    """The architecture that `auto` prefers for a domain and a factor."""
    return MEASURED_BETTER.get((domain, scale), DEFAULT_ARCHITECTURE)


PREFERRED = {"astronomy": "detector", "mr": "kspace", "natural": "bicubic"}
"""The forward model that is assumed for a domain where none is asked for."""

_ADVERSARIAL = ("srgan", "esrgan")


@dataclass(frozen=True)
class Candidate:
    """A network that can make a factor: at which of its own factors, and how often."""

    spec: ModelSpec
    step: int
    times: int


def is_adversarial(spec: ModelSpec) -> bool:
    """Whether a network invents detail: its weights say so, or its name does."""
    return spec.adversarial or spec.name.lower().startswith(_ADVERSARIAL)


def reach(spec: ModelSpec, scale: tuple[Fraction, Fraction]) -> Candidate | None:
    """How a network makes a factor with as few passes as it can; None if it can't."""
    ways = [Candidate(spec, step, times) for step in spec.factors if (times := _repeats(step, scale))]
    return min(ways, key=lambda way: way.times, default=None)


def best_network(
    domain: str, forward: str, scale: tuple[Fraction, Fraction], conditions: tuple[str, ...] = ()
) -> Candidate | None:
    """The shipped network for a task.

    Parameters
    ----------
    domain, forward : str
        What it must have been trained on, and for.
    scale : pair of Fraction
    conditions : tuple of str
        What it must be able to be told.

    Returns
    -------
    Candidate or None
        One that was trained for the factor comes before a smaller one applied several times; then our default
        architecture, one that needs to be told nothing else, the one that measured best. Never an adversarial one.
    """
    from sciSR.models.files import list_models

    able = [
        way
        for spec in list_models()
        if spec.domain == domain
        and forward in spec.forward_models
        and set(conditions) <= set(spec.conditions)
        and not is_adversarial(spec)
        and (way := reach(spec, scale)) is not None
    ]

    def rank(way: Candidate) -> tuple[int, bool, int]:
        is_default = way.spec.architecture.endswith(default_architecture(domain, way.step))
        return way.times, not is_default, len(way.spec.conditions)

    first = [way for way in able if rank(way) == min(map(rank, able))]
    if len(first) > 1:  # cards are slow to read, so only where they decide
        first.sort(key=lambda way: (-_measured_gain(way.spec.name), way.spec.name))
    return first[0] if first else None


def _measured_gain(name: str) -> float:
    """Mean over a card's tables of the mean gain over the best classical method, dB; least where there is none."""
    from sciSR.models.files import load_card

    tables: dict[str, Any] = load_card(name).get("measured", {}).get("tables", {})
    gains = [table["gain_db"]["mean"] for table in tables.values() if "mean" in table.get("gain_db", {})]
    return sum(gains) / len(gains) if gains else float("-inf")


def _repeats(step: int, scale: tuple[Fraction, Fraction]) -> int | None:
    """How often a network of scale `step` must be applied to make `scale`; None if it can't."""
    if scale[0] != scale[1] or step < 2:
        return None
    times, reached = 0, Fraction(1)
    while reached < scale[0]:
        reached *= step
        times += 1
    return times if reached == scale[0] else None
