"""What an output says of itself: its provenance since the input, read without believing it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from sciSR.image import Image

MAKING = ("calibrate", "upscale", "isotropic", "degrade")
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
        ``"calibrate"``, ``"upscale"``, ``"isotropic"``, ``"degrade"``, ``"fuse"``; empty where nothing is claimed.
    scale : tuple of Fraction, optional
        As written, one or several numbers; None where it is none. Of several steps their product.
    line : tuple of str
        Where several steps, one after another, made the output: what each was. Only the first of them knew the input.
    """

    kept: bool = True
    steps: tuple[Mapping[str, Any], ...] = ()
    step: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    scale: tuple[Fraction, ...] | None = None
    line: tuple[str, ...] = ()

    @property
    def consistency(self) -> str:
        """``"block"``, ``"kspace"``, ``"gaussian"``, ``"slice profile"``, ``"none"``, or empty."""
        return str(self.step.get("consistency", ""))

    @property
    def inputs(self) -> list[str]:
        """SHA-256 of what the first step that made something was given."""
        told: list[str] = []
        for step in self.steps:
            if "input_sha256" in step:
                told.append(str(step["input_sha256"]))
            elif _kind(step):
                break
        return told

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
    making = [step for step in new if _kind(step)]
    if not making:
        return Claims(kept, tuple(new))
    step = making[-1]
    if len(making) == 1:
        return Claims(kept, tuple(new), step, _kind(step), _scale(step))
    line = tuple(_kind(each) for each in making)
    return Claims(kept, tuple(new), step, _kind(step), _product(making), line)


def _kind(step: Mapping[str, Any]) -> str:
    name = str(step.get("step", ""))
    kind = "fuse" if name.startswith("fuse") else name
    return kind if kind in MAKING or kind == "fuse" else ""


def _scale(step: Mapping[str, Any]) -> tuple[Fraction, ...] | None:
    return (Fraction(1),) if _kind(step) == "calibrate" else parse_scale(step.get("scale"))


def _product(steps: Sequence[Mapping[str, Any]]) -> tuple[Fraction, ...] | None:
    """Of the scales of all steps; None where one has none, or they are of different numbers of axes."""
    whole: tuple[Fraction, ...] = (Fraction(1),)
    for step in steps:
        scale = _scale(step)
        if scale is None or (1 not in (len(scale), len(whole)) and len(scale) != len(whole)):
            return None
        size = max(len(scale), len(whole))
        wide = [each if len(each) == size else each * size for each in (whole, scale)]
        whole = tuple(a * b for a, b in zip(*wide, strict=True))
    return whole


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
