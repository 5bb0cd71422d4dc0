"""Back-projection and projections onto convex sets do what their authors say."""

from __future__ import annotations

import numpy as np
import pytest
import solver_frames as sim
import torch

from sciSR.errors import UsageError
from sciSR.fusion.forward import Canvas, Predictor, footprint, window_of
from sciSR.fusion.solvers import ibp, pocs
from sciSR.fusion.solvers.mean import solve as mean

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def field():
    scene = sim.sky(48, seed=1)
    moves = sim.shifts(10, seed=2)
    return sim.observe(scene, 48, moves, seed=3), scene.pixels((96, 96), scale=2)


@pytest.mark.parametrize("method", [ibp.solve, pocs.solve])
def test_they_sharpen_what_the_mean_blurs(method, field):
    frames, truth = field
    assert (
        sim.psnr(method(frames, sim.target(48)).image, truth)
        > sim.psnr(mean(frames, sim.target(48)).image, truth) + 6
    )


def test_back_projection_stops_once_the_frames_are_explained(field):
    frames, _ = field
    found = ibp.solve(frames, sim.target(48), iterations=50)
    assert found.extras["iterations"] < 50
    assert found.extras["chi2"] < 1.3
    first = ibp.solve(frames, sim.target(48), iterations=1)
    assert first.extras["iterations"] == 1
    assert first.extras["chi2"] > found.extras["chi2"]


def test_back_projection_converges_to_what_the_frames_say():
    """Without noise, many steps explain the frames to a small part of what the mean leaves."""
    frames = sim.observe(sim.sky(32, seed=1), 32, sim.shifts(10, seed=2), noise=False)
    residuals = []
    for steps in (1, 30):
        for f in frames:
            f.variance[:] = 1e-4  # so that it does not stop before
        found = ibp.solve(frames, sim.target(32), iterations=steps, tolerance=0.0)
        residuals.append(found.extras["chi2"])
    assert residuals[1] < 0.02 * residuals[0]


def test_projections_end_within_the_bounds(field):
    frames, _ = field
    found = pocs.solve(frames, sim.target(48), iterations=30, delta=3.0)
    canvas = Canvas.around(sim.target(48))
    scene = torch.full(canvas.shape, 0.0)
    inside = canvas.inside(slice(0, 96), slice(0, 96))
    scene[inside] = torch.from_numpy(found.image)
    outside = []
    for f in frames:
        where = footprint(canvas, f.transform, (48, 48))
        residual = window_of(f.values, where) - Predictor(canvas).predict(scene, where)
        inner = window_of(np.pad(np.ones((24, 24), dtype=bool), 12), where)
        outside.append((residual.abs() > 3.3 * window_of(f.variance, where).sqrt())[inner])
    assert torch.cat(outside).float().mean() < 0.01
    assert found.extras["violated"] < 0.02


def test_positivity_holds_when_asked_for(field):
    frames, _ = field
    assert pocs.solve(frames, sim.target(48), iterations=2).image.min() < 0
    assert pocs.solve(frames, sim.target(48), iterations=2, positive=True).image.min() >= 0


@pytest.mark.parametrize(("method", "low", "high"), [(ibp.solve, 0.6, 0.85), (pocs.solve, 0.6, 0.95)])
def test_their_bootstrapped_errors_are_about_right(method, low, high, field):
    """The bootstrap repeats what the iteration did to the noise; POCS' own slack makes its errors too large."""
    frames, truth = field
    found = method(frames, sim.target(48))
    inner = (slice(12, -12),) * 2
    assert low < sim.within((found.image - truth)[inner], found.std[inner]) < high


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (ibp.solve, {"iterations": 0}),
        (pocs.solve, {"iterations": 0}),
        (pocs.solve, {"delta": -1.0}),
        (pocs.solve, {"relaxation": 2.0}),
    ],
)
def test_settings_that_make_no_sense_are_refused(method, settings, field):
    with pytest.raises(UsageError, match="at least one iteration"):
        method(field[0], sim.target(48), **settings)
