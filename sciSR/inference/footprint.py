"""How much memory a network takes for each input pixel: told by the network, or seen on a small trial."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciSR.models.spec import ModelSpec

_SIDE = 16
_HELD = 2.0
"""Tensors that skip connections hold, relative to a layer's own input and output: measured on dense and residual
networks it is 1.2 to 1.9."""


def network_memory(model: nn.Module, spec: ModelSpec) -> int:
    """Bytes for each input pixel while the network runs in float32.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode. Its own method ``bytes_per_pixel()`` is believed, if it has one.
    spec : ModelSpec

    Notes
    -----
    Otherwise a trial on a few pixels sees every layer's input and output at the size that they really have: a network
    that works on the fine grid needs scale^2 times the memory of one that works on the coarse one.
    """
    own = getattr(model, "bytes_per_pixel", None)
    if callable(own):
        return int(own())
    most = 0

    def see(layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal most
        tensors = [t for t in (*inputs, output) if isinstance(t, Tensor)]
        most = max(most, sum(t.numel() for t in tensors))

    side = -(-_SIDE // spec.multiple) * spec.multiple
    parameter = next(model.parameters(), None)
    x = torch.zeros(1, 1, side, side, device=None if parameter is None else parameter.device)
    told = [x.new_zeros(1, len(spec.conditions))] if spec.conditions else []
    handles = [layer.register_forward_hook(see) for layer in model.modules()]
    try:
        with torch.inference_mode():
            model(x, *told)
    finally:
        for handle in handles:
            handle.remove()
    ends = 6 * spec.scale**2  # the stretch before and after, on the fine grid
    return int(4 * (_HELD * most / side**2 + ends))
