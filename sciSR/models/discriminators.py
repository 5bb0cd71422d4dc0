"""Discriminators: what tells a network's images from real ones while it is trained against it. Not shipped."""

from __future__ import annotations

from torch import Tensor, nn

from sciSR.models.layers import batch_norm

SLOPE = 0.2


class SRGANDiscriminator(nn.Module):
    """The discriminator of SRGAN (Ledig et al., CVPR 2017, arXiv 1609.04802).

    Eight convolutions of 3x3, every second with stride 2, from 64 to 512 channels, batch normalisation in all but the
    first, leaky ReLU (0.2); two dense layers.

    Parameters
    ----------
    channels : int
        Channels of the image.
    width : int
        Channels of the first layer; 64 in the paper.
    dense : int
        Width of the first dense layer; 1024 in the paper.

    Notes
    -----
    ``forward``: float32 ``[B, channels, H, W]`` -> logits ``[B, 1]`` (no sigmoid: the loss has it). The paper's patches
    are 96 x 96 and leave 6 x 6 features; an adaptive mean brings any other size of at least 16 to that.
    """

    def __init__(self, channels: int = 1, width: int = 64, dense: int = 1024) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width]
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
        for at in range(1, 8):
            layers += [
                nn.Conv2d(widths[at - 1], widths[at], 3, stride=1 + at % 2, padding=1, bias=False),
                batch_norm(widths[at]),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(6))
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(8 * width * 36, dense),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Linear(dense, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class DCGANDiscriminator(nn.Module):
    """The discriminator of DCGAN (Radford, Metz and Chintala, ICLR 2016, arXiv 1511.06434).

    Four convolutions of 4x4 with stride 2, batch normalisation in all but the first, leaky ReLU (0.2), and one of 4x4
    that gives the logits; no dense layer, no pooling.

    Parameters
    ----------
    channels : int
        Channels of the image.
    width : int
        Channels of the first layer, doubled by each of the next three.

    Notes
    -----
    ``forward``: float32 ``[B, channels, H, W]`` -> logits ``[B, n]``, n = (H // 16 - 3) (W // 16 - 3) places: one for
    the paper's 64 x 64, more for larger patches, of which each is judged. H and W are at least 64. Weights start
    normal with standard deviation 0.02, as in the paper.
    """

    def __init__(self, channels: int = 1, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
        for at in range(3):
            layers += [
                nn.Conv2d(width << at, width << (at + 1), 4, stride=2, padding=1, bias=False),
                batch_norm(width << (at + 1)),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
        self.body = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).flatten(1)


DISCRIMINATORS: dict[str, type[nn.Module]] = {"srgan": SRGANDiscriminator, "dcgan": DCGANDiscriminator}
