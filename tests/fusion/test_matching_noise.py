"""Weights come from what is expected of a pixel, not from what it happens to read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_scene import READ, SKY, Scene, sequence

from sciSR.fusion.matching import (
    calibrate_noise,
    fit_noise,
    frame_variance,
    sky_noise,
    weighting_variance,
)
from sciSR.sequence import FramePixels

SCENE = Scene(number=100)
EXPECTED = SCENE.clean() + np.float32(SKY)
NOTHING = np.zeros(EXPECTED.shape, bool)


def test_the_model_is_applied_to_the_expectation():
    frame = sequence([SCENE.observe(np.random.default_rng(0))])[0]
    np.testing.assert_allclose(frame_variance(frame, frame.read(), EXPECTED), EXPECTED + READ**2, rtol=1e-5)


def test_weights_do_not_follow_the_noise():
    """The weighted mean of many frames is unbiased; with variance from the pixels themselves it is not."""
    rng = np.random.default_rng(1)
    top, bottom, own_top, own_bottom = 0.0, 0.0, 0.0, 0.0
    level = np.full((64, 64), np.float32(20.0))
    for _ in range(40):
        values = (rng.poisson(level) + rng.normal(0, READ, level.shape)).astype(np.float32)
        frame = sequence([values])[0]
        weight = 1 / frame_variance(frame, frame.read(), level)
        own = 1 / frame.noise.variance(values)
        top, bottom = top + np.sum(weight * values), bottom + np.sum(weight)
        own_top, own_bottom = own_top + np.sum(own * values), own_bottom + np.sum(own)
    assert abs(top / bottom / 20 - 1) < 0.003
    assert own_top / own_bottom / 20 - 1 < -0.03


def test_a_files_variance_loses_its_own_noise():
    values = SCENE.observe(np.random.default_rng(2))
    frame = sequence([values])[0]
    told = FramePixels(values, NOTHING, values + np.float32(READ**2))
    ratio = frame_variance(frame, told, EXPECTED) / (EXPECTED + READ**2)
    assert np.std(ratio) < 0.1 * np.std(told.variance / (EXPECTED + READ**2))


def test_a_files_smooth_variance_is_believed():
    values = SCENE.observe(np.random.default_rng(3))
    told = FramePixels(values, NOTHING, np.full(values.shape, 300, np.float32))
    np.testing.assert_array_equal(frame_variance(sequence([values])[0], told, EXPECTED), 300)


@settings(max_examples=10)
@given(gain=st.floats(0.3, 5), read=st.floats(2, 20), seed=st.integers(0, 99))
def test_noise_is_measured_where_nobody_tells(gain, read, seed):
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(EXPECTED) + rng.normal(0, read, EXPECTED.shape)
    fit = fit_noise(electrons / gain - EXPECTED / gain, EXPECTED / gain, NOTHING)
    truth = (EXPECTED + read**2) / gain**2
    ratio = fit.variance(EXPECTED / gain) / truth
    assert abs(np.median(ratio) - 1) < 0.06
    assert abs(ratio[EXPECTED > 1000].mean() - 1) < 0.35


def test_errors_of_the_prediction_are_not_taken_for_photons():
    rng = np.random.default_rng(4)
    level = 10 ** rng.uniform(2, 5, (128, 128))
    residual = rng.normal(0, np.sqrt(level + 100)) + 0.05 * level * rng.standard_normal(level.shape)
    fit = fit_noise(residual, level, np.zeros(level.shape, bool))
    assert fit.model_error == pytest.approx(0.05, rel=0.15)
    assert 0.5 < fit.slope < 2.2


def test_sky_noise_ignores_smooth_structure_and_stars():
    values = SCENE.observe(np.random.default_rng(5)) + np.linspace(0, 50, SCENE.size)[None, :]
    found = sky_noise(FramePixels(values.astype(np.float32), NOTHING))
    assert found.sky == pytest.approx(SKY + READ**2, rel=0.2)


@settings(max_examples=8)
@given(factor=st.floats(0.3, 3))
def test_a_wrong_noise_is_told_by_how_much(factor):
    rng = np.random.default_rng(6)
    variance = EXPECTED + READ**2
    residual = rng.normal(0, np.sqrt(variance * factor))
    scale = calibrate_noise(residual, variance, EXPECTED, NOTHING)
    assert scale.overall == pytest.approx(factor, rel=0.06)
    assert np.all(np.abs(scale.factor(EXPECTED) / factor - 1) < 0.5)


def test_variance_is_positive_whatever_happens():
    values = np.full((64, 64), -50, np.float32)
    frame = sequence([values])[0]
    for pixels in (
        frame.read(),
        FramePixels(values, np.ones(values.shape, bool)),
        FramePixels(values, NOTHING[:64, :64], np.zeros(values.shape, np.float32)),
    ):
        variance = frame_variance(frame, pixels)
        assert variance.dtype == np.float32
        assert np.all(variance > 0)
        assert np.all(np.isfinite(variance))
    bare = sequence([values], noise=False)[0]
    assert np.all(frame_variance(bare, bare.read()) > 0)


def test_all_pixels_of_a_star_share_one_weight():
    """A star's core and its wings, two pixels away, weigh about the same; frames still compare as they are."""
    variance = EXPECTED + np.float32(READ**2)
    smooth = weighting_variance(variance, NOTHING)
    row, column = np.unravel_index(np.argmax(variance), variance.shape)
    assert variance[row, column] > 20 * variance[row, column - 3]
    assert smooth[row, column] < 1.6 * smooth[row, column - 3]
    np.testing.assert_allclose(weighting_variance(4 * variance, NOTHING), 4 * smooth, rtol=1e-3)
    np.testing.assert_allclose(weighting_variance(np.full_like(variance, 7), NOTHING), 7, rtol=1e-5)


def test_weights_ignore_the_variance_of_bad_pixels():
    variance = np.full((64, 64), 9, np.float32)
    bad = np.zeros(variance.shape, bool)
    bad[20:40, 20:40] = True
    variance[bad] = np.inf
    variance[20, 20] = 0
    np.testing.assert_allclose(weighting_variance(variance, bad), 9, rtol=1e-4)
    assert np.all(weighting_variance(variance, np.ones_like(bad)) == 1)
