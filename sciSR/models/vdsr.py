"""VDSR: Kim, Lee and Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016 (arXiv
1511.04587). Twenty convolutions on the interpolated image predict what it lacks; one network for all factors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciSR.models.espcn import FixedInterpolation
from sciSR.models.layers import FAINT, initialise
from sciSR.models.reach import reach


class VDSR(nn.Module):
    """Very deep super-resolution network: bicubic interpolation plus a predicted residual.

    20 convolutions of 3x3 with 64 channels; 664,704 weights and 1,217 biases.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis; only the interpolation depends on it, so one weights file serves
        all factors that it was trained for.
    depth : int
        Number of convolutions.
    width : int
        Channels of the hidden layers.
    channels : int
        Channels of the image.

    Notes
    -----
    ``forward``: float32 ``[B, channels, h, w]`` -> ``[B, channels, s h, s w]``. It starts as the interpolation: the
    last layer's weights are a hundredth of He et al.'s. The paper trains it with clipped gradients.
    """

    def __init__(self, scale: int = 2, depth: int = 20, width: int = 64, channels: int = 1) -> None:
        super().__init__()
        if depth < 2:
            raise ValueError(f"VDSR: depth must be at least 2, not {depth}")
        self.scale = scale
        self.upsample = FixedInterpolation(scale, kernel="cubic")
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))
        initialise([self.body])
        with torch.no_grad():
            self.body[-1].weight.mul_(FAINT)

    def forward(self, x: Tensor) -> Tensor:
        start = self.upsample(x)
        return start + self.body(start).float()

    def receptive_field(self) -> int:
        """Radius in input pixels."""
        return reach(self.upsample, self.body)
