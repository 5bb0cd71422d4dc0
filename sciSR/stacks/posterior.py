"""The standard deviation of a fused volume, from draws of the data's noise and of the prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciSR.fusion.least_squares import Penalty, solve
from sciSR.stacks.likelihood import StackLikelihood

SMOOTH = 3.0
"""Voxels over which squared draws are averaged (standard deviation of a Gaussian)."""


def standard_deviation(
    likelihood: StackLikelihood, penalties: Sequence[Penalty], *, seed: int, iterations: int, draws: int = 1
) -> Tensor:
    """Root of the local mean square of samples of the posterior.

    ``H^-1 (A^T W^1/2 e1 + sum L^T omega^1/2 e2)`` has the covariance H^-1 (Papandreou & Yuille, NIPS 2010).

    Parameters
    ----------
    likelihood : StackLikelihood
    penalties : sequence of Penalty
        That the volume was solved with.
    seed : int
    iterations : int
    draws : int

    Returns
    -------
    Tensor
        Of the canvas's shape.
    """
    canvas = likelihood.canvas
    generator = torch.Generator().manual_seed(seed + 1)
    square = torch.zeros(canvas.shape, device=canvas.device)
    for _ in range(draws):
        drawn = likelihood.redrawn(generator)
        goals = []
        for term in penalties:
            e = torch.randn(canvas.shape, generator=generator).to(canvas.device)
            omega = term.omega.clamp_min(1e-30)
            goals.append(Penalty(term.response, term.omega, e / omega.sqrt()))
        sample, _ = solve(drawn, goals, iterations=iterations, tolerance=1e-2)
        square += sample * sample
    rows, columns, last = canvas.frequencies()
    gauss = torch.exp(-2 * (torch.pi * SMOOTH) ** 2 * (rows**2 + columns**2 + last**2))
    return canvas.back(canvas.forward(square / draws) * gauss).clamp_min(0).sqrt()
