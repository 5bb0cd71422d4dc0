"""What was found of each stack, in plain numbers: motion, gain, and how far each slice was trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sciSR.stacks import FusedVolume, Stack
    from sciSR.stacks.rigid import Rigid

DOWN_WEIGHTED = 0.5
"""A slice with a smaller weight than this is counted as down-weighted."""


def stack_record(volume: FusedVolume, stacks: Sequence[Stack], number: int) -> dict[str, Any]:
    """One stack's part in the result, JSON-ready.

    Returns
    -------
    dict
        ``motion`` is that of the stack's centre in the world (RAS+): from where its header puts it to where the body
        was while the first stack was taken; ``slice_motion_mm`` is how far each slice's centre moved from there.
    """
    stack, motion, weights = stacks[number], volume.motions[number], volume.slice_weights[number]
    gain, offset = volume.gains[number]
    weights = np.asarray(weights, float)
    return {
        "name": stack.name,
        "direction": _direction(stack),
        "shape": [int(n) for n in stack.data.shape],
        "spacing_mm": [round(float(d), 6) for d in stack.spacing],
        "slice_axis": int(stack.slice_axis),
        "slice_thickness_mm": float(stack.thickness),
        "profile": stack.profile if isinstance(stack.profile, str) else "measured",
        "motion": _motion(motion.rigid.about(stack.centre)),
        "matrix": [[float(v) for v in row] for row in motion.matrix],
        "slices_with_motion_of_their_own": sum(each.own for each in motion.slices),
        "slice_motion_mm": [round(d, 4) for d in _of_slices(stack, motion)],
        "gain": float(gain),
        "offset": float(offset),
        "slices": int(stack.data.shape[stack.slice_axis]),
        "slice_weights": [round(float(w), 4) for w in weights],
        "down_weighted": int((weights < DOWN_WEIGHTED).sum()),
    }


def _direction(stack: Stack) -> str:
    from sciSR.report.stack_sheet import direction_name

    return direction_name(stack.normal)


def _motion(rigid: Rigid) -> dict[str, Any]:
    return {
        "translation_mm": [float(v) for v in rigid.translation],
        "rotation_deg": [float(v) for v in rigid.rotation],
        "shift_mm": float(np.linalg.norm(rigid.translation)),
        "angle_deg": float(np.linalg.norm(rigid.rotation)),
    }


def _of_slices(stack: Stack, motion: Any) -> list[float]:
    """How far each slice's centre lies from where the stack's motion puts it, in mm."""
    middle = (np.array(stack.slices.shape[1:]) - 1) / 2
    out = []
    for each in motion.slices:
        centre = stack.slice_affine @ np.array([each.slice, *middle, 1.0])
        out.append(float(np.linalg.norm(((each.rigid.matrix - motion.matrix) @ centre)[:3])))
    return out
