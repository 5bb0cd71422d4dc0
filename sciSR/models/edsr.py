"""EDSR: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017 (arXiv 1707.02921).
SRResNet without batch normalisation and without activations outside the residual blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciSR.models.layers import FAINT, Residual, carry_in, carry_on, carry_out, initialise
from sciSR.models.reach import reach
from sciSR.models.srresnet import stages


class EDSR(nn.Module):
    """Enhanced deep super-resolution network; the defaults are EDSR-baseline.

    conv3; residual blocks (conv3, ReLU, conv3); conv3, added to the first features; conv3 and a shuffle for each factor
    of 2 (or one of 3); conv3.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis: 2, 3, 4, 6, 8.
    blocks, width : int
        Residual blocks and channels; 16 and 64 in the baseline, 32 and 256 in the large network.
    residual_scaling : float
        Factor of every residual block's branch; 1 in the baseline, 0.1 in the large network.
    channels : int
        Channels of the image.

    Notes
    -----
    ``forward``: float32 ``[B, channels, h, w]`` -> ``[B, channels, s h, s w]``. The paper subtracts the training set's
    mean colour; here the engine normalises. The network starts as linear interpolation: one channel carries the image,
    and the trunk and the other channels are faint (`sciSR.models.layers`).
    """

    def __init__(
        self,
        scale: int = 2,
        blocks: int = 16,
        width: int = 64,
        residual_scaling: float = 1.0,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = Residual(
            *(
                Residual(
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(width, width, 3, padding=1),
                    gain=residual_scaling,
                )
                for _ in range(blocks)
            ),
            nn.Conv2d(width, width, 3, padding=1),
        )
        up: list[nn.Module] = []
        for factor in stages(scale):
            up += [nn.Conv2d(width, factor * factor * width, 3, padding=1), nn.PixelShuffle(factor)]
        self.up = nn.Sequential(*up)
        self.tail = nn.Conv2d(width, channels, 3, padding=1)
        self._start(channels)

    @torch.no_grad()
    def _start(self, channels: int) -> None:
        initialise([self.head, self.up, self.tail], 1.0)  # no activation follows these
        initialise([self.body])
        for block in self.body:
            if isinstance(block, Residual):
                block[-1].weight.mul_(0.1)
        self.body[-1].weight.mul_(FAINT)
        carry_in(self.head, channels, pairs=False)
        for layer, shuffle in zip(self.up[::2], self.up[1::2], strict=True):
            carry_on(layer, channels, pairs=False, scale=shuffle.upscale_factor)
        carry_out(self.tail, channels, pairs=False)

    def forward(self, x: Tensor) -> Tensor:
        features = self.up(self.body(self.head(x)))
        with torch.autocast(x.device.type, enabled=False):  # sums up the image itself
            return self.tail(features.float())

    def receptive_field(self) -> int:
        """Radius in input pixels."""
        return reach(self.head, self.body, self.up, self.tail)
