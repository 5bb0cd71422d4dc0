"""SRResNet, the generator of SRGAN: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
Adversarial Network", CVPR 2017 (arXiv 1609.04802), after the residual blocks of Gross and Wilber."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciSR.models.layers import Residual, batch_norm, carry_in, carry_on, carry_out, initialise
from sciSR.models.reach import reach

SLOPE = 0.25


def stages(scale: int) -> list[int]:
    """Factors of the sub-pixel stages: twos, and one three."""
    factors, rest = [], scale
    for prime in (2, 3):
        while rest % prime == 0 and rest > 1:
            factors.append(prime)
            rest //= prime
    if rest != 1 or scale < 1:
        raise ValueError(f"scale must be a product of twos and threes, not {scale}")
    return factors


class SRResNet(nn.Module):
    """Residual network with batch normalisation and sub-pixel stages.

    conv9 and PReLU; 16 residual blocks (conv3, norm, PReLU, conv3, norm); conv3 and norm, added to the first features;
    a stage of conv3, shuffle by 2 and PReLU for each factor of 2; conv9.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis: 2, 3, 4, 6, 8.
    blocks, width : int
        Residual blocks and channels.
    channels : int
        Channels of the image.

    Notes
    -----
    ``forward``: float32 ``[B, channels, h, w]`` -> ``[B, channels, s h, s w]``. PReLU has one slope a layer. In
    evaluation mode the normalisation's statistics are fixed and tiles with a halo of the receptive field equal the
    whole; `sciSR.models.layers.fold_batch_norm` makes it disappear. The network starts as linear interpolation: the
    last normalisation of every branch has gain 0 (Goyal et al. 2017, arXiv 1706.02677), and a pair of channels carries
    the image around it (`sciSR.models.layers`).
    """

    def __init__(self, scale: int = 4, blocks: int = 16, width: int = 64, channels: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU(init=SLOPE))
        self.body = Residual(
            *(
                Residual(
                    nn.Conv2d(width, width, 3, padding=1, bias=False),
                    batch_norm(width),
                    nn.PReLU(init=SLOPE),
                    nn.Conv2d(width, width, 3, padding=1, bias=False),
                    batch_norm(width),
                )
                for _ in range(blocks)
            ),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            batch_norm(width),
        )
        up: list[nn.Module] = []
        for factor in stages(scale):
            up += [
                nn.Conv2d(width, factor * factor * width, 3, padding=1),
                nn.PixelShuffle(factor),
                nn.PReLU(init=SLOPE),
            ]
        self.up = nn.Sequential(*up)
        self.tail = nn.Conv2d(width, channels, 9, padding=4)
        self._start(channels)

    def _start(self, channels: int) -> None:
        initialise([self], SLOPE)
        for branch in (self.body, *self.body):
            if isinstance(branch, Residual):
                nn.init.zeros_(branch[-1].weight)
        carry_in(self.head[0], channels)
        for layer, shuffle in zip(self.up[::3], self.up[1::3], strict=True):
            carry_on(layer, channels, SLOPE, scale=shuffle.upscale_factor)
        carry_out(self.tail, channels, SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        features = self.up(self.body(self.head(x)))
        with torch.autocast(x.device.type, enabled=False):  # sums up the image itself
            return self.tail(features.float())

    def receptive_field(self) -> int:
        """Radius in input pixels (in evaluation mode)."""
        return reach(self.head, self.body, self.up, self.tail)
