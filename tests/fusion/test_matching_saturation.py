"""Saturated cores are bad, and where no frame knows better the result says so."""

from fractions import Fraction

import numpy as np
import pytest
from matching_scene import SKY, Scene, sequence, shifts, single

from sciSR.fusion.matching import SaturationCensus, guess_saturation, saturated_pixels
from sciSR.fusion.prepared import Target
from sciSR.fusion.transforms import Affine

SCENE = Scene(number=120, brightest=5.5)


def frames(level=None, number=3, flat=0.0):
    rng = np.random.default_rng(0)
    images = [SCENE.observe(rng, s) for s in shifts(number)]
    for image in images:
        image[rng.random(image.shape) < 0.002] = 60_000
        if level is not None:
            np.minimum(image, level, out=image)
        image *= 1 + flat * rng.standard_normal(image.shape).astype(np.float32)
    return sequence(images)


@pytest.mark.parametrize("level", [4095 * 4, 16_383, 9_000])
def test_the_level_where_cores_pile_up_is_found(level):
    assert guess_saturation(frames(level)) == level


def test_calibrated_frames_pile_up_too():
    found = guess_saturation(frames(16_383, flat=0.001))
    assert 0.97 * 16_383 < found <= 16_383


def test_unsaturated_stars_and_clipped_hot_pixels_pile_up_nowhere():
    assert guess_saturation(frames(None)) is None


def test_flat_frames_and_noise_do_not_saturate():
    rng = np.random.default_rng(1)
    assert guess_saturation(sequence([np.full((64, 64), 65535.0)])) is None
    assert guess_saturation(sequence([rng.normal(100, 5, (64, 64)).clip(0, 110)])) is None
    assert guess_saturation(()) is None


def test_cores_are_masked_with_a_margin_and_hot_pixels_alone():
    values = np.full((40, 40), 100, np.float32)
    values[20:23, 20:23] = 65535
    values[5, 5] = 65535
    mask = saturated_pixels(values, 65535)
    assert mask[19:24, 19:24].all()
    assert np.count_nonzero(mask) == 25 + 1


def test_charge_that_bleeds_along_a_column_is_followed():
    values = np.full((60, 40), 100, np.float32)
    values[28:32, 18:22] = 60_000
    values[10:50, 20] = 45_000
    mask = saturated_pixels(values, 60_000)
    assert mask[10:50, 20].all()
    assert not mask[:, 24:].any()
    assert not saturated_pixels(np.minimum(values, 50_000), 60_000).any()


def test_a_bright_neighbour_is_not_taken_for_bleeding():
    values = SCENE.clean() + np.float32(SKY)
    mask = saturated_pixels(values, 20_000)
    assert np.count_nonzero(mask) < 12 * np.count_nonzero(values >= 20_000)


@pytest.mark.parametrize("scale", [1, 2, Fraction(3, 2)])
def test_cores_that_every_frame_saturates_are_flagged(scale):
    target = Target((64, 64), (Fraction(scale), Fraction(scale)))
    census = SaturationCensus(target)
    for shift in [(0.0, 0.0), (2.3, -1.6), (-3.2, 4.4)]:
        saturated = np.zeros((64, 64), bool)
        r, c = round(20 + shift[0]), round(30 + shift[1])
        saturated[r - 2 : r + 3, c - 2 : c + 3] = True  # a star: saturated in every frame
        saturated[50, 50] = True  # a hot pixel: another place of the sky in each
        census.add(Affine.shift(*shift), saturated)
    mask = census.never_measured()
    assert mask.shape == target.shape
    centre = tuple(np.rint(target.fine(np.array([20, 30]))).astype(int))
    assert mask[centre]
    assert np.count_nonzero(mask) <= 25 * float(scale) ** 2 + 12
    away = tuple(np.rint(target.fine(np.array([50, 50]))).astype(int))
    assert not mask[away]


def test_one_frame_that_is_not_saturated_is_enough():
    census = SaturationCensus(Target((64, 64), (Fraction(2), Fraction(2))))
    saturated = np.zeros((64, 64), bool)
    saturated[20:25, 20:25] = True
    for _ in range(5):
        census.add(Affine.identity(), saturated)
    assert census.never_measured().sum() == 100
    census.add(Affine.shift(0.2, 0.1), np.zeros((64, 64), bool))
    assert not census.never_measured().any()


def test_a_frame_that_does_not_reach_there_measures_nothing():
    census = SaturationCensus(Target((64, 64), (Fraction(1), Fraction(1))))
    saturated = np.zeros((64, 64), bool)
    saturated[2:5, 2:5] = True
    census.add(Affine.identity(), saturated)
    census.add(Affine.shift(-10, 0), np.zeros((64, 64), bool))
    assert census.never_measured().sum() == 9


def test_a_level_from_the_header_does_not_hide_the_pile():
    """A saturation level that is set too high marks nothing bad; the guess does not depend on it."""
    image = np.minimum(SCENE.observe(np.random.default_rng(2)), 9000)
    assert guess_saturation([single(image, saturation=5000.0)]) == 9000
