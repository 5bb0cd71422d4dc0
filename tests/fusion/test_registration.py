"""Registration of sequences: what it finds, how well, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import registration_scene as scene
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.fusion.registration import register
from sciSR.fusion.transforms import Affine
from sciSR.sequence import FrameSequence

SHAPE = (96, 96)
CENTRE = (47.5, 47.5)


def pair(
    transform: Affine, seed: int, *, number: int = 45, defects: bool = True, **fields: object
) -> FrameSequence:
    """A frame and the same field through `transform`, with hot pixels and cosmic rays."""
    random = np.random.default_rng(seed)
    field = scene.stars(random, number, SHAPE)
    hot = scene.hot_pixels(SHAPE, random)
    frames = []
    for where in (Affine.identity(), transform):
        seen = scene.noisy(scene.expose(field, where, SHAPE), random)
        frames.append(scene.with_defects(seen, hot, random, rays=3) if defects else seen)
    return scene.sequence(frames, **fields)


@settings(max_examples=12)
@given(
    rows=st.floats(-12, 12),
    columns=st.floats(-12, 12),
    angle=st.floats(-0.02, 0.02),
    seed=st.integers(0, 1000),
)
def test_shifts_and_small_rotations_are_found_to_hundredths_of_a_pixel(rows, columns, angle, seed):
    truth = Affine.about(CENTRE, angle, 1.0, (rows, columns))
    found = register(pair(truth, seed)).frames[1]
    assert found is not None
    assert scene.error(found.transform, truth, SHAPE) < 0.05


@settings(max_examples=10)
@given(angle=st.floats(-np.pi, np.pi), mirrored=st.booleans(), seed=st.integers(0, 1000))
def test_any_rotation_is_found_mirrored_or_not(angle, mirrored, seed):
    flip = Affine(np.array([[1.0, 0, 0], [0, -1, SHAPE[1] - 1]])) if mirrored else Affine.identity()
    truth = flip.then(Affine.about(CENTRE, angle))
    found = register(pair(truth, seed)).frames[1]
    assert found is not None
    assert found.matrix.mirrored is mirrored
    assert scene.error(found.transform, truth, SHAPE) < 0.06


def test_a_change_of_scale_is_kept_when_the_stars_demand_it():
    truth = Affine.about(CENTRE, 0.3, 1.2)
    found = register(pair(truth, 3, number=80)).frames[1]
    assert found is not None
    assert found.model in ("similarity", "affine")
    assert scene.error(found.transform, truth, SHAPE) < 0.06


def test_frames_that_differ_by_a_shift_get_no_rotation():
    found = register(pair(Affine.shift(2.3, -4.7), 5)).frames[1]
    assert found is not None
    assert found.model == "shift"
    np.testing.assert_array_equal(found.transform.linear, np.eye(2))


def test_where_frames_are_turned_none_is_forced_to_be_straight():
    random = np.random.default_rng(18)
    field = scene.stars(random, 50, SHAPE)
    truth = [Affine.about(CENTRE, a, 1.0, (a * 300, 2)) for a in (0.0, 0.01, 1e-5, -0.012, 2e-5)]
    frames = [scene.noisy(scene.expose(field, t, SHAPE), random) for t in truth]
    found = register(scene.sequence(frames), reference=0)
    assert {f.correction for f in found.frames[1:]} == {"euclidean"}


@pytest.mark.parametrize("model", ["shift", "euclidean", "similarity", "affine"])
def test_the_model_asked_for_is_the_model_used(model):
    found = register(pair(Affine.about(CENTRE, 0.004, 1.0, (3, 1)), 6), model=model).frames[1]
    assert found is not None
    assert found.model == found.correction == model


def test_frames_of_other_shapes_exposures_and_units_register():
    random = np.random.default_rng(11)
    field = scene.stars(random, 60, (120, 100))
    truth = Affine.shift(-5.25, 3.5)
    first = scene.noisy(scene.expose(field, Affine.identity(), (120, 100)), random)
    second = 0.02 * scene.noisy(4 * scene.expose(field, truth, (80, 110)), random) - 7
    found = register(FrameSequence.from_arrays([first, second])).frames[1]
    assert found is not None
    assert scene.error(found.transform, truth, (80, 110)) < 0.05


@settings(max_examples=6)
@given(factor=st.sampled_from([1e-12, 1e-3, 1e4]), pedestal=st.floats(-1e3, 1e4))
def test_units_and_pedestals_change_nothing(factor, pedestal):
    sequence = pair(Affine.shift(1.7, 2.2), 8, noise=None)
    plain = register(sequence).frames[1]
    arrays = [(np.asarray(f.image.data, dtype=np.float64) + pedestal) * factor for f in sequence]
    other = register(FrameSequence.from_arrays(arrays)).frames[1]
    assert plain is not None
    assert other is not None
    # float32 holds the frame with its pedestal: 1e4 over a noise of 11 costs a few digits.
    assert scene.error(other.transform, plain.transform, SHAPE) < 3e-3


def test_hot_pixels_and_cosmic_rays_do_not_move_the_result():
    truth = Affine.shift(4.4, -3.3)
    clean, dirty = (register(pair(truth, 9, defects=d)).frames[1] for d in (False, True))
    assert clean is not None
    assert dirty is not None
    assert scene.error(dirty.transform, truth, SHAPE) < 0.03
    assert scene.error(clean.transform, truth, SHAPE) < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_noise_and_hot_pixels_are_never_registered(seed):
    random = np.random.default_rng(seed)
    field = scene.stars(random, 40 if seed % 2 else 0, SHAPE)
    hot = scene.hot_pixels(SHAPE, random)
    light = scene.expose(field, Affine.identity(), SHAPE)
    frames = [
        scene.with_defects(scene.noisy(light if k == 0 else 0 * light, random), hot, random) for k in range(3)
    ]
    result = register(scene.sequence(frames), reference=0)
    assert result.frames[1:] == (None, None)
    assert [k for k, _ in result.left_out] == [1, 2]
    assert all(reason for _, reason in result.left_out)


@pytest.mark.parametrize("seed", range(3))
def test_another_field_is_never_registered(seed):
    random = np.random.default_rng(100 + seed)
    frames = [
        scene.noisy(scene.expose(scene.stars(random, 40, SHAPE), Affine.identity(), SHAPE), random)
        for _ in range(2)
    ]
    result = register(scene.sequence(frames), reference=0)
    assert result.frames[1] is None


def test_blank_constant_and_masked_frames_are_left_out_by_name():
    sequence = pair(Affine.shift(1, 1), 10)
    frames = [np.asarray(f.image.data) for f in sequence]
    frames += [np.full(SHAPE, 7.0, np.float32), np.full(SHAPE, np.nan, np.float32)]
    result = register(FrameSequence.from_arrays(frames))
    reasons = dict(result.left_out)
    assert set(reasons) == {2, 3}
    assert "constant" in reasons[2]
    assert "bad" in reasons[3]


def test_borders_of_nan_do_not_matter():
    sequence = pair(Affine.shift(2.6, 0.4), 12)
    frames = [np.array(f.image.data) for f in sequence]
    frames[1][:20] = np.nan
    frames[0][:, 80:] = np.nan
    found = register(FrameSequence.from_arrays(frames)).frames[1]
    assert found is not None
    assert scene.error(found.transform, Affine.shift(2.6, 0.4), SHAPE) < 0.06


def test_the_first_of_equal_frames_is_the_reference():
    random = np.random.default_rng(13)
    field = scene.stars(random, 50, SHAPE)
    frames = [scene.noisy(scene.expose(field, Affine.shift(k, -k), SHAPE), random) for k in range(4)]
    assert register(scene.sequence(frames)).reference == 0


def test_a_first_frame_of_another_field_or_of_clouds_is_not_the_reference():
    random = np.random.default_rng(14)
    field = scene.stars(random, 50, SHAPE)
    stray = scene.stars(random, 50, SHAPE)
    light = [scene.expose(stray, Affine.identity(), SHAPE)]
    light += [scene.expose(field, Affine.shift(k, -k), SHAPE) for k in range(4)]
    result = register(scene.sequence([scene.noisy(x, random) for x in light]))
    assert result.reference != 0
    assert [k for k, _ in result.left_out] == [0]
    assert result.notes


def test_the_claimed_covariance_is_the_scatter():
    truth = Affine.about(CENTRE, 0.003, 1.0, (2.35, -3.15))
    random = np.random.default_rng(15)
    field = scene.stars(random, 40, SHAPE, bright=4.3)
    light = [scene.expose(field, t, SHAPE) for t in (Affine.identity(), truth)]
    pulls = []
    for _ in range(30):
        frames = [scene.noisy(x, random) for x in light]
        found = register(scene.sequence(frames), model="euclidean", reference=0).frames[1]
        assert found is not None
        middle = truth.inverse(np.array(CENTRE))
        off = found.transform(middle) - np.array(CENTRE)
        pulls.append(off / np.sqrt(np.diag(found.position_covariance(middle))))
    assert 0.7 < np.std(pulls) < 1.3


def test_the_result_is_json_with_every_frame_named():
    sequence = pair(Affine.about(CENTRE, 0.01), 16)
    blank = FrameSequence((*sequence.frames, sequence[0].replace(name="dark", bad=np.ones(SHAPE, bool))))
    told = json.loads(json.dumps(register(blank).as_dict(), allow_nan=False))
    assert [f["name"] for f in told["frames"]] == ["frame 0", "frame 1", "dark"]
    assert told["left_out"][0]["name"] == "dark"
    assert told["frames"][1]["rotation_deg"] == pytest.approx(np.degrees(0.01), abs=0.05)
    assert np.shape(told["frames"][1]["matrix"]) == (2, 3)


@pytest.mark.parametrize("wrong", [{"model": "warp"}, {"method": "magic"}, {"reference": 7}])
def test_unknown_wishes_are_refused(wrong):
    with pytest.raises(UsageError):
        register(pair(Affine.identity(), 17), **wrong)
