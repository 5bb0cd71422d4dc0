"""The head that tells how far a method errs: from input, result and propagated noise to one width per fine pixel.

Everything it sees is relative: to the image's robust scale, which the engine divides by, and to a local scale, made of
the detail and the gradient around a pixel. A field that is twice as contrasted has twice the error to begin with; the
convolutions learn what that leaves open.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOOR = 1e-4
"""Least local scale, in units of the image's robust scale: below it everything counts as flat."""
WINDOW = 5
"""Coarse pixels a side over which the local scale and the noise are averaged."""
BROAD = 9
"""Coarse pixels a side over which the weight of the noise is averaged: it belongs to a place, not to a pixel."""
CLEAR = 4.0
"""Standard deviations of the noise at which half of a structure's height is shown."""
_LIMIT = 6.0


LEAST_NOISE, MOST_NOISE = 0.6, 1.2
"""Ends of what the propagated noise's variance may be weighted with."""


class ErrorHead(nn.Module):
    """Standard deviation of a result on the fine grid: ``sqrt(w noise^2 + sigma^2)``.

    Sigma is the method's own error. The weight w lies near 1: probes ride on the noise that is in the image already,
    to which a network does not answer linearly, and white probes overstate noise that is correlated.

    Parameters
    ----------
    scale : int
        Fine pixels for each coarse pixel and axis.
    stretch : {"sky", "range"}
        How brightness is shown to the convolutions: through asinh, or as it is.
    features, depth : int
        Channels, and number of 3 x 3 convolutions (all but the last with a SiLU).

    Notes
    -----
    ``forward(coarse, fine, noise)``: float32 ``[B, 1, h, w]``, ``[B, 1, s h, s w]`` and ``[B, 1, s h, s w]`` ->
    ``[B, 1, s h, s w]``, the standard deviation, all relative to offset and robust scale of the image (no stretch).
    Positive. Shift-invariant by coarse pixels; the border is replicated.
    """

    def __init__(self, scale: int = 2, stretch: str = "sky", features: int = 32, depth: int = 4) -> None:
        super().__init__()
        if stretch not in ("sky", "range"):
            raise ValueError(f"stretch must be sky or range, not {stretch!r}")
        if depth < 2 or scale < 2:
            raise ValueError(f"an error head has a scale and a depth of 2 at least, not {scale} and {depth}")
        self.scale, self.stretch, self.depth = scale, stretch, depth
        widths = [scale**2 + 6, *[features] * (depth - 1), scale**2 + 1]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in itertools.pairwise(widths))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.constant_(self.layers[-1].bias[:-1], -1.0)
        nn.init.zeros_(self.layers[-1].bias[-1:])

    def forward(self, coarse: Tensor, fine: Tensor, noise: Tensor) -> Tensor:
        known, local = self.look(coarse, fine, noise)
        for number, layer in enumerate(self.layers):
            known = layer(F.pad(known, (1, 1, 1, 1), mode="replicate"))
            if number < self.depth - 1:
                known = F.silu(known)
        own, credit = known[:, :-1], known[:, -1:]
        sigma = local * (_LIMIT * torch.tanh(own / _LIMIT)).exp()
        weight = (
            LEAST_NOISE + (MOST_NOISE - LEAST_NOISE) * (_mean(credit, BROAD) + 0.7).sigmoid()
        )  # begins at 1
        variance = weight * F.pixel_unshuffle(noise, self.scale).square() + sigma.square()
        return F.pixel_shuffle(variance.sqrt(), self.scale)

    def look(self, coarse: Tensor, fine: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the convolutions are shown, ``[B, s^2 + 6, h, w]``, and the local scale, ``[B, 1, h, w]``."""
        variance = F.pixel_unshuffle(noise, self.scale).square().mean(1, keepdim=True)
        noisy = _mean(variance, WINDOW).sqrt()
        around, level = _mean(coarse, 3), _mean(coarse, WINDOW)
        detail = _significant(F.pixel_unshuffle(fine, self.scale) - coarse, noisy)
        sharp, broad = (_significant(coarse - each, noisy) for each in (around, level))
        lively = detail.square().mean(1, keepdim=True) + sharp.square()
        local = (_mean(lively, WINDOW) + noisy.square() + FLOOR**2).sqrt()
        shown = level.asinh() / 4 if self.stretch == "sky" else level
        seen = [
            (detail / local).asinh(),
            (sharp / local).asinh(),
            (broad / local).asinh(),
            shown.clamp(-4, 4),
            local.log() / 4,
            (noisy / local + 1e-2).log() / 2,
            ((lively.sqrt() / local) + 1e-2).log(),
        ]
        return torch.cat(seen, 1), local

    def receptive_field(self) -> int:
        """Radius in coarse pixels."""
        return self.depth + 2 * (WINDOW // 2) + BROAD // 2


def _significant(x: Tensor, noise: Tensor) -> Tensor:
    """What stands out of the noise; the rest fades.

    Otherwise a head would read the noise itself off the image, and tell small errors where it happens to be small.
    """
    ratio = (x / (CLEAR * noise + 1e-3 * FLOOR)).square().clamp_max(1e6).square()
    return x * (ratio / (1 + ratio))


def _mean(x: Tensor, side: int) -> Tensor:
    """Mean over a square window of odd `side`, the border replicated."""
    half = side // 2
    return F.avg_pool2d(F.pad(x, (half, half, half, half), mode="replicate"), side, 1)
