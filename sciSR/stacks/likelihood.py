"""What all stacks say of the volume: normal equations for :func:`sciSR.fusion.least_squares.solve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sciSR.stacks.canvas import Canvas
from sciSR.stacks.operator import StackOperator


@dataclass(frozen=True, eq=False)
class Observed:
    """One stack as it enters the solution.

    Attributes
    ----------
    operator : StackOperator
    values : Tensor, ``[n]``
        What was measured, without its offset, divided by its gain.
    weights : Tensor, ``[n]``
        1/variance of `values`; 0 where left out.
    """

    operator: StackOperator
    values: Tensor
    weights: Tensor


class StackLikelihood:
    """Normal equations of several stacks on one canvas.

    Parameters
    ----------
    canvas : Canvas
    parts : sequence of Observed

    Attributes
    ----------
    weight : Tensor, of the canvas's shape
        Sum of weights around each voxel.
    spectrum : Tensor
        Diagonal of the Hessian in Fourier space where weights are typical.
    """

    def __init__(self, canvas: Canvas, parts: Sequence[Observed]) -> None:
        self.canvas, self.parts = canvas, tuple(parts)
        self.weight = torch.zeros(canvas.shape, device=canvas.device)
        self.spectrum = torch.zeros(canvas.half, device=canvas.device)
        for part in self.parts:
            density = part.operator.density(part.weights)
            self.weight += density
            typical = usual(density)
            share = [len(group.rows) for group in part.operator.groups]
            for group, n in zip(part.operator.groups, share, strict=True):
                self.spectrum += typical * n / max(1, sum(share)) * group.amplitude.abs() ** 2

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the canvas."""
        return self.canvas.shape

    def right(self) -> Tensor:
        """``A^T W y``, as a spectrum."""
        return sum(p.operator.adjoint(p.weights * p.values) for p in self.parts)  # type: ignore[return-value]

    def apply(self, spectrum: Tensor) -> Tensor:
        """``A^T W A x``, from the spectrum of x to that of the result."""
        out = torch.zeros_like(spectrum)
        for p in self.parts:
            out += p.operator.adjoint(p.weights * p.operator.apply(spectrum))
        return out

    def redrawn(self, generator: torch.Generator) -> StackLikelihood:
        """The same stacks, had they measured nothing but one draw of their noise."""
        parts = []
        for p in self.parts:
            noise = torch.randn(p.values.shape, generator=generator).to(p.values.device)
            # Noise of a weight w has the variance 1/w; where the weight is 0, nothing.
            values = torch.where(p.weights > 0, noise / p.weights.clamp_min(1e-30).sqrt(), 0.0)
            parts.append(replace(p, values=values))
        out = object.__new__(StackLikelihood)
        out.canvas, out.parts, out.weight, out.spectrum = (
            self.canvas,
            tuple(parts),
            self.weight,
            self.spectrum,
        )
        return out


def usual(weight: Tensor) -> float:
    """Mean of a map of weights where there are any to speak of; 0 if nowhere."""
    top = float(weight.max())
    return float(weight[weight > 0.1 * top].mean()) if top > 0 else 0.0
