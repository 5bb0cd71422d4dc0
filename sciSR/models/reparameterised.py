"""A 3x3 convolution that trains with several linear branches and always runs as one.

The branches of SPAN's ``Conv3XC`` (Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution",
CVPRW 2024) are linear, so their sum is one 3x3 convolution. Published code runs every branch while it trains and merges
them afterwards; here the *kernels* are merged at every step (a few million multiplications, against billions for the
images), which costs 1 % and makes training and inference the same function, also at the zero-padded border.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RepConv3(nn.Module):
    """Merged 3x3 convolution, ``[B, c_in, h, w]`` -> ``[B, c_out, h, w]``, zero padding of 1.

    ``kernel = direct + contract . spread . expand + point`` with a direct 3x3 kernel, a chain of 1x1 (to `gain` times
    the channels), 3x3 and 1x1 convolutions, and a 1x1 convolution.

    Parameters
    ----------
    c_in, c_out : int
    gain : int
        Width of the chain relative to its ends; 0 leaves a plain convolution.
    """

    def __init__(self, c_in: int, c_out: int, gain: int = 2) -> None:
        super().__init__()
        self.c_in, self.c_out, self.gain = c_in, c_out, gain
        self.weight = nn.Parameter(torch.empty(c_out, c_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(c_out))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        if gain:
            self.expand = nn.Parameter(torch.empty(gain * c_in, c_in))
            self.spread = nn.Parameter(torch.empty(gain * c_out, gain * c_in, 3, 3))
            self.contract = nn.Parameter(torch.empty(c_out, gain * c_out))
            self.point = nn.Parameter(torch.empty(c_out, c_in))
            for branch in (self.expand, self.spread, self.contract, self.point):
                nn.init.kaiming_uniform_(branch, a=5**0.5)

    def kernel(self) -> Tensor:
        """The one kernel that all branches amount to, ``[c_out, c_in, 3, 3]``."""
        if not self.gain:
            return self.weight
        with torch.autocast(self.weight.device.type, enabled=False):
            inner = self.contract @ self.spread.flatten(1)
            inner = inner.unflatten(1, self.spread.shape[1:])
            chain = torch.einsum("omij,mc->ocij", inner, self.expand)
            return self.weight + chain + F.pad(self.point[..., None, None], (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias, padding=1)

    @torch.no_grad()
    def plain(self) -> nn.Conv2d:
        """The same function as one `torch.nn.Conv2d`."""
        layer = nn.Conv2d(self.c_in, self.c_out, 3, padding=1)
        layer.weight.copy_(self.kernel())
        layer.bias.copy_(self.bias)
        return layer.to(self.weight.device)


def merge(model: nn.Module) -> nn.Module:
    """Replace every `RepConv3` in a network by the plain convolution that it is, in place."""
    for name, child in model.named_children():
        if isinstance(child, RepConv3):
            setattr(model, name, child.plain())
        else:
            merge(child)
    return model
