"""FSRCNN: Dong, Loy and Tang, "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016 (arXiv
1608.00367). Shrink, map and expand features on the input grid; a transposed convolution enlarges at the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciSR.models.layers import carry_in, carry_on, carry_out, initialise
from sciSR.models.reach import reach

SLOPE = 0.25


class FSRCNN(nn.Module):
    """Fast super-resolution convolutional network, FSRCNN(d, s, m).

    ``conv5(1, d), conv1(d, s), m times conv3(s, s), conv1(s, d), deconv9(d, 1)``, each but the last with a PReLU of
    one slope a channel; FSRCNN(56, 12, 4) has 12,464 weights, 173 biases and 172 slopes.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis, at most 9.
    d, s, m : int
        Channels of the features, channels of the mapping, number of mapping layers.
    channels : int
        Channels of the image.

    Notes
    -----
    ``forward``: float32 ``[B, channels, h, w]`` -> ``[B, channels, S h, S w]`` for scale S. The transposed
    convolution's padding ``ceil((9 - S) / 2)`` centres its kernel on the S output pixels of an input pixel; where 9 - S
    is odd its first tap lies half a fine pixel farther out than its last. It starts as linear interpolation
    (`sciSR.models.layers`).
    """

    def __init__(self, scale: int = 2, d: int = 56, s: int = 12, m: int = 4, channels: int = 1) -> None:
        super().__init__()
        if not 1 <= scale <= 9:
            raise ValueError(f"FSRCNN: scale must be from 1 to 9, not {scale}: its last kernel has 9 taps")
        self.scale = scale
        convolutions = [
            nn.Conv2d(channels, d, 5, padding=2),
            nn.Conv2d(d, s, 1),
            *(nn.Conv2d(s, s, 3, padding=1) for _ in range(m)),
            nn.Conv2d(s, d, 1),
        ]
        layers: list[nn.Module] = []
        for convolution in convolutions:
            layers += [convolution, nn.PReLU(convolution.out_channels, init=SLOPE)]
        self.body = nn.Sequential(*layers)
        padding = (10 - scale) // 2
        self.tail = nn.ConvTranspose2d(
            d, channels, 9, stride=scale, padding=padding, output_padding=2 * padding + scale - 9
        )
        initialise(convolutions, SLOPE)
        nn.init.normal_(self.tail.weight, std=(2 / (d * 81 / scale**2)) ** 0.5)
        nn.init.zeros_(self.tail.bias)
        carry_in(convolutions[0], channels)
        for convolution in convolutions[1:]:
            carry_on(convolution, channels, SLOPE)
        carry_out(self.tail, channels, SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x)
        with torch.autocast(x.device.type, enabled=False):  # sums up the image itself
            return self.tail(features.float())

    def receptive_field(self) -> int:
        """Radius in input pixels."""
        return reach(self.body, self.tail)
