"""What a network may add between the slices: detail that the measured slices can't see.

Any volume whose thick slices are the measured ones ``y`` is ``S y + (1 - A+ A) d``: a reproduction ``S y`` that agrees
(``A S = 1``) and detail in the null space of the slice profile's operator A. The network proposes ``d``; what the
measurement determines is never its business (Schwab, Antholzer, Haltmeier, "Deep null space learning for inverse
problems", Inverse Problems 35, 025008, 2019, doi:10.1088/1361-6420/aaf14a).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciSR.forward.slice_sampling import SliceSampling, along


def propose(network: nn.Module, y: Tensor, operator: SliceSampling, *, bf16: bool = False) -> Tensor:
    """Detail that the slices can't see, ``[B, 1, coarse, w]`` -> ``[B, 1, fine, w]``, float32.

    Parameters
    ----------
    network : sciSR.models.through_plane.ThroughPlane
    y : Tensor, float32
        Measured slices, normalised; slices along the rows.
    operator : SliceSampling
    bf16 : bool
    """
    x = y.contiguous(memory_format=torch.channels_last)
    with torch.autocast(y.device.type, torch.bfloat16, enabled=bf16):
        raw = network(x, operator.fine, operator.thickness)
    return unseen(raw.float(), operator, 2)


def unseen(detail: Tensor, operator: SliceSampling, axis: int) -> Tensor:
    """The part of thin slices that thick ones do not show: ``(1 - A+ A) d``."""
    return detail - operator.pinv(operator.apply(detail, axis), axis)


def reproduce(y: Tensor, operator: SliceSampling, axis: int) -> Tensor:
    """The smoothest thin slices that agree with the thick ones; see `SliceSampling.smoothest`."""
    return along(operator.smoothest, y, axis)
