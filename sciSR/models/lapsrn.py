"""LapSRN: Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution", CVPR 2017 (arXiv
1704.03915). Twofold steps, each adding a predicted sub-band to the enlarged image of the step before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciSR.models.layers import FAINT, initialise, linear_kernel
from sciSR.models.reach import reach

SLOPE = 0.2


class LapSRN(nn.Module):
    """Laplacian pyramid network; weights are not shared between levels.

    Features: conv3 to `width` channels; at each level `depth` of conv3 and a transposed conv3 that doubles the grid,
    all with leaky ReLU (0.2). Image: at each level a transposed convolution of 4x4 taps, which starts as linear
    interpolation and is learned, plus a conv3 of the level's features.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis: 2, 4 or 8 (a level for each factor of 2).
    depth : int, optional
        Convolutions a level: 10, at scale 8 5, if not given (the paper's choices).
    width : int
        Channels of the features.
    channels : int
        Channels of the image.

    Notes
    -----
    ``forward``: float32 ``[B, channels, h, w]`` -> ``[B, channels, s h, s w]``; ``levels`` gives the images of all
    levels, for the paper's Charbonnier loss on each. The paper's text has 4x4 taps in the features' transposed
    convolutions; the authors' code and their count of parameters (812k, weights of the x4 network) have 3x3, as here.
    The network starts as repeated linear interpolation: the convolutions that predict the sub-bands are faint.
    """

    def __init__(self, scale: int = 2, depth: int | None = None, width: int = 64, channels: int = 1) -> None:
        super().__init__()
        if scale not in (2, 4, 8):
            raise ValueError(f"LapSRN: scale must be 2, 4 or 8, not {scale}")
        depth = depth or (5 if scale == 8 else 10)
        count = scale.bit_length() - 1
        self.scale = scale
        self.head = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True))
        self.features = nn.ModuleList(_features(depth, width) for _ in range(count))
        self.bands = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1) for _ in range(count))
        self.images = nn.ModuleList(
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, groups=channels, bias=False)
            for _ in range(count)
        )
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        initialise([self.head, *self.features, *self.bands], SLOPE)
        for (
            level
        ) in self.features:  # a quarter of the taps of a transposed convolution meet in an output pixel
            level[-2].weight.mul_(2)
        for band in self.bands:
            band.weight.mul_(FAINT)
        for image in self.images:
            image.weight.copy_(linear_kernel(2, 4, 1))

    def levels(self, x: Tensor) -> list[Tensor]:
        """The images of all levels, coarse to fine: ``[B, channels, 2 h, 2 w]``, ``[B, channels, 4 h, 4 w]``, ..."""
        features, image, images = self.head(x), x.float(), []
        for deepen, band, enlarge in zip(self.features, self.bands, self.images, strict=True):
            features = deepen(features)
            with torch.autocast(x.device.type, enabled=False):  # the image itself
                image = enlarge(image) + band(features.float())
            images.append(image)
        return images

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)[-1]

    def receptive_field(self) -> int:
        """Radius in input pixels: of the features, which reach farther than the image."""
        return reach(self.head, *self.features, self.bands[-1])


def _features(depth: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
    up = nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(*layers, up, nn.LeakyReLU(SLOPE, inplace=True))
