"""What is assumed of a scene before the frames are looked at; each prior solves the normal equations its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sciSR.fusion.forward import Canvas
from sciSR.fusion.least_squares import Convergence, Likelihood, Penalty, solve
from sciSR.fusion.normal import NormalEquations
from sciSR.fusion.optics import measured_amplitude, moffat_amplitude
from sciSR.fusion.posterior import standard_deviation
from sciSR.fusion.shrink import RATIO, Ladder

DYNAMIC = 70.0
"""The weak prior's strength is this over the square of the scene's brightest structure."""
CORNER = 0.2
"""Cycles per native pixel below which a scene is not expected to be smoother than its light sources alone make it."""
SHARPER = (1.05, 0.85)
"""Least width of the optics, in units of that of the stars, where frames differ: of stars narrower than `SAMPLED`,
whose differences pass for detail of a fine pixel, and of others, whose own profile must not be cut."""
SAMPLED = 2.8
"""Native pixels, without the pixel's own width."""
TOP = 6.0
"""The ladder ends where the prior is this many times as strong as the data at zero frequency."""


@dataclass(frozen=True)
class PriorSettings:
    """Common to all priors; see :func:`sciSR.fusion.map.solve`."""

    strength: float = 1.0
    positive: bool = False
    iterations: int = 60
    tolerance: float = 1e-4
    errors: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Scene:
    """A solved canvas: image and one standard deviation of it (None where not asked for)."""

    image: Tensor
    std: Tensor | None


class Prior(Protocol):
    """Solves one canvas after the other; what was learnt of the optics on the first serves for all."""

    settings: PriorSettings
    notes: list[str]
    extras: dict[str, Any]

    def solve(self, likelihood: Likelihood, noise: Sequence[Tensor]) -> Scene: ...


class _Base:
    """The weak stationary prior that all begin with: the spectrum of the optics, and its strength."""

    def __init__(self, settings: PriorSettings, fwhm: float | None) -> None:
        self.settings = settings
        self.expect(fwhm)
        self.notes: list[str] = []
        self.extras: dict[str, Any] = {}
        self.omega: float | None = None
        self._learnt: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def expect(self, fwhm: float | None) -> None:
        """The width of the stars with the pixel's own, native pixels: nothing is sharper. None where it is open."""
        # Without the pixel's width (a box of one pixel: 5.55/12 in squared FWHM); never sharper than the finest optics
        # that a detector meets.
        self.stars = fwhm is not None and fwhm > 0
        self.fwhm = float(max(0.8, max((fwhm or 0.0) ** 2 - 0.46, 0.0) ** 0.5)) if self.stars else 1.5

    def weak(self, likelihood: Likelihood) -> tuple[Tensor, Tensor]:
        """The weakly regularised solution, and its prior's spectrum (half plane, with the strength).

        What an earlier call learnt of the same canvas (the optics' spectrum, the solution) is where this one begins.
        """
        canvas = likelihood.canvas
        typical = float(likelihood.spectrum.max())
        known = self._learnt.get(canvas.start)
        if known is None or known[0].shape != canvas.shape:
            amplitude = (
                moffat_amplitude(canvas, self.fwhm) if canvas.blur is None else canvas.blur.amplitude(canvas)
            )
            start, _ = self._solve(likelihood, amplitude, 1e-6 * typical, None, most=25, tolerance=1e-3)
            if self.omega is None:
                self.omega = self._strength(likelihood, start, typical)
            start, _ = self._solve(likelihood, amplitude, self.omega, start, most=12, tolerance=1e-3)
            amplitude = self._optics(likelihood, start, amplitude)
        else:
            start, amplitude = known
            amplitude = self._optics(likelihood, start, amplitude)
            # Structures that earlier masks had cut off may have come back, brighter.
            self.omega = min(self.omega or np.inf, self._strength(likelihood, start, typical))
        assert self.omega is not None
        x, done = self._solve(likelihood, amplitude, self.omega, start)
        self._learnt[canvas.start] = (x, amplitude)
        self._record(done)
        return x, self._shape(likelihood, amplitude) * self.omega

    def _optics(self, likelihood: Likelihood, start: Tensor, amplitude: Tensor) -> Tensor:
        """The optics' spectrum as measured, but not sharper than the stars are, where frames differ.

        What differs between the frames beyond their transforms (seeing, guiding, colour) looks like fine detail in a
        weak solution. The stars' width says what is possible.
        """
        canvas = likelihood.canvas
        if canvas.blur is not None:  # what the unknown scene is blurred by is a matter of choice, and known
            return amplitude
        omega = self.omega or 1e-6 * float(likelihood.spectrum.max())
        found = measured_amplitude(canvas, start, likelihood, amplitude, omega)
        if self.stars:
            return torch.minimum(found, moffat_amplitude(canvas, SHARPER[self.fwhm > SAMPLED] * self.fwhm))
        # A scene of clouds and galaxies falls faster than its optics: what falls is then the scene, and fine detail of
        # the few sharp sources must not be taken for impossible.
        return torch.maximum(found, moffat_amplitude(canvas, self.fwhm))

    def _shape(self, likelihood: Likelihood, amplitude: Tensor) -> Tensor:
        """``k^2 / (k^2 + corner^2) / amplitude^2``: large structures are not drawn towards zero."""
        canvas = likelihood.canvas
        rows, columns = canvas.frequencies()
        square = (rows * canvas.factors[0]) ** 2 + (columns * canvas.factors[1]) ** 2
        return (square / (square + CORNER**2) + 1e-7) / amplitude**2

    def _strength(self, likelihood: Likelihood, first: Tensor, typical: float) -> float:
        # Bright places weigh little, by their own photons, but they are what sets the range.
        known = first[likelihood.weight > 1e-5 * likelihood.typical]
        if not known.numel():
            return 1e-4 * typical
        top = torch.quantile(known[:: max(1, known.numel() // 1_000_000)].abs().float(), 0.99995)
        wish = DYNAMIC / max(float(top) ** 2, 1e-30)
        return min(max(wish, 2e-7 * typical), 1e-3 * typical)

    def _solve(
        self,
        likelihood: Likelihood,
        amplitude: Tensor,
        omega: float,
        start: Tensor | None,
        *,
        most: int | None = None,
        tolerance: float | None = None,
    ) -> tuple[Tensor, Convergence]:
        response = self._shape(likelihood, amplitude).sqrt()
        penalty = Penalty(response, torch.tensor(omega, device=response.device))
        return solve(
            likelihood,
            [penalty],
            start,
            iterations=most or self.settings.iterations,
            tolerance=tolerance or self.settings.tolerance,
        )

    def _record(self, done: Convergence) -> None:
        self.extras["iterations"] = max(done.iterations, self.extras.get("iterations", 0))
        self.extras["residual"] = max(done.residual, self.extras.get("residual", 0.0))
        if done.residual > 20 * self.settings.tolerance:
            note = "the iteration stopped before it converged: faint structure may be too smooth"
            if note not in self.notes:
                self.notes.append(note)


class Adaptive(_Base):
    """``auto``: :mod:`sciSR.fusion.shrink` on the weak solution."""

    def solve(self, likelihood: Likelihood, noise: Sequence[Tensor]) -> Scene:
        x, prior = self.weak(likelihood)
        assert self.omega is not None
        top = TOP * self.settings.strength * float(likelihood.spectrum.max())
        rungs = max(
            2, round(float(torch.log(torch.tensor(top / self.omega)) / torch.log(torch.tensor(RATIO))))
        )
        ladder = Ladder(likelihood, prior, rungs=rungs)
        self.extras |= {"omega": self.omega, "rungs": rungs}
        image = ladder.run(x)
        std = (
            standard_deviation(likelihood, noise, prior, ladder, self._passed(likelihood.canvas), x, image)
            if self.settings.errors
            else None
        )
        return Scene(image, std)

    def _passed(self, canvas: Canvas) -> Tensor:
        """The share of each frequency that the optics pass."""
        amplitude = self._learnt[canvas.start][1]
        return amplitude if canvas.blur is None else amplitude * canvas.blur.response(canvas).abs()


class Tikhonov(_Base):
    """``tikhonov``, ``none``: stationary; the power of the scene's own spectrum, or only the weak prior."""

    weakest = False

    def solve(self, likelihood: Likelihood, noise: Sequence[Tensor]) -> Scene:
        x, prior = self.weak(likelihood)
        assert self.omega is not None
        if not self.weakest:
            # The scene's own variance, whitened: the strength that its own power spectrum asks for.
            white = (
                torch.fft.rfft2(x)
                * (prior / self.omega).sqrt()
                * likelihood.spectrum
                / (likelihood.spectrum + prior)
            )
            power = torch.fft.irfft2(white, s=likelihood.canvas.shape).square().mean()
            prior = prior * float(self.settings.strength / (power * self.omega).clamp_min(1e-30))
            penalty = Penalty(prior.sqrt(), torch.ones((), device=x.device))
            x, done = solve(
                likelihood,
                [penalty],
                x,
                iterations=self.settings.iterations,
                tolerance=self.settings.tolerance,
            )
            self._record(done)
        std = stationary_std(likelihood, noise, prior) if self.settings.errors else None
        return Scene(x, std)


class Weakest(Tikhonov):
    """``none``."""

    weakest = True


class Edges(_Base):
    """``huber`` (of the Laplacian) and ``tv``: iteratively reweighted least squares."""

    kind = "huber"
    rounds = 5

    def solve(self, likelihood: Likelihood, noise: Sequence[Tensor]) -> Scene:
        x, prior = self.weak(likelihood)
        rows, columns = likelihood.canvas.frequencies()
        if self.kind == "huber":
            filters = [
                (4 - 2 * torch.cos(2 * torch.pi * rows) - 2 * torch.cos(2 * torch.pi * columns)) / 4 + 0j
            ]
        else:
            full = torch.zeros_like(prior)
            filters = [
                torch.exp(2j * torch.pi * rows) - 1 + full,
                torch.exp(2j * torch.pi * columns) - 1 + full,
            ]
        # A quiet pixel's deviation, as the data alone would leave it at the native scale.
        quiet = (likelihood.canvas.factors[0] * likelihood.canvas.factors[1] / likelihood.typical) ** 0.5
        base = Penalty(prior.sqrt(), torch.ones((), device=x.device))
        strength = self.settings.strength * 0.3 * likelihood.typical
        for _ in range(self.rounds):
            sizes = [torch.fft.irfft2(f * torch.fft.rfft2(x), s=likelihood.canvas.shape) for f in filters]
            size = torch.stack([s.square() for s in sizes]).sum(0).sqrt()
            omega = strength / (size / quiet).clamp_min(1.0 if self.kind == "huber" else 0.1)
            terms = [base, *(Penalty(f, omega) for f in filters)]
            x, done = solve(
                likelihood, terms, x, iterations=self.settings.iterations, tolerance=self.settings.tolerance
            )
        self._record(done)
        std = _drawn_std(likelihood, noise, terms, self.settings) if self.settings.errors else None
        return Scene(x, std)


class TotalVariation(Edges):
    """``tv``."""

    kind = "tv"


def stationary_std(likelihood: Likelihood, noise: Sequence[Tensor], prior: Tensor) -> Tensor:
    """Posterior deviation of a stationary prior: the draw's own local scatter, and what the prior took."""
    penalty = Penalty(prior.sqrt(), torch.ones((), device=prior.device))
    return _drawn_std(likelihood, noise, [penalty], PriorSettings())


def _drawn_std(
    likelihood: Likelihood, noise: Sequence[Tensor], terms: Sequence[Penalty], settings: PriorSettings
) -> Tensor:
    """Root of the local mean square of a posterior sample: noise of the data and of the prior, both drawn.

    ``H^-1 (A^T W^1/2 e1 + sum L^T omega^1/2 e2)`` has the covariance H^-1 (Papandreou & Yuille, NIPS 2010).
    """
    generator = torch.Generator().manual_seed(settings.seed + 1)
    drawn = [
        NormalEquations(e.canvas, e.planes, d) for (_, e), d in zip(likelihood.parts, noise, strict=True)
    ]
    moved = Likelihood(
        likelihood.canvas,
        [(r, e) for (r, _), e in zip(likelihood.parts, drawn, strict=True)],
        likelihood.spectrum,
        likelihood.weight,
        likelihood.typical,
    )
    shape = likelihood.canvas.shape
    goals = []
    for term in terms:
        e = torch.randn(shape, generator=generator).to(likelihood.weight.device)
        goals.append(Penalty(term.response, term.omega, e / term.omega.clamp_min(1e-30).sqrt()))
    x, _ = solve(moved, goals, iterations=settings.iterations, tolerance=1e-3)
    rows, columns = likelihood.canvas.frequencies()
    gauss = torch.exp(-2 * torch.pi**2 * 16.0 * (rows**2 + columns**2))
    return torch.fft.irfft2(torch.fft.rfft2(x * x) * gauss, s=shape).clamp_min(0).sqrt()


PRIORS: dict[str, type[_Base]] = {
    "auto": Adaptive,
    "tikhonov": Tikhonov,
    "huber": Edges,
    "tv": TotalVariation,
    "none": Weakest,
}
