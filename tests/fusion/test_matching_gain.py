"""A frame is brought to the level of the reference, whatever its transparency and sky."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_scene import SKY, Scene, prepared, shifts

from sciSR.errors import UsageError
from sciSR.fusion.matching import match_frame, median_stack
from sciSR.fusion.matching.stack import sample_image
from sciSR.fusion.transforms import Affine, frame_positions

SCENE = Scene()
NOTHING = np.zeros((SCENE.size, SCENE.size), dtype=bool)


def sampled_reference(rng, shift):
    """A noisy reference frame without its sky, interpolated to a shifted frame's pixels."""
    reference = SCENE.observe(rng) - np.float32(SKY)
    where = frame_positions(Affine.shift(*shift), slice(0, SCENE.size), SCENE.size)
    return sample_image(reference, NOTHING, where)


@settings(max_examples=12)
@given(
    gain=st.floats(0.2, 4.0),
    level=st.floats(-200, 4000),
    slopes=st.tuples(st.floats(-60, 60), st.floats(-60, 60)),
    seed=st.integers(0, 1000),
)
def test_gain_and_background_are_recovered_from_a_clean_prediction(gain, level, slopes, seed):
    rng = np.random.default_rng(seed)
    shift = tuple(rng.uniform(-3, 3, 2))
    y, x = np.meshgrid(*[(np.arange(SCENE.size) + 0.5) / SCENE.size - 0.5] * 2, indexing="ij")
    plane = level + slopes[0] * y + slopes[1] * x
    frame = gain * (SCENE.observe(rng, shift) - SKY) + plane
    variance = gain**2 * SCENE.variance(shift)
    match = match_frame(
        frame.astype(np.float32), NOTHING, variance, SCENE.clean(shift), NOTHING, kind="plane"
    )
    assert match.measured
    assert abs(match.gain - gain) < 5 * match.gain_error
    assert match.gain_error < 0.004 * gain
    sky_noise = gain * np.sqrt(SKY + 25)
    assert np.abs(match.background.evaluate() - plane).mean() < 0.06 * sky_noise
    assert abs(match.background.evaluate().mean() - plane.mean()) < 0.04 * sky_noise


def test_noise_in_the_prediction_does_not_dilute_the_gain():
    """The slope of an ordinary regression would be low by the prediction's share of noise."""
    errors = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shift = tuple(rng.uniform(-3, 3, 2))
        predicted, missing = sampled_reference(rng, shift)
        match = match_frame(
            SCENE.observe(rng, shift), NOTHING, SCENE.variance(shift), predicted, missing, gain=None
        )
        errors.append((match.gain - 1) / match.gain_error)
        assert abs(match.background.level - SKY) < 0.06 * np.sqrt(SKY)
    assert abs(np.mean(errors)) < 1.0
    assert 0.3 < np.sqrt(np.mean(np.square(errors))) < 2.0


def test_a_faint_scene_is_not_diluted_either():
    """No star above 10 sigma a pixel: an ordinary regression is low by a third here."""
    scene = Scene(number=150, faintest=2.0, brightest=2.8, seed=4)
    gains, naive = [], []
    for seed in range(16):
        rng = np.random.default_rng(100 + seed)
        frame, other = scene.observe(rng), scene.observe(rng) - np.float32(SKY)
        match = match_frame(frame, NOTHING, scene.variance(), other, NOTHING, gain=None)
        gains.append(match.gain)
        naive.append(np.polyfit(other.ravel(), frame.ravel(), 1)[0])
    assert np.mean(naive) < 0.9
    assert abs(np.mean(gains) - 1) < 4 * np.std(gains) / 4 + 0.003


def test_hot_pixels_and_cosmic_rays_do_not_move_the_match():
    rng = np.random.default_rng(3)
    shift = (1.3, -2.4)
    predicted, missing = sampled_reference(rng, shift)
    frame = SCENE.observe(rng, shift)
    before = match_frame(frame, NOTHING, SCENE.variance(shift), predicted, missing)
    for image in (frame, predicted):
        hit = rng.random(image.shape) < 0.002
        image[hit] += rng.uniform(500, 25_000, int(hit.sum()))
    after = match_frame(frame, NOTHING, SCENE.variance(shift), predicted, missing)
    assert abs(after.gain - before.gain) < 0.006
    assert abs(after.background.level - before.background.level) < 0.05 * np.sqrt(SKY)


def test_without_common_signal_the_gain_is_the_ratio_of_exposures():
    rng = np.random.default_rng(5)
    frame, other = (rng.normal(100, 10, (96, 96)).astype(np.float32) for _ in range(2))
    none = np.zeros((96, 96), dtype=bool)
    match = match_frame(frame, none, np.full((96, 96), 100, np.float32), other - 100, none, gain=2.5)
    assert match.gain == 2.5
    assert not match.measured
    assert abs(match.background.level - 100) < 1.0


def test_without_overlap_nothing_is_claimed():
    match = match_frame(np.ones((32, 32), np.float32), ~np.zeros((32, 32), bool), None, np.ones((32, 32)))
    assert match.pixels == 0
    assert not match.measured
    assert match.gain == 1.0


def test_clouds_are_measured_though_the_exposures_are_equal():
    rng = np.random.default_rng(6)
    frame = SCENE.observe(rng, (0.5, 0.5), transparency=0.55)
    match = match_frame(frame, NOTHING, None, SCENE.clean((0.5, 0.5)), NOTHING, gain=1.0)
    assert abs(match.gain - 0.55) < 0.005


def test_matched_frames_have_the_references_flux():
    rng = np.random.default_rng(7)
    frame = SCENE.observe(rng, transparency=0.8) + 30
    match = match_frame(frame, NOTHING, None, SCENE.clean(), NOTHING)
    values, variance = match.to_reference(frame, SCENE.variance())
    row, column, flux = SCENE.stars[np.argmax(SCENE.stars[:, 2] * cores_inside())]
    box = slice(round(row) - 4, round(row) + 5), slice(round(column) - 4, round(column) + 5)
    assert values[box].sum() == pytest.approx(
        SCENE.clean()[box].sum(), abs=4 * float(variance[box].sum()) ** 0.5
    )
    assert flux > 1e4
    np.testing.assert_allclose(match.expected(values), frame, rtol=1e-5)


def cores_inside():
    return ((SCENE.stars[:, :2] > 6) & (SCENE.stars[:, :2] < SCENE.size - 7)).all(axis=1)


def test_a_background_mesh_is_taken_where_frames_differ_by_one():
    rng = np.random.default_rng(8)
    y, x = np.mgrid[: SCENE.size, : SCENE.size] / SCENE.size
    glow = 40 * np.sin(2 * np.pi * y) * np.cos(1.5 * np.pi * x)
    frame = (SCENE.observe(rng) + glow).astype(np.float32)
    match = match_frame(frame, NOTHING, SCENE.variance(), SCENE.clean(), NOTHING)
    assert match.background.kind == "mesh"
    left = match.background.evaluate() - SKY - glow
    assert np.sqrt(np.mean(left**2)) < 0.25 * np.sqrt(SKY)
    assert abs(match.gain - 1) < 0.005


def test_equal_skies_are_matched_by_one_level():
    """Neither the nebula nor the noise is mistaken for a gradient."""
    kinds = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        match = match_frame(SCENE.observe(rng, (2, 1)), NOTHING, None, SCENE.clean((2, 1)), NOTHING)
        kinds.append(match.background.kind)
    assert kinds == ["offset"] * 10


def test_frames_match_their_own_median_stack():
    where = shifts(6)
    rng = np.random.default_rng(9)
    frames = prepared(SCENE, [SCENE.observe(rng, s) for s in where], where)
    stack = median_stack(frames, (SCENE.size, SCENE.size))
    gains = []
    for frame in frames:
        predicted, missing = stack.predict(frame.transform, frame.values.shape)
        gains.append(match_frame(frame.values, frame.bad, frame.variance, predicted, missing).gain)
    assert np.std(gains) < 0.004


def test_an_unknown_background_is_refused_by_name():
    with pytest.raises(UsageError, match="'spline'"):
        match_frame(np.ones((32, 32), np.float32), NOTHING[:32, :32], None, np.ones((32, 32)), kind="spline")


def test_without_a_background_the_sky_is_multiplied_like_all_else():
    scene, random = Scene(seed=8), np.random.default_rng(8)
    predicted = scene.clean() + np.float32(150)
    frame = 1.2 * scene.observe(random)
    match = match_frame(
        frame, np.zeros(frame.shape, bool), 1.44 * (predicted + 25), predicted, None, "none", gain=1.0
    )
    assert match.gain == pytest.approx(1.2, rel=0.003)
    assert match.background.level == 0
