"""What is assumed of a body before it is seen: a power law, fitted to the data's own spectrum, and edges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sciSR.fusion.least_squares import Convergence, Penalty, solve
from sciSR.stacks.canvas import Canvas
from sciSR.stacks.likelihood import StackLikelihood

PRIORS = ("auto", "tikhonov", "huber", "none")
EXPONENTS = (2.0, 4.5)
"""Between which the power of bodies falls with frequency in three dimensions."""
_FIRST = 3.0
_CORNER = 0.01
"""Cycles per millimetre below which power no longer rises."""
_KNOWN = 0.8
"""Share of a frequency that the data alone determine, from which on its power is trusted."""
_WEAK = 1e-2
"""Of the fitted prior, for ``none``."""


@dataclass(frozen=True)
class PowerLaw:
    """``level (k^2 + corner^2)^(-exponent/2)``: variance of a Fourier coefficient per voxel; k in cycles per mm."""

    level: float
    exponent: float

    def power(self, canvas: Canvas) -> Tensor:
        """On the canvas's half spectrum."""
        return self.level * (canvas.radius() ** 2 + _CORNER**2) ** (-self.exponent / 2)

    def penalty(self, canvas: Canvas, strength: float = 1.0) -> Penalty:
        """The quadratic penalty of a Gaussian field of this power."""
        return Penalty(
            self.power(canvas).rsqrt(), torch.tensor(strength, dtype=torch.float32, device=canvas.device)
        )

    @classmethod
    def of_variance(cls, canvas: Canvas, variance: float, exponent: float = _FIRST) -> PowerLaw:
        """With a given variance of voxels."""
        shape = cls(1.0, exponent).power(canvas)
        return cls(variance / float(shape.mean()), exponent)


def fitted(
    likelihood: StackLikelihood,
    volume: Tensor,
    law: PowerLaw,
    *,
    exponent: bool = True,
) -> PowerLaw:
    """The power law of a volume's own spectrum, over the frequencies that the data determine.

    Parameters
    ----------
    likelihood : StackLikelihood
    volume : Tensor
        Solved with `law`.
    law : PowerLaw
    exponent : bool
        False keeps the law's own.
    """
    canvas = likelihood.canvas
    prior, data = 1 / law.power(canvas), likelihood.spectrum
    share = data / (data + prior)
    # Where nothing was measured, the volume is empty: the power is that of the covered part.
    covered = float((likelihood.weight > 0.2 * _typical(likelihood.weight)).float().mean())
    size = float(np.prod(canvas.shape))
    power = canvas.forward(volume).abs() ** 2 / size / max(covered, 1e-3)
    # The solution's power is share^2 (S + 1/data): what noise adds is taken off.
    power = power / share.clamp_min(1e-3) ** 2 - 1 / data.clamp_min(1e-30)
    k = canvas.radius()
    nyquist = 0.5 / float(canvas.spacing.max())
    edges = np.geomspace(0.06 * nyquist, 0.9 * nyquist, 13)
    place, height, number = [], [], []
    for low, high in itertools.pairwise(edges):
        ring = (k >= low) & (k < high) & (share > _KNOWN)
        n = int(ring.sum())
        if n < 20:
            continue
        mean = float(power[ring].mean())
        if mean > 0:
            place.append(np.log(float(k[ring].mean())))
            height.append(np.log(mean))
            number.append(1.0)
    if len(place) < 3:
        return law
    slope = -float(np.polyfit(place, height, 1)[0]) if exponent else law.exponent
    slope = float(np.clip(slope, *EXPONENTS))
    level = float(np.exp(np.mean(np.array(height) + slope * np.array(place))))
    return PowerLaw(level, slope)


def _typical(weight: Tensor) -> float:
    some = weight[weight > 0]
    return float(some.mean()) if some.numel() else 0.0


@dataclass(frozen=True, eq=False)
class Solved:
    """A volume on the canvas, the penalties that it was solved with, and how the iteration ended."""

    volume: Tensor
    penalties: Sequence[Penalty]
    law: PowerLaw
    done: Convergence


ROUNDS = 2
_QUIET = 1.0
"""Size of the curvature, in units of what the power law expects of a typical voxel, from which it counts as an edge."""


def solve_with(
    prior: str,
    likelihood: StackLikelihood,
    law: PowerLaw,
    start: Tensor | None,
    *,
    iterations: int,
    tolerance: float,
) -> Solved:
    """The most probable volume under one of `PRIORS`.

    "tikhonov": the power law alone. "huber": besides, the local curvature is held down where it is small and let go
    where it is large, by reweighting. "none": a hundredth of the power law, for what the data leave open. "auto" is
    "tikhonov".
    """
    canvas = likelihood.canvas
    base = law.penalty(canvas, _WEAK if prior == "none" else 1.0)
    penalties: list[Penalty] = [base]
    volume, done = solve(likelihood, penalties, start, iterations=iterations, tolerance=tolerance)
    if prior != "huber":
        return Solved(volume, penalties, law, done)
    response = _laplacian(canvas)
    expected = float((law.power(canvas) * response**2).mean()) ** 0.5
    for _ in range(ROUNDS):
        size = canvas.back(response * canvas.forward(volume)).abs() / max(_QUIET * expected, 1e-30)
        omega = 1 / (expected**2 * size.clamp_min(1.0))
        penalties = [base, Penalty(response + 0j, omega)]
        volume, done = solve(likelihood, penalties, volume, iterations=iterations // 2, tolerance=tolerance)
    return Solved(volume, penalties, law, done)


def _laplacian(canvas: Canvas) -> Tensor:
    """Spectrum of the second difference, of size 1 at the highest frequency."""
    parts = (1 - torch.cos(2 * torch.pi * f) for f in canvas.frequencies())
    return sum(parts) / 6  # type: ignore[return-value]
