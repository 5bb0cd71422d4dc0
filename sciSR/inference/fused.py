"""Convolution and activation in one pass on the CPU: oneDNN applies the activation while the result is in the cache.

The operator is the one that torch's own compiler emits. Where it is missing, or gives anything but the same values, the
network runs as it is.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

log = logging.getLogger("sciSR")

Activation = tuple[str, list[float], str]
"""What the operator calls an activation: name, numbers, variant."""


class FusedConvolution(nn.Module):
    """A convolution followed by an activation; the same values as the two layers, ``[B, C, h, w]`` in and out.

    Parameters
    ----------
    convolution : nn.Conv2d
        With zero padding.
    activation : tuple
        From `activation_of`.
    """

    def __init__(self, convolution: nn.Conv2d, activation: Activation) -> None:
        super().__init__()
        self.convolution, self.activation = convolution, activation

    def forward(self, x: Tensor) -> Tensor:
        c = self.convolution
        weight, bias = c.weight, c.bias
        if torch.is_autocast_enabled("cpu"):  # autocast does not know this operator
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        operator = torch.ops.mkldnn._convolution_pointwise
        settings = list(c.padding), list(c.stride), list(c.dilation), c.groups
        return operator(x, weight, bias, *settings, *self.activation)


def activation_of(layer: nn.Module) -> Activation | None:
    """How the operator is told about an activation; None if it has no such."""
    if isinstance(layer, nn.ReLU):
        return "relu", [], ""
    if isinstance(layer, nn.LeakyReLU):
        return "leaky_relu", [layer.negative_slope], ""
    if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
        return "leaky_relu", [float(layer.weight.detach())], ""
    if isinstance(layer, nn.SiLU):
        return "swish", [], ""
    if isinstance(layer, nn.GELU):
        return "gelu", [], layer.approximate
    return ("tanh", [], "") if isinstance(layer, nn.Tanh) else None


def fuse_activations(model: nn.Module) -> nn.Module:
    """Replace each convolution and the activation after it, in place, where this machine can and gives the same
    values."""
    for module in list(model.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        before: int | None = None
        for at, layer in enumerate(module):
            if isinstance(layer, nn.Identity):  # where a batch normalisation was folded away
                continue
            convolution = None if before is None else module[before]
            activation = activation_of(layer)
            if isinstance(convolution, nn.Conv2d) and activation and _works(convolution, layer, activation):
                module[before], module[at] = FusedConvolution(convolution, activation), nn.Identity()
            before = at
    return model


def _works(convolution: nn.Conv2d, layer: nn.Module, activation: Activation) -> bool:
    if convolution.padding_mode != "zeros" or isinstance(convolution.padding, str):
        return False
    x = torch.linspace(-1, 1, convolution.in_channels * 64, device=convolution.weight.device)
    x = x.reshape(1, convolution.in_channels, 8, 8).contiguous(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            fused, plain = FusedConvolution(convolution, activation)(x), layer(convolution(x))
            return torch.allclose(fused, plain, rtol=1e-5, atol=1e-6 * float(plain.abs().max()) + 1e-6)
    except (AttributeError, RuntimeError, NotImplementedError) as error:
        log.debug("no fused convolution here: %s", error)
        return False
