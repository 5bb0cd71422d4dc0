"""What several networks share: residual blocks, normalisation that can be stored and folded, weights to begin with.

The networks of the literature start from noise and lose their first thousands of steps to learning that the output
resembles the input. Here their free weights are chosen so that each *begins as an interpolation*, whatever the range
of its values: a pair of channels carries +x and -x through the activations (``x = (f(x) - f(-x)) / (1 + a)`` for ReLU,
a = 0, and for PReLU and leaky ReLU with slope a), the upsampling layer holds the taps of linear interpolation, and the
last layer hears the other channels faintly. The architecture and the number of parameters are the paper's.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

FAINT = 1e-2  # initial gain of the channels that carry no image, in a network's last layer


class Residual(nn.Sequential):
    """``x + gain * layers(x)``, ``[B, C, h, w]`` in and out.

    Parameters
    ----------
    *layers : nn.Module
    gain : float
        Residual scaling (0.1 in the large EDSR).
    """

    def __init__(self, *layers: nn.Module, gain: float = 1.0) -> None:
        super().__init__(*layers)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return x + (y if self.gain == 1 else self.gain * y)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation whose count of batches is float32, like all else in a weights file or an average of weights.

    The count serves nothing (the momentum is fixed), but torch asks for it on loading.
    """
    layer = nn.BatchNorm2d(channels)
    layer.num_batches_tracked = layer.num_batches_tracked.float()
    return layer


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold every batch normalisation that follows a convolution in an `nn.Sequential` into it, in place.

    For evaluation only (the running statistics are frozen into the kernels); the same values but for rounding, also at
    the zero-padded border.
    """
    for module in model.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for at in range(1, len(module)):
            before, layer = module[at - 1], module[at]
            if isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                module[at - 1] = nn.utils.fuse_conv_bn_eval(before.eval(), layer.eval())
                module[at] = nn.Identity()
    return model


def initialise(layers: Iterable[nn.Module], slope: float = 0.0) -> None:
    """He et al.'s normal weights and zero biases for all convolutions below `layers`; `slope` of the activation."""
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, a=slope, nonlinearity="leaky_relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def linear_taps(scale: int, size: int) -> Tensor:
    """Edge-aligned linear interpolation as rows of a polyphase filter, ``[scale, size]``, float32, `size` odd.

    Row p holds the taps of the output pixel ``scale i + p`` on the inputs i - size // 2 .. i + size // 2.
    """
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    phase = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    return (1 - (offset[None] - phase[:, None]).abs()).clamp_min(0).float()


def linear_kernel(scale: int, size: int, padding: int) -> Tensor:
    """The same as the kernel ``[size, size]`` of a transposed convolution with stride `scale` and this padding.

    Its tap j adds input pixel i to the output pixel ``scale i - padding + j``, whose centre lies
    ``(j - padding + 0.5) / scale - 0.5`` coarse pixels from i.
    """
    distance = (torch.arange(size, dtype=torch.float64) - padding + 0.5) / scale - 0.5
    taps = (1 - distance.abs()).clamp_min(0).float()
    return taps[:, None] * taps[None]


@torch.no_grad()
def carry_in(layer: nn.Conv2d, images: int, pairs: bool = True) -> None:
    """Let the first output channels be +x, -x of each of the `images` input channels (only +x without `pairs`)."""
    step = 2 if pairs else 1
    _check_width(layer, step * images)
    middle = layer.kernel_size[0] // 2
    layer.weight[: step * images] = 0
    for image in range(images):
        layer.weight[step * image, image, middle, middle] = 1
        if pairs:
            layer.weight[step * image + 1, image, middle, middle] = -1


@torch.no_grad()
def carry_on(layer: nn.Conv2d, images: int, slope: float = 0.0, pairs: bool = True, scale: int = 1) -> None:
    """Pass the carried images on: each is put together from its pair, interpolated if a shuffle by `scale` follows."""
    step = 2 if pairs else 1
    _check_width(layer, step * images * scale * scale)
    layer.weight[: step * images * scale * scale] = 0
    stencil = _stencil(layer, scale) / ((1 + slope) if pairs else 1)
    for image in range(images):
        for sign, out in ((1, 0), (-1, 1)) if pairs else ((1, 0),):
            rows = slice((step * image + out) * scale * scale, (step * image + out + 1) * scale * scale)
            layer.weight[rows, step * image] = sign * stencil
            if pairs:
                layer.weight[rows, step * image + 1] = -sign * stencil


@torch.no_grad()
def carry_out(
    layer: nn.Conv2d | nn.ConvTranspose2d, images: int, slope: float = 0.0, pairs: bool = True, scale: int = 1
) -> None:
    """Give the carried images out, the others faintly; interpolated by a transposed convolution or a shuffle."""
    step = 2 if pairs else 1
    weight = layer.weight
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)  # [out, in, k, k] as that of a convolution
        stencil = linear_kernel(layer.stride[0], layer.kernel_size[0], layer.padding[0])[None]
    else:
        stencil = _stencil(layer, scale)
    stencil = stencil / ((1 + slope) if pairs else 1)
    weight.mul_(FAINT)
    for image in range(images):
        rows = slice(image * len(stencil), (image + 1) * len(stencil))
        weight[rows, : step * images] = 0
        weight[rows, step * image] = stencil
        if pairs:
            weight[rows, step * image + 1] = -stencil


def _stencil(layer: nn.Conv2d, scale: int) -> Tensor:
    """What a shuffle by `scale` makes a linear interpolation of: ``[scale scale, k, k]``."""
    taps = linear_taps(scale, layer.kernel_size[0])
    return torch.einsum("ai,bj->abij", taps, taps).flatten(0, 1)


def _check_width(layer: nn.Conv2d, needed: int) -> None:
    if layer.out_channels < needed:
        raise ValueError(
            f"a layer of {layer.out_channels} channels is too narrow, it needs at least {needed}"
        )
