"""Registration without stars: correlation, its test of significance, and the direct fit."""

from __future__ import annotations

import numpy as np
import pytest
import registration_scene as scene
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.fusion.registration import register
from sciSR.fusion.registration.likeness import likeness
from sciSR.fusion.registration.phase import correlate
from sciSR.fusion.registration.planes import Plane, plane
from sciSR.fusion.transforms import Affine

SHAPE = (128, 128)
CENTRE = (63.5, 63.5)
NOTHING_BAD = np.zeros(SHAPE, dtype=bool)


def cloudy(truth: Affine, seed: int, *, level: float = 400.0):
    """Two frames of one cloud, with the same hot pixels."""
    random = np.random.default_rng(seed)
    field = scene.clouds(random)
    hot = scene.hot_pixels(SHAPE, random)
    frames = [
        scene.with_defects(scene.noisy(scene.expose_clouds(field, t, SHAPE, level), random), hot, random)
        for t in (Affine.identity(), truth)
    ]
    return scene.sequence(frames)


@settings(max_examples=4)
@given(
    rows=st.floats(-9, 9), columns=st.floats(-9, 9), angle=st.floats(-0.008, 0.008), seed=st.integers(0, 100)
)
def test_clouds_register_to_a_tenth_of_a_pixel(rows, columns, angle, seed):
    truth = Affine.about(CENTRE, angle, 1.0, (rows, columns))
    found = register(cloudy(truth, seed), reference=0, method="phase").frames[1]
    assert found is not None
    assert found.how == "phase"
    assert scene.error(found.transform, truth, SHAPE) < 0.15


@pytest.mark.parametrize("angle", [0.5, -2.2])
def test_a_large_rotation_of_a_cloud_is_found_from_the_spectra(angle):
    truth = Affine.about(CENTRE, angle, 1.0, (3.0, -2.0))
    found = register(cloudy(truth, 4), reference=0, method="phase").frames[1]
    assert found is not None
    assert scene.error(found.transform, truth, SHAPE) < 0.2


@pytest.mark.parametrize("seed", range(3))
def test_two_different_clouds_are_never_registered(seed):
    random = np.random.default_rng(seed)
    frames = [
        scene.noisy(scene.expose_clouds(scene.clouds(random), Affine.identity(), SHAPE, 400), random)
        for _ in range(2)
    ]
    result = register(scene.sequence(frames), reference=0, method="phase")
    assert result.frames[1] is None
    assert "correlation" in dict(result.left_out)[1]


def test_a_pattern_fixed_on_the_detector_is_not_taken_for_the_scene():
    """Warm pixels too faint to be found one by one correlate at no displacement, one pixel wide."""
    random = np.random.default_rng(7)
    pattern = random.normal(0, 12, SHAPE)
    frames = [scene.noisy(np.zeros(SHAPE), random) + pattern for _ in range(2)]
    result = register(scene.sequence(frames), reference=0)
    assert result.frames[1] is None


@settings(max_examples=8)
@given(rows=st.integers(-20, 20), columns=st.integers(-20, 20), part=st.floats(0, 0.3))
def test_masks_and_different_shapes_do_not_move_the_peak(rows, columns, part):
    random = np.random.default_rng(3)
    light = np.cumsum(np.cumsum(random.normal(size=(180, 180)), 0), 1)
    light = light - np.linspace(0, 1, 180)[:, None] * light[-1]
    light = np.diff(np.diff(light, axis=0), axis=1) + 0  # white: every displacement is told apart
    first = light[30:130, 30:150]
    second = light[30 - rows : 120 - rows, 30 - columns : 120 - columns]
    planes = []
    for values in (first, second):
        soft = values + 0.5 * (np.roll(values, 1, 0) + np.roll(values, 1, 1))
        good = random.uniform(size=values.shape) >= part
        planes.append(Plane(np.where(good, soft, 0).astype(np.float32), good))
    peak = correlate(*planes)
    assert peak is not None
    assert peak.significant
    np.testing.assert_allclose(peak.shift, [rows, columns], atol=0.5)


def test_evidence_of_nothing_in_common_is_a_standard_normal_value():
    """Bright isolated features that coincide by chance must not count as proof."""
    random = np.random.default_rng(5)
    values = []
    for _ in range(60):
        fields = [scene.expose(scene.stars(random, 12, SHAPE), Affine.identity(), SHAPE) for _ in range(2)]
        one, other = (plane(scene.noisy(f, random), NOTHING_BAD) for f in fields)
        values.append(likeness(one, other, Affine.identity()).evidence)
    assert np.max(np.abs(values)) < 4
    assert abs(np.mean(values)) < 0.5


def test_the_same_scene_is_alike_whatever_its_noise():
    random = np.random.default_rng(6)
    field = scene.expose_clouds(scene.clouds(random), Affine.identity(), SHAPE, 400)
    for level in (1.0, 0.1):
        one, other = (plane(scene.noisy(level * field, random), NOTHING_BAD) for _ in range(2))
        told = likeness(one, other, Affine.identity())
        assert told.correlation == pytest.approx(1, abs=0.15)
        assert told.evidence > 5.5
