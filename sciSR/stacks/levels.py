"""Stacks and canvases at half the resolution, on which motion is found faster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sciSR.stacks.stack import Stack


def coarser(stack: Stack, spacing: float) -> Stack:
    """The stack with in-plane voxels of about `spacing`: means of whole numbers of its own good ones."""
    data, affine = stack.data, np.array(stack.affine)
    good = np.moveaxis(stack.good, 0, stack.slice_axis)
    values, weight = np.where(good, data, np.float32(0)), good.astype(np.float32)
    for axis in stack.in_plane:
        step = max(1, min(round(spacing / float(stack.spacing[axis])), data.shape[axis]))
        if step == 1:
            continue
        values, weight = _sum(values, axis, step), _sum(weight, axis, step)
        affine[:3, 3] += affine[:3, axis] * (step - 1) / 2
        affine[:3, axis] *= step
    most = float(weight.max())
    bad = weight < most - 0.5
    values = np.where(bad, 0, values / np.maximum(weight, 1)).astype(np.float32)
    return replace(stack, data=values, affine=affine, bad=bad)


def _sum(values: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Over `step` neighbours each; a rest at the end is left out."""
    whole = values.shape[axis] // step
    cut = np.moveaxis(values, axis, -1)[..., : whole * step]
    return np.moveaxis(cut.reshape(*cut.shape[:-1], whole, step).sum(-1), -1, axis)
