"""Interpolation of frames: right values, right variances, bad pixels kept out."""

from __future__ import annotations

import numpy as np
import pytest
import solver_frames as sim
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from sciSR.fusion.solvers.mean import solve as mean
from sciSR.fusion.solvers.median import median_excess, solve, weighted_median
from sciSR.fusion.solvers.resample import FrameSampler, fill, sky_variance
from sciSR.fusion.solvers.window import Window, frame_coordinates
from sciSR.fusion.transforms import Affine, Displacement

torch.set_num_threads(1)

CPU = torch.device("cpu")
WARP = Displacement(0.5 * np.sin(np.arange(98.0)).reshape(7, 7, 2), 60.0, origin=(-180.0, -180.0))


def sampled(frame, size=32):
    return FrameSampler(frame, CPU).at(Window.whole(sim.target(size)))


@pytest.mark.parametrize(
    "transform",
    [
        Affine.shift(0.3, -0.7),
        Affine.about((16, 16), 0.02, scale=1.01, shift=(1, 0.5)),
        Affine(np.array([[0.0, 1.0, 0.2], [1.0, 0.0, -0.3]])),
        WARP,
    ],
    ids=["shift", "turn", "mirror", "warp"],
)
def test_values_are_those_of_scipys_cubic_spline(transform):
    values = np.random.default_rng(0).standard_normal((32, 32))
    found = sampled(sim.frame(values, 1.0, transform))
    fine = np.stack(np.mgrid[:64, :64].astype(float), axis=-1)
    at = transform((fine + 0.5) / 2 - 0.5)
    wanted = map_coordinates(np.pad(values, 16, mode="edge"), np.moveaxis(at, -1, 0) + 16, order=3)
    good = found.good.numpy()
    assert good.mean() > 0.8
    tolerance = 0.02 if transform is WARP else 2e-4  # a warp is interpolated between every sixteenth pixel
    np.testing.assert_allclose(found.value.numpy()[good], wanted[good], atol=tolerance)


def test_pure_shifts_by_axis_equal_the_general_way():
    frame = sim.observe(sim.sky(32, 1), 32, np.array([[0.4, -1.3]]), bad=0.02)[0]
    almost = Affine(frame.transform.matrix + np.array([[0, 1e-13, 0], [1e-13, 0, 0]]))
    one, other = sampled(frame), sampled(sim.frame(frame.values, frame.variance, almost, frame.bad))
    for plane in ("value", "noise", "variance", "level"):
        np.testing.assert_allclose(getattr(one, plane), getattr(other, plane), rtol=1e-4, atol=0.02)


def test_noise_of_interpolated_values_is_known():
    random = np.random.default_rng(1)
    variance = 1 + np.hypot(*np.mgrid[-16:16, -16:16])
    draws = []
    for _ in range(400):
        values = random.standard_normal((32, 32)) * np.sqrt(variance)
        here = sampled(sim.frame(values, variance, Affine.shift(0.3, 0.6)))
        draws.append(here.value.numpy())
    inner = (slice(6, -6),) * 2
    ratio = np.var(draws, axis=0)[inner] / here.noise.numpy()[inner]
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert ratio.std() < 1.3 * np.sqrt(2 / 400)


def test_filling_keeps_the_good_and_continues_a_slope():
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(30.0), indexing="ij")
    plane = 3 * rows - 2 * columns
    weight = torch.ones_like(plane)
    weight[20:22, 10:13] = 0
    weight[:3, :] = 0
    spoiled = torch.where(weight > 0, plane, 1e6)
    filled = fill(spoiled, weight)
    assert torch.equal(filled[weight > 0], plane[weight > 0])
    assert (filled - plane)[20:22, 10:13].abs().max() < 2  # the plane changes by 10 over the hole
    assert (filled - plane)[:3].abs().max() < 20
    assert torch.equal(fill(plane, torch.zeros_like(plane)), torch.zeros_like(plane))


@given(st.integers(1, 70), st.integers(1, 70), st.floats(0.01, 100), st.integers(0, 99))
def test_weights_come_from_the_sky_at_any_shape(rows, columns, level, seed):
    random = np.random.default_rng(seed)
    bad = torch.from_numpy(random.random((rows, columns)) < 0.3)
    variance = torch.full((rows, columns), level, dtype=torch.float32)
    found = sky_variance(torch.where(bad, torch.nan, variance), bad)
    assert found.shape == variance.shape
    torch.testing.assert_close(found, torch.full_like(variance, 1.0 if bad.all() else level))


def test_positions_are_those_of_the_transform():
    window = Window(sim.target(32), (-7, 70), (3, 41))
    for transform, tolerance in ((Affine.about((3, 4), 0.1), 1e-9), (WARP, 2e-3)):
        row, column = frame_coordinates(transform, window, CPU)
        rows, columns = window.reference()
        wanted = transform(np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1))
        for k, found in enumerate((row, column)):
            assert np.abs(found.expand(window.shape).numpy() - wanted[..., k]).max() < tolerance


@given(st.integers(1, 12), st.integers(0, 1000))
def test_the_weighted_median_of_equal_weights_is_the_median(count, seed):
    values = torch.from_numpy(np.random.default_rng(seed).standard_normal((count, 3, 4)))
    found = weighted_median(values, torch.ones_like(values))
    np.testing.assert_allclose(found, np.median(values.numpy(), axis=0))


def test_weightless_values_take_no_part_in_the_median():
    values = torch.tensor([5.0, torch.inf, 1.0, 3.0, torch.inf])[:, None, None]
    weights = torch.tensor([1.0, 0, 1, 1, 0])[:, None, None]
    assert weighted_median(values, weights).item() == 3
    heavy = torch.tensor([1.0, 0, 10, 1, 0])[:, None, None]
    assert 1 <= weighted_median(values, heavy).item() < 2


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 25])
def test_the_medians_noise_is_that_of_draws(count):
    draws = np.random.default_rng(0).standard_normal((count, 200_000))
    wanted = np.median(draws, axis=0).std() / draws.mean(axis=0).std()
    assert median_excess(torch.tensor(float(count))).item() == pytest.approx(wanted, rel=0.02)


def test_the_median_forgets_a_cosmic_ray_and_the_mean_does_not():
    frames = [sim.frame(np.full((32, 32), 5.0), 1.0, Affine.shift(*m)) for m in sim.shifts(9, 1)]
    frames[4].values[15:18, 15:18] = 1e5
    assert np.abs(solve(frames, sim.target(32)).image - 5).max() < 0.01
    assert np.abs(mean(frames, sim.target(32)).image - 5).max() > 1000


def test_bands_change_nothing_but_the_memory():
    frames = sim.observe(sim.sky(48, 1), 48, sim.shifts(7, 2), bad=0.01)
    whole, banded = (solve(frames, sim.target(48), memory_mb=m) for m in (512, 0.1))
    assert whole.extras["band_rows"] == 96
    assert banded.extras["band_rows"] < 10
    for plane in ("image", "std", "weight", "coverage"):
        np.testing.assert_allclose(getattr(whole, plane), getattr(banded, plane), rtol=1e-6)


@pytest.mark.parametrize("method", [mean, solve])
def test_std_is_that_of_the_noise(method):
    scene, moves = sim.sky(96, 1), sim.shifts(9, 2)
    quiet, noisy = (sim.observe(scene, 96, moves, seed=3, noise=n) for n in (False, True))
    clean, found = (method(f, sim.target(96)) for f in (quiet, noisy))
    assert sim.within(found.image - clean.image, found.std) == pytest.approx(0.683, abs=0.02)
