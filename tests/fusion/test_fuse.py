"""The whole fusion, from raw frames to the product: what it promises of level, order, unit and scale."""

from __future__ import annotations

from fractions import Fraction

import core_frames as core
import numpy as np
import pytest
import solver_frames as sim
import torch

import sciSR
from sciSR.errors import SciSRWarning, UsageError
from sciSR.image import Image
from sciSR.sequence import FrameSequence, NoiseModel

torch.set_num_threads(1)

SIZE = 64
INNER = (slice(12, -12),) * 2


@pytest.fixture(scope="module")
def scene():
    return sim.sky(SIZE, seed=3)


@pytest.fixture(scope="module")
def arrays(scene):
    return core.exposures(scene, sim.shifts(6, seed=4), SIZE, seed=5)


@pytest.fixture(scope="module")
def fused(arrays):
    return sciSR.fuse(core.frames_of(arrays), 2, reference=0, device="cpu", context=True, half_sets=True)


def rms_sigma(one: np.ndarray, other: np.ndarray, std: np.ndarray) -> float:
    left = ((one - other) / std)[INNER]
    return float(np.sqrt(np.nanmean(left**2)))


def test_it_recovers_the_scene_far_better_than_drizzle(scene, arrays, fused):
    truth = core.truth(scene, SIZE)
    drizzled = core.values(sciSR.fuse(core.frames_of(arrays), 2, "drizzle", reference=0, device="cpu"))
    assert sim.psnr(core.values(fused), truth) > sim.psnr(np.nan_to_num(drizzled, nan=core.SKY), truth) + 6


def test_its_errors_are_never_too_small(scene, fused):
    left = (core.values(fused) - core.truth(scene, SIZE))[INNER]
    assert 0.63 < sim.within(left, core.errors(fused)[INNER]) < 0.88
    assert sim.within(left, core.errors(fused)[INNER], 3) > 0.98


def test_the_product_is_complete(arrays, fused):
    assert fused.image.shape == fused.weight.shape == fused.coverage.shape == (2 * SIZE, 2 * SIZE)
    assert core.values(fused).dtype == np.float32
    assert fused.image.grid.factors == (Fraction(2), Fraction(2))
    assert [r.name for r in fused.records] == [f"frame {k}" for k in range(6)]
    assert all(r.used for r in fused.records)
    assert [r.reference for r in fused.records] == [True, *[False] * 5]
    np.testing.assert_array_equal(np.asarray(fused.image.mask), ~np.isfinite(core.values(fused)))
    assert fused.settings["method"] == "map"
    assert fused.report["frames_used"] == 6
    assert fused.report["frc"]
    bits = fused.context.view(np.uint32)
    np.testing.assert_array_equal(
        sum((bits >> np.uint32(k)) & 1 for k in range(6)).sum(axis=0), fused.coverage
    )


def test_the_transforms_are_those_of_the_simulation(fused):
    for record, move in zip(fused.records, sim.shifts(6, seed=4), strict=True):
        matrix = np.array(record.matrix).reshape(2, 3)
        centre = np.array([SIZE / 2, SIZE / 2])
        assert np.abs(matrix[:, :2] @ centre + matrix[:, 2] - centre - move).max() < 0.03


def test_the_order_of_the_frames_does_not_matter(arrays, fused):
    turned = core.frames_of(arrays[::-1])
    again = sciSR.fuse(turned, 2, reference=5, device="cpu")
    assert rms_sigma(core.values(again), core.values(fused), core.errors(fused)) < 0.15


def test_another_unit_and_another_pedestal_change_only_the_unit_and_the_level(arrays, fused):
    # Counts of 4 electrons over a bias of 1000; powers of two, so that the simulated pixels stay exact.
    other = core.frames_of([a / 4 + 1000 for a in arrays], noise=NoiseModel(4.0, core.READ_NOISE, 1000.0))
    again = sciSR.fuse(other, 2, reference=0, device="cpu")
    assert rms_sigma((core.values(again) - 1000) * 4, core.values(fused), core.errors(fused)) < 0.1
    ratio = core.errors(again)[INNER] * 4 / core.errors(fused)[INNER]
    assert np.median(ratio) == pytest.approx(1, abs=0.02)


def test_errors_of_the_file_scale_with_the_unit(scene):
    clean = core.exposures(scene, sim.shifts(5, seed=4), SIZE, seed=5)
    sigma = [np.sqrt(np.maximum(c, 1) + core.READ_NOISE**2) for c in clean]

    def run(a: float) -> sciSR.Image:
        images = [Image.from_array(a * v, uncertainty=a * s) for v, s in zip(clean, sigma, strict=True)]
        frames = [sciSR.sequence.Frame(i, f"frame {k}") for k, i in enumerate(images)]
        return sciSR.fuse(FrameSequence(tuple(frames)), 2, reference=0, device="cpu")

    one, eight = run(1.0), run(8.0)
    assert rms_sigma(core.values(eight) / 8, core.values(one), core.errors(one)) < 0.1
    assert np.median(core.errors(eight) / core.errors(one)) == pytest.approx(8, rel=0.02)


def test_the_same_frames_give_the_same_result_bit_for_bit(arrays, fused):
    again = sciSR.fuse(core.frames_of(arrays), 2, reference=0, device="cpu")
    np.testing.assert_array_equal(core.values(again), core.values(fused))
    np.testing.assert_array_equal(core.errors(again), core.errors(fused))


def test_the_fine_pixels_of_a_native_pixel_sum_to_a_total_and_keep_a_density(arrays, fused):
    total = sciSR.fuse(core.frames_of(arrays, {"quantity": "total"}), 2, reference=0, device="cpu")
    np.testing.assert_allclose(core.values(total) * 4, core.values(fused), rtol=1e-4)
    np.testing.assert_allclose(core.errors(total) * 4, core.errors(fused), rtol=1e-3)
    np.testing.assert_allclose(total.weight, fused.weight * 16, rtol=1e-3)
    shared = core.values(total).reshape(SIZE, 2, SIZE, 2).sum(axis=(1, 3))
    native = arrays[0][INNER]
    assert np.median(shared[INNER] - native) == pytest.approx(0, abs=2)
    assert any("per pixel" in note for note in total.notes)


@pytest.mark.parametrize("scale", [1, 1.5, 3, (2, 1)])
def test_other_scales_and_one_for_each_axis(scene, arrays, scale):
    out = sciSR.fuse(core.frames_of(arrays), scale, reference=0, device="cpu")
    rows, columns = scale if isinstance(scale, tuple) else (scale, scale)
    shape = (round(SIZE * rows), round(SIZE * columns))
    assert out.image.shape == shape
    image = core.values(out)
    assert np.isfinite(image).all()
    # Light and level: the mean over the field is the scene's.
    native = scene.pixels((SIZE, SIZE)) + core.SKY
    cut = [slice(round(12 * s), -round(12 * s)) for s in (rows, columns)]
    assert image[tuple(cut)].mean() == pytest.approx(native[INNER].mean(), rel=0.01)


def test_three_frames_are_enough(scene, arrays):
    out = sciSR.fuse(core.frames_of(arrays[:3]), 2, reference=0, device="cpu")
    single = np.kron(arrays[0], np.ones((2, 2)))
    truth = core.truth(scene, SIZE)
    assert sim.psnr(core.values(out), truth) > sim.psnr(single, truth) + 3


def test_cosmic_rays_and_hot_pixels_leave_no_trace(scene, arrays, fused):
    random = np.random.default_rng(8)
    spoilt = [a.copy() for a in arrays]
    hot = random.integers(2, SIZE - 2, (12, 2))
    for a in spoilt:
        a[tuple(hot.T)] += 4000
        a[tuple(random.integers(2, SIZE - 2, (12, 2)).T)] += 3000
    out = sciSR.fuse(core.frames_of(spoilt), 2, reference=0, device="cpu")
    left = np.abs(core.values(out) - core.values(fused))[INNER] / core.errors(out)[INNER]
    assert (left > 6).mean() < 2e-3
    assert sum(r.rejected + r.bad for r in out.records) >= 12 * 6


def test_one_frame_is_averaged_and_the_user_told(arrays):
    with pytest.warns(SciSRWarning, match="only one frame: there is no resolution to gain"):
        out = sciSR.fuse(core.frames_of(arrays[:1]), 2, device="cpu")
    assert out.settings["method"] == "mean"
    assert any("only one frame" in note for note in out.notes)
    assert np.nanmedian(core.values(out)) == pytest.approx(float(np.median(arrays[0])), rel=0.02)


def test_frames_at_the_same_place_are_averaged_and_the_user_told(scene):
    still = core.exposures(scene, np.zeros((5, 2)), SIZE, seed=6)
    with pytest.warns(SciSRWarning, match="sample the sky at the same places"):
        out = sciSR.fuse(core.frames_of(still), 2, device="cpu")
    assert out.settings["method"] == "mean"
    level = np.mean(still, axis=0)
    shared = core.values(out).reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3))
    assert np.median(np.abs(shared - level)[INNER]) < 10


def test_mixed_exposures_are_brought_to_the_reference_s(scene, fused):
    times = [1.0, 2.0, 0.5, 1.0, 2.0, 1.0]
    mixed = core.frames_of(core.exposures(scene, sim.shifts(6, seed=4), SIZE, seed=5, times=times))
    for k, time in enumerate(times):
        mixed = core.replaced(mixed, k, exposure=10 * time)
    with pytest.warns(SciSRWarning, match="exposures from 5 to 20 s: scaled"):
        out = sciSR.fuse(mixed, 2, reference=0, device="cpu")
    for record, time in zip(out.records, times, strict=True):
        assert record.gain == pytest.approx(time, rel=0.02)
    assert rms_sigma(core.values(out), core.values(fused), core.errors(fused)) < 2


def test_mixed_filters_are_warned_of(arrays):
    mixed = core.replaced(core.frames_of(arrays, filter="R"), 1, filter="V")
    with pytest.warns(SciSRWarning, match=r"2 filters \(R, V\): their colours mix"):
        out = sciSR.fuse(mixed, 2, "mean", device="cpu")
    assert any("colours mix" in note for note in out.notes)


def test_nonsense_is_refused(arrays):
    frames = core.frames_of(arrays)
    for wrong, message in (
        ({"method": "best"}, "no method of fusion is called 'best'"),
        ({"method": "drizzle", "deconvolve": True}, "only the map method deconvolves"),
        ({"scale": 0.5}, "scale"),
        ({"reference": 9}, "there is no frame 9"),
        ({"reference": "x.fits"}, "no frame is called 'x.fits'"),
        ({"prior": "best"}, "no prior is called 'best'"),
        ({"method": "mean", "prior": "tv"}, "no setting prior"),
    ):
        with pytest.raises(UsageError, match=message):
            sciSR.fuse(frames, **{"scale": 2, "device": "cpu", **wrong})
