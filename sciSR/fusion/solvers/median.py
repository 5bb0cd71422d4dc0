"""Shift-and-median: each frame interpolated onto the fine grid, and the weighted median of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrames, Solution, Target
from sciSR.fusion.solvers.checks import begin
from sciSR.fusion.solvers.resample import FrameSampler
from sciSR.fusion.solvers.window import Window

_PLANES = 6
"""Arrays of the stack's size that are held at once: values, weights, noise, and what sorting makes of them."""


def solve(
    frames: PreparedFrames, target: Target, *, device: str = "cpu", memory_mb: float = 512.0
) -> Solution:
    """Weighted median of the frames, interpolated by cubic splines: outliers that no one has masked do little.

    A median needs all frames at once. It works through bands of rows, as many as needed to stay within `memory_mb`
    whatever the number of frames (one row at least), and reads the frames once per band.

    Parameters
    ----------
    frames : PreparedFrames
    target : Target
    device : str
    memory_mb : float
        For the stack of a band, in megabytes.

    Returns
    -------
    Solution
        `std` is that of the median of Gaussian noise, 1.25 times the mean's for many frames.
    """
    where = begin(frames, device)
    if not memory_mb > 0:
        raise UsageError(f"memory_mb must be positive, not {memory_mb}")
    rows, columns = target.shape
    band = int(memory_mb * 1e6 / (_PLANES * 4 * len(frames) * columns))
    band = min(max(band, 1), rows)
    out = torch.full((4, rows, columns), float("nan"))
    for start in range(0, rows, band):
        window = Window(target, (start, min(start + band, rows)), (0, columns))
        out[:, start : start + band] = _band(frames, window, where).cpu()
    image, std, weight, coverage = out.numpy()
    return Solution(image, std, weight, coverage, extras={"frames": len(frames), "band_rows": band})


def _band(frames: PreparedFrames, window: Window, device: torch.device) -> Tensor:
    """Image, standard deviation, weight and coverage of a band; (4, rows, columns)."""
    shape = (len(frames), *window.shape)
    values = torch.zeros(shape, device=device)
    weights = torch.zeros(shape, device=device)
    noise = torch.zeros(window.shape, device=device)
    for k, frame in enumerate(frames):
        here = FrameSampler(frame, device).at(window)
        weights[k] = torch.where(here.good, 1 / here.level, 0.0)
        values[k] = torch.where(here.good, here.value, torch.inf)
        noise += weights[k] ** 2 * here.noise
    weight = weights.sum(0)
    coverage = (weights > 0).sum(0).to(weight.dtype)
    effective = weight**2 / (weights**2).sum(0)
    image = weighted_median(values, weights)
    std = noise.sqrt() / weight * median_excess(effective)
    nothing = coverage == 0
    image[nothing] = torch.nan
    std[nothing] = torch.nan
    return torch.stack([image, std, weight, coverage])


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Median along the first axis: where the weights' running sum, counted to the middle of each, reaches half.

    Between two values it is interpolated linearly, so equal weights give the usual median, also of an even number.
    Values of weight 0 must be ``inf``: they are sorted to the end and left out.
    """
    values, order = values.sort(dim=0)
    weights = weights.gather(0, order)
    middle = (weights.cumsum(0) - weights / 2) / weights.sum(0)
    last = (weights > 0).sum(0, keepdim=True).clamp(min=1) - 1
    above = torch.minimum((middle < 0.5).sum(0, keepdim=True), last)
    below = (above - 1).clamp(min=0)
    low, high = values.gather(0, below), values.gather(0, above)
    m_low, m_high = middle.gather(0, below), middle.gather(0, above)
    share = torch.where(m_high > m_low, (0.5 - m_low) / (m_high - m_low), 0.0).clamp(0, 1)
    # Where both are the same sample, or share is 0, the other may be infinite.
    return torch.where(share > 0, low + share * (high - low), low)[0]


def median_excess(n: Tensor) -> Tensor:
    """Standard deviation of the median of `n` Gaussian values over that of their mean.

    ``pi / (2 n + c)`` for the variance of the median, with c near 1 for odd and 2.5 for even `n`: within 2 % in the
    variance of the exact values (Kendall and Stuart, The Advanced Theory of Statistics 1, 14.6) from n = 1 on.
    """
    c = 1.75 + 0.75 * torch.cos(math.pi * n) + 0.14 / n
    return (n * math.pi / (2 * n + c)).sqrt().clamp(min=1.0)
