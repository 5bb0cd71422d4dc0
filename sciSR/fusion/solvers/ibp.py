"""Iterative back-projection (Irani and Peleg 1991, CVGIP: Graphical Models and Image Processing 53, 231)."""

from __future__ import annotations

import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrames, Solution, Target
from sciSR.fusion.solvers.checks import begin
from sciSR.fusion.solvers.iterate import Setting, finish, prepare, seen


def solve(
    frames: PreparedFrames,
    target: Target,
    *,
    device: str = "cpu",
    iterations: int = 20,
    tolerance: float = 0.01,
) -> Solution:
    """Predict the frames, project the differences back, repeat. A reference for study; ``map`` is better.

    It starts from the mean of the frames. The projection is the adjoint of the prediction, each frame weighted by
    its inverse median variance, and normalised. There is no prior: the number of steps alone keeps the noise down.
    It stops once the frames are predicted within their noise (reduced chi-squared of 1), once a step improves that
    by less than `tolerance`, or after `iterations` steps.

    Parameters
    ----------
    frames : PreparedFrames
    target : Target
    device : str
    iterations : int
        Each reads the frames once.
    tolerance : float
        Relative.

    Returns
    -------
    Solution
        `std` by parametric bootstrap: see :func:`sciSR.fusion.solvers.iterate.finish`.
    """
    where = begin(frames, device)
    if iterations < 1:
        raise UsageError(f"there must be at least one iteration, not {iterations}")
    setting = prepare(frames, target, where)
    scene, steps, chi2 = _iterate(frames, setting, iterations, tolerance)

    def again(replica: PreparedFrames, other: Setting) -> Tensor:
        return _iterate(replica, other, steps, None)[0]

    return finish(frames, setting, scene, again, iterations=steps, chi2=chi2)


def _iterate(
    frames: PreparedFrames, setting: Setting, iterations: int, tolerance: float | None
) -> tuple[Tensor, int, float]:
    """Result, steps made, and reduced chi-squared before the last; all the steps without a tolerance."""
    scene, steps, before = setting.start, 0, float("inf")
    while True:
        change, chi2 = _back_projected(frames, setting, scene)
        if steps == iterations:
            return scene, steps, chi2
        if tolerance is not None and (chi2 <= 1 or chi2 > before * (1 - tolerance)):
            return scene, steps, chi2
        scene, steps, before = scene + change, steps + 1, chi2


def _back_projected(frames: PreparedFrames, setting: Setting, scene: Tensor) -> tuple[Tensor, float]:
    """Weighted mean of the residuals projected back, and the reduced chi-squared."""
    predictor = setting.predictor
    coefficients = predictor.coefficients(scene)
    top, bottom = torch.zeros_like(scene), torch.zeros_like(scene)
    total, number = 0.0, 0
    for frame in seen(frames, setting.canvas):
        # One weight a frame: where weights change within it, the normalised projection need not converge.
        weight = frame.good / frame.variance[frame.good].median() if frame.good.any() else frame.good.float()
        residual = frame.values - predictor.sample(coefficients, frame.where)
        predictor.scatter(weight * residual, frame.where, top)
        predictor.scatter(weight, frame.where, bottom)
        total += float((frame.good * residual**2 / frame.variance).sum(dtype=torch.float64))
        number += int(frame.good.sum())
    top, bottom = predictor.coefficients(top), predictor.coefficients(bottom)
    enough = bottom > 1e-3 * bottom.max()
    return torch.where(enough, top / bottom.clamp(min=1e-30), 0.0), total / max(number, 1)
