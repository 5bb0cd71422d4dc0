"""Regularised least squares on a canvas: conjugate gradients preconditioned with the stationary solution.

The canvas has any number of axes: telescopes' frames are fused on two (:mod:`sciSR.fusion.map`), stacks of MR slices on
three (:mod:`sciSR.stacks`), by the same routine and with the same penalties.

Minimises ``(y - A x)^T W (y - A x) + sum_j |sqrt(omega_j) L_j (x - x_j)|^2``, where each ``L_j`` multiplies the
spectrum and each ``omega_j`` is a number or a map of weights. For equal shifts, weights and coverage everywhere the
Hessian is diagonal in Fourier space (the closed form of generalised sampling): that diagonal is the preconditioner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sciSR.fusion.forward import Canvas
from sciSR.fusion.normal import OFFSETS, NormalEquations


@dataclass(frozen=True, eq=False)
class Penalty:
    """``sum omega |L x - goal|^2``.

    Attributes
    ----------
    response : Tensor, half of the spectrum as of `torch.fft.rfftn`, real or complex
        L.
    omega : Tensor
        A map of the canvas's shape, or one number.
    goal : Tensor or None
        Of the canvas's shape; None for zero.
    """

    response: Tensor
    omega: Tensor
    goal: Tensor | None = None


class NormalSystem(Protocol):
    """What the data say, as normal equations on a canvas of any number of axes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the canvas."""
        ...

    @property
    def spectrum(self) -> Tensor:
        """Diagonal of the Hessian in Fourier space where weights are typical."""
        ...

    def right(self) -> Tensor:
        """``A^T W y``, as a spectrum."""
        ...

    def apply(self, spectrum: Tensor) -> Tensor:
        """``A^T W A x``, from the spectrum of x to that of the result."""
        ...


@dataclass(frozen=True, eq=False)
class Likelihood:
    """One or more sets of normal equations (one for each pixel size) and their stationary spectrum.

    Attributes
    ----------
    canvas : Canvas
    parts : sequence of (response, NormalEquations)
        ``K/B``, complex with a blur, and the equations of the frames that share it.
    spectrum : Tensor
        Diagonal of the Hessian in Fourier space where weights are typical.
    weight : Tensor, (rows, columns)
        Sum of the weights around each fine pixel.
    typical : float
        Median of `weight` where there is any.
    """

    canvas: Canvas
    parts: Sequence[tuple[Tensor, NormalEquations]]
    spectrum: Tensor
    weight: Tensor
    typical: float

    @classmethod
    def of(cls, canvas: Canvas, parts: Sequence[tuple[Tensor, NormalEquations]]) -> Likelihood:
        """Collects the stationary part; where no frame gives anything, the typical weight is zero."""
        weight = torch.zeros(canvas.shape, device=canvas.device)
        for _, equations in parts:
            weight += equations.weight
        some = weight[weight > 0]
        typical = float(some.median()) if some.numel() else 0.0
        spectrum = torch.zeros((), device=canvas.device)
        for response, equations in parts:
            spectrum = spectrum + response.abs() ** 2 * _stationary(equations, weight, typical)
        return cls(canvas, parts, spectrum, weight, typical)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the canvas."""
        return self.canvas.shape

    def right(self) -> Tensor:
        """A^T W y, as a spectrum."""
        return sum(response.conj() * torch.fft.rfft2(equations.right) for response, equations in self.parts)  # type: ignore[return-value]

    def apply(self, spectrum: Tensor) -> Tensor:
        """A^T W A x, from the spectrum of x to that of the result."""
        out = torch.zeros_like(spectrum)
        for response, equations in self.parts:
            c = torch.fft.irfft2(response * spectrum, s=self.canvas.shape)
            out += response.conj() * torch.fft.rfft2(equations.apply(c))
        return out


def _stationary(equations: NormalEquations, weight: Tensor, typical: float) -> Tensor:
    """Spectrum of the mean stencil over the pixels of about typical weight; never negative."""
    canvas = equations.canvas
    chosen = (weight > 0.5 * typical) & (weight < 2 * typical)
    n = chosen.sum().clamp_min(1)
    rows, columns = canvas.frequencies()
    out = torch.zeros((canvas.shape[0], canvas.shape[1] // 2 + 1), device=canvas.device)
    for plane, (dy, dx) in zip(equations.planes, OFFSETS, strict=True):
        mean = float((plane * chosen).sum() / n)
        out += (2 if (dy, dx) != (0, 0) else 1) * mean * torch.cos(2 * torch.pi * (dy * rows + dx * columns))
    return out.clamp_min(0)


def plane_mean(spectrum: Tensor, columns: int) -> float:
    """Mean over the full frequency plane (or volume) of a real half-plane quantity; `columns`: of the canvas."""
    twice = torch.full((spectrum.shape[-1],), 2.0, device=spectrum.device)
    twice[0] = 1
    if columns % 2 == 0:
        twice[-1] = 1
    total = float((spectrum * twice).sum(dtype=torch.float64))
    return total / (math.prod(spectrum.shape[:-1]) * columns)


@dataclass(frozen=True)
class Convergence:
    """Iterations used, and the preconditioned residual relative to the right-hand side's."""

    iterations: int
    residual: float


def solve(
    likelihood: NormalSystem,
    penalties: Sequence[Penalty],
    start: Tensor | None = None,
    *,
    iterations: int = 60,
    tolerance: float = 1e-4,
) -> tuple[Tensor, Convergence]:
    """The minimum.

    Parameters
    ----------
    likelihood : NormalSystem
    penalties : sequence of Penalty
        Together they must see every frequency.
    start : Tensor, of the canvas's shape, optional
    iterations : int
    tolerance : float
        Stops where the preconditioned residual has fallen to this fraction of the right-hand side's.

    Returns
    -------
    x : Tensor, of the canvas's shape
    Convergence
    """
    shape = likelihood.shape
    axes = tuple(range(-len(shape), 0))
    right, diagonal = likelihood.right(), likelihood.spectrum
    for term in penalties:
        diagonal = diagonal + _typical(term.omega) * term.response.abs() ** 2
        if term.goal is not None:
            right = right + term.response.conj() * torch.fft.rfftn(term.omega * term.goal, dim=axes)
    scale = float(diagonal.max())
    inverse = 1 / diagonal.clamp_min(1e-12 * scale if scale > 0 else 1.0)

    def hessian(spectrum: Tensor) -> Tensor:
        out = likelihood.apply(spectrum)
        for term in penalties:
            if term.omega.ndim == 0:
                out += term.omega * term.response.abs() ** 2 * spectrum
            else:
                local = torch.fft.irfftn(term.response * spectrum, s=shape, dim=axes)
                out += term.response.conj() * torch.fft.rfftn(term.omega * local, dim=axes)
        return out

    def dot(a: Tensor, b: Tensor) -> float:
        return plane_mean((a * b.conj()).real, shape[-1])

    x = torch.zeros_like(right) if start is None else torch.fft.rfftn(start, dim=axes)
    residual = right - hessian(x) if start is not None else right.clone()
    x, done = conjugate_gradients(
        hessian, lambda r: inverse * r, dot, x, residual, right, iterations=iterations, tolerance=tolerance
    )
    return torch.fft.irfftn(x, s=shape, dim=axes), done


def conjugate_gradients(
    hessian: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    dot: Callable[[Tensor, Tensor], float],
    x: Tensor,
    residual: Tensor,
    right: Tensor,
    *,
    iterations: int,
    tolerance: float,
) -> tuple[Tensor, Convergence]:
    """Preconditioned conjugate gradients on whatever tensors and dot product one has.

    Parameters
    ----------
    hessian, precondition : callable
        Symmetric and positive under `dot`; the second an approximate inverse of the first.
    dot : callable
        A real scalar product.
    x : Tensor
        To start from.
    residual : Tensor
        ``right - hessian(x)``.
    right : Tensor
    iterations : int
        At most.
    tolerance : float
        As for :func:`solve`.

    Returns
    -------
    x : Tensor
    Convergence
    """
    whole = dot(right, precondition(right))
    if whole <= 0:
        return x, Convergence(0, 0.0)
    z = precondition(residual)
    direction, old = z.clone(), dot(residual, z)
    done = 0
    while done < iterations and old > tolerance**2 * whole:
        image = hessian(direction)
        step = old / dot(direction, image)
        x = x + step * direction
        residual = residual - step * image
        z = precondition(residual)
        new = dot(residual, z)
        direction = z + (new / old) * direction
        old = new
        done += 1
    return x, Convergence(done, float((old / whole) ** 0.5))


def _typical(omega: Tensor) -> float:
    """Of a map of weights that spans orders of magnitude: the geometric mean."""
    if omega.ndim == 0:
        return float(omega)
    return float(torch.exp(torch.log(omega.clamp_min(1e-30)).mean()))
