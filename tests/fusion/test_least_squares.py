"""The solver finds the minimum, and the preconditioner is exact where the data are stationary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import solver_frames as sim
import torch

from sciSR.fusion.forward import Canvas, Predictor, footprint, window_of
from sciSR.fusion.least_squares import Likelihood, Penalty, plane_mean, solve
from sciSR.fusion.map import gather
from sciSR.fusion.transforms import Affine

torch.set_num_threads(1)


def case(size: int = 12, margin: int = 4, bad: float = 0.05) -> tuple[list, Canvas, Likelihood]:
    scene, moves = sim.sky(size, seed=3), sim.shifts(5, seed=4, reach=1.5)
    frames = sim.observe(scene, size, moves, seed=5, bad=bad)
    frames[1] = replace(frames[1], transform=Affine.about((5, 5), 0.2, 1.0, (0.3, -0.4)))
    canvas = Canvas.around(sim.target(size), margin=margin)
    return frames, canvas, gather(frames, canvas).likelihood


def penalties(canvas: Canvas) -> list[Penalty]:
    """A stationary one with a goal, and one whose weight varies from place to place, with a complex response."""
    random = torch.Generator().manual_seed(1)
    rows, columns = canvas.frequencies()
    smooth = torch.sqrt(rows**2 + columns**2 + 0.01)
    goal = torch.randn(canvas.shape, generator=random) * 50
    omega = torch.rand(canvas.shape, generator=random) * 0.02 + 1e-3
    slope = torch.exp(2j * torch.pi * columns) - 1 + torch.zeros_like(rows)
    return [Penalty(smooth, torch.tensor(3e-3), goal), Penalty(slope, omega)]


def objective(
    x: torch.Tensor, frames: list, canvas: Canvas, terms: list[Penalty], likelihood: Likelihood
) -> torch.Tensor:
    """Straight from its definition, in float64, through the predictor alone."""
    predictor, total = Predictor(canvas), torch.zeros((), dtype=torch.float64)
    for frame in frames:
        where = footprint(canvas, frame.transform, frame.values.shape)
        where = replace(where, fraction=tuple(f.double() for f in where.fraction))
        variance, good = window_of(frame.variance, where).double(), ~window_of(frame.bad, where)
        most = 1.5 * window_of(frame.variance, where)[good].median()
        left = window_of(frame.values, where).double() - predictor.predict(x, where)
        total = total + (left**2 / variance.clamp_max(float(most)))[good].sum()
    for term in terms:
        goal = term.goal.double() if term.goal is not None else torch.zeros_like(x)
        seen = torch.fft.irfft2(term.response * torch.fft.rfft2(x), s=canvas.shape) - goal
        total = total + (term.omega * seen**2).sum()
    return total


def test_the_gradient_of_the_objective_vanishes_at_the_solution():
    frames, canvas, likelihood = case()
    terms = penalties(canvas)
    x, done = solve(likelihood, terms, iterations=400, tolerance=1e-6)
    assert done.residual <= 1e-6 or done.iterations == 400

    def slope(at: torch.Tensor) -> float:
        at = at.double().requires_grad_(True)
        (grad,) = torch.autograd.grad(objective(at, frames, canvas, terms, likelihood), at)
        return float(grad.norm())

    assert slope(x) < 3e-4 * slope(torch.zeros_like(x))
    # A minimum, then: any other place is worse.
    best = float(objective(x.double(), frames, canvas, terms, likelihood))
    random = torch.Generator().manual_seed(7)
    for _ in range(5):
        other = x.double() + torch.randn(x.shape, generator=random)
        assert float(objective(other, frames, canvas, terms, likelihood)) > best


def test_it_agrees_with_a_dense_solve():
    _, canvas, likelihood = case(size=8, margin=3)
    terms = penalties(canvas)[:1]
    x, _ = solve(likelihood, terms, iterations=300, tolerance=1e-6)
    n = x.numel()
    columns = []
    for k in range(n):
        unit = torch.zeros(n)
        unit[k] = 1
        spectrum = torch.fft.rfft2(unit.view(canvas.shape))
        image = likelihood.apply(spectrum) + terms[0].omega * terms[0].response.abs() ** 2 * spectrum
        columns.append(torch.fft.irfft2(image, s=canvas.shape).reshape(-1).double())
    hessian = torch.stack(columns, 1)
    torch.testing.assert_close(hessian, hessian.T, rtol=0, atol=1e-5 * float(hessian.abs().max()))
    right = likelihood.right() + terms[0].response * torch.fft.rfft2(terms[0].omega * terms[0].goal)
    dense = torch.linalg.solve(hessian, torch.fft.irfft2(right, s=canvas.shape).reshape(-1).double())
    assert float((x.reshape(-1) - dense).norm()) < 1e-3 * float(dense.norm())


def test_the_start_does_not_decide_where_it_ends():
    _, canvas, likelihood = case()
    terms = penalties(canvas)
    one, _ = solve(likelihood, terms, iterations=400, tolerance=1e-6)
    start = torch.randn(canvas.shape, generator=torch.Generator().manual_seed(2)) * 100
    other, _ = solve(likelihood, terms, start, iterations=400, tolerance=1e-6)
    assert float((one - other).norm()) < 1e-3 * float(one.norm())


def test_starting_at_the_solution_takes_no_step():
    _, canvas, likelihood = case()
    terms = penalties(canvas)
    x, _ = solve(likelihood, terms, iterations=400, tolerance=1e-6)
    again, done = solve(likelihood, terms, x, iterations=400, tolerance=1e-4)
    assert done.iterations == 0
    torch.testing.assert_close(again, x, rtol=1e-4, atol=1e-2)


def test_nothing_seen_and_nothing_wanted_gives_zero():
    _, _, likelihood = case()
    silent = replace(
        likelihood, parts=[(r, replace(e, right=torch.zeros_like(e.right))) for r, e in likelihood.parts]
    )
    x, done = solve(silent, [Penalty(torch.ones(()), torch.tensor(1.0))])
    assert done.iterations == 0
    assert not x.any()


@pytest.mark.parametrize("shape", [(6, 8), (7, 10), (8, 6)])
def test_the_mean_over_the_half_plane_is_that_over_the_full_plane(shape):
    image = torch.from_numpy(np.random.default_rng(1).normal(size=shape))
    full = torch.fft.fft2(image).abs().square().mean()
    assert plane_mean(torch.fft.rfft2(image).abs().square(), shape[1]) == pytest.approx(float(full))
