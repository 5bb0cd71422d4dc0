"""The default prior: each scale of the scene is kept where it stands above its noise, and only there.

One strength of a stationary prior can't serve a star and the empty sky beside it. So the weakly regularised
solution ``x`` is taken apart by a ladder of stationary priors, ``G_l = (H + p_0) / (H + p_0 r^l)``, where H is
the data's spectrum and p_0 the first prior's: the difference of two rungs is the detail that r times as much
smoothing takes away. Its noise is known in closed form. Each difference is multiplied by ``1 - t / e`` (e: its
local energy in units of the noise, t a threshold; the firm Wiener rule of James & Stein, 1961), so noise goes
and structure stays.

The rungs are wide in space: a bright star fills its neighbourhood with the rings of its missing details. So the
brightest structures are taken out first, with a high threshold, and what remains is treated with lower ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciSR.fusion.least_squares import Likelihood, plane_mean

RATIO = 4.0
RUNGS = 11
THRESHOLDS = (1000.0, 200.0, 50.0, 8.0)
"""Local energies, in units of the noise's, below which nothing is kept, one pass after the other."""
HEIR = 1.5
"""A rung keeps at least so much of what the finer one keeps around."""
SOURCES = 0.6
"""The rung, from the finest (0) to the coarsest (1), whose details tell where sources are."""
RADIUS = 2.0
"""Radius over which the energy is averaged, in units of 1 / (2 pi k) of the detail's own frequency k."""


class Ladder:
    """Rungs between a weak stationary prior and a strong one.

    Parameters
    ----------
    likelihood : Likelihood
    prior : Tensor
        Half plane: the weak prior's spectrum, ``omega |L|^2``.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        prior: Tensor,
        *,
        ratio: float = RATIO,
        rungs: int = RUNGS,
        radius: float = RADIUS,
    ) -> None:
        self.shape, self.factors = likelihood.canvas.shape, likelihood.canvas.factors
        self.data, self.prior, self.ratio, self.rungs = likelihood.spectrum, prior, ratio, rungs
        self.noise = self.data / (self.data + prior) ** 2
        rows, columns = likelihood.canvas.frequencies()
        self.square = rows**2 + columns**2
        # Noise relative to where weights are typical; where there are no data the prior alone decides.
        relative = likelihood.typical / likelihood.weight.clamp_min(1e-3 * likelihood.typical)
        self.relative = self.smooth(relative, 1.0).clamp_min(1e-3)
        rung = [self.step(number) for number in range(rungs)]
        self.level = [plane_mean(d * d * self.noise, self.shape[1]) for d in rung]
        self.radius = [radius / (2 * torch.pi * self._frequency(d)) for d in rung]

    def gain(self, rung: int) -> Tensor:
        """G of one rung."""
        return (self.data + self.prior) / (self.data + self.prior * self.ratio**rung)

    def step(self, rung: int) -> Tensor:
        """The detail between this rung and the next."""
        return self.gain(rung) - self.gain(rung + 1)

    def _frequency(self, step: Tensor) -> float:
        """Root mean square frequency of the noise in a detail."""
        full = step * step * self.noise
        total = plane_mean(full, self.shape[1])
        return max(1e-3, (plane_mean(full * self.square, self.shape[1]) / max(total, 1e-30)) ** 0.5)

    def smooth(self, image: Tensor, radius: float) -> Tensor:
        """A Gaussian mean (sigma in fine pixels) of something that is not negative."""
        gauss = torch.exp(-2 * torch.pi**2 * radius**2 * self.square)
        return torch.fft.irfft2(torch.fft.rfft2(image) * gauss, s=self.shape).clamp_min(0)

    def shrink(self, image: Tensor, threshold: float, sources: Tensor) -> Tensor:
        """One pass over an image; `sources` becomes the largest share that any pass kept on the rung that tells them.

        Where a detail is kept, the coarser ones beside it are kept too: they stand higher above their noise there, and
        a star without them would lack the flux of its wings.
        """
        spectrum = torch.fft.rfft2(image)
        out = torch.fft.irfft2(self.gain(self.rungs) * spectrum, s=self.shape)
        finer: Tensor | None = None
        for rung in range(self.rungs):
            detail = torch.fft.irfft2(self.step(rung) * spectrum, s=self.shape)
            level = self.level[rung] * self.relative
            energy = self.smooth(detail * detail / level, self.radius[rung])
            keep = (1 - threshold / energy.clamp_min(1e-6)).clamp_(0, 1)
            if rung == round(SOURCES * (self.rungs - 1)):
                torch.maximum(sources, keep, out=sources)
            if finer is not None:
                keep = torch.maximum(keep, (HEIR * self.smooth(finer, self.radius[rung])).clamp_(0, 1))
            finer = keep
            out += keep * detail
        return out

    def run(self, image: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> Tensor:
        """All passes, the brightest structures first; then the sources get their flux back."""
        out = torch.zeros_like(image)
        sources = torch.zeros_like(image)
        for threshold in thresholds:
            out = out + self.shrink(image - out, threshold, sources)
        return out + self._withheld(image - out, sources)

    def _withheld(self, residual: Tensor, sources: Tensor) -> Tensor:
        """What was withheld around sources, averaged over a native pixel: noise hardly passes, flux does."""
        size = max(self.factors)
        near = (6 * self.smooth((sources > 0.2).float(), 1.5 * size)).clamp_(0, 1)
        gauss = torch.exp(-2 * torch.pi**2 * (0.75 * size) ** 2 * self.square)
        return near * torch.fft.irfft2(torch.fft.rfft2(residual) * gauss, s=self.shape)
