"""The standard deviation of the default solution, from one artificial repetition of the observation.

The solution is taken as the truth, observed by the same frames with one new draw of their noise, and solved again: what
comes out differs by the noise that passes the ladder and by what the ladder takes away of structure like this. Masks,
weights, coverage and transforms are those of the real frames. What the ladder took from the real scene can't return in
the repetition; its energy is what the real residual holds above the repetition's, rung by rung.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciSR.fusion.least_squares import Likelihood, Penalty, solve
from sciSR.fusion.normal import NormalEquations
from sciSR.fusion.shrink import Ladder

SMOOTH = 1.5
"""Radius in native pixels over which squared errors are averaged."""
PASSED = 0.8
"""Factor on the repetition's squared error: its distribution has longer tails than a Gaussian."""
ALIASED = 8.0
"""Error of sharp structures, in units of the share that the optics pass beyond the fine grid's own limit."""
LOST = 0.08
"""Share of the excess energy of the residual that counts: rungs overlap."""


def standard_deviation(
    likelihood: Likelihood,
    noise: Sequence[Tensor],
    prior: Tensor,
    ladder: Ladder,
    amplitude: Tensor,
    weak: Tensor,
    image: Tensor,
) -> Tensor:
    """One standard deviation of `image`.

    Parameters
    ----------
    likelihood : Likelihood
    noise : sequence of Tensor
        A draw of the noise of ``S^T W y``, one for each part.
    prior : Tensor
        Spectrum of the weak prior.
    ladder : Ladder
    amplitude : Tensor
        Spectrum of the optics.
    weak : Tensor, (rows, columns)
        The weakly regularised solution of the real data.
    image : Tensor, (rows, columns)
        What the ladder made of it.

    Returns
    -------
    Tensor, (rows, columns)
    """
    again = _observed(likelihood, noise, image)
    penalty = Penalty(prior.sqrt(), torch.ones((), device=image.device))
    weak_again, _ = solve(again, [penalty], image, iterations=25, tolerance=1e-3)
    image_again = ladder.run(weak_again)
    error = image_again - image
    total = PASSED * ladder.smooth(error * error, SMOOTH * max(ladder.factors)) + _aliased(
        ladder, amplitude, image
    )
    real, repeated = torch.fft.rfft2(weak - image), torch.fft.rfft2(weak_again - image_again)
    for rung in range(ladder.rungs):
        step = ladder.step(rung)
        radius = 4 * ladder.radius[rung] / 2
        energies = [
            ladder.smooth(torch.fft.irfft2(step * s, s=likelihood.canvas.shape) ** 2, radius)
            for s in (real, repeated)
        ]
        total += LOST * (energies[0] - energies[1]).clamp_min(0)
    return total.sqrt()


def _aliased(ladder: Ladder, amplitude: Tensor, image: Tensor) -> Tensor:
    """Squared error from detail finer than the fine pixels can hold, which the forward model does not know of."""
    beyond = float(amplitude[0, -1])
    soft = ladder.smooth(image.clamp_min(0), 2.0)
    return (ALIASED * beyond) ** 2 * ladder.smooth((image - soft) ** 2, 1.0)


def _observed(likelihood: Likelihood, noise: Sequence[Tensor], image: Tensor) -> Likelihood:
    """The same frames, had they seen `image`, with a draw of their noise."""
    spectrum = torch.fft.rfft2(image)
    parts = []
    for (response, equations), draw in zip(likelihood.parts, noise, strict=True):
        seen = equations.apply(torch.fft.irfft2(response * spectrum, s=likelihood.canvas.shape))
        parts.append((response, NormalEquations(equations.canvas, equations.planes, seen + draw)))
    return Likelihood(likelihood.canvas, parts, likelihood.spectrum, likelihood.weight, likelihood.typical)
