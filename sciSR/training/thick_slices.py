"""Pairs for a network across the slices: sharp patches, whose rows are made thick slices at each visit.

A pair is stored as one sharp patch, input and truth alike. A visit draws an operator for the whole batch (ratio,
thickness, profile), cuts as many rows as it needs, and averages them; so no two visits show the same thick slices.
The network is told the operator by ``batch.condition``: number of thin slices, thickness over spacing, profile.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from sciSR.forward.slice_sampling import SliceSampling
from sciSR.throughplane.detail import reproduce, unseen
from sciSR.throughplane.learning import Task, columns_of
from sciSR.training.augment import draw
from sciSR.training.config import ForwardConfig, Range
from sciSR.training.pair import Batch

PROFILES = ("gaussian", "rect", "sinc")
"""By their number in ``batch.condition``."""


def task_of(forward: ForwardConfig) -> Task:
    """The ranges of a configuration as those of `sciSR.throughplane.learning`."""
    return Task(_pair(forward.ratio), _pair(forward.thickness), tuple(forward.profiles))


def other_contrast(batch: Batch, gamma: Range, generator: torch.Generator) -> Batch:
    """Sharp patches raised to a power that is drawn for each (log-uniform); 0 and 1 stay, signs too."""
    power = draw(gamma, len(batch.truth), generator, batch.truth.device, log=True)[:, None, None, None]
    truth = batch.truth.sign() * batch.truth.abs() ** power
    return replace(batch, input=truth, truth=truth)


def thicken(batch: Batch, forward: ForwardConfig, rng: np.random.Generator) -> Batch:
    """Thick slices of a random piece of each patch, by one operator drawn for all.

    Parameters
    ----------
    batch : Batch
        Sharp square patches; of the input nothing is used.
    forward : ForwardConfig
    rng : numpy.random.Generator

    Returns
    -------
    Batch
        Input ``[B, 1, coarse, w]``, truth ``[B, 1, fine, w]``, condition ``[B, 3]``.
    """
    side = min(batch.truth.shape[2:])
    operator = _told(task_of(forward).draw(rng, side))
    columns = columns_of(operator, side)
    room = [n - m + 1 for n, m in zip(batch.truth.shape[2:], (operator.fine, columns), strict=True)]
    corners = rng.integers(room, size=(len(batch.truth), 2)).tolist()
    pieces = [
        patch[:, i : i + operator.fine, j : j + columns]
        for patch, (i, j) in zip(batch.truth, corners, strict=True)
    ]
    return _seen(batch, torch.stack(pieces), operator)


def typical(batch: Batch, forward: ForwardConfig) -> Batch:
    """Thick slices from the middle of each patch by the operator in the middle of a configuration's ranges: always the
    same, for validation."""
    task = task_of(forward)
    ratio = min(max(round(math.sqrt(math.prod(task.ratio))), task.ratio[0]), task.ratio[1])
    thickness = min(max(1.0, task.thickness[0]), task.thickness[1])
    middle = Task((ratio, ratio), (thickness, thickness), task.profiles[:1])
    operator = _told(middle.draw(np.random.default_rng(0), batch.truth.shape[2]))
    first = (batch.truth.shape[2] - operator.fine) // 2
    return _seen(batch, batch.truth[:, :, first : first + operator.fine].contiguous(), operator)


def operator_of(x: Tensor, condition: Tensor) -> SliceSampling:
    """What made the thick slices ``x [B, 1, coarse, w]``."""
    fine, thickness, profile = condition[0].tolist()
    return SliceSampling(x.shape[2], int(fine), thickness, PROFILES[int(profile)])


def thin(network: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    """Thin slices ``[B, 1, fine, w]`` of thick ones ``[B, 1, coarse, w]``, float32: what agrees with them, and of the
    network's detail what they can't see. In the precision that is set the network runs, and nothing else."""
    operator = operator_of(x, condition)
    detail = network(x.contiguous(memory_format=torch.channels_last), operator.fine, operator.thickness)
    with torch.autocast(x.device.type, enabled=False):
        return reproduce(x.float(), operator, 2) + unseen(detail.float(), operator, 2)


def reproduction(x: Tensor, condition: Tensor) -> Tensor:
    """The smoothest thin slices that agree with thick ones."""
    return reproduce(x, operator_of(x, condition), 2)


def _seen(batch: Batch, truth: Tensor, operator: SliceSampling) -> Batch:
    profile = PROFILES.index(str(operator.profile))
    told = torch.tensor([[operator.fine, operator.thickness, profile]], dtype=torch.float32)
    return replace(
        batch, input=operator.apply(truth, 2), truth=truth, condition=told.to(truth).repeat(len(truth), 1)
    )


def _told(operator: SliceSampling) -> SliceSampling:
    """With a thickness that survives the way through float32, so that both ends speak of the same matrix."""
    return replace(operator, thickness=float(np.float32(operator.thickness)))


def _pair(of: Range) -> tuple[float, float]:
    return (of[0], of[1]) if isinstance(of, tuple | list) else (of, of)
