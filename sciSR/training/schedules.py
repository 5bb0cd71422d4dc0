"""The learning rate as a function of the step: no state, so a resumed run needs none."""

from __future__ import annotations

import math

from sciSR.training.config import ScheduleConfig

RISE = 0.3
"""Share of the steps in which one-cycle rises."""
START = 1 / 25
"""Where one-cycle begins, relative to the peak."""


def rate(config: ScheduleConfig, step: int, steps: int) -> float:
    """Learning rate of a step relative to its peak.

    Parameters
    ----------
    config : ScheduleConfig
        "cosine": falls from 1 to `floor` as half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983).
        "one_cycle": rises from 1/25 to 1 in the first 30 % of the steps, then falls to `floor`, each as half a cosine
        (Smith and Topin 2018, arXiv:1708.07120). "constant": 1. All rise linearly in the first `warmup` steps.
    step : int
        From 0 on.
    steps : int
        Of the whole run.

    Returns
    -------
    float
        In (0, 1].
    """
    progress = step / max(1, steps)
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup > 0 else 1.0
    if config.kind == "constant":
        return warm
    if config.kind == "one_cycle":
        if progress < RISE:
            return warm * _between(START, 1.0, progress / RISE)
        return warm * _between(1.0, config.floor, (progress - RISE) / (1 - RISE))
    return warm * _between(1.0, config.floor, progress)


def _between(start: float, end: float, progress: float) -> float:
    """Half a cosine from `start` to `end`."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
