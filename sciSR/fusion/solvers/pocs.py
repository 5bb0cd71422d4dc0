"""Projections onto convex sets (Stark and Oskoui 1989, J. Opt. Soc. Am. A 6, 1715)."""

from __future__ import annotations

import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrames, Solution, Target
from sciSR.fusion.solvers.checks import begin
from sciSR.fusion.solvers.iterate import Seen, Setting, finish, prepare, seen


def solve(
    frames: PreparedFrames,
    target: Target,
    *,
    device: str = "cpu",
    iterations: int = 10,
    delta: float = 3.0,
    relaxation: float = 1.0,
    positive: bool = False,
    tolerance: float = 1e-3,
) -> Solution:
    """Project in turn onto the images that predict each frame within its noise. A reference for study.

    Each good pixel bounds the image: its prediction is within `delta` standard deviations of what was measured. A
    frame's pixels hardly overlap, so all of them are projected onto at once, frame after frame, from the mean of
    the frames on. It stops when a round moves the image by less than `tolerance` of the mean's standard deviation,
    or after `iterations` rounds. With noise the sets need not meet: then the image goes round in a small circle.

    Parameters
    ----------
    frames : PreparedFrames
    target : Target
    device : str
    iterations : int
        Each reads the frames once.
    delta : float
        Half width of the bounds in standard deviations.
    relaxation : float
        In (0, 2): the share of each projection that is done.
    positive : bool
        Also project onto images that are nowhere negative. The frames come without their background, so that is a
        claim about the scene.
    tolerance : float

    Returns
    -------
    Solution
        `std` by parametric bootstrap: see :func:`sciSR.fusion.solvers.iterate.finish`.
    """
    where = begin(frames, device)
    if iterations < 1 or delta < 0 or not 0 < relaxation < 2:
        raise UsageError(
            "POCS wants at least one iteration, a delta of 0 or more, and a relaxation in (0, 2)"
        )
    setting = prepare(frames, target, where)

    def rounds(
        source: PreparedFrames, start: Setting, most: int, least_move: float
    ) -> tuple[Tensor, int, float]:
        scene, violated = start.start, 0.0
        unit = start.mean.std.nan_to_num(0.0).square().mean().sqrt()
        for k in range(1, most + 1):
            before = scene.clone()
            violated = _round(source, start, scene, delta, relaxation)
            if positive:
                scene.clamp_(min=0)
            if float((scene - before).square().mean().sqrt()) < least_move * float(unit):
                return scene, k, violated
        return scene, most, violated

    scene, steps, violated = rounds(frames, setting, iterations, tolerance)

    def again(replica: PreparedFrames, other: Setting) -> Tensor:
        return rounds(replica, other, steps, 0.0)[0]

    return finish(frames, setting, scene, again, iterations=steps, violated=violated)


def _round(frames: PreparedFrames, setting: Setting, scene: Tensor, delta: float, relaxation: float) -> float:
    """Project `scene` onto each frame's set in turn, in place; the share of pixels out of bounds on the way."""
    predictor, broken, number = setting.predictor, 0, 0
    for frame in seen(frames, setting.canvas):
        residual = frame.values - predictor.predict(scene, frame.where)
        bound = delta * frame.variance.sqrt()
        excess = torch.where(frame.good, residual - residual.clamp(-bound, bound), 0.0)
        scene += predictor.adjoint(excess, frame.where) * (relaxation / _row_norm(setting, frame))
        broken += int((excess != 0).sum())
        number += int(frame.good.sum())
    return broken / max(number, 1)


def _row_norm(setting: Setting, frame: Seen) -> float:
    """Squared norm of what one pixel of a frame sees: nearly the same for all, taken from one in the middle."""
    one = torch.zeros_like(frame.values)
    one[len(one) // 2] = 1
    return float(setting.predictor.adjoint(one, frame.where).square().sum())
