"""SPAN: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPRW 2024
(arXiv:2311.12770). Plain 3x3 convolutions and an attention without parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.models.espcn import FixedInterpolation, limit_undershoot
from sciSR.models.reparameterised import RepConv3


class AttentionBlock(nn.Module):
    """Three convolutions; their output, made an odd function by ``sigmoid - 1/2``, weighs itself and the input.

    ``h = conv(silu(conv(silu(conv(x)))))``, ``out = (h + x) (sigmoid(h) - 1/2)``; ``[B, C, h, w]`` in and out, and the
    first convolution's output besides, which SPAN's last layer sees.
    """

    def __init__(self, features: int, gain: int) -> None:
        super().__init__()
        self.first, self.second, self.third = (RepConv3(features, features, gain) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = self.first(x)
        h = self.third(F.silu(self.second(F.silu(early))))
        return (h + x) * (torch.sigmoid(h) - 0.5), early


class SPAN(nn.Module):
    """Swift parameter-free attention network, added to a fixed interpolation.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis.
    features, blocks : int
        Width and number of attention blocks; the paper's ×2 and ×4 networks have 52 (or 48) and 6.
    gain : int
        Width of the linear branches of each convolution while it trains (`RepConv3`); 0: none. The network that runs
        is the same plain one.
    channels : int
        Image channels.
    finish : {"none", "detector"}
        "detector": `sciSR.models.espcn.limit_undershoot` after the sum, for networks in the sky stretch.

    Notes
    -----
    ``forward``: float32 ``[B, channels, h, w]`` -> ``[B, channels, s h, s w]``. 481,324 parameters at ×2 and 498,208 at
    ×4 with three channels and 52 features, as in the paper. The paper upsamples with the last convolution alone; the
    fixed Lanczos interpolation that is added here has no parameters, and the network starts as that interpolation. The
    attention is local, so tiles with a halo equal the whole.
    """

    def __init__(
        self,
        scale: int = 2,
        features: int = 48,
        blocks: int = 6,
        gain: int = 0,
        channels: int = 1,
        finish: str = "none",
    ) -> None:
        super().__init__()
        if finish not in ("none", "detector"):
            raise ValueError(f"SPAN: finish must be 'none' or 'detector', not {finish!r}")
        if blocks < 2:
            raise ValueError(f"SPAN: needs at least 2 blocks, not {blocks}")
        self.scale, self.finish = scale, finish
        self.skip = FixedInterpolation(scale)
        self.head = RepConv3(channels, features, gain)
        self.blocks = nn.ModuleList([AttentionBlock(features, gain) for _ in range(blocks)])
        self.tail = RepConv3(features, features, gain)
        self.join = nn.Conv2d(4 * features, features, 1)
        self.up = nn.Conv2d(features, channels * scale * scale, 3, padding=1)
        with torch.no_grad():  # start as the interpolation itself
            self.up.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        h, first, early = shallow, shallow, shallow
        for number, block in enumerate(self.blocks):
            h, early = block(h)
            first = h if number == 0 else first
        phases = self.up(self.join(torch.cat([shallow, self.tail(h), first, early], 1)))
        fixed = self.skip.phases(x.flatten(0, 1)[:, None]).unflatten(0, x.shape[:2]).flatten(1, 2)
        out = F.pixel_shuffle(fixed + phases.float(), self.scale)
        return limit_undershoot(out, x, self.scale) if self.finish == "detector" else out

    def receptive_field(self) -> int:
        """Radius in input pixels: every 3x3 convolution reaches one further."""
        return max(self.skip.radius, 3 * len(self.blocks) + 3)
