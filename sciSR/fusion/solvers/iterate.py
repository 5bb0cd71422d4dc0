"""What the two classical iterations share: the canvas, the first image, and the bootstrap of their error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sciSR.fusion.forward import Canvas, Footprint, Predictor, footprint, on_window, window_of
from sciSR.fusion.prepared import PreparedFrame, PreparedFrames, Solution, Target
from sciSR.fusion.solvers.mean import Sums, weighted_mean
from sciSR.fusion.solvers.resample import fill, gaussian
from sciSR.fusion.solvers.window import Window

SMOOTH = 4.0
"""Native pixels over which the bootstrap's squared error is averaged (one sigma)."""


@dataclass(frozen=True, eq=False)
class Setting:
    """A target's canvas, its forward operator, and the mean of the frames on it."""

    target: Target
    canvas: Canvas
    predictor: Predictor
    mean: Sums

    @property
    def inside(self) -> tuple[slice, slice]:
        """The target on the canvas."""
        rows, columns = self.target.shape
        return self.canvas.inside(slice(0, rows), slice(0, columns))

    @property
    def start(self) -> Tensor:
        """The mean of the frames, continued where there is none; on the canvas."""
        known = torch.isfinite(self.mean.image)
        return fill(torch.where(known, self.mean.image, 0.0), known.to(torch.float32))


def prepare(frames: PreparedFrames, target: Target, device: torch.device) -> Setting:
    """Set up an iteration: reads the frames once."""
    canvas = Canvas.around(target, device=device)
    (r, c), (h, w) = canvas.start, canvas.shape
    mean = weighted_mean(frames, Window(target, (r, r + h), (c, c + w)), device)
    return Setting(target, canvas, Predictor(canvas), mean)


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame's good pixels that fall on the canvas, all (n,)."""

    where: Footprint
    values: Tensor
    variance: Tensor
    good: Tensor


def seen(frames: PreparedFrames, canvas: Canvas) -> Iterator[Seen]:
    """The frames, one at a time, as their pixels on the canvas; those beside it are left out."""
    for frame in frames:
        where = footprint(canvas, frame.transform, frame.values.shape)
        if where is None:
            continue
        good = ~window_of(frame.bad, where)
        values = torch.where(good, window_of(frame.values, where), 0.0)
        yield Seen(where, values, torch.where(good, window_of(frame.variance, where), 1.0), good)


@dataclass(frozen=True, eq=False)
class _Replica:
    """Frames as they might have been: a scene's prediction with new noise, the same in every pass."""

    frames: PreparedFrames
    setting: Setting
    scene: Tensor
    seed: int

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[PreparedFrame]:
        coefficients = self.setting.predictor.coefficients(self.scene)
        random = torch.Generator().manual_seed(self.seed)
        for frame in self.frames:
            noise = torch.randn(frame.values.shape, generator=random).numpy() * frame.variance.clip(0) ** 0.5
            values, bad = frame.values.copy(), frame.bad.copy()
            where = footprint(self.setting.canvas, frame.transform, frame.values.shape)
            bad[:] = True
            if where is not None:
                part = on_window(self.setting.predictor.sample(coefficients, where), where)
                window = (where.rows, where.columns)
                bad[window] = frame.bad[window] | (part != part)
                values[window] = part + noise[window]
            values[bad] = 0
            yield replace(frame, values=values, bad=bad)


def finish(
    frames: PreparedFrames,
    setting: Setting,
    scene: Tensor,
    again: Callable[[PreparedFrames, Setting], Tensor],
    **extras: object,
) -> Solution:
    """The solution, with its error from one parametric bootstrap (Efron and Tibshirani 1993, chapter 6).

    Frames are drawn that the result would have given, with new noise, and solved by the same number of steps. The
    squared difference of the two results, in units of the mean's variance, is averaged over some pixels. So the error
    holds the noise and what the iteration has not reached, not what no frame has seen.
    """
    replica = _Replica(frames, setting, scene, seed=0)
    device = setting.canvas.device
    other = prepare(replica, setting.target, device)
    unit = setting.mean.std.nan_to_num(0.0)
    ratio = torch.where(unit > 0, (again(replica, other) - scene) ** 2 / unit.clamp(min=1e-30) ** 2, 0.0)
    reach = (SMOOTH * setting.canvas.factors[0], SMOOTH * setting.canvas.factors[1])
    spread = gaussian(ratio, reach) / gaussian((unit > 0).to(ratio.dtype), reach).clamp(min=1e-6)
    std = unit * spread.sqrt()
    nothing = setting.mean.weight == 0
    planes = [scene.masked_fill(nothing, torch.nan), std.masked_fill(nothing, torch.nan)]
    planes += [setting.mean.weight, setting.mean.coverage]
    image, std, weight, coverage = (p[setting.inside].cpu().numpy() for p in planes)
    return Solution(image, std, weight, coverage, extras={"frames": len(frames), **extras})
