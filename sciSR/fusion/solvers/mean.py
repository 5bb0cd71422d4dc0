"""Shift-and-add: each frame interpolated onto the fine grid, and the inverse-variance weighted mean of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciSR.fusion.prepared import PreparedFrames, Solution, Target
from sciSR.fusion.solvers.checks import begin
from sciSR.fusion.solvers.resample import FrameSampler
from sciSR.fusion.solvers.window import Window


def solve(frames: PreparedFrames, target: Target, *, device: str = "cpu") -> Solution:
    """Weighted mean of the frames, interpolated by cubic splines.

    Nothing is sharpened: a star keeps the width the native pixel gave it. The standard deviation is that of the noise;
    neighbouring fine pixels share samples, so their noise is correlated over about a native pixel.

    Parameters
    ----------
    frames : PreparedFrames
    target : Target
    device : str
        ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns
    -------
    Solution
        `std` is noise only. `weight` is the sum of 1/variance of the native pixels there.
    """
    where = begin(frames, device)
    sums = weighted_mean(frames, Window.whole(target), where)
    image, std = sums.image.cpu(), sums.std.cpu()
    return Solution(
        image=image.numpy(),
        std=std.numpy(),
        weight=sums.weight.cpu().numpy(),
        coverage=sums.coverage.cpu().numpy(),
        extras={"frames": len(frames)},
    )


@dataclass(frozen=True, eq=False)
class Sums:
    """What :func:`weighted_mean` has added up, all on the window."""

    image: Tensor
    std: Tensor
    weight: Tensor
    coverage: Tensor


def weighted_mean(frames: PreparedFrames, window: Window, device: torch.device) -> Sums:
    """Mean of the frames over a window, which may reach beyond the target; NaN where there is none."""
    total, noise, weight, coverage = (torch.zeros(window.shape, device=device) for _ in range(4))
    for frame in frames:
        here = FrameSampler(frame, device).at(window)
        w = torch.where(here.good, 1 / here.level, 0.0)
        total += w * here.value
        noise += w * w * here.noise
        weight += w
        coverage += here.good
    some = weight > 0
    nan = torch.tensor(float("nan"), device=device)
    return Sums(
        torch.where(some, total / weight, nan),
        torch.where(some, noise.sqrt() / weight, nan),
        weight,
        coverage,
    )
