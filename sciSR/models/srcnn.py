"""SRCNN: Dong et al., "Learning a Deep Convolutional Network for Image Super-Resolution", ECCV 2014, and "Image
Super-Resolution Using Deep Convolutional Networks", TPAMI 2016 (arXiv 1501.00092). Three convolutions on the
interpolated image: patch extraction, non-linear mapping, reconstruction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sciSR.models.espcn import FixedInterpolation
from sciSR.models.layers import carry_in, carry_on, carry_out, initialise
from sciSR.models.reach import reach


class SRCNN(nn.Module):
    """Super-resolution convolutional network, after bicubic interpolation.

    ``out = conv(relu(conv(relu(conv(bicubic(x))))))``; 8,129 parameters with kernels 9-1-5, 57,281 with 9-5-5.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis.
    kernels : sequence of three odd int
        Sizes of the three kernels; the paper has 9-1-5, 9-3-5 and 9-5-5.
    widths : sequence of two int
        Channels after the first and the second convolution.
    channels : int
        Channels of the image.

    Notes
    -----
    ``forward``: float32 ``[B, channels, h, w]`` -> ``[B, channels, s h, s w]``. The paper's network has no skip path
    and starts from weights of standard deviation 0.001; here it starts as the interpolation (`sciSR.models.layers`).
    """

    def __init__(
        self,
        scale: int = 2,
        kernels: Sequence[int] = (9, 1, 5),
        widths: Sequence[int] = (64, 32),
        channels: int = 1,
    ) -> None:
        super().__init__()
        if len(kernels) != 3 or any(k % 2 == 0 for k in kernels) or len(widths) != 2:
            raise ValueError(f"SRCNN: kernels {kernels} must be three odd sizes and widths {widths} two")
        self.scale = scale
        self.upsample = FixedInterpolation(scale, kernel="cubic")
        ends = (channels, *widths, channels)
        layers = [
            nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in zip(ends, ends[1:], kernels, strict=False)
        ]
        self.body = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1], nn.ReLU(inplace=True))
        self.tail = layers[2]
        initialise(layers)
        carry_in(layers[0], channels)
        carry_on(layers[1], channels)
        carry_out(layers[2], channels)

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(self.upsample(x))
        with torch.autocast(x.device.type, enabled=False):  # sums up the image itself
            return self.tail(features.float())

    def receptive_field(self) -> int:
        """Radius in input pixels."""
        return reach(self.upsample, self.body, self.tail)
