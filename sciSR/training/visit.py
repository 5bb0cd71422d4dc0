"""One visit of a batch: augmented, then degraded by noise that is drawn anew; a function of (seed, step)."""

from __future__ import annotations

import torch

from sciSR.training.augment import augment
from sciSR.training.config import TrainConfig
from sciSR.training.pair import Batch
from sciSR.training.visit_noise import add_noise


def step_seed(seed: int, step: int) -> int:
    """Seed of all that is random in one step of a run."""
    return (seed * 1_000_003 + step) % 2**63


def visit(batch: Batch, config: TrainConfig, step: int) -> Batch:
    """The batch of step `step` as the network sees it.

    Parameters
    ----------
    batch : Batch
        Noise-free, not augmented, on the CPU.
    config : TrainConfig
    step : int

    Returns
    -------
    Batch
    """
    generator = torch.Generator().manual_seed(step_seed(config.training.seed, step))
    forward, normalisation = config.forward, config.normalisation
    batch = augment(batch, config.augment, generator, normalisation)
    return add_noise(
        batch, forward.noise, generator, normalisation, config.model.conditions, forward.hot_pixels
    )
