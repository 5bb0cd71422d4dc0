"""Changes of a pair of input and truth that keep it a pair: what the degradation makes of the changed truth is the
changed input.

Turns and mirror images commute with every forward model here, and so do gain, offset, contrast and mixtures in *linear*
units, since the models are linear and keep constants. A sky's stretched values are made linear first.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciSR.training.config import AugmentConfig, Range
from sciSR.training.consistent import linear, network
from sciSR.training.pair import Batch


def augment(batch: Batch, config: AugmentConfig, generator: torch.Generator, normalisation: str) -> Batch:
    """A changed batch; the given one stays as it is.

    Parameters
    ----------
    batch : Batch
        Noise-free; square patches. Its parameters of the noise follow the gain and the offset.
    config : AugmentConfig
        Gain (log-uniform), offset and contrast (about the truth's mean; log-uniform) are drawn for each patch.
        ``gamma`` and ``rescale`` act before the degradation, when patches are cut, not here.
    generator : torch.Generator
        The only source of randomness; what is drawn doesn't depend on the batch's device if it is on the CPU.
    normalisation : {"range", "sky", "unit"}
    """
    images = [batch.input, batch.truth]
    noise, condition = batch.noise, batch.condition
    if config.mixup > 0 or any(not _is(r, v) for r, v in _intensity(config)):
        images = [linear(x, normalisation) for x in images]
        if config.mixup > 0:
            images, noise = _mixed(images, noise, condition, config.mixup, generator)
        gain, offset = _gain_and_offset(images[1], config, generator)
        images = [network(torch.addcmul(_wide(offset), x, _wide(gain)), normalisation) for x in images]
        noise = _follow(noise, gain, offset)
    images = _turned(images, config.flips, config.rotations, generator)
    return Batch(*images, noise, condition)


def draw(
    of: Range, count: int, generator: torch.Generator, device: torch.device, log: bool = False
) -> Tensor:
    """Values ``[count]``, float32, uniform (or log-uniform) between the two ends of a range."""
    low, high = of if isinstance(of, tuple | list) else (of, of)
    share = torch.rand(count, generator=generator, device=generator.device).to(device)
    if log:
        return torch.exp(math.log(low) + (math.log(high) - math.log(low)) * share)
    return low + (high - low) * share


def _intensity(config: AugmentConfig) -> tuple[tuple[Range, float], ...]:
    return (config.gain, 1.0), (config.offset, 0.0), (config.contrast, 1.0)


def _is(of: Range, value: float) -> bool:
    return of == value or (isinstance(of, tuple | list) and tuple(of) == (value, value))


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _gain_and_offset(
    truth: Tensor, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """``gain x + offset`` for each patch, ``[B]`` each: contrast about the mean, then gain and offset."""
    count, device = len(truth), truth.device
    gain = draw(config.gain, count, generator, device, log=True)
    offset = draw(config.offset, count, generator, device)
    contrast = draw(config.contrast, count, generator, device, log=True)
    offset = offset + gain * (1 - contrast) * truth.mean((1, 2, 3))
    return gain * contrast, offset


def _follow(noise: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """(v0, v1, zero) of ``gain u + offset``: the variance ``gain^2 (v0 + v1 u)`` as a function of the new value."""
    v0, v1, zero = noise.unbind(1)
    return torch.stack([gain.square() * v0 - gain * offset * v1, gain * v1, gain * zero + offset], 1)


def _mixed(
    images: list[Tensor], noise: Tensor, condition: Tensor, share: float, generator: torch.Generator
) -> tuple[list[Tensor], Tensor]:
    """Some pairs mixed with another of the batch (Zhang et al., "mixup", ICLR 2018), both images alike.

    The mixture's noise has mixed parameters: a detector between the two. Pairs that differ in their condition were
    degraded differently and stay apart.
    """
    count, device = len(noise), noise.device
    step = torch.randint(1, max(count, 2), (), generator=generator, device=generator.device).to(device)
    partner = (torch.arange(count, device=device) + step) % count  # never itself
    weight = draw((0.0, 1.0), count, generator, device)
    chosen = draw((0.0, 1.0), count, generator, device) < share
    same = torch.isclose(condition, condition[partner], equal_nan=True).all(1)
    weight = torch.where(chosen & same, weight, torch.zeros_like(weight))
    mixed = [torch.lerp(x, x[partner], _wide(weight)) for x in images]
    return mixed, torch.lerp(noise, noise[partner], weight[:, None])


def _turned(images: list[Tensor], flips: bool, rotations: bool, generator: torch.Generator) -> list[Tensor]:
    """Each patch mirrored and turned by quarters, input and truth alike."""
    count = len(images[0])
    draws = torch.randint(8, (count,), generator=generator, device=generator.device).tolist()
    moves = [(bool(n & 4) and flips, n & 3 if rotations else 0) for n in draws]

    def moved(x: Tensor) -> Tensor:
        # views, then one copy: cheaper than masks over the whole batch
        views = [
            torch.rot90(patch.flip(-1) if flip else patch, turn, (-2, -1))
            for patch, (flip, turn) in zip(x, moves, strict=True)
        ]
        return torch.stack(views)

    return [moved(x) for x in images] if flips or rotations else images
