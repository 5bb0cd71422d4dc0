"""Straight trails are masked whole; frames without any lose nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_scene import SKY, Scene

from sciSR.fusion.matching import find_trails

SCENE = Scene()
NOTHING = np.zeros((SCENE.size, SCENE.size), bool)


def residual(seed):
    rng = np.random.default_rng(seed)
    return SCENE.observe(rng) - np.float32(SKY) - SCENE.clean()


def streak(angle, through, height, width, size=SCENE.size):
    """A trail's light, and each pixel's distance from it."""
    y, x = np.mgrid[:size, :size]
    across = (y - through[0]) * np.cos(angle) + (x - through[1]) * np.sin(angle)
    return (height * np.exp(-0.5 * (across / width) ** 2)).astype(np.float32), np.abs(across)


@settings(max_examples=12)
@given(
    angle=st.floats(0, np.pi),
    row=st.floats(35, 90),
    column=st.floats(35, 90),
    height=st.floats(30, 3000),
    width=st.floats(0.8, 3),
)
def test_a_trail_is_masked_over_its_whole_length(angle, row, column, height, width):
    light, across = streak(angle, (row, column), height, width)
    mask, trails = find_trails(residual(0) + light, SCENE.variance() + light, NOTHING)
    assert len(trails) >= 1
    assert np.mean(mask[light > 0.5 * np.sqrt(SKY)]) > 0.97
    assert np.count_nonzero(mask & (across > 5 * width + 4)) < 0.03 * mask.size


def test_frames_without_trails_lose_nothing():
    for seed in range(20):
        mask, trails = find_trails(residual(seed), SCENE.variance(), NOTHING)
        assert trails == ()
        assert not mask.any()


def test_cosmic_rays_and_badly_predicted_stars_make_no_trail():
    rng = np.random.default_rng(1)
    values = residual(1)
    values += 0.2 * (SCENE.clean((0.3, 0.2)) - SCENE.clean())
    values[rng.random(values.shape) < 0.003] += 5000
    for k in range(8):
        values[40, 50 + k] += 8000
    assert find_trails(values, SCENE.variance(), NOTHING)[1] == ()


def test_two_trails_are_two():
    first, _ = streak(0.4, (60, 60), 100, 1.2)
    second, _ = streak(1.9, (40, 80), 150, 1.5)
    mask, trails = find_trails(residual(2) + first + second, SCENE.variance() + first + second, NOTHING)
    assert len(trails) == 2
    assert np.mean(mask[(first > 10) | (second > 10)]) > 0.97


def test_a_trail_that_begins_in_the_frame_is_masked_where_it_is():
    light, _ = streak(0.7, (64, 64), 200, 1.2, 192)
    scene = Scene(size=192, number=80)
    y, x = np.mgrid[:192, :192]
    along = (x - 64) * np.cos(0.7) - (y - 64) * np.sin(0.7)
    light[along < -5] = 0
    rng = np.random.default_rng(3)
    values = scene.observe(rng) - np.float32(SKY) - scene.clean() + light
    mask, trails = find_trails(values, scene.variance() + light, np.zeros(light.shape, bool))
    assert len(trails) == 1
    assert np.mean(mask[light > 20]) > 0.97
    # A sixteenth of the line's length, and the rest of the piece in which it begins, may go with it.
    assert not mask[along < -5 - 2 * 192 * np.sqrt(2) / 16].any()


@pytest.mark.parametrize("shape", [(128, 200), (300, 90), (20, 20)])
def test_any_shape_will_do(shape):
    rng = np.random.default_rng(4)
    values = rng.normal(0, 10, shape).astype(np.float32)
    values += 60 * (np.abs(np.arange(shape[1])[None, :] - 0.3 * np.arange(shape[0])[:, None] - 10) < 1.5)
    mask, trails = find_trails(values, np.full(shape, 100, np.float32), np.zeros(shape, bool))
    assert len(trails) == (min(shape) > 30)
    assert mask.shape == shape


def test_nothing_is_found_in_bad_pixels():
    light, across = streak(0.4, (60, 60), 300, 1.2)
    assert find_trails(residual(5) + light, SCENE.variance(), across < 8)[1] == ()
    assert not find_trails(residual(5), SCENE.variance(), ~NOTHING)[0].any()
