"""Solutions with a strong and a weak prior, blended pixel by pixel according to what stands out of the noise.

One power spectrum for a whole field is a compromise: stars hold nearly all of its power, so it lets the noise of
the empty sky through. Here the solutions ``x_0, x_1, ...`` with ever more power are taken apart into ``x_0`` and the
details ``e_l = x_l - x_(l-1)``, and each detail is kept where its local energy exceeds what the noise puts there,

    x = x_0 + sum_l w_l e_l,     w = S^2 / (S^2 + v),     S^2 = max(<e^2> - T v, 0),

with v the detail's noise variance and <> a Gaussian mean (Lee 1980, IEEE Trans. Pattern Anal. Mach. Intell. 2, 165).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sciSR.fusion.solvers.resample import gaussian

REACH = 0.75
"""Sigma of the local mean, in native pixels: about the core of a star; twice that for the first, smoothest detail."""

THRESHOLD = 3.0
"""T: in pure noise <e^2> fluctuates by half of v or so, and must not let it through."""


@dataclass(frozen=True, eq=False)
class Level:
    """A solution on the fine grid.

    Attributes
    ----------
    image : Tensor
    probe : Tensor
        What the same solution makes of frames that hold nothing but noise.
    pull : Tensor
        By how much the prior shrinks the solution.
    """

    image: Tensor
    probe: Tensor
    pull: Tensor


@dataclass(frozen=True, eq=False)
class Blend:
    """The blended image, the variance of its noise, and the share of the weakest prior's detail in it."""

    image: Tensor
    noise: Tensor
    share: Tensor


def blend(levels: Sequence[Level], local: Tensor, factors: tuple[float, float]) -> Blend:
    """Blend solutions, the one with the strongest prior first.

    Parameters
    ----------
    levels : sequence of Level
    local : Tensor
        Variance of the frames at each pixel over that in the probe.
    factors : (float, float)
        Fine pixels per native pixel.
    """
    image = levels[0].image.clone()
    shares, probes = [torch.ones_like(image)], [levels[0].probe]
    for k, (before, level) in enumerate(pairwise(levels)):
        wide = REACH * (2 if k == 0 else 1)
        reach = (wide * factors[0], wide * factors[1])
        detail, probe = level.image - before.image, level.probe - before.probe
        noise = probe.square().mean() * local
        energy = (gaussian(detail**2, reach) - THRESHOLD * noise).clamp(min=0)
        share = torch.where(energy > 0, energy / (energy + noise), 0.0)
        image += share * detail
        shares.append(share)
        probes.append(probe)
    variance = torch.zeros_like(image)
    for a, one in enumerate(probes):
        for b, other in enumerate(probes):
            variance += shares[a] * shares[b] * (one * other).mean()
    return Blend(image, (variance * local).clamp(min=0), shares[-1])
