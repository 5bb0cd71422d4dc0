"""Generalised sampling (Papoulis 1977) in closed form, for frames that are shifted but not turned."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrame, PreparedFrames, Solution, Target
from sciSR.fusion.solvers.alias import Aliases, canvas
from sciSR.fusion.solvers.checks import begin
from sciSR.fusion.solvers.resample import FrameSampler, cardinal_response, fill
from sciSR.fusion.solvers.spectrum import PowerSpectrum, half_multiplicity, power_spectrum_prior, ring_means
from sciSR.fusion.solvers.wiener import Posterior, wiener
from sciSR.fusion.solvers.window import Window
from sciSR.fusion.transforms import Transform

TOLERANCE = 0.1
"""Pixels by which a transform may differ from a shift anywhere in the frame."""

MARGIN = 16
"""Native pixels around the target: Fourier transforms wrap, and data just outside help at the border."""

TAPER = 8
"""Of the margin's outer pixels, that carry no data and fall to the background."""

PRIOR_ROUNDS = 3
LEVELS = 6


def solve(
    frames: PreparedFrames,
    target: Target,
    *,
    device: str = "cpu",
    strength: float = 1.0,
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
    refinements : int
        Each reads the frames once more.
    allow_rotation : bool
        Take the shift at the frame's centre for whatever the transform is.
    power : PowerSpectrum, optional
        The prior, instead of that from the data.

    Returns
    -------
    Solution
        `std` is the posterior's: noise and what the prior stands in for, the same everywhere but for the coverage
        and the local variance of the frames.

    Raises
    ------
    UsageError
        A frame is turned, stretched or distorted by more than 0.1 pixel.
    """
    where = begin(frames, device)
    if not strength > 0 or refinements < 0:
        raise UsageError("strength must be positive and refinements must not be negative")
    aliases = canvas(target.native, target.factors, MARGIN, where)
    survey = _survey(frames, target, aliases, where, allow_rotation)
    data = _gather(frames, survey, aliases, survey.start, None)
    prior = power or _first_prior(survey, aliases)
    for _ in range(0 if power else PRIOR_ROUNDS):
        posterior = _solve(data, survey, aliases, prior, strength)
        prior = _updated(posterior, aliases)
    posterior = _solve(data, survey, aliases, prior, strength)
    for _ in range(refinements if survey.missing else 0):
        data = _gather(frames, survey, aliases, posterior.mean, aliases.response)
        posterior = _solve(data, survey, aliases, prior, strength)
    return _finish(posterior, survey, aliases, target, prior, strength)


@dataclass(eq=False)
class _Survey:
    """What one pass through the frames has found; planes are on the fine canvas.

    Attributes
    ----------
    window : Window
        The canvas as fine indices of the target.
    level : float
        Median of the mean image, taken off before and added again after.
    start : Tensor
        Alias layout: spectrum of the mean image, filled up; as the native pixels see it.
    shifts, precision : list
        For each frame: its shift, and ``1 / variance`` of a Fourier series coefficient.
    coverage, weight, nominal : Tensor
        Frames, sum of 1/variance, and sum of 1/(the frame's median variance) at each fine pixel.
    """

    window: Window
    level: float = 0.0
    start: Tensor = field(default_factory=lambda: torch.zeros(0))
    shifts: list[tuple[float, float]] = field(default_factory=list)
    precision: list[float] = field(default_factory=list)
    coverage: Tensor = field(default_factory=lambda: torch.zeros(0))
    weight: Tensor = field(default_factory=lambda: torch.zeros(0))
    nominal: Tensor = field(default_factory=lambda: torch.zeros(0))
    missing: bool = False


def shift_of(transform: Transform, shape: tuple[int, int]) -> tuple[tuple[float, float], float]:
    """A transform's shift at the centre of a frame, and by how much it differs from that at most, in pixels."""
    rows, columns = (np.linspace(0, n - 1, 5) for n in shape)
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    moved = np.asarray(transform(points)) - points
    centre = moved[2, 2]
    return (float(centre[0]), float(centre[1])), float(np.hypot(*np.moveaxis(moved - centre, -1, 0)).max())


def _survey(
    frames: PreparedFrames, target: Target, aliases: Aliases, device: torch.device, allow_rotation: bool
) -> _Survey:
    """One pass: shifts, noise, coverage and the mean of the frames on the canvas."""
    origin = [round(MARGIN * float(f)) for f in target.factors]
    rows, columns = ((-o, n - o) for o, n in zip(origin, aliases.fine, strict=True))
    out = _Survey(Window(target, rows, columns))
    total, out.weight, out.coverage, out.nominal = (
        torch.zeros(out.window.shape, device=device) for _ in range(4)
    )
    count = aliases.native[0] * aliases.native[1]
    for frame in frames:
        shift, departure = shift_of(frame.transform, target.native)
        if departure > TOLERANCE and not allow_rotation:
            raise UsageError(
                f"this frame is turned or distorted against the reference: up to {departure:.2f} px beside a shift, "
                f"and the spectral method knows shifts only (up to {TOLERANCE} px)",
                where=frame.name,
                remedy="use --method map",
            )
        variance = float(np.median(frame.variance[~frame.bad])) if not frame.bad.all() else np.inf
        out.shifts.append(shift)
        out.precision.append(count / variance)
        here = FrameSampler(frame, device).at(out.window)
        weight = torch.where(here.good, 1 / here.level, 0.0)
        total += weight * here.value
        out.weight += weight
        out.coverage += here.good
        out.nominal += here.good / variance
    return _begin_fill(out, total, aliases)


def _begin_fill(survey: _Survey, total: Tensor, aliases: Aliases) -> _Survey:
    """The mean image without its level, continued over the canvas and brought down to nothing at its rim."""
    covered = survey.weight > 0
    if not bool(covered.any()):
        raise UsageError("no frame has a good pixel on the reference's field")
    mean = torch.where(covered, total / survey.weight, 0.0)
    survey.level = float(mean[covered].median())
    plane = fill(mean - survey.level, covered.to(mean.dtype))
    survey.missing = True
    spectrum = torch.fft.rfft2((plane * _taper(survey.window, aliases)).to(torch.float64), norm="forward")
    survey.start = aliases.from_fine(spectrum)
    return survey


def _taper(window: Window, aliases: Aliases) -> Tensor:
    """1 where data are used, falling to 0 at the canvas's rim."""
    out = []
    for n, f in zip(aliases.fine, window.target.factors, strict=True):
        width = TAPER * float(f)
        i = torch.arange(n, dtype=torch.float32, device=aliases.rows.device)
        t = (torch.minimum(i, n - 1 - i) / width).clamp(max=1.0)
        out.append(torch.sin(0.5 * torch.pi * t) ** 2)
    return out[0][:, None] * out[1][None, :]


def _position(shift: tuple[float, float], aliases: Aliases, window: Window) -> tuple[float, float]:
    """Fine canvas index of the centre of a canvas-frame's pixel 0 (see :func:`_place`)."""
    first = []
    for d, factor, start in zip(
        shift, window.target.factors, (window.rows[0], window.columns[0]), strict=True
    ):
        rest = d - round(d)
        first.append((-MARGIN - rest + 0.5) * float(factor) - 0.5 - start)
    return first[0], first[1]


def _place(frame: PreparedFrame, shift: tuple[float, float], aliases: Aliases) -> tuple[Tensor, Tensor]:
    """A frame moved by whole pixels onto the canvas, and where it has data; (M, M) each."""
    device = aliases.rows.device
    values = torch.zeros(aliases.native, dtype=torch.float64, device=device)
    known = torch.zeros(aliases.native, dtype=torch.bool, device=device)
    here, there = [], []
    for d, n, m in zip(shift, frame.values.shape, aliases.native, strict=True):
        # Canvas pixel c is the frame's pixel c + round(d) - MARGIN.
        offset = round(d) - MARGIN
        start, stop = max(TAPER, -offset), min(m - TAPER, n - offset)
        here.append(slice(start, max(stop, start)))
        there.append(slice(start + offset, max(stop, start) + offset))
    good = ~frame.bad[tuple(there)]
    part = np.where(good, frame.values[tuple(there)], np.float32(0))
    values[tuple(here)] = torch.from_numpy(part).to(device, torch.float64)
    known[tuple(here)] = torch.from_numpy(good).to(device)
    return values, known


def _gather(
    frames: PreparedFrames, survey: _Survey, aliases: Aliases, scene: Tensor, response: Tensor | None
) -> Tensor:
    """Sum over the frames of their weighted spectra brought to each alias; what is missing is predicted.

    `scene` (alias layout) becomes a frame by `response`; without one it is what native pixels see already.
    """
    seen = scene if response is None else scene * response
    out = torch.zeros(scene.shape, dtype=torch.complex128, device=scene.device)
    for frame, shift, precision in zip(frames, survey.shifts, survey.precision, strict=True):
        if precision == 0:
            continue
        position = _position(shift, aliases, survey.window)
        values, known = _place(frame, shift, aliases)
        predicted = torch.fft.irfft2(aliases.fold(seen, position), s=aliases.native, norm="forward")
        filled = torch.where(known, values - survey.level, predicted)
        out += aliases.spread(precision * torch.fft.rfft2(filled, norm="forward"), position)
    return out


def _gram(survey: _Survey, aliases: Aliases) -> Tensor:
    size = aliases.orders[0] * aliases.orders[1]
    out = torch.zeros((size, size), dtype=torch.complex128, device=aliases.rows.device)
    for shift, precision in zip(survey.shifts, survey.precision, strict=True):
        out += precision * aliases.gram(_position(shift, aliases, survey.window))
    return out


def _prior_power(aliases: Aliases, prior: PowerSpectrum, strength: float) -> Tensor:
    """Prior variance of each Fourier series coefficient, alias layout."""
    pixels = aliases.fine[0] * aliases.fine[1]
    return torch.where(aliases.present, prior(aliases.radius) / (pixels * strength), 0.0)


def _solve(
    data: Tensor, survey: _Survey, aliases: Aliases, prior: PowerSpectrum, strength: float
) -> Posterior:
    power = _prior_power(aliases, prior, strength)
    size = aliases.orders[0] * aliases.orders[1]
    flat = [t.expand(data.shape).reshape(size, -1) for t in (data, aliases.response, power)]
    found = wiener(flat[0], _gram(survey, aliases), flat[1], flat[2])
    return Posterior(*(t.reshape(data.shape) for t in (found.mean, found.variance, found.noise)))


def _first_prior(survey: _Survey, aliases: Aliases) -> PowerSpectrum:
    """From the mean image: as the scene, but for the native pixel and the interpolation."""
    spectrum = aliases.to_fine(survey.start)
    image = torch.fft.irfft2(spectrum, s=aliases.fine, norm="forward")
    factors = (float(aliases.rows.factor), float(aliases.columns.factor))
    seen = aliases.to_fine(aliases.response.to(torch.complex128)).real
    rows = torch.fft.fftfreq(aliases.fine[0], dtype=torch.float64, device=image.device) * factors[0]
    columns = torch.fft.rfftfreq(aliases.fine[1], dtype=torch.float64, device=image.device) * factors[1]
    seen = seen * cardinal_response(rows)[:, None] * cardinal_response(columns)[None, :]
    typical = survey.weight[survey.weight > 0].median()
    variance = factors[0] * factors[1] / float(typical)
    return power_spectrum_prior(image, variance, factors, seen)


def _updated(posterior: Posterior, aliases: Aliases) -> PowerSpectrum:
    """Expected power given the data, ring by ring: one step of expectation and maximisation for the spectrum."""
    pixels = aliases.fine[0] * aliases.fine[1]
    expected = pixels * (posterior.mean.abs() ** 2 + posterior.variance)
    counts = half_multiplicity(aliases.native[1], expected.device) * aliases.present
    where, power = ring_means(expected, aliases.radius, counts, min(aliases.fine))
    return PowerSpectrum(where, np.maximum(power, np.finfo(np.float64).tiny * 1e10))


def _finish(
    posterior: Posterior,
    survey: _Survey,
    aliases: Aliases,
    target: Target,
    prior: PowerSpectrum,
    strength: float,
) -> Solution:
    plane = torch.fft.irfft2(aliases.to_fine(posterior.mean), s=aliases.fine, norm="forward")
    plane = (plane + survey.level).to(torch.float32)
    std = _deviation(survey, aliases, prior, strength)
    (r, c), (h, w) = (survey.window.rows[0], survey.window.columns[0]), target.shape
    crop = (slice(-r, h - r), slice(-c, w - c))
    image, std, weight, coverage = (
        t[crop].cpu().numpy() for t in (plane, std, survey.weight, survey.coverage)
    )
    nothing = coverage == 0
    return Solution(
        image=np.where(nothing, np.float32(np.nan), image),
        std=np.where(nothing, np.float32(np.nan), std),
        weight=weight,
        coverage=coverage,
        extras={
            "frames": len(survey.shifts),
            "strength": strength,
            "prior_radius": prior.radius.tolist(),
            "prior_power": prior.power.tolist(),
        },
    )


def _deviation(survey: _Survey, aliases: Aliases, prior: PowerSpectrum, strength: float) -> Tensor:
    """Posterior standard deviation on the canvas.

    Were the noise and the coverage the same everywhere, it would be one number. It is computed for several shares of
    the frames' total weight and read off at each pixel's; its noise part follows the frames' local variance.
    """
    count = aliases.native[0] * aliases.native[1]
    whole = sum(survey.precision) / count
    least = max(min(p for p in survey.precision if p > 0) / count / whole, 1e-3)
    shares = np.geomspace(least, 1.0, LEVELS) if least < 1 else np.ones(1)
    noise, bias = np.array([_variances(survey, aliases, prior, strength, s) for s in shares]).T
    share = (survey.nominal / whole).clamp(min=float(shares[0]), max=1.0)
    local = torch.where(survey.weight > 0, survey.nominal / survey.weight, 1.0)

    def at(curve: np.ndarray) -> Tensor:
        values = np.interp(np.log(share.cpu().numpy()), np.log(shares), curve)
        return torch.from_numpy(values.astype(np.float32)).to(share.device)

    return (at(noise) * local + at(bias)).clamp(min=0).sqrt()


def _variances(
    survey: _Survey, aliases: Aliases, prior: PowerSpectrum, strength: float, share: float
) -> tuple[float, float]:
    """Variance of a fine pixel due to the noise and due to the prior, with a share of the frames' weight.

    Sums over the frequencies are smooth in both directions: every third is enough.
    """
    step = 3 if min(aliases.native) > 48 else 1
    every = (..., slice(None, None, step), slice(None, None, step))
    power = _prior_power(aliases, prior, strength)[every]
    response = aliases.response[every].expand(power.shape)
    counts = half_multiplicity(aliases.native[1], power.device)[:, ::step]
    size = aliases.orders[0] * aliases.orders[1]
    nothing = torch.zeros((size, power[0, 0].numel()), dtype=torch.complex128, device=power.device)
    found = wiener(
        nothing, share * _gram(survey, aliases), response.reshape(size, -1), power.reshape(size, -1)
    )
    whole_plane = aliases.native[0] * aliases.native[1] / (power.shape[-2] * float(counts.sum()))

    def total(spectrum: Tensor) -> float:
        return float((spectrum.reshape(power.shape) * counts).sum()) * whole_plane

    noise = total(found.noise)
    return noise, total(found.variance) - noise
