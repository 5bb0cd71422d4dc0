"""Values within bounds whose block means stay what was measured."""

from __future__ import annotations

from torch import Tensor

_ENOUGH = 1e-13  # of the bounds' distance


def bounded_block_mean_step(
    x: Tensor, y: Tensor, factors: tuple[int, int], bounds: tuple[float, float]
) -> Tensor:
    """Make block means exact with no value beyond the bounds.

    Parameters
    ----------
    x : Tensor, shape (fine rows, fine columns), float64
    y : Tensor, shape (coarse rows, coarse columns)
        The means wanted. Those beyond the bounds can't be had: their blocks end at the bound.
    factors : pair of int
    bounds : (float, float)

    Notes
    -----
    What a block lacks is spread evenly over those of its pixels that can still move that way, until nothing is
    lacking: each round either reaches the mean or brings a pixel to its bound, so that a block of n pixels needs at
    most n rounds.
    """
    low, high = bounds
    p, q = factors
    x = x.clamp(low, high)
    y = y.to(x.dtype).clamp(low, high)
    blocks = x.unflatten(1, (y.shape[1], q)).unflatten(0, (y.shape[0], p))  # rows, p, columns, q
    for _ in range(p * q + 1):
        lack = (y - blocks.mean((1, 3)))[:, None, :, None]
        if not (lack.abs() > _ENOUGH * (high - low)).any():
            break
        free = ((lack > 0) & (blocks < high)) | ((lack < 0) & (blocks > low))
        share = free.sum((1, 3), keepdim=True).clamp(min=1) / (p * q)
        blocks = (blocks + free * lack / share).clamp(low, high)
    return blocks.reshape(x.shape)
