"""The normal equations hold all that the frames say, and nothing of what bad pixels say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import solver_frames as sim
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.fusion.forward import Canvas, Predictor, footprint, window_of
from sciSR.fusion.map import gather
from sciSR.fusion.normal import OFFSETS, PRODUCTS, TAPS, Accumulator, NormalEquations
from sciSR.fusion.prepared import Target
from sciSR.fusion.transforms import Affine

torch.set_num_threads(1)

NATIVE = (20, 24)


def random_affine(random: np.random.Generator) -> Affine:
    return Affine.about(
        (9.5, 11.5), random.uniform(-np.pi, np.pi), random.uniform(0.9, 1.1), tuple(random.uniform(-5, 5, 2))
    )


def gathered(canvas: Canvas, frames: list, step: int = 1000) -> NormalEquations:
    """By bands of so many rows; frames are (transform, values, weights)."""
    accumulator = Accumulator(canvas)
    for top in range(0, canvas.shape[0], step):
        band = (top, min(top + step, canvas.shape[0]))
        accumulator.begin(*band)
        for transform, values, weights in frames:
            where = footprint(canvas, transform, values.shape, band)
            if where is not None:
                accumulator.add(where, window_of(values, where), window_of(weights, where))
        accumulator.finish()
    return accumulator.equations()


@given(
    seed=st.integers(0, 2**16),
    factor=st.sampled_from([Fraction(1), Fraction(3, 2), Fraction(2), Fraction(3)]),
    step=st.sampled_from([7, 16, 1000]),
)
def test_the_equations_are_those_of_going_there_and_back(seed, factor, step):
    random = np.random.default_rng(seed)
    canvas = Canvas.around(Target(NATIVE, (factor, factor)), margin=6)
    predictor = Predictor(canvas)
    c = torch.from_numpy(random.normal(size=canvas.shape).astype(np.float32))
    product, right = torch.zeros(canvas.shape), torch.zeros(canvas.shape)
    frames = []
    for _ in range(3):
        transform = random_affine(random)
        where = footprint(canvas, transform, NATIVE)
        planes = random.uniform(0, 1, (2, *NATIVE)).astype(np.float32)
        frames.append((transform, *planes))
        values, weights = (window_of(p, where) for p in planes)
        predictor.scatter(weights * predictor.sample(c, where), where, product)
        predictor.scatter(weights * values, where, right)
    equations = gathered(canvas, frames, step)
    torch.testing.assert_close(equations.apply(c), product, rtol=0, atol=3e-6 * float(product.abs().max()))
    torch.testing.assert_close(equations.right, right, rtol=0, atol=3e-6 * float(right.abs().max()))


def test_the_weight_counts_every_pixel_once():
    random = np.random.default_rng(5)
    canvas = Canvas.around(Target(NATIVE, (Fraction(2), Fraction(2))))
    ones = np.ones(NATIVE, np.float32)
    frames = [(random_affine(random), ones, random.random(NATIVE).astype(np.float32)) for _ in range(4)]
    total = sum(
        float(window_of(weights, footprint(canvas, transform, NATIVE)).sum())
        for transform, _, weights in frames
    )
    assert float(gathered(canvas, frames).weight.sum()) == pytest.approx(total, rel=1e-5)


def test_the_tap_polynomials_are_the_spline_s():
    from sciSR.fusion.forward import spline_taps

    fraction = torch.linspace(0, 0.999, 9, dtype=torch.float64)
    powers = np.stack([(fraction.numpy() - 0.5) ** p for p in range(7)])
    taps = np.stack([t.numpy() for t in spline_taps(fraction)])
    np.testing.assert_allclose(TAPS @ powers[:4], taps, atol=1e-14)
    np.testing.assert_allclose(PRODUCTS @ powers, taps[:, None] * taps[None], atol=1e-14)


def test_half_the_stencil_is_held_and_no_neighbour_twice():
    both = set(OFFSETS) | {(-dy, -dx) for dy, dx in OFFSETS}
    assert both == {(dy, dx) for dy in range(-3, 4) for dx in range(-3, 4)}
    assert len(OFFSETS) == 25


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, -np.inf, 1e30])
def test_what_bad_pixels_hold_changes_nothing_bit_for_bit(nonsense):
    scene, moves = sim.sky(32, seed=3), sim.shifts(4, seed=4)
    frames = sim.observe(scene, 32, moves, seed=5, bad=0.05)
    spoilt = [
        replace(
            f,
            values=np.where(f.bad, np.float32(nonsense), f.values),
            variance=np.where(f.bad, np.float32(1e9), f.variance),
        )
        for f in frames
    ]
    canvas = Canvas.around(sim.target(32))
    clean, other = gather(frames, canvas), gather(spoilt, canvas)
    for (_, a), (_, b) in zip(clean.likelihood.parts, other.likelihood.parts, strict=True):
        assert torch.equal(a.planes, b.planes)
        assert torch.equal(a.right, b.right)
    assert torch.equal(clean.noise[0], other.noise[0])
    assert torch.equal(clean.coverage, other.coverage)


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, 0.0, -1.0])
def test_a_variance_that_is_none_leaves_the_pixel_out(nonsense):
    scene, moves = sim.sky(32, seed=3), sim.shifts(4, seed=4)
    frames = sim.observe(scene, 32, moves, seed=5, bad=0.05)
    # The same pixels, not flagged but without a usable variance.
    hidden = [
        replace(f, bad=np.zeros_like(f.bad), variance=np.where(f.bad, np.float32(nonsense), f.variance))
        for f in frames
    ]
    canvas = Canvas.around(sim.target(32))
    (_, a), (_, b) = gather(frames, canvas).likelihood.parts[0], gather(hidden, canvas).likelihood.parts[0]
    assert torch.equal(a.planes, b.planes)
    assert torch.equal(a.right, b.right)


def test_frames_of_another_pixel_size_have_equations_of_their_own():
    scene, moves = sim.sky(32, seed=3), sim.shifts(4, seed=4)
    frames = sim.observe(scene, 32, moves, seed=5)
    frames[2] = replace(frames[2], transform=Affine.about((15.5, 15.5), 0.0, 1.25))
    gathered = gather(frames, Canvas.around(sim.target(32)))
    assert len(gathered.likelihood.parts) == len(gathered.noise) == 2
    assert gathered.frames == 4
