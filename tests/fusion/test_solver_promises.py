"""What every solver promises."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import solver_frames as sim
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.fusion.solvers import SOLVERS, solver
from sciSR.fusion.transforms import Affine, Displacement

torch.set_num_threads(1)

NAMES = ("mean", "median", "drizzle", "spectral", "ibp", "pocs")
STATISTICAL = ("mean", "median", "drizzle", "spectral")


@pytest.fixture(scope="module")
def star_field():
    scene = sim.sky(64, seed=3)
    moves = sim.shifts(12, seed=4)
    return scene, moves, sim.observe(scene, 64, moves, seed=5, bad=0.002)


def test_every_solver_of_the_package_is_registered():
    assert set(NAMES) | {"map"} == set(SOLVERS)
    assert all(callable(solver(name)) for name in NAMES)


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"no method of fusion is called 'best'.*spectral"):
        solver("best")


def test_a_setting_of_another_method_is_refused():
    with pytest.raises(UsageError, match="method median has no setting pixfrac; it has memory_mb"):
        solver("median")([], sim.target(16), pixfrac=0.5)
    with pytest.raises(UsageError, match="no setting kernel, speed; it has none"):
        solver("mean")([], sim.target(16), device="cpu", kernel="point", speed=1)


@pytest.mark.parametrize("name", NAMES)
def test_no_frames_are_refused(name):
    with pytest.raises(UsageError, match="no frames"):
        solver(name)([], sim.target(16))


@pytest.mark.parametrize("scale", [2, 3, Fraction(3, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_a_flat_field_of_a_value_gives_that_value(name, scale):
    moves = sim.shifts(6, seed=1)
    frames = [sim.frame(np.full((32, 32), 7.5), 2.0, Affine.shift(*m)) for m in moves]
    found = solver(name)(frames, sim.target(32, scale))
    assert found.image.shape == found.std.shape == sim.target(32, scale).shape
    assert np.all(np.isfinite(found.std))
    np.testing.assert_allclose(found.image, 7.5, rtol=2e-4)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("mean", 1e-4), ("median", 0.01), ("drizzle", 2e-4), ("spectral", 2e-3)]
)
def test_a_star_keeps_its_flux_whatever_the_shift(name, tolerance):
    @settings(max_examples=10)
    @given(st.integers(0, 10_000), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
    def check(seed, row, column):
        scene = sim.Blobs(np.array([[16 + row, 16 + column, 5e4, 0.6]]))
        frames = sim.observe(scene, 32, sim.shifts(8, seed), noise=False)
        found = solver(name)(frames, sim.target(32))
        assert found.image.sum() / 4 == pytest.approx(5e4, rel=tolerance)

    check()


# POCS stops anywhere within its bounds of three standard deviations.
@pytest.mark.parametrize(("name", "tolerance"), [("ibp", 1e-3), ("pocs", 0.02)])
def test_a_star_keeps_its_flux_in_the_iterations(name, tolerance):
    scene = sim.Blobs(np.array([[15.7, 16.3, 5e4, 0.6]]))
    frames = sim.observe(scene, 32, sim.shifts(8, seed=2), noise=False)
    assert solver(name)(frames, sim.target(32)).image.sum() / 4 == pytest.approx(5e4, rel=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_many_frames_beat_one(name):
    faint = sim.Blobs(sim.sky(64, seed=3).sources[30:] * [1, 1, 0.3, 1])
    frames = sim.observe(faint, 64, sim.shifts(12, seed=4), seed=5)
    truth = faint.pixels((128, 128), scale=2)
    single = sim.psnr(solver("mean")(frames[:1], sim.target(64)).image, truth)
    assert sim.psnr(solver(name)(frames, sim.target(64)).image, truth) > single + 4


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_bad_pixels_changes_nothing(name, star_field):
    _, _, frames = star_field
    few = frames[:5]
    wild = [
        replace(
            f,
            values=np.where(f.bad, np.float32(v), f.values),
            variance=np.where(f.bad, np.float32(1e9), f.variance),
        )
        for f, v in zip(few, (np.nan, np.inf, -1e30, 1e30, np.nan), strict=True)
    ]
    clean, spoiled = (solver(name)(f, sim.target(64)) for f in (few, wild))
    for plane in ("image", "std", "weight", "coverage"):
        np.testing.assert_array_equal(getattr(clean, plane), getattr(spoiled, plane))


@pytest.mark.parametrize("name", STATISTICAL)
def test_the_order_of_the_frames_does_not_matter(name, star_field):
    _, _, frames = star_field
    one, other = (solver(name)(f, sim.target(64)) for f in (frames, frames[::-1]))
    scale = np.nanmedian(one.std)
    np.testing.assert_allclose(one.image, other.image, atol=0.02 * scale, rtol=1e-4)
    np.testing.assert_allclose(one.std, other.std, rtol=1e-3)
    np.testing.assert_array_equal(one.coverage, other.coverage)


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_unit_changes_only_the_unit(name, star_field):
    _, _, frames = star_field
    few = frames[:5]
    unit = np.float32(1e-6)
    small = [replace(f, values=f.values * unit, variance=f.variance * unit**2) for f in few]
    one, other = (solver(name)(f, sim.target(64)) for f in (few, small))
    scale = np.nanmedian(one.std)
    np.testing.assert_allclose(other.image / unit, one.image, atol=0.02 * scale, rtol=1e-3)
    np.testing.assert_allclose(other.std / unit, one.std, rtol=0.02)
    np.testing.assert_allclose(other.weight * unit**2, one.weight, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_where_no_frame_has_a_good_pixel_there_is_none(name):
    moves = sim.shifts(4, seed=1, reach=0.4)
    hole = np.zeros((32, 32), dtype=bool)
    hole[10:20, 12:22] = True
    frames = [sim.frame(np.full((32, 32), 3.0), 1.0, Affine.shift(*m), hole) for m in moves]
    found = solver(name)(frames, sim.target(32))
    assert np.isnan(found.image[26:34, 30:38]).all()
    assert not np.isfinite(found.std[26:34, 30:38]).any()
    assert (found.coverage[26:34, 30:38] == 0).all()
    np.testing.assert_allclose(found.image[4:16], 3.0, rtol=1e-3)


@pytest.mark.parametrize("name", ["mean", "drizzle", "spectral"])
def test_weight_is_the_sum_of_inverse_variances(name):
    frames = [
        sim.frame(np.zeros((32, 32)), v, Affine.shift(*m)) for v, m in ((4.0, (0, 0)), (2.0, (0.5, 0.5)))
    ]
    weight = solver(name)(frames, sim.target(32)).weight
    np.testing.assert_allclose(weight[8:-8, 8:-8], 0.75, rtol=0.02)


@pytest.mark.parametrize("name", ["mean", "median", "drizzle", "ibp", "pocs"])
def test_turned_and_warped_frames_fall_into_place(name):
    scene = sim.Blobs(np.array([[20.0, 25.0, 1e5, 3.0], [40.0, 33.0, 2e5, 5.0]]))
    truth = scene.pixels((112, 112), scale=2)
    coordinates = np.stack(np.mgrid[:56, :56].astype(float), axis=-1)
    field = 0.8 * np.sin(np.mgrid[:9, :9].transpose(1, 2, 0) / 3.0)
    frames = []
    for k, transform in enumerate(
        [
            Affine.identity(),
            Affine.about((28, 28), 0.03, shift=(0.4, -0.3)),
            Affine.about((20, 30), -0.05, shift=(0.2, 0.6)),
            Displacement(field, 8.0),
        ]
    ):
        # These blobs are so wide that a pixel's mean is the value at its centre, blurred alike in every frame.
        at = transform.inverse(coordinates)
        values = sum(
            flux
            / (2 * np.pi * (s**2 + 1 / 12))
            * np.exp(-0.5 * ((at - (r, c)) ** 2).sum(-1) / (s**2 + 1 / 12))
            for r, c, flux, s in scene.sources
        )
        frames.append(sim.frame(values, 1.0, transform, name=str(k)))
    image = solver(name)(frames, sim.target(56)).image
    inner = (slice(16, -16),) * 2
    assert np.abs(image - truth)[inner].max() < 0.05 * truth.max()
    # The centre of light of the whole does not move.
    rows, columns = np.mgrid[16:96, 16:96]
    for where in (rows, columns):
        found, wanted = ((where * i[inner]).sum() / i[inner].sum() for i in (image, truth))
        assert found == pytest.approx(wanted, abs=0.03)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_the_gpu_gives_what_the_cpu_gives(name, star_field):
    _, _, frames = star_field
    one, other = (solver(name)(frames[:5], sim.target(64), device=d) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(one.image, other.image, atol=0.02 * np.nanmedian(one.std), rtol=1e-3)
