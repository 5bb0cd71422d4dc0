"""The input's noise, drawn anew at every visit of a patch, so that a network can't learn one realisation by heart."""

from __future__ import annotations

import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.training.augment import draw
from sciSR.training.config import Range
from sciSR.training.consistent import linear, network
from sciSR.training.pair import Batch

KINDS = ("none", "gaussian", "poisson", "rician")


def add_noise(
    batch: Batch,
    noise: str,
    generator: torch.Generator,
    normalisation: str,
    conditions: tuple[str, ...] = (),
    hot_pixels: Range = 0.0,
) -> Batch:
    """The batch with a noisy input; the given one stays as it is.

    Parameters
    ----------
    batch : Batch
        ``batch.noise`` is (v0, v1, zero) in linear normalised units, see `sciSR.training.pair.Pair`.
    noise : {"none", "gaussian", "poisson", "rician"}
        "gaussian": variance ``v0 + v1 u`` where u is the value. "poisson": the same variance, of photons
        ``(u - zero) / v1`` and Gaussian read-out noise. "rician": the magnitude of a signal with noise of variance v0
        in both channels (Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618).
    generator : torch.Generator
    normalisation : {"range", "sky", "unit"}
    conditions : tuple of str
        What ``batch.condition`` holds; "noise" becomes ``sqrt(v0)``, the standard deviation where u is 0, which is the
        same in linear and network units (for "rician" that of each channel).
    hot_pixels : Range
        Share of hot and dead pixels; drawn for each patch.

    Returns
    -------
    Batch
        The same object's values for "none" without hot pixels.
    """
    if noise not in KINDS:
        raise UsageError(f"forward.noise: there is no {noise!r}", remedy=f"use one of {', '.join(KINDS)}")
    hot = hot_pixels != 0.0 and tuple(hot_pixels if isinstance(hot_pixels, tuple | list) else ()) != (
        0.0,
        0.0,
    )
    condition = batch.condition
    if "noise" in conditions:
        condition = condition.clone()
        level = (
            batch.noise[:, 0].clamp_min(0).sqrt() if noise != "none" else torch.zeros_like(batch.noise[:, 0])
        )
        condition[:, conditions.index("noise")] = level
    x = batch.input
    if noise != "none" or hot:
        v0, v1, zero = (value[:, None, None, None] for value in batch.noise.unbind(1))
        u = linear(x, normalisation)
        if noise == "rician":
            u = _rician(u, v0, zero, generator)
        elif noise != "none":
            u = _detector(u, v0, v1, zero, generator, exact=noise == "poisson")
        if hot:
            u = _hot(u, v0, zero, hot_pixels, generator)
        x = network(u, normalisation)
    return Batch(x, batch.truth, batch.noise, condition)


FEW = 50.0
"""Photons in a patch's darkest pixel below which they are counted one by one; above, Poisson's distribution is normal
to a skewness of 0.14."""


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)


def _detector(
    u: Tensor, v0: Tensor, v1: Tensor, zero: Tensor, generator: torch.Generator, exact: bool
) -> Tensor:
    noisy = u + (v0 + v1 * u).clamp_min(0).sqrt() * _normal(u, generator)
    if not exact:
        return noisy
    quantum = v1.clamp_min(1e-20)
    few = ((v1 > 0) & (u.amin((1, 2, 3), keepdim=True) - zero < FEW * v1)).flatten()
    if not bool(few.any()):
        return noisy
    rate = ((u - zero) / quantum)[few].clamp_min(0)
    read = (v0 + v1 * zero)[few].clamp_min(0).sqrt()
    counts = torch.poisson(rate.to(generator.device), generator=generator).to(u)
    noisy[few] = zero[few] + quantum[few] * counts + read * _normal(rate, generator)
    return noisy


def _rician(u: Tensor, v0: Tensor, zero: Tensor, generator: torch.Generator) -> Tensor:
    sigma = v0.clamp_min(0).sqrt()
    real, imaginary = (sigma * _normal(u, generator) for _ in range(2))
    return torch.hypot(u - zero + real, imaginary) + zero


def _hot(u: Tensor, v0: Tensor, zero: Tensor, share: Range, generator: torch.Generator) -> Tensor:
    """Some pixels far too bright (three in four) or without any signal."""
    share_of = draw(share, len(u), generator, u.device)[:, None, None, None]
    luck, height = (torch.rand(u.shape, generator=generator, device=generator.device).to(u) for _ in range(2))
    unit = torch.maximum(v0.clamp_min(0).sqrt(), torch.full_like(v0, 0.05))
    bright = u + unit * 10 ** (0.7 + 1.8 * height)  # 5 to 300 times the noise, log-uniform
    return torch.where(luck < 0.75 * share_of, bright, torch.where(luck < share_of, zero.expand_as(u), u))
