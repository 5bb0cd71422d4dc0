"""What an output says of itself: its provenance since the input, read without believing it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from sciSR.image import Image

MAKING = ("upscale", "isotropic", "degrade")
"""Steps that make one image of another."""


@dataclass(frozen=True)
class Claims:
    """The last step that made the output, and what it says.

    Attributes
    ----------
    kept : bool
        Whether the input's own record stands unchanged at the beginning of the output's.
    steps : tuple of mapping
        New ones.
    step : mapping
        The one that made the image; empty where there is none.
    kind : str
        ``"upscale"``, ``"isotropic"``, ``"degrade"``, ``"fuse"``; empty where nothing is claimed.
    scale : tuple of Fraction, optional
        As written, one or several numbers; None where it is none.
    """

    kept: bool = True
    steps: tuple[Mapping[str, Any], ...] = ()
    step: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    scale: tuple[Fraction, ...] | None = None

    @property
    def consistency(self) -> str:
        """``"block"``, ``"kspace"``, ``"gaussian"``, ``"slice profile"``, ``"none"``, or empty."""
        return str(self.step.get("consistency", ""))

    @property
    def agreement(self) -> Mapping[str, Any]:
        """The measured agreement that was recorded; empty where none was."""
        found = self.step.get("agreement")
        return found if isinstance(found, Mapping) else {}

    @property
    def enforced(self) -> bool:
        """Whether the output claims to reproduce the input to rounding."""
        return self.agreement.get("enforced") is True

    def quantity(self, image: Image) -> str:
        """``"density"`` or ``"total"``: as recorded, else as the input is read."""
        told = self.step.get("quantity")
        return str(told) if told in ("density", "total") else image.quantity


def claims_of(before: Image, after: Image) -> Claims:
    """The claims of `after`, read beside the input it should be made of."""
    old, steps = before.provenance.steps, after.provenance.steps
    kept = _plain(steps[: len(old)]) == _plain(old)
    new = steps[len(old) :] if kept else steps
    for step in reversed(new):
        name = str(step.get("step", ""))
        kind = "fuse" if name.startswith("fuse") else name
        if kind in MAKING or kind == "fuse":
            return Claims(kept, tuple(new), step, kind, parse_scale(step.get("scale")))
    return Claims(kept, tuple(new))


def _plain(steps: Any) -> str:
    return json.dumps(list(steps), sort_keys=True, default=str)


def parse_scale(value: Any) -> tuple[Fraction, ...] | None:
    """Numbers of ``2``, ``"1.5"``, ``"2,3"``, ``"1/2"`` or ``"1x1x4"``; None for anything else."""
    words = str(value).replace("x", ",").split(",") if value is not None else []
    try:
        out = tuple(Fraction(word.strip()) for word in words)
    except (ValueError, ZeroDivisionError):
        return None
    return out if out and all(each > 0 for each in out) else None
