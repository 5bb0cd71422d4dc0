"""How far a network sees, seen from outside: where its gradients go, and what a halo that is too small costs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.models.spec import ModelSpec

Network = Callable[[Tensor], Tensor]
"""``[1, 1, h, w]`` -> ``[1, 1, s h, s w]``."""


def gradient_reach(network: Network, scale: int, side: int, multiple: int = 1) -> int | None:
    """Radius in input pixels within which inputs can move the output of a pixel.

    Parameters
    ----------
    network : callable
        In evaluation mode.
    scale : int
    side : int
        Pixels a side of the trial, a multiple of `multiple`; a reach of up to ``side // 2 - multiple`` can be seen.
    multiple : int
        Size of the groups of pixels that the network treats alike; the farthest pixel of the middle group counts.

    Returns
    -------
    int or None
        None where it reaches the edge of the trial, or beyond.
    """
    first = side // 2 // multiple * multiple
    last = first + multiple - 1
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 1, side, side, generator=generator).requires_grad_()
    with torch.enable_grad():
        out = network(x)[0, 0]
        middle = slice(scale * first, scale * (last + 1))
        block = out[middle, middle]
        # Random weights, so that no two ways from the same input cancel.
        weights = torch.randn(block.shape, generator=generator)
        (gradient,) = torch.autograd.grad((block * weights).sum(), x)
    touched = gradient[0, 0].nonzero()
    if not len(touched):
        return 0
    low, high = int(touched.min()), int(touched.max())
    return None if low == 0 or high == side - 1 else max(last - low, high - first, 0)


def tiling_error(network: nn.Module, spec: ModelSpec) -> float:
    """How much a tile's edge differs from the whole, where the halo is smaller than the network's reach.

    Parameters
    ----------
    network : nn.Module
    spec : ModelSpec

    Returns
    -------
    float
        Largest difference on a trial image of smooth structure and noise, relative to its range, between a halo of
        `spec.receptive_field` and one twice as wide.
    """
    halo, multiple = spec.receptive_field, spec.multiple
    halo = -(-halo // multiple) * multiple
    side = 4 * halo + 2 * multiple
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, side // 8 + 2, side // 8 + 2, generator=generator)
    x = F.interpolate(coarse, (side, side), mode="bicubic") + 0.02 * torch.randn(
        1, 1, side, side, generator=generator
    )
    told = [x.new_full((1, len(spec.conditions)), 0.1)] if spec.conditions else []
    with torch.inference_mode():
        whole = network(x, *told)
        part = network(x[..., halo:-halo, halo:-halo], *told)
    s, core = spec.scale, slice(spec.scale * halo, spec.scale * (halo + 2 * multiple))
    inner = slice(s * 2 * halo, s * (2 * halo + 2 * multiple))
    difference = (part[..., core, core] - whole[..., inner, inner]).abs().max()
    return float(difference / (whole.max() - whole.min()).clamp_min(1e-12))
