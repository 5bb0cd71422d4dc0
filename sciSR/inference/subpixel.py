"""The last layer of a sub-pixel network on groups of 2 x 2 pixels, on the CPU.

A network of scale 2 ends with a convolution to four channels, which a processor computes in registers that hold
sixteen: three quarters of the work is thrown away. The same sums for four neighbouring pixels at once are one
convolution of stride 2 to sixteen channels, with the kernel shifted for each pixel; its zeros cost less than the empty
lanes did. So is the fixed interpolation that is added, and the pixels of both are put in order in one copy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.models.espcn import FixedInterpolation

GROUP = 2
_SCALE = 2


class GroupedConvolution(nn.Module):
    """A convolution to the sub-pixels of one channel, for groups of pixels.

    Parameters
    ----------
    convolution : nn.Conv2d
        To ``s s`` channels with a square kernel of odd size and zero padding, stride 1.

    Notes
    -----
    ``forward``: ``[B, C, h, w]`` -> ``[B, 2 s 2 s, ceil(h / 2), ceil(w / 2)]``, the sub-pixels of each group in the
    order that `in_order` takes.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = grouped(convolution.weight.detach())
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        self.bias = None
        if convolution.bias is not None:
            self.bias = nn.Parameter(_in_group(convolution.bias.detach()), requires_grad=False)
        self.padding = convolution.kernel_size[0] // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(_even(x), self.weight, self.bias, stride=GROUP, padding=self.padding)


class GroupedInterpolation(FixedInterpolation):
    """`FixedInterpolation` by Lanczos' kernel and scale 2, which meets features that come in groups."""

    def __init__(self, plain: FixedInterpolation) -> None:
        super().__init__(plain.scale, plain.radius)
        self.register_buffer(
            "group", grouped(plain.kernel).contiguous(memory_format=torch.channels_last), persistent=False
        )

    def join(self, x: Tensor, features: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            phases = F.conv2d(_even(x.float()), self.group, stride=GROUP, padding=self.radius)
            fine = in_order(phases.add_(features))
        height, width = self.scale * x.shape[2], self.scale * x.shape[3]
        return fine if fine.shape[2:] == (height, width) else fine[:, :, :height, :width].contiguous()


def grouped(weight: Tensor) -> Tensor:
    """A kernel ``[s s, C, k, k]`` as that of a group, ``[2 s 2 s, C, k + 1, k + 1]``."""
    channels, size = weight.shape[1], weight.shape[2]
    out = weight.new_zeros(GROUP, _SCALE, GROUP, _SCALE, channels, size + 1, size + 1)
    phases = weight.unflatten(0, (_SCALE, _SCALE))
    for row in range(GROUP):
        for column in range(GROUP):
            out[row, :, column, :, :, row : row + size, column : column + size] = phases
    return out.flatten(0, 3)


def _in_group(bias: Tensor) -> Tensor:
    return bias.view(1, _SCALE, 1, _SCALE).expand(GROUP, _SCALE, GROUP, _SCALE).reshape(-1)


def _even(x: Tensor) -> Tensor:
    """With one more row or column of zeros where there is an odd number of them."""
    rows, columns = x.shape[2] % GROUP, x.shape[3] % GROUP
    if rows or columns:
        return F.pad(x, (0, columns, 0, rows)).contiguous(memory_format=torch.channels_last)
    return x


def in_order(groups: Tensor) -> Tensor:
    """Sub-pixels of groups as an image, ``[B, 16, h, w]`` float32 -> ``[B, 1, 4 h, 4 w]``: `F.pixel_shuffle` by 4.

    The four values of one row of a group are neighbours in both orders and are copied as one number of 16 bytes.
    """
    batch, _, height, width = groups.shape
    values = groups.permute(0, 2, 3, 1).reshape(-1)  # no copy of what is channels_last already
    rows = values.view(torch.complex128).view(batch, height, width, 4).transpose(2, 3).reshape(-1)
    return rows.view(torch.float32).view(batch, 1, 4 * height, 4 * width)


def group_subpixels(model: nn.Module) -> nn.Module:
    """Let the last layer of a network work on groups, in place, where it is of the kind that gains by it.

    Such a network names its last convolution (``last_convolution``) and adds it by ``skip.join``.
    """
    name, skip = getattr(model, "last_convolution", None), getattr(model, "skip", None)
    if not isinstance(name, str) or type(skip) is not FixedInterpolation:
        return model
    parent, _, child = name.rpartition(".")
    holder = model.get_submodule(parent)
    last = getattr(holder, child)
    plain = (
        isinstance(last, nn.Conv2d)
        and last.out_channels == _SCALE**2
        and last.kernel_size[0] == last.kernel_size[1]
        and last.kernel_size[0] % 2 == 1
        and last.padding == (last.kernel_size[0] // 2,) * 2
        and (last.stride, last.dilation, last.groups, last.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
    )
    if plain and skip.scale == _SCALE and not skip.repeat:
        setattr(holder, child, GroupedConvolution(last))
        model.skip = GroupedInterpolation(skip).to(skip.kernel.device)
    return model
