"""Convolution and ReLU in one pass on the CPU: oneDNN applies the ReLU while the result is still in the cache.

The operator is the one that torch's own compiler emits. Where it is missing, or gives anything but the same values, the
network runs as it is.
"""

from __future__ import annotations

import itertools
import logging

import torch
from torch import Tensor, nn

log = logging.getLogger("sciSR")


class FusedConvReLU(nn.Module):
    """A convolution followed by a ReLU; the same values as the two layers, ``[B, C, h, w]`` in and out.

    Parameters
    ----------
    convolution : nn.Conv2d
        With zero padding.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        c = self.convolution
        weight, bias = c.weight, c.bias
        if torch.is_autocast_enabled("cpu"):  # autocast does not know this operator
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        operator = torch.ops.mkldnn._convolution_pointwise
        return operator(
            x, weight, bias, list(c.padding), list(c.stride), list(c.dilation), c.groups, "relu", [], ""
        )


def fuse_relu(model: nn.Module) -> nn.Module:
    """Replace each convolution and the ReLU after it, in place, where this machine can and gives the same values."""
    for module in list(model.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        layers = list(module)
        for at, (layer, after) in enumerate(itertools.pairwise(layers)):
            if isinstance(layer, nn.Conv2d) and isinstance(after, nn.ReLU) and _works(layer):
                module[at], module[at + 1] = FusedConvReLU(layer), nn.Identity()
    return model


def _works(convolution: nn.Conv2d) -> bool:
    if convolution.padding_mode != "zeros" or isinstance(convolution.padding, str):
        return False
    x = torch.linspace(-1, 1, convolution.in_channels * 64, device=convolution.weight.device)
    x = x.reshape(1, convolution.in_channels, 8, 8).contiguous(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            return torch.allclose(FusedConvReLU(convolution)(x), convolution(x).relu(), rtol=1e-6, atol=1e-6)
    except (AttributeError, RuntimeError, NotImplementedError) as error:
        log.debug("no fused convolution here: %s", error)
        return False
