"""Outliers go, stars stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_scene import SKY, Scene, cores, prepared, shifts
from scipy.ndimage import shift as shifted

from sciSR.fusion.matching import (
    FIRST,
    MODEL,
    find_outliers,
    first_pass_outliers,
    gradient_magnitude,
    median_stack,
)
from sciSR.fusion.prepared import PreparedFrame
from sciSR.fusion.transforms import Affine, Chain

SCENE = Scene()
NOTHING = np.zeros((SCENE.size, SCENE.size), bool)


def tracks(rng, number=12, size=SCENE.size):
    """Straight tracks of cosmic rays, as electrons."""
    out = np.zeros((size, size), np.float32)
    for _ in range(number):
        start, angle, length = rng.uniform(5, size - 5, 2), rng.uniform(0, 2 * np.pi), rng.uniform(1, 8)
        charge = 10 ** rng.uniform(2.6, 4)
        for t in np.arange(0, length, 0.25):
            r, c = (start + t * np.array([np.sin(angle), np.cos(angle)])).astype(int)
            if 0 <= r < size and 0 <= c < size:
                out[r, c] += charge * 0.25
    return out


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), error=st.floats(0, 0.02))
def test_a_star_core_survives_however_undersampled(seed, error):
    """Even where the prediction's position is off by two hundredths of a pixel."""
    rng = np.random.default_rng(seed)
    shift = tuple(rng.uniform(-0.5, 0.5, 2))
    values = SCENE.observe(rng, shift) - np.float32(SKY)
    predicted = SCENE.clean((shift[0] + error, shift[1] - error))
    lost = find_outliers(values, SCENE.variance(shift), NOTHING, predicted, **vars(MODEL))
    core = cores(SCENE, shift)
    assert np.count_nonzero(lost & core) <= 2
    assert np.count_nonzero(lost) <= 8


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_tracks_are_found_to_their_faint_ends(seed):
    rng = np.random.default_rng(seed)
    hits = tracks(rng)
    values = SCENE.observe(rng) - np.float32(SKY) + hits
    found = find_outliers(values, SCENE.variance(), NOTHING, SCENE.clean(), **vars(MODEL))
    noise = np.sqrt(SCENE.variance())
    assert np.all(found[hits > 8 * noise + 0.1 * gradient_magnitude(SCENE.clean())])
    struck = hits > 0
    assert np.count_nonzero(found & struck) > 0.85 * np.count_nonzero(hits > 3 * noise)
    assert np.count_nonzero(found & ~struck) < 0.25 * np.count_nonzero(struck) + 6


def test_both_signs_are_found():
    values = SCENE.clean().copy()
    values[30, 40] += 200
    values[60, 70] -= 200
    found = find_outliers(values, SCENE.variance(), NOTHING, SCENE.clean())
    assert sorted(map(tuple, np.argwhere(found))) == [(30, 40), (60, 70)]


def test_known_bad_pixels_are_neither_tested_nor_seeds():
    values = SCENE.clean().copy()
    values[30, 40] += 1e5
    values[30, 41] += 60
    bad = NOTHING.copy()
    bad[30, 40] = True
    assert not find_outliers(values, SCENE.variance(), bad, SCENE.clean()).any()


def test_an_uncertain_model_rejects_less():
    values = SCENE.clean() + np.float32(80)
    assert find_outliers(values, SCENE.variance(), NOTHING, SCENE.clean()).any()
    assert not find_outliers(values, SCENE.variance(), NOTHING, SCENE.clean(), model_error=30.0).any()


def test_the_gradient_is_that_of_drizzlepac():
    """quickDeriv: the largest absolute difference to the left, right, upper and lower neighbour."""
    image = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    expected = np.zeros_like(image)
    for r in range(20):
        for c in range(30):
            near = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            expected[r, c] = max(
                abs(image[r, c] - image[p]) for p in near if 0 <= p[0] < 20 and 0 <= p[1] < 30
            )
    np.testing.assert_allclose(gradient_magnitude(image), expected)


@pytest.fixture(scope="module")
def dithered():
    """Seven dithered frames with tracks: prepared frames, the tracks, the shifts."""
    rng = np.random.default_rng(7)
    where = shifts(7)
    hits = [tracks(rng) for _ in where]
    images = [SCENE.observe(rng, s) + h for s, h in zip(where, hits, strict=True)]
    return prepared(SCENE, images, where), hits, where


def test_the_first_pass_needs_no_model(dithered):
    frames, hits, where = dithered
    stack = median_stack(frames, (SCENE.size, SCENE.size))
    struck = found = core_pixels = lost = 0
    for frame, track, shift, mask in zip(
        frames, hits, where, first_pass_outliers(frames, stack), strict=True
    ):
        seen = frame.transform.inverse(np.argwhere(np.ones_like(mask)).astype(float)).reshape(*mask.shape, 2)
        inside = ((seen > 2) & (seen < SCENE.size - 3)).all(axis=-1)
        steep = gradient_magnitude(SCENE.clean(shift))
        strong = (track > 8 * np.sqrt(frame.variance) + 2 * steep) & inside
        struck, found = struck + strong.sum(), found + (strong & mask).sum()
        core = cores(SCENE, shift) & (track == 0)
        core_pixels, lost = core_pixels + core.sum(), lost + (core & mask).sum()
    assert found > 0.97 * struck
    assert struck > 100
    assert lost <= 1e-3 * core_pixels


def test_the_stack_is_the_scene(dithered):
    frames, _, _ = dithered
    stack = median_stack(frames, (SCENE.size, SCENE.size))
    inner = (slice(12, -12),) * 2
    pull = (stack.values - SCENE.clean())[inner] / np.sqrt(stack.variance[inner])
    smooth = gradient_magnitude(SCENE.clean())[inner] < 5
    assert abs(np.median(pull[smooth])) < 0.1
    # Resampling correlates neighbours and lowers the scatter a little.
    assert 0.6 < np.std(pull[smooth]) < 1.15
    assert stack.number[60, 60] == 7


def test_the_stack_does_not_depend_on_the_kind_of_transform(dithered):
    frames, _, _ = dithered
    few = [
        PreparedFrame(f.name, f.values, f.variance, f.bad, Chain((f.transform, Affine.identity())))
        for f in frames
    ]
    shape = (SCENE.size, SCENE.size)
    same, other = median_stack(frames, shape), median_stack(few, shape)
    np.testing.assert_allclose(other.values, same.values, atol=0.05)


def test_a_stack_by_bands_is_the_same(dithered, monkeypatch):
    frames, _, _ = dithered
    whole = median_stack(frames, (SCENE.size, SCENE.size))
    monkeypatch.setattr("sciSR.fusion.matching.stack._MEMORY", 1)
    bands = median_stack(frames, (SCENE.size, SCENE.size))
    np.testing.assert_allclose(bands.values, whole.values, atol=0.02)
    np.testing.assert_array_equal(bands.number, whole.number)


def test_places_without_frames_say_so():
    frame = prepared(SCENE, [SCENE.clean() + np.float32(SKY)], [(40.0, 0.0)])
    stack = median_stack(frame, (SCENE.size, SCENE.size))
    assert stack.bad[-30:].all()
    assert not stack.bad[:80].any()
    predicted, missing = stack.predict(Affine.identity(), (SCENE.size, SCENE.size))
    assert missing[-30:].all()
    assert not predicted[missing].any()


def test_an_interpolated_prediction_is_as_good_as_a_spline():
    """Within the stars' own scale, sampling equals scipy's spline shift."""
    frame = prepared(SCENE, [SCENE.clean() + np.float32(SKY)], [(0.0, 0.0)])
    stack = median_stack(frame, (SCENE.size, SCENE.size))
    predicted, missing = stack.predict(Affine.shift(0.3, -0.4), (SCENE.size, SCENE.size))
    judge = shifted(SCENE.clean(), (0.3, -0.4), order=3, mode="mirror")
    np.testing.assert_allclose(predicted[~missing], judge[~missing], rtol=1e-3, atol=0.5)


def test_thresholds_are_drizzlepacs_by_default():
    assert FIRST.snr == (5.0, 4.0)
    assert FIRST.scale == (1.2, 0.7)
