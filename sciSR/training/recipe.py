"""Training recipes: one YAML file is everything that a training run depends on, but for the data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sciSR.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """A training recipe; see configs/train for examples.

    Parameters
    ----------
    name : str
        Name of the model and of its patch and weights files.
    architecture, arguments, scale, forward_model, domain, normalisation, consistency
        As in `sciSR.models.spec.ModelSpec`.
    data : dict
        ``files`` (paths below the data root), ``patch`` (coarse pixels), ``patches`` (how many),
        ``simulated`` (share).
    steps, batch, learning_rate, weight_decay, ema, precision, loss, seed
        Of the loop; ``loss`` is "image", "out_of_band", "consistent" or "decibel".
    start : str, optional
        Weights to begin from: a shipped model or a path.
    """

    name: str
    architecture: str
    forward_model: str
    domain: str
    normalisation: str
    data: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    scale: int = 2
    consistency: str = "none"
    loss: str = "image"
    steps: int = 10000
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    ema: float = 0.999
    precision: str = "bf16"
    seed: int = 1
    start: str | None = None


def load_recipe(path: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe; an unknown or missing key is an error that names it."""
    from ruamel.yaml import YAML

    values = dict(YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8")) or {})
    values.update(overrides or {})
    known = {item.name for item in fields(Recipe)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UsageError(f"{path}: unknown key {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    try:
        return Recipe(**values)
    except TypeError as error:
        raise UsageError(f"{path}: {error}") from error
