"""What a JSON sidecar says of the read-out of an image, once its voxels are smaller along the phase encoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

KEYS = ("TotalReadoutTime", "ReconMatrixPE", "BandwidthPerPixelPhaseEncode")
"""Keys that hold for one number of lines only."""
_AXES = {"i": 0, "j": 1, "k": 2}


def adapt_readout(record: dict[str, Any], before: Sequence[int], after: Sequence[int]) -> None:
    """Distortion is told in voxels, and those became smaller along the phase encoding.

    BIDS: ``TotalReadoutTime = EffectiveEchoSpacing * (ReconMatrixPE - 1)``, the time "that would have generated data
    with the given level of distortion". The echo spacing is one over the bandwidth of the whole field of view, which
    stays; the number of lines grows, and the bandwidth of each shrinks.

    Parameters
    ----------
    record : dict
        The sidecar, changed in place. A key that can't be adapted is dropped: no value is better than a wrong one.
    before, after : sequence of int
        Shapes, with the axes in the order of the NIfTI file: i, j, k, ...
    """
    direction = record.get("PhaseEncodingDirection", record.get("PhaseEncodingAxis"))
    axis = _AXES.get(str(direction)[:1]) if isinstance(direction, str) else None
    if axis is None:  # along which axis is not known
        if tuple(before[:3]) != tuple(after[:3]):
            for key in KEYS:
                record.pop(key, None)
        return
    if axis >= min(len(before), len(after)) or before[axis] == after[axis]:
        return
    old, new = before[axis], after[axis]
    scaled = {
        "TotalReadoutTime": (new - 1) / (old - 1) if old > 1 else math.nan,
        "ReconMatrixPE": new / old,
        "BandwidthPerPixelPhaseEncode": old / new,
    }
    for key, factor in scaled.items():
        value = record.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value * factor):
            record.pop(key, None)
        else:
            record[key] = round(value * factor) if key == "ReconMatrixPE" else float(f"{value * factor:.9g}")
