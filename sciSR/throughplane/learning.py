"""Learning to undo the slice profile: sharp planes are made thick along one axis, and a network makes them thin again.

The idea of SMORE (Zhao et al., IEEE Trans. Med. Imaging 40, 805, 2021, doi:10.1109/TMI.2020.3037187): the slices of a
volume are sharp, and what is true of their structure is true across them. This loop learns from one volume, with its
ratio and profile; many volumes, with ratios drawn anew for each step, are what ``scisr train`` is for
(`sciSR.training.thick_slices`), with the same tasks and the same loss.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sciSR.forward.slice_sampling import ProfileTable, SliceSampling
from sciSR.throughplane.detail import propose, reproduce
from sciSR.throughplane.sharp import VolumeSlices


@dataclass(frozen=True)
class Task:
    """Which thick slices are to be undone.

    Parameters
    ----------
    ratio : pair of float
        Thin slices for each thick one; log-uniform between the two.
    thickness : pair of float
        Width of the profile over the spacing of thick slices; uniform.
    profiles : tuple of str or ProfileTable
        One is drawn for each step.
    """

    ratio: tuple[float, float] = (1.7, 8.5)
    thickness: tuple[float, float] = (0.6, 1.4)
    profiles: tuple[str | ProfileTable, ...] = ("gaussian", "gaussian", "gaussian", "rect", "sinc")

    @classmethod
    def of(cls, operator: SliceSampling) -> Task:
        """That of one volume."""
        ratio = operator.fine / operator.coarse
        return cls((ratio, ratio), (operator.thickness, operator.thickness), (operator.profile,))

    def draw(self, rng: np.random.Generator, side: int) -> SliceSampling:
        """An operator for patches of at most `side` thin slices."""
        low, high = self.ratio
        ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
        if high > low and rng.random() < 0.4:  # whole ratios are what most volumes have
            ratio = max(2.0, round(ratio))
        coarse = max(2, min(MOST_SLICES, int(side / ratio + 1e-9)))
        fine = max(coarse, min(side, round(coarse * ratio)))
        thickness = 1.0 if high > low and rng.random() < 0.4 else rng.uniform(*self.thickness)
        return SliceSampling(coarse, fine, thickness, self.profiles[rng.integers(len(self.profiles))])


MOST_SLICES = 24
"""Thick slices of a patch."""
_PIXELS = 48 * 24
"""Thick slices times columns of a patch, about."""
_MARGIN = 6
"""Columns at a patch's edge that do not count: the network sees less there than inside a volume."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Parameters
    ----------
    steps, batch : int
    lr : float
        Peak learning rate; cosine after a warm-up.
    seed : int
    bf16 : bool
    """

    steps: int
    batch: int = 16
    lr: float = 1e-3
    seed: int = 0
    bf16: bool = False

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        warm = min(1.0, (step + 1) / max(1, min(200, self.steps // 10)))
        return self.lr * warm * max(0.5 * (1 + math.cos(math.pi * step / self.steps)), 1e-3)


def fit(
    network: nn.Module,
    planes: VolumeSlices,
    task: Task,
    schedule: Schedule,
    tick: Callable[[int, float, nn.Module], None] = lambda step, loss, average: None,
) -> nn.Module:
    """Train a network; the given one is changed, the average over its last steps is returned.

    Parameters
    ----------
    network : sciSR.models.through_plane.ThroughPlane
    planes : VolumeSlices
    task : Task
    schedule : Schedule
    tick : callable
        Gets the number of steps done, the loss, and the averaged network after each.

    Notes
    -----
    All that is random comes from the schedule's seed and the step.
    """
    from sciSR.training.config import OptimizerConfig
    from sciSR.training.optimizers import build, set_rate

    device = next(network.parameters()).device
    network.train().requires_grad_(True).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = build(OptimizerConfig("muon", schedule.lr), network)
    for step in range(schedule.steps):
        rng = np.random.default_rng([schedule.seed, step])
        set_rate(optimizer, schedule.rate(step))
        operator = task.draw(rng, planes.side)
        sharp = planes.draw(rng, schedule.batch, operator.fine, columns_of(operator, planes.side))
        loss = step_loss(network, torch.from_numpy(sharp)[:, None].to(device), operator, schedule.bf16)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        _follow(average, network, min(0.999, (step + 1) / (step + 20)))
        tick(step + 1, float(loss.detach()), average)
    return average.eval()


def step_loss(network: nn.Module, sharp: Tensor, operator: SliceSampling, bf16: bool) -> Tensor:
    """Mean absolute error of what the network makes of thick slices, away from the patch's ends."""
    thick = operator.apply(sharp, 2)
    thin = reproduce(thick, operator, 2) + propose(network, thick, operator, bf16=bf16)
    cut, side = rim(operator.coarse, operator.fine, sharp.shape[3])
    return (thin - sharp)[:, :, cut : operator.fine - cut, side : sharp.shape[3] - side].abs().mean()


def columns_of(operator: SliceSampling, side: int) -> int:
    """Columns of a patch, at most `side`: the fewer thick slices, the more."""
    return min(side, max(32, _PIXELS // operator.coarse // 8 * 8))


def rim(coarse: int, fine: int, columns: int) -> tuple[int, int]:
    """Thin slices and columns at each end of a patch that do not count."""
    return min(round(fine / coarse), fine // 4), min(_MARGIN, columns // 4)


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for old, new in zip(average.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - decay)
