"""The step ``register``: where does each frame lie?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from sciSR.errors import UnreadableError
from sciSR.workflow.pipelines.products import plain, sequence_options, target_of
from sciSR.workflow.pipelines.work import Product, Work

if TYPE_CHECKING:
    from sciSR.sequence import FrameSequence

NAMED = 20
"""Frames left out that a record names."""


def register(
    work: Work,
    *,
    reference: int | str = "auto",
    register: Literal["auto", "wcs", "stars", "phase", "planetary"] = "auto",
    model: Literal["auto", "shift", "euclidean", "similarity", "affine", "wcs"] = "auto",
    keep_best: str | float | None = None,
    strict: bool = False,
    save: bool = False,
) -> Product:
    """Find where each frame lies with respect to a reference frame, as ``scisr register`` does.

    The fusion that follows uses it instead of registering again, unless its own `reference`, `register` or `model` ask
    for something else. Stacks of slices are registered within their fusion.

    Parameters
    ----------
    reference : number or str
        Frame that defines grid and level: auto (a sharp one), its number from 0, or its name.
    register : str
        First guess from world coordinates, star patterns, or correlation; planetary: a lattice of points.
    model : str
        What may differ between frames; auto: the simplest that the stars allow.
    keep_best : number or str
        Of frames of a planet, place the sharpest only: 30%.
    strict : bool
        Fail at the first frame that can't be used, instead of leaving it out by name.
    save : bool
        Put all transforms with their errors into the output folder, as NAME_registration.json.

    Raises
    ------
    SciSRError
        No frame can be read or registered; with `strict`, one can't.
    """
    from sciSR.api import read_sequence
    from sciSR.workflow.registering import register_sequence
    from sciSR.workflow.run import overheard
    from sciSR.workflow.stack_inputs import find_stacks

    paths, options = list(work.product.files), sequence_options(work.product)
    if _formats_of_volumes(work.product) and find_stacks(paths, options) is not None:
        said = ("stacks of slices are registered within their fusion",)
        return replace(work.product, record={"registered": "within the fusion"}, messages=said, ready={})
    told: list[str] = []
    with overheard(told):
        sequence = read_sequence(paths, strict=strict, **options)
        found = register_sequence(
            sequence,
            reference=reference,
            register=register,
            model=model,
            keep_best=share(keep_best),
            progress=work.progress,
        )
    whole = dict(found.as_dict())
    if strict and whole["left_out"]:
        first = whole["left_out"][0]
        raise UnreadableError(
            f"can't be registered: {first['reason']}", where=first["name"], remedy="leave 'strict' away"
        )
    ready = {}
    if save:
        file = target_of(work, "_registration.json")
        file.write_text(json.dumps(plain(whole), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        ready = {f"{work.name}_registration.json": file}
    messages = dict.fromkeys([*told, *sequence.notes, *whole["notes"]])
    return replace(
        work.product,
        ready=ready,
        record=plain(_record(whole, sequence)),
        messages=tuple(messages),
        state={**work.product.state, "sequence": sequence, "registration": found},
    )


def share(text: str | float | None) -> float | None:
    """``30%`` or 0.3.

    Raises
    ------
    UsageError
    """
    from sciSR.errors import UsageError

    if text is None:
        return None
    words = str(text).strip()
    try:
        value = float(words.removesuffix("%")) / (100 if words.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise UsageError(f"the share of frames to keep is {text!r}", remedy="give a percentage like 30%")
    return value


def _formats_of_volumes(product: Product) -> bool:
    """Whether any file may hold a stack: only then is every file looked at."""
    from sciSR.plugins import adapter_for
    from sciSR.workflow.stack_inputs import holds_frames

    return not holds_frames(adapter_for(product.files[0]))


def _record(whole: Mapping[str, Any], sequence: FrameSequence) -> dict[str, Any]:
    placed = [frame for frame in whole["frames"] if frame["registered"]]
    errors = sorted(frame["error_px"] for frame in placed if frame["error_px"])
    unread = [{"name": each.name, "reason": each.reason} for each in sequence.left_out]
    left = [{"name": each["name"], "reason": each["reason"]} for each in whole["left_out"]]
    return {
        "reference": whole["reference"]["name"],
        "frames": len(whole["frames"]) + len(unread),
        "registered": len(placed),
        "error_px": errors[len(errors) // 2] if errors else None,
        "left_out": [*unread, *left][:NAMED],
    }
