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
SLOPES = (2.0, 7.0)
"""Between which exponents the power of a body falls with frequency in three dimensions, beyond what was measured."""
_FIRST = 3.5
_CORNER = 0.01
"""Cycles per millimetre below which power no longer rises."""
_KNOWN = 0.8
"""Share of a frequency that the data alone determine, from which on its power is trusted."""
_RINGS = 16
_WEAK = 1e-2
"""Of the fitted prior, for ``none``."""


@dataclass(frozen=True)
class PowerLaw:
    """Variance of a Fourier coefficient per voxel: straight lines between points, in logarithms.

    Attributes
    ----------
    place : tuple of float
        Frequencies, cycles per millimetre, ascending.
    height : tuple of float
        Power there.
    """

    place: tuple[float, ...]
    height: tuple[float, ...]

    def power(self, canvas: Canvas) -> Tensor:
        """On the canvas's half spectrum; beyond the last point it falls on along the same line."""
        k = (canvas.radius() ** 2 + _CORNER**2).sqrt()
        x, y = (np.log(np.array(v)) for v in (self.place, self.height))
        slope = np.clip(np.diff(y)[-1] / np.diff(x)[-1], -SLOPES[1], -SLOPES[0])
        far = x[-1] + 3.0
        x, y = np.append(x, far), np.append(y, y[-1] + slope * 3.0)
        if self.place[0] > _CORNER:
            x, y = np.insert(x, 0, np.log(_CORNER)), np.insert(y, 0, y[0] + _FIRST * (x[0] - np.log(_CORNER)))
        value = np.interp(np.log(k.cpu().numpy()), x, y)
        return torch.from_numpy(np.exp(value).astype(np.float32)).to(canvas.device)

    def penalty(self, canvas: Canvas, strength: float = 1.0) -> Penalty:
        """The quadratic penalty of a Gaussian field of this power."""
        return Penalty(
            self.power(canvas).rsqrt(), torch.tensor(strength, dtype=torch.float32, device=canvas.device)
        )

    @property
    def exponent(self) -> float:
        """With which power falls over the upper half of what was measured."""
        x, y = (np.log(np.array(v)) for v in (self.place, self.height))
        upper = x >= 0.5 * (x[0] + x[-1])
        return -float(np.polyfit(x[upper], y[upper], 1)[0]) if upper.sum() > 1 else _FIRST

    @classmethod
    def of_variance(cls, canvas: Canvas, variance: float, exponent: float = _FIRST) -> PowerLaw:
        """A plain power law with a given variance of voxels."""
        place = (_CORNER, 1.0)
        plain = cls(place, tuple(k**-exponent for k in place))
        level = variance / float(plain.power(canvas).mean())
        return cls(place, tuple(level * h for h in plain.height))


def fitted(likelihood: StackLikelihood, volume: Tensor, law: PowerLaw) -> PowerLaw:
    """The power of a volume's own spectrum, over the frequencies that the data determine.

    Parameters
    ----------
    likelihood : StackLikelihood
    volume : Tensor
        Solved with `law`.
    law : PowerLaw
        Kept if too little is determined.
    """
    canvas = likelihood.canvas
    prior, data = 1 / law.power(canvas), likelihood.spectrum
    share = data / (data + prior)
    window = _window(canvas)
    mean = float((volume * window).sum() / window.sum())
    power = canvas.forward((volume - mean) * window).abs() ** 2 / float((window**2).sum())
    # A solution's power is share^2 (S + 1/data): what noise adds is taken off.
    power = power / share.clamp_min(1e-3) ** 2 - 1 / data.clamp_min(1e-30)
    k = canvas.radius()
    top = float(k.max())
    edges = np.geomspace(1.5 / (min(canvas.inner) * float(canvas.spacing.max())), top, _RINGS + 1)
    place, height = [], []
    for low, high in itertools.pairwise(edges):
        ring = (k >= low) & (k < high)
        known = ring & (share > _KNOWN)
        n = int(known.sum())
        if n < 20 or n < 0.3 * int(ring.sum()):
            continue
        average = float(power[known].mean())
        if average <= 0:
            break
        place.append(float(k[known].mean()))
        height.append(average)
    return PowerLaw(tuple(place), tuple(height)) if len(place) >= 3 else law


def _window(canvas: Canvas) -> Tensor:
    """Falls to zero at the ends of the output: the field's end is no edge of the body."""
    out = torch.zeros(canvas.shape, device=canvas.device)
    a, b, c = (torch.hann_window(n + 2, periodic=False)[1:-1].to(canvas.device) for n in canvas.inner)
    out[canvas.inside] = a[:, None, None] * b[:, None] * c
    return out


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
