"""Whether a set of frames holds more than one of them: only different phases of sampling tell aliases apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sciSR.fusion.prepared import Target
from sciSR.fusion.transforms import Transform

SAME = 0.04
"""Native pixels: phases closer than that are the same one, seen through the errors of registration."""


def nothing_to_gain(transforms: Sequence[Transform], target: Target) -> str:
    """Why no resolution can be gained; empty where it can.

    Parameters
    ----------
    transforms : sequence of Transform
        Reference -> frame, the reference's included.
    target : Target
    """
    if len(transforms) < 2:
        return "only one frame"
    if max(target.factors) == 1:
        return ""
    rows, columns = target.native
    points = np.stack(
        np.meshgrid(np.linspace(0, rows - 1, 5), np.linspace(0, columns - 1, 5), indexing="ij"), axis=-1
    ).reshape(-1, 2)
    phases = np.stack([t(np.rint(points)) for t in transforms])  # frame positions of whole reference pixels
    phases -= np.rint(phases)
    finite = np.isfinite(phases).all(axis=(0, 2))
    if finite.any() and np.abs(phases[:, finite]).max() < SAME:
        return "all frames sample the sky at the same places"
    return ""
