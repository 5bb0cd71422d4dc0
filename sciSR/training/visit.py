"""One visit of a batch: augmented, then degraded by what is drawn anew (noise, slice profile): a function of (seed,
step)."""

from __future__ import annotations

import numpy as np
import torch

from sciSR.training.augment import augment
from sciSR.training.config import TrainConfig
from sciSR.training.pair import Batch
from sciSR.training.thick_slices import other_contrast, thicken
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
    if forward.across:
        batch = other_contrast(batch, config.augment.gamma, generator)
    batch = augment(batch, config.augment, generator, normalisation)
    if forward.across:
        batch = thicken(batch, forward, np.random.default_rng([config.training.seed, step]))
    return add_noise(
        batch, forward.noise, generator, normalisation, config.model.conditions, forward.hot_pixels
    )
