"""Frames that are shifted only, on a periodic canvas: what is known of them, and their spectra gathered."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrame, PreparedFrames, Target
from sciSR.fusion.solvers.alias import Aliases
from sciSR.fusion.solvers.resample import FrameSampler, fill
from sciSR.fusion.solvers.window import Window
from sciSR.fusion.transforms import Transform

TOLERANCE = 0.1
"""Pixels by which a transform may differ from a shift anywhere in the frame."""

MARGIN = 16
"""Native pixels around the target: Fourier transforms wrap, and data just outside help at the border."""

TAPER = 8
"""Of the margin's outer pixels, that carry no data and fall to the background."""


@dataclass(eq=False)
class Survey:
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
    local : Tensor
        Harmonic mean of the frames' variance there over that of their median ones.
    pixels : int
        Native pixels on the canvas.
    """

    window: Window
    level: float = 0.0
    start: Tensor = field(default_factory=lambda: torch.zeros(0))
    shifts: list[tuple[float, float]] = field(default_factory=list)
    precision: list[float] = field(default_factory=list)
    coverage: Tensor = field(default_factory=lambda: torch.zeros(0))
    weight: Tensor = field(default_factory=lambda: torch.zeros(0))
    nominal: Tensor = field(default_factory=lambda: torch.zeros(0))
    local: Tensor = field(default_factory=lambda: torch.zeros(0))
    pixels: int = 1

    @property
    def inside(self) -> tuple[slice, slice]:
        """The target on the canvas."""
        rows, columns = self.window.target.shape
        r, c = -self.window.rows[0], -self.window.columns[0]
        return slice(r, r + rows), slice(c, c + columns)


def shift_of(transform: Transform, shape: tuple[int, int]) -> tuple[tuple[float, float], float]:
    """A transform's shift at the centre of a frame, and by how much it differs from that at most, in pixels."""
    rows, columns = (np.linspace(0, n - 1, 5) for n in shape)
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    moved = np.asarray(transform(points)) - points
    centre = moved[2, 2]
    return (float(centre[0]), float(centre[1])), float(np.hypot(*np.moveaxis(moved - centre, -1, 0)).max())


def survey_frames(
    frames: PreparedFrames, target: Target, aliases: Aliases, device: torch.device, allow_rotation: bool
) -> Survey:
    """One pass: shifts, noise, coverage and the mean of the frames on the canvas."""
    origin = [round(MARGIN * float(f)) for f in target.factors]
    rows, columns = ((-o, n - o) for o, n in zip(origin, aliases.fine, strict=True))
    out = Survey(Window(target, rows, columns))
    total, out.weight, out.coverage, out.nominal, out.local = (
        torch.zeros(out.window.shape, device=device) for _ in range(5)
    )
    out.pixels = aliases.native[0] * aliases.native[1]
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
        out.precision.append(out.pixels / variance)
        here = FrameSampler(frame, device).at(out.window)
        weight = torch.where(here.good, 1 / here.level, 0.0)
        total += weight * here.value
        out.weight += weight
        out.coverage += here.good
        out.nominal += here.good / variance
        out.local += torch.where(here.good, 1 / here.variance, 0.0)
    # Harmonic: pixels filled beside a star have a variance without bound, and are but some of many.
    out.local = torch.where(out.local > 0, out.nominal / out.local, 1.0)
    return _begin_fill(out, total, aliases)


def _begin_fill(survey: Survey, total: Tensor, aliases: Aliases) -> Survey:
    """The mean image without its level, continued over the canvas and brought down to nothing at its rim."""
    covered = survey.weight > 0
    if not bool(covered.any()):
        raise UsageError("no frame has a good pixel on the reference's field")
    mean = torch.where(covered, total / survey.weight, 0.0)
    survey.level = float(mean[covered].median())
    plane = fill(mean - survey.level, covered.to(mean.dtype))
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


def position_of(shift: tuple[float, float], window: Window) -> tuple[float, float]:
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


def gather(
    frames: PreparedFrames, survey: Survey, aliases: Aliases, scene: Tensor, response: Tensor | None
) -> Tensor:
    """Sum over the frames of their weighted spectra brought to each alias; what is missing is predicted.

    `scene` (alias layout) becomes a frame by `response`; without one it is what native pixels see already.
    """
    seen = scene if response is None else scene * response
    out = torch.zeros(scene.shape, dtype=torch.complex128, device=scene.device)
    for frame, shift, precision in zip(frames, survey.shifts, survey.precision, strict=True):
        if precision == 0:
            continue
        position = position_of(shift, survey.window)
        values, known = _place(frame, shift, aliases)
        predicted = torch.fft.irfft2(aliases.fold(seen, position), s=aliases.native, norm="forward")
        filled = torch.where(known, values - survey.level, predicted)
        out += aliases.spread(precision * torch.fft.rfft2(filled, norm="forward"), position)
    return out
