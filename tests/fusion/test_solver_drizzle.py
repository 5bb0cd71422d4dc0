"""Drizzle is the package's drizzle, with its context, coverage and variance."""

from __future__ import annotations

import numpy as np
import pytest
import solver_frames as sim
import torch
from drizzle.resample import Drizzle
from drizzle.utils import decode_context

from sciSR.errors import UsageError
from sciSR.fusion.solvers.drizzle import drizzle_weight, solve
from sciSR.fusion.transforms import Affine

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def frames():
    return sim.observe(sim.sky(48, seed=1), 48, sim.shifts(6, seed=2), seed=3, bad=0.01)


def by_hand(frames, kernel: str, pixfrac: float) -> Drizzle:
    plane = Drizzle(kernel=kernel, out_shape=(96, 96), max_ctx_id=len(frames) - 1)
    rows, columns = np.mgrid[:48, :48].astype(float)
    for f in frames:
        move = f.transform.offset
        x, y = ((p - d + 0.5) * 2 - 0.5 for p, d in ((columns, move[1]), (rows, move[0])))
        plane.add_image(
            f.values,
            exptime=1.0,
            pixmap=np.dstack([x, y]),
            data2=f.variance,
            weight_map=drizzle_weight(f),
            pixfrac=pixfrac,
            pixel_scale_ratio=0.5,
            in_units="cps",
        )
    return plane


@pytest.mark.parametrize(
    ("kernel", "pixfrac"),
    [("square", 1.0), ("square", 0.6), ("point", 1.0), ("turbo", 0.8), ("gaussian", 1.0), ("lanczos3", 1.0)],
)
@pytest.mark.filterwarnings("ignore:Kernel .* is not a flux-conserving kernel")
def test_it_gives_what_the_package_gives_when_called_by_hand(frames, kernel, pixfrac):
    found = solve(frames, sim.target(48), kernel=kernel, pixfrac=pixfrac)
    reference = by_hand(frames, kernel, pixfrac)
    some = reference.out_wht != 0
    np.testing.assert_allclose(found.image[some], reference.out_img[some], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.std[some] ** 2, reference.out_img2[0][some], rtol=1e-5)
    np.testing.assert_allclose(found.weight, 4 * reference.out_wht, rtol=1e-6)
    np.testing.assert_array_equal(found.context, reference.out_ctx)


def test_weights_follow_the_sky_and_leave_out_the_bad(frames):
    vignetted = np.linspace(1, 4, 96)[None, :] * np.ones((96, 96))
    vignetted[40:43, 50:53] += 5000  # a star's photons
    bad = np.zeros((96, 96), dtype=bool)
    bad[10, 10] = True
    weight = drizzle_weight(sim.frame(np.zeros((96, 96)), vignetted, Affine.identity(), bad))
    assert weight[10, 10] == 0
    assert weight[41, 51] == pytest.approx(1 / np.linspace(1, 4, 96)[51], rel=0.05)
    assert weight[60, 16] == pytest.approx(1 / np.linspace(1, 4, 96)[16], rel=0.1)


def test_context_bits_and_coverage_are_the_frames_that_lie_there():
    """With the point kernel a frame contributes exactly where a good pixel's centre falls."""
    # Unshifted pixels' centres would fall on edges of the fine ones.
    frames = sim.observe(sim.sky(24, seed=1), 24, sim.shifts(41, seed=2)[1:], seed=3, bad=0.05)
    found = solve(frames, sim.target(24), kernel="point", context=True)
    assert found.context.shape == (2, 48, 48)
    truth = np.zeros((40, 48, 48), dtype=bool)
    for k, f in enumerate(frames):
        rows, columns = np.nonzero(~f.bad)
        at = np.stack([rows, columns], axis=-1) - f.transform.offset
        fine = np.rint((at + 0.5) * 2 - 0.5).astype(int)
        inside = ((fine >= 0) & (fine < 48)).all(axis=-1)
        truth[k, fine[inside, 0], fine[inside, 1]] = True
    np.testing.assert_array_equal(found.coverage, truth.sum(0))
    for row, column in np.random.default_rng(0).integers(0, 48, (50, 2)):
        np.testing.assert_array_equal(
            decode_context(found.context, int(column), int(row))[0], np.flatnonzero(truth[:, row, column])
        )


def test_more_frames_than_a_context_plane_holds_are_merged_rightly():
    frames = sim.observe(sim.sky(48, seed=1), 48, sim.shifts(70, seed=2), seed=3, bad=0.01)
    found = solve(frames, sim.target(48), pixfrac=0.8)
    reference = by_hand(frames, "square", 0.8)
    np.testing.assert_allclose(found.image, reference.out_img, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(found.std**2, reference.out_img2[0], rtol=1e-3)
    np.testing.assert_allclose(found.weight, 4 * reference.out_wht, rtol=1e-4)


def test_the_context_is_kept_only_while_it_is_small():
    frames = sim.observe(sim.sky(16, seed=1), 16, sim.shifts(33, seed=2), seed=3)
    assert solve(frames, sim.target(16)).context is None
    assert solve(frames[:32], sim.target(16)).context is not None
    assert solve(frames[:2], sim.target(16), context=False).context is None


def test_its_std_is_that_of_the_noise():
    scene, moves = sim.sky(96, seed=1), sim.shifts(8, seed=2)
    quiet, noisy = (sim.observe(scene, 96, moves, seed=3, noise=n) for n in (False, True))
    clean, found = (solve(f, sim.target(96), pixfrac=0.7) for f in (quiet, noisy))
    assert sim.within(found.image - clean.image, found.std) == pytest.approx(0.683, abs=0.015)


def test_small_drops_leave_holes_that_are_named():
    frames = sim.observe(sim.sky(24, seed=1), 24, sim.shifts(2, seed=2), seed=3)
    found = solve(frames, sim.target(24, 3), pixfrac=0.2)
    holes = found.coverage == 0
    assert holes.mean() > 0.3
    assert np.isnan(found.image[holes]).all()
    assert np.isfinite(found.image[~holes]).all()
    assert (found.weight[holes] == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"kernel": "cubic"}, "use one of square"), ({"pixfrac": 0}, "pixfrac"), ({"pixfrac": 1.5}, "pixfrac")],
)
def test_settings_that_make_no_sense_are_refused(frames, settings, message):
    with pytest.raises(UsageError, match=message):
        solve(frames, sim.target(48), **settings)
