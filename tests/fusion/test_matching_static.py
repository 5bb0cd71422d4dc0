"""Detector defects are told from stars because the sky moves and they do not."""

import numpy as np
import pytest
from matching_scene import READ, Scene, cores, sequence, shifts

from sciSR.fusion.matching import PersistentResiduals, rough_offsets, static_bad_pixels
from sciSR.fusion.transforms import Affine

SCENE = Scene(number=120)


def observed(where, seed=0, hot_share=0.004):
    """Frames with hot and dead pixels; and where these are."""
    rng = np.random.default_rng(seed)
    defect = rng.random((SCENE.size, SCENE.size))
    hot, dead = defect < hot_share, defect > 1 - hot_share / 4
    excess = np.where(hot, rng.uniform(300, 25_000, hot.shape), 0)
    images = []
    for shift in where:
        image = SCENE.observe(rng, shift) + excess
        image[dead] = 0
        hits = rng.random(hot.shape) < 1e-3
        image[hits] += 5000
        images.append(image.astype(np.float32))
    return images, hot, dead


@pytest.mark.parametrize("number", [6, 12])
@pytest.mark.parametrize("noise", [True, False])
def test_every_defect_is_found_and_no_star(number, noise):
    where = shifts(number)
    images, hot, dead = observed(where)
    found = static_bad_pixels(sequence(images, noise), np.array(where))
    assert np.array_equal(found.mask & (hot | dead), hot | dead)
    assert np.count_nonzero(found.mask & ~(hot | dead)) <= 2
    assert found.hot + found.dead == np.count_nonzero(found.mask)


def test_warm_pixels_of_four_sigma_are_found():
    where = shifts(14)
    images, _, _ = observed(where, hot_share=0)
    rng = np.random.default_rng(1)
    warm = (rng.random(images[0].shape) < 0.003) & ~cores(SCENE, (0, 0))
    images = [i + 4.5 * np.sqrt(SCENE.variance(s)) * warm for i, s in zip(images, where, strict=True)]
    found = static_bad_pixels(sequence(images), np.array(where))
    assert np.count_nonzero(found.mask & warm) > 0.9 * warm.sum()
    assert np.count_nonzero(found.mask & ~warm) <= 2


def test_no_star_is_taken_for_a_hot_pixel_where_nothing_moved():
    images, _, _ = observed([(0.0, 0.0)] * 8)
    found = static_bad_pixels(sequence(images), np.zeros((8, 2)))
    assert not found.mask.any()
    assert "can't be told from stars" in found.note
    # Nor where the shifts have to be measured: hot pixels do not pretend to be the sky.
    assert not static_bad_pixels(sequence(images)).mask.any()


def test_many_frames_at_one_place_do_not_outvote_the_dithers():
    """Twenty frames here, one at each of five other places: a percentile over all would take the stars."""
    where = [(0.0, 0.0)] * 20 + shifts(6)[1:]
    images, hot, dead = observed(where)
    found = static_bad_pixels(sequence(images), np.array(where))
    assert not (found.mask & cores(SCENE, (0, 0)) & ~(hot | dead)).any()
    assert np.count_nonzero(found.mask & hot) > 0.97 * hot.sum()


def test_three_frames_are_too_few():
    images, _, _ = observed(shifts(3))
    assert "too few" in static_bad_pixels(sequence(images)).note


def test_frames_that_were_not_registered_are_left_aside():
    where = shifts(8)
    images, hot, dead = observed(where)
    images[3] = np.full_like(images[3], 1e4)
    transforms = [Affine.shift(*s) if k != 3 else None for k, s in enumerate(where)]
    found = static_bad_pixels(sequence(images), transforms)
    assert np.array_equal(found.mask & (hot | dead), hot | dead)


def test_known_defects_are_kept():
    known = np.zeros((SCENE.size, SCENE.size), bool)
    known[5, 6] = True
    images, _, _ = observed(shifts(6))
    assert static_bad_pixels(sequence(images), known=known).mask[5, 6]
    assert static_bad_pixels(sequence(images[:2]), known=known).mask[5, 6]


def test_bands_of_rows_find_the_same(monkeypatch):
    where = shifts(7)
    images, _, _ = observed(where)
    whole = static_bad_pixels(sequence(images), np.array(where)).mask
    monkeypatch.setattr("sciSR.fusion.matching.static._MEMORY", 1)
    np.testing.assert_array_equal(static_bad_pixels(sequence(images), np.array(where)).mask, whole)


def test_a_spike_along_the_drift_is_no_defect():
    """A star's spike that slides along itself stays on the same pixels, like a bad column."""
    where = [(2.0 * k, 0.0) for k in range(8)]
    images, hot, dead = observed(where)
    for k, image in enumerate(images):
        image[10 + 2 * k : 90 + 2 * k, 64] += 300
    found = static_bad_pixels(sequence(images), np.array(where))
    assert np.count_nonzero(found.mask[30:85, 64] & ~(hot | dead)[30:85, 64]) == 0
    assert np.count_nonzero(found.mask & hot) > 0.9 * hot.sum()


def test_shifts_are_measured_in_spite_of_hot_pixels():
    where = shifts(6)
    images, _, _ = observed(where, hot_share=0.01)
    assert np.abs(rough_offsets(sequence(images)) - np.array(where)).max() <= 1.0


def test_frames_with_nothing_in_common_have_no_shift():
    rng = np.random.default_rng(0)
    images = [rng.normal(100, 10, (96, 96)).astype(np.float32) for _ in range(4)]
    assert np.isnan(rough_offsets(sequence(images))[1:]).all()


def test_defects_below_the_noise_show_in_the_mean_residual():
    where = shifts(25)
    rng = np.random.default_rng(2)
    warm = rng.random((SCENE.size, SCENE.size)) < 0.003
    column = 40
    held = PersistentResiduals(warm.shape)
    for shift in where:
        extra = (2.0 * warm + 0.6 * (np.arange(SCENE.size) == column)) * np.sqrt(SCENE.variance(shift))
        residual = SCENE.observe(rng, shift) + extra - SCENE.clean(shift) - np.float32(SCENE.sky)
        residual[rng.random(warm.shape) < 1e-3] += 5000
        held.add(residual, SCENE.variance(shift), np.zeros(warm.shape, bool))
    mask = held.mask()
    assert np.count_nonzero(mask & warm) > 0.95 * warm.sum()
    off_column = np.arange(SCENE.size)[None, :] != column
    assert np.count_nonzero(mask & ~warm & off_column) <= 1
    assert held.lines(1).tolist() == [column]
    assert held.lines(0).size == 0


def test_few_frames_prove_no_defect():
    held = PersistentResiduals((16, 16))
    for _ in range(3):
        held.add(np.full((16, 16), 100 * READ), np.ones((16, 16)), np.zeros((16, 16), bool))
    assert not held.mask().any()
