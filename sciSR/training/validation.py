"""The held-out patches: loss and PSNR of the averaged network, and of the fixed interpolation it must beat."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

import torch
from torch import Tensor, nn

from sciSR.models.espcn import FixedInterpolation
from sciSR.training.losses import Loss
from sciSR.training.pair import Batch
from sciSR.training.thick_slices import reproduction, thin


@torch.no_grad()
def validate(network: nn.Module, data: Batch, loss: Loss, size: int) -> dict[str, float]:
    """Measure a network.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; called in float32.
    data : Batch
        On the network's device.
    loss : Loss
    size : int
        Patches at a time.

    Returns
    -------
    dict of float
        ``loss``; ``psnr``, the mean over patches of ``-10 log10(mean squared error)`` in dB, in normalised units, over
        what the loss judges, after its consistency step; and ``psnr_interpolation``, the same of Lanczos interpolation
        (across slices: of the smoothest ones that agree).
    """
    sums = {"loss": 0.0, "psnr": 0.0, "psnr_interpolation": 0.0}
    for batch in chunks(data, size):
        count = len(batch.input)
        prediction = predict(network, batch)
        sums["loss"] += count * loss(prediction, batch)[0].item()
        for key, images in (("psnr", prediction), ("psnr_interpolation", interpolate(batch))):
            sums[key] += psnr(*loss.judged(images, batch)).sum().item()
    return {key: value / len(data.input) for key, value in sums.items()}


def predict(network: nn.Module, batch: Batch) -> Tensor | list[Tensor]:
    """What a bare network makes of a batch: all levels if it has several."""
    if scale_of(batch) == 1:
        return thin(network, batch.input, batch.condition)
    if hasattr(network, "levels"):
        return network.levels(batch.input)
    return network(batch.input, batch.condition) if batch.condition.shape[1] else network(batch.input)


def interpolate(batch: Batch) -> Tensor:
    """Lanczos interpolation of the inputs; across slices the smoothest that agree with them."""
    if scale_of(batch) == 1:
        return reproduction(batch.input, batch.condition)
    return FixedInterpolation(scale_of(batch)).to(batch.input.device)(batch.input)


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """``-10 log10(mse)`` of each patch ``[B, 1, H, W]``, in dB; ``[B]``, at most 120."""
    error = (image.float() - truth).square().mean((1, 2, 3))
    return -10 / math.log(10) * error.clamp_min(1e-12).log()


def scale_of(batch: Batch) -> int:
    """Fine pixels for each coarse pixel; 1 for thick slices, whose columns are as fine as the truth's."""
    return batch.truth.shape[-1] // batch.input.shape[-1]


def chunks(data: Batch, size: int) -> Iterator[Batch]:
    """Parts of a batch, in order."""
    for start in range(0, len(data.input), size):
        yield Batch(**{item.name: getattr(data, item.name)[start : start + size] for item in fields(data)})
