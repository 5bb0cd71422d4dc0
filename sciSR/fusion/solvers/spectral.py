"""Generalised sampling (Papoulis 1977) in closed form, for frames that are shifted but not turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrames, Solution, Target
from sciSR.fusion.solvers.alias import Aliases, canvas
from sciSR.fusion.solvers.blend import REACH, Blend, Level, blend
from sciSR.fusion.solvers.checks import begin
from sciSR.fusion.solvers.resample import cardinal_response, gaussian
from sciSR.fusion.solvers.shifted import MARGIN, Survey, gather, position_of, survey_frames
from sciSR.fusion.solvers.spectrum import (
    PowerSpectrum,
    half_multiplicity,
    power_spectrum_prior,
    quiet_power_prior,
    ring_means,
)
from sciSR.fusion.solvers.wiener import Posterior, noise_data, wiener

PRIOR_ROUNDS = 5
"""Updates of the prior's spectrum by the solution's."""

QUIET = (0.01, 0.1)
"""Shares of the quiet sky's power in the strongest priors: what they smooth away too much, the details bring back."""

STEPS = (0.5, 1.0)
"""From there on: to the power of all, in the logarithm."""

SHARES = 5
"""Coverages at which the posterior variance is computed."""


def solve(
    frames: PreparedFrames,
    target: Target,
    *,
    device: str = "cpu",
    strength: float = 1.0,
    adaptive: bool = True,
    refinements: int = 2,
    allow_rotation: bool = False,
    power: PowerSpectrum | None = None,
) -> Solution:
    """The fine image with the highest posterior probability, all aliases of each frequency solved together.

    The prior is a stationary Gaussian field with the data's own power spectrum. Each frame counts with its median
    variance. Bad pixels, and what lies outside a frame, are first taken from the mean of all frames and then,
    `refinements` times, from the solution itself (expectation and maximisation: Dempster et al. 1977, J. R. Stat.
    Soc. B 39, 1).

    Parameters
    ----------
    frames : PreparedFrames
    target : Target
        Any scale, whole or not.
    device : str
    strength : float
        Of the prior: above 1 smoother, below 1 sharper and noisier.
    adaptive : bool
        Blend with a stronger prior where the frames show nothing but noise: see :mod:`sciSR.fusion.solvers.blend`.
        Without it the solution is linear in the data, bar the prior's spectrum.
    refinements : int
        Each reads the frames once more.
    allow_rotation : bool
        Take the shift at the frame's centre for whatever the transform is.
    power : PowerSpectrum, optional
        The prior, instead of that from the data.

    Returns
    -------
    Solution
        `std` is the posterior's: the noise, after the coverage and the frames' local variance, and what the prior
        stands in for. Fine pixels are correlated over about a native pixel.

    Raises
    ------
    UsageError
        A frame is turned, stretched or distorted by more than 0.1 pixel.
    """
    where = begin(frames, device)
    if not strength > 0 or refinements < 0:
        raise UsageError("strength must be positive and refinements must not be negative")
    aliases = canvas(target.native, target.factors, MARGIN, where)
    survey = survey_frames(frames, target, aliases, where, allow_rotation)
    data = gather(frames, survey, aliases, survey.start, None)
    prior = power or _fitted_prior(data, survey, aliases)
    for _ in range(refinements):
        scene = _solve(data[None], survey, aliases, prior, strength, errors=False).mean[0]
        data = gather(frames, survey, aliases, scene, aliases.response)
    quiet = _quiet_prior(survey, aliases) if adaptive else None
    return _finish(data, survey, aliases, prior, quiet, strength)


def _gram(survey: Survey, aliases: Aliases) -> Tensor:
    size = aliases.orders[0] * aliases.orders[1]
    out = torch.zeros((size, size), dtype=torch.complex128, device=aliases.rows.device)
    for shift, precision in zip(survey.shifts, survey.precision, strict=True):
        out += precision * aliases.gram(position_of(shift, survey.window))
    return out


def _prior_power(aliases: Aliases, prior: PowerSpectrum, strength: float) -> Tensor:
    """Prior variance of each Fourier series coefficient, alias layout."""
    pixels = aliases.fine[0] * aliases.fine[1]
    return torch.where(aliases.present, prior(aliases.radius) / (pixels * strength), 0.0)


def _solve(
    data: Tensor,
    survey: Survey,
    aliases: Aliases,
    prior: PowerSpectrum,
    strength: float,
    *,
    errors: bool,
) -> Posterior:
    """`data` is (right sides, alias layout)."""
    power = _prior_power(aliases, prior, strength)
    size = aliases.orders[0] * aliases.orders[1]
    response = aliases.response.expand(power.shape)
    found = wiener(
        data.reshape(len(data), size, -1),
        _gram(survey, aliases),
        response.reshape(size, -1),
        power.reshape(size, -1),
        errors=errors,
    )
    layout = power.shape
    return Posterior(
        found.mean.reshape(-1, *layout),
        found.pull.reshape(layout),
        found.variance.reshape(layout if errors else (0,)),
        found.noise.reshape(layout if errors else (0,)),
    )


def _mean_image(survey: Survey, aliases: Aliases) -> tuple[Tensor, float, tuple[float, float]]:
    """The mean of the frames on the canvas, the power of its noise, and the factors."""
    factors = _factors(aliases)
    typical = float(survey.weight[survey.weight > 0].median())
    return _plane(survey.start, aliases), factors[0] * factors[1] / typical, factors


def _seen(cycles: Tensor, factor: float) -> Tensor:
    """From the scene to the mean image, along one axis: the native pixel and the interpolation."""
    return torch.sinc(cycles) / torch.sinc(cycles / factor) * cardinal_response(cycles)


def _interpolated(cycles: Tensor, factor: float) -> Tensor:
    return cardinal_response(cycles)


def _fitted_prior(data: Tensor, survey: Survey, aliases: Aliases) -> PowerSpectrum:
    """From the mean image, then from the solution: steps of expectation and maximisation for the spectrum."""
    image, variance, factors = _mean_image(survey, aliases)
    prior = power_spectrum_prior(image, variance, factors, _seen, _interpolated)
    pixels = aliases.fine[0] * aliases.fine[1]
    counts = half_multiplicity(aliases.native[1], image.device) * aliases.present
    for _ in range(PRIOR_ROUNDS):
        posterior = _solve(data[None], survey, aliases, prior, 1.0, errors=True)
        expected = pixels * (posterior.mean[0].abs() ** 2 + posterior.variance)
        where, power = ring_means(expected, aliases.radius, counts, min(aliases.fine))
        prior = PowerSpectrum(where, np.maximum(power, 1e-12 * power.max()))
    return prior


def _quiet_prior(survey: Survey, aliases: Aliases) -> PowerSpectrum:
    """The power of most of the sky, without the stars."""
    image, variance, factors = _mean_image(survey, aliases)
    inside = image[survey.inside]
    return quiet_power_prior(inside, variance, factors, _seen, _interpolated)


def _priors(prior: PowerSpectrum, quiet: PowerSpectrum | None) -> list[PowerSpectrum]:
    """From the strongest to the weakest; one alone where there is nothing to blend."""
    if quiet is None:
        return [prior]
    sky = [PowerSpectrum(quiet.radius, quiet.power * share).towards(prior, 0.0, most=1.0) for share in QUIET]
    return sky + [sky[-1].towards(prior, step) for step in STEPS]


def _finish(
    data: Tensor,
    survey: Survey,
    aliases: Aliases,
    prior: PowerSpectrum,
    quiet: PowerSpectrum | None,
    strength: float,
) -> Solution:
    """Solve, with a probe of pure noise beside the data, blend, and put the solution together."""
    priors = _priors(prior, quiet)
    probe = noise_data(_gram(survey, aliases), data[0, 0].numel(), seed=0).reshape(data.shape)
    both = torch.stack([data, probe])
    levels, curves = [], []
    for p in priors:
        found = _solve(both, survey, aliases, p, strength, errors=False)
        levels.append(Level(*(_plane(x, aliases).float() for x in (*found.mean, found.pull))))
        curves.append(_curve(survey, aliases, p, strength))
        del found
    noise_scale = [_at_share(c.noise / c.noise[-1], c, survey) for c in (curves[0], curves[-1])]
    local = survey.local
    mixed = blend(levels, local * noise_scale[0], _factors(aliases))
    noise = mixed.noise * torch.lerp(torch.ones_like(local), noise_scale[1] / noise_scale[0], mixed.share)
    bias = _bias(levels[-1], mixed, curves, survey, aliases, len(priors) > 1)
    image = mixed.image + survey.level
    std = (noise + bias).clamp(min=0).sqrt()
    nothing = survey.coverage == 0
    planes = (image.masked_fill(nothing, torch.nan), std.masked_fill(nothing, torch.nan))
    image, std, weight, coverage = (
        t[survey.inside].cpu().numpy() for t in (*planes, survey.weight, survey.coverage)
    )
    extras = {"frames": len(survey.shifts), "strength": strength, "adaptive": len(priors) > 1}
    spectrum = {"prior_radius": prior.radius.tolist(), "prior_power": prior.power.tolist()}
    return Solution(image, std, weight, coverage, extras=extras | spectrum)


def _plane(layout: Tensor, aliases: Aliases) -> Tensor:
    return torch.fft.irfft2(aliases.to_fine(layout), s=aliases.fine, norm="forward")


def _factors(aliases: Aliases) -> tuple[float, float]:
    return float(aliases.rows.factor), float(aliases.columns.factor)


def _bias(
    weakest: Level, mixed: Blend, curves: list[Curve], survey: Survey, aliases: Aliases, adaptive: bool
) -> Tensor:
    """Squared bias: where details were kept, the weakest prior's, which gathers at stars; elsewhere the sky's.

    The pull is taken from the solution, itself shrunk: it is scaled to the posterior's total.
    """
    last = curves[-1]
    reach = tuple(REACH * f for f in _factors(aliases))
    local = gaussian(weakest.pull**2, reach).clamp(min=0)
    # Where frames are missing the solution is too smooth to tell: there the stationary prior speaks.
    stationary = _at_share(last.bias, last, survey)
    covered = _at_share(last.share, last, survey)
    weights = covered[survey.inside]
    total = (local[survey.inside] * weights).sum() / weights.sum()
    kept = covered * local * (float(last.bias[-1]) / total.clamp(min=1e-30)) + (1 - covered) * stationary
    if not adaptive:
        return kept
    # The strongest prior expects less than there is; the next one's bias is what a quiet sky has shown.
    smoothed = _at_share(curves[1].bias, curves[1], survey)
    return mixed.share * kept + (1 - mixed.share) * smoothed


@dataclass(frozen=True, eq=False)
class Curve:
    """Variance of a fine pixel due to noise and due to the prior, for shares of the frames' total weight."""

    share: np.ndarray
    noise: np.ndarray
    bias: np.ndarray


def _curve(survey: Survey, aliases: Aliases, prior: PowerSpectrum, strength: float) -> Curve:
    """Were a share of the frames there everywhere."""
    precision = [p for p in survey.precision if p > 0]
    least = max(min(precision) / sum(precision), 1e-3)
    shares = np.geomspace(least, 1.0, SHARES) if least < 0.99 else np.array([0.5, 1.0])
    noise, bias = np.array([_variances(survey, aliases, prior, strength, s) for s in shares]).T
    return Curve(shares, np.maximum(noise, 1e-300), np.maximum(bias, 0))


def _at_share(values: np.ndarray, curve: Curve, survey: Survey) -> Tensor:
    """Values of a curve at each fine pixel's share of the frames."""
    count = sum(survey.precision) / survey.pixels
    share = (survey.nominal / count).cpu().numpy().clip(curve.share[0], 1.0)
    found = np.interp(np.log(share), np.log(curve.share), values)
    return torch.from_numpy(found.astype(np.float32)).to(survey.nominal.device)


def _variances(
    survey: Survey, aliases: Aliases, prior: PowerSpectrum, strength: float, share: float
) -> tuple[float, float]:
    """Noise and bias of a fine pixel with a share of the frames' weight.

    Sums over the frequencies are smooth in both directions: every third is enough.
    """
    step = 3 if min(aliases.native) > 48 else 1
    every = (..., slice(None, None, step), slice(None, None, step))
    power = _prior_power(aliases, prior, strength)[every]
    response = aliases.response[every].expand(power.shape)
    counts = half_multiplicity(aliases.native[1], power.device)[:, ::step]
    size = aliases.orders[0] * aliases.orders[1]
    nothing = torch.zeros((1, size, power[0, 0].numel()), dtype=torch.complex128, device=power.device)
    gram = share * _gram(survey, aliases)
    found = wiener(nothing, gram, response.reshape(size, -1), power.reshape(size, -1))
    whole_plane = aliases.native[0] * aliases.native[1] / (power.shape[-2] * float(counts.sum()))

    def total(spectrum: Tensor) -> float:
        return float((spectrum.reshape(power.shape) * counts).sum()) * whole_plane

    noise = total(found.noise)
    return noise, total(found.variance) - noise
