"""The default solver: what it promises of any set of prepared frames."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import solver_frames as sim
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.fusion.coverage import covered
from sciSR.fusion.forward import Canvas
from sciSR.fusion.map import gather, solve
from sciSR.fusion.prepared import Target
from sciSR.fusion.solvers import solver
from sciSR.fusion.transforms import Affine

torch.set_num_threads(1)

SIZE = 64
FWHM = 1.3


@pytest.fixture(scope="module")
def field():
    """Frames of undersampled stars over nebulae, and the truth at twice the resolution."""
    scene, moves = sim.sky(SIZE, seed=3), sim.shifts(10, seed=4)
    return sim.observe(scene, SIZE, moves, seed=5, bad=0.003), scene.pixels((2 * SIZE,) * 2, scale=2)


@pytest.fixture(scope="module")
def solved(field):
    return solve(field[0], sim.target(SIZE), fwhm=FWHM, context=True)


def test_it_beats_drizzle_by_far_on_an_undersampled_field(field, solved):
    frames, truth = field
    drizzled = solver("drizzle")(frames, sim.target(SIZE)).image
    assert sim.psnr(solved.image, truth) > sim.psnr(np.nan_to_num(drizzled), truth) + 6


@pytest.mark.parametrize("prior", ["auto", "tikhonov", "huber", "tv", "none"])
def test_every_prior_beats_the_single_frame(field, prior):
    frames, truth = field
    found = solve(frames, sim.target(SIZE), prior=prior, fwhm=FWHM)
    single = np.kron(frames[0].values, np.ones((2, 2)))
    assert sim.psnr(found.image, truth) > sim.psnr(single, truth) + 6
    assert np.isfinite(found.image).all()
    assert (found.std > 0).all()


def test_without_light_below_zero_there_is_none_and_it_still_beats_the_single_frame(field):
    frames, truth = field
    found = solve(frames, sim.target(SIZE), positive=True, fwhm=FWHM)
    assert found.image.min() >= 0
    assert sim.psnr(found.image, truth) > sim.psnr(np.kron(frames[0].values, np.ones((2, 2))), truth) + 6


def test_its_error_is_calibrated_on_stars_and_nebulae(field, solved):
    _, truth = field
    inner = (slice(12, -12),) * 2
    left = (solved.image - truth)[inner]
    # Never too sure; on so small and so structured a field more cautious than need be.
    assert 0.63 < sim.within(left, solved.std[inner]) < 0.88
    assert sim.within(left, solved.std[inner], 3) > 0.985


@given(
    value=st.floats(-200, 5000),
    factor=st.sampled_from([Fraction(1), Fraction(3, 2), Fraction(2), Fraction(3)]),
)
@settings(max_examples=4)
def test_a_flat_field_of_a_value_gives_that_value(value, factor):
    frames = [
        sim.frame(np.full((32, 32), value), 4.0, Affine.shift(*m)) for m in sim.shifts(5, seed=1, reach=1)
    ]
    found = solve(frames, sim.target(32, factor))
    np.testing.assert_allclose(found.image[4:-4, 4:-4], value, rtol=1e-3, atol=0.2)  # 10 % of sigma


@given(row=st.floats(20, 28), column=st.floats(20, 28), flux=st.floats(3e3, 1e5), seed=st.integers(0, 999))
@settings(max_examples=5)
def test_a_star_keeps_its_flux_and_its_place_whatever_the_shifts(row, column, flux, seed):
    star = sim.Blobs(np.array([[row, column, flux, 0.6]]))
    frames = sim.observe(star, 48, sim.shifts(8, seed), noise=False)
    image = solve(frames, sim.target(48), fwhm=1.4, errors=False).image.astype(np.float64)
    y, x = np.mgrid[:96, :96]
    at = sim.target(48).fine(np.array([row, column]))
    aperture = np.hypot(y - at[0], x - at[1]) < 10
    # Fine pixels hold the level of a native one: four share its area.
    # The noise that the solver is told of makes an error of 40 in such an aperture.
    assert image[aperture].sum() / 4 == pytest.approx(flux, rel=2e-3, abs=40)
    core = np.hypot(y - at[0], x - at[1]) < 6
    found = [(image * g)[core].sum() / image[core].sum() for g in (y, x)]
    np.testing.assert_allclose(found, at, rtol=0, atol=0.02)


def test_tiles_make_no_seams(field, solved):
    frames, _ = field
    tiled = solve(frames, sim.target(SIZE), fwhm=FWHM, tile=70)
    difference = np.abs(tiled.image - solved.image) / solved.std
    # Each tile learns its own prior: where it decides, below half a sigma.
    everywhere = np.sqrt(np.mean(difference**2))
    assert everywhere < 0.4
    assert np.sqrt(np.mean(difference[60:68] ** 2)) < 1.5 * everywhere
    np.testing.assert_array_equal(tiled.coverage, solved.coverage)


def test_context_bits_are_the_coverage(field, solved):
    frames, _ = field
    assert solved.context.shape == (1, 128, 128)
    bits = solved.context.view(np.uint32)
    count = sum((bits >> np.uint32(k)) & 1 for k in range(32)).sum(axis=0)
    np.testing.assert_array_equal(count, solved.coverage)
    canvas = Canvas.around(sim.target(SIZE))
    for k, frame in enumerate(frames):
        seen = covered(canvas, frame.transform, frame.bad)[
            canvas.inside(slice(0, 128), slice(0, 128))
        ].numpy()
        np.testing.assert_array_equal((bits[0] >> np.uint32(k)) & 1, seen)


def test_a_second_plane_of_context_begins_with_the_thirty_third_frame():
    frames = [sim.frame(np.ones((16, 16)), 1.0, Affine.shift(0.1 * k, 0)) for k in range(34)]
    frames[31] = replace(frames[31], bad=np.arange(256).reshape(16, 16) % 2 == 0)
    found = solve(frames, sim.target(16), context=True)
    assert found.context.shape == (2, 32, 32)
    bits = found.context.view(np.uint32)
    assert (bits[0] >> np.uint32(31)).max() == 1  # the sign bit of int32
    assert (bits[1] & ~np.uint32(3)).max() == 0
    np.testing.assert_array_equal(
        sum((bits >> np.uint32(k)) & 1 for k in range(32)).sum(axis=0), found.coverage
    )


@given(
    degrees=st.floats(-180, 180),
    dy=st.floats(-5, 5),
    dx=st.floats(-5, 5),
    factor=st.sampled_from([1, 2, Fraction(3, 2)]),
)
@settings(max_examples=10)
def test_a_fine_pixel_counts_a_frame_whose_good_pixel_its_centre_falls_on(degrees, dy, dx, factor):
    bad = np.random.default_rng(1).random((20, 24)) < 0.2
    turn = Affine.about((9.5, 11.5), np.radians(degrees), 1.0, (dy, dx))
    grid = Target((20, 24), (Fraction(factor), Fraction(factor)))
    canvas = Canvas.around(grid)
    rows, columns = canvas.inside(slice(0, grid.shape[0]), slice(0, grid.shape[1]))
    seen = covered(canvas, turn, bad)[rows, columns].numpy()
    fine = np.stack(np.mgrid[: grid.shape[0], : grid.shape[1]], -1)
    where = turn((fine + 0.5) / float(factor) - 0.5)
    pixel = np.rint(where).astype(int)
    on_edge = (np.abs(where - np.floor(where) - 0.5) < 1e-9).any(axis=-1)
    inside = ((pixel >= 0) & (pixel < (20, 24))).all(axis=-1)
    expected = inside & ~bad[tuple(np.where(inside[..., None], pixel, 0).T)].T
    np.testing.assert_array_equal(seen[~on_edge], expected[~on_edge])


def test_the_same_seed_gives_the_same_result_and_another_only_another_error(field, solved):
    frames, _ = field
    again = solve(frames, sim.target(SIZE), fwhm=FWHM)
    np.testing.assert_array_equal(again.image, solved.image)
    np.testing.assert_array_equal(again.std, solved.std)
    other = solve(frames, sim.target(SIZE), fwhm=FWHM, seed=1)
    np.testing.assert_array_equal(other.image, solved.image)
    assert not np.array_equal(other.std, solved.std)
    assert np.median(np.abs(other.std / solved.std - 1)) < 0.2


def test_the_draw_of_the_noise_is_the_same_in_another_process(tmp_path):
    script = tmp_path / "draw.py"
    script.write_text(
        "import torch, solver_frames as sim\n"
        "from sciSR.fusion.forward import Canvas\n"
        "from sciSR.fusion.map import gather\n"
        "torch.set_num_threads(1)\n"
        "frames = sim.observe(sim.sky(16, seed=3), 16, sim.shifts(2, seed=4))\n"
        "print(gather(frames, Canvas.around(sim.target(16)), seed=7).noise[0].double().sum().item().hex())\n"
    )
    here = gather(
        sim.observe(sim.sky(16, seed=3), 16, sim.shifts(2, seed=4)), Canvas.around(sim.target(16)), seed=7
    )
    path = ":".join(p for p in sys.path if p)
    found = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": path, "PYTHONHASHSEED": "123", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == here.noise[0].double().sum().item().hex()


def test_the_error_grows_where_fewer_frames_tell(field):
    frames, _ = field
    half = [
        replace(f, bad=f.bad | (np.arange(SIZE) > 32)[None]) if k >= 3 else f for k, f in enumerate(frames)
    ]
    found = solve(half, sim.target(SIZE), fwhm=FWHM)
    faint = found.image < np.median(found.image)
    left, right = np.s_[20:-20, 12:50], np.s_[20:-20, 80:-12]
    assert np.median(found.std[right][faint[right]]) > 1.2 * np.median(found.std[left][faint[left]])
    assert np.median(found.weight[right]) < 0.5 * np.median(found.weight[left])
    assert found.coverage[64, 100] <= 3


def test_where_no_frame_has_anything_it_is_nan():
    frames = sim.observe(sim.sky(48, seed=3), 48, sim.shifts(5, seed=4, reach=1), seed=5)
    hole = np.zeros((48, 48), dtype=bool)
    hole[16:32, 16:32] = True
    found = solve([replace(f, bad=hole) for f in frames], sim.target(48))
    assert np.isnan(found.image[44:52, 44:52]).all()
    assert np.isnan(found.std[44:52, 44:52]).all()
    assert (found.coverage[44:52, 44:52] == 0).all()
    assert np.isfinite(found.image[:24, :24]).all()


def test_frames_twice_as_noisy_give_errors_twice_as_large(field):
    frames, _ = field
    scaled = [replace(f, values=4 * f.values, variance=16 * f.variance) for f in frames]
    one, four = (solve(f, sim.target(SIZE), fwhm=FWHM) for f in (frames, scaled))
    np.testing.assert_allclose(four.image, 4 * one.image, rtol=1e-3, atol=0.02 * float(one.std.min()))
    np.testing.assert_allclose(four.std, 4 * one.std, rtol=0.01)
    np.testing.assert_allclose(four.weight, one.weight / 16, rtol=1e-4)


def test_no_errors_asked_for_none_given(field, solved):
    frames, _ = field
    quick = solve(frames, sim.target(SIZE), fwhm=FWHM, errors=False)
    assert np.isnan(quick.std).all()
    np.testing.assert_array_equal(quick.image, solved.image)


def test_what_was_learnt_of_the_same_frames_does_not_change_the_result(field, solved):
    frames, _ = field
    memory: dict = {}
    solve(frames, sim.target(SIZE), fwhm=FWHM, errors=False, tolerance=1e-3, memory=memory)
    warm = solve(frames, sim.target(SIZE), fwhm=FWHM, memory=memory)
    difference = (warm.image - solved.image) / solved.std
    assert np.sqrt(np.mean(difference**2)) < 0.35


def test_nonsense_is_refused(field):
    frames, _ = field
    with pytest.raises(UsageError, match=r"no prior is called 'best'.*tikhonov"):
        solve(frames, sim.target(SIZE), prior="best")
    with pytest.raises(UsageError, match="no frame to fuse"):
        solve([], sim.target(SIZE))
    with pytest.raises(UsageError, match="no frame overlaps"):
        solve([replace(frames[0], transform=Affine.shift(500, 0))], sim.target(SIZE))
