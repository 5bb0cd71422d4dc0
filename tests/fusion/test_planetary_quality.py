"""Ranking of frames by sharpness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from sciSR.errors import UsageError
from sciSR.fusion.planetary import keep_best, rank_quality, sharpness
from sciSR.fusion.planetary.quality import best_frames, how_many
from sciSR.fusion.planetary.simulate import ClipSettings, draw_planet, simulate_clip
from sciSR.sequence import FrameSequence


@pytest.fixture(scope="module")
def planet() -> np.ndarray:
    """A disc of 60 px on a dark sky of 96 px, electrons."""
    settings = ClipSettings(size=96, radius=30.0, oversampling=1)
    return gaussian_filter(4000 * draw_planet(settings, np.random.default_rng(5)), 0.7)


def noisy(picture: np.ndarray, seed: int, read_noise: float = 10.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(np.clip(picture, 0, None)) + rng.normal(100, read_noise, picture.shape)


def test_frames_are_ranked_by_their_blur(planet: np.ndarray) -> None:
    sigmas = np.array([1.4, 0.2, 2.0, 0.8, 1.1, 0.5, 1.7])
    frames = [noisy(gaussian_filter(planet, s), k) for k, s in enumerate(sigmas)]
    quality = rank_quality(FrameSequence.from_arrays(frames))
    assert np.argsort(-quality).tolist() == np.argsort(sigmas).tolist()
    assert quality.max() == 1


def test_ranking_follows_the_seeing_of_a_whole_clip() -> None:
    clip = simulate_clip(size=96, radius=34.0, frames=24, oversampling=2, seed=2)
    quality = rank_quality(FrameSequence.from_arrays(clip.frames))
    assert spearmanr(quality, clip.blurs).statistic < -0.8


def test_noise_is_not_taken_for_sharpness(planet: np.ndarray) -> None:
    sharp, soft = gaussian_filter(planet, 0.4), gaussian_filter(planet, 1.2)
    quality = rank_quality(FrameSequence.from_arrays([noisy(soft, 1, read_noise=150.0), noisy(sharp, 2)]))
    assert quality[1] > quality[0]


def test_noise_adds_nothing_to_the_sharpness_on_average(planet: np.ndarray) -> None:
    clean = sharpness(planet + 100)
    noisy_ones = [sharpness(noisy(planet, seed, read_noise=120.0)) for seed in range(30)]
    error = np.std(noisy_ones) / np.sqrt(len(noisy_ones))
    assert abs(np.mean(noisy_ones) - clean) < 3 * error + 0.01 * clean


@given(scale=st.floats(1e-6, 1e6), pedestal=st.floats(-100, 100))
def test_unit_and_pedestal_do_not_change_the_ranking(scale: float, pedestal: float) -> None:
    settings = ClipSettings(size=64, radius=22.0, oversampling=1)
    planet = 4000 * draw_planet(settings, np.random.default_rng(5))
    frames = [noisy(gaussian_filter(planet, s), k) for k, s in enumerate((0.5, 1.5, 1.0))]
    before = rank_quality(FrameSequence.from_arrays(frames))
    after = rank_quality(FrameSequence.from_arrays([(f + pedestal) * scale for f in frames]))
    np.testing.assert_allclose(after, before, rtol=0.01)


def test_a_frame_without_the_planet_or_with_clouds_is_worth_nothing(planet: np.ndarray) -> None:
    empty = noisy(np.zeros_like(planet), 1)
    clouds = noisy(0.1 * planet, 2)
    gone = noisy(np.roll(planet, 55, axis=0) * (np.arange(96) > 70)[:, None], 3)
    quality = rank_quality(
        FrameSequence.from_arrays([noisy(planet, 4), empty, clouds, gone, noisy(planet, 5)])
    )
    assert (quality > 0).tolist() == [True, False, False, False, True]


def test_bad_pixels_do_not_make_a_frame_sharp(planet: np.ndarray) -> None:
    soft = noisy(gaussian_filter(planet, 1.5), 1)
    soft[np.random.default_rng(0).random(soft.shape) < 0.02] = np.nan
    quality = rank_quality(FrameSequence.from_arrays([soft, noisy(planet, 2)]))
    assert quality[1] == 1
    assert 0 < quality[0] < 0.8


def test_the_frames_kept_are_the_sharpest_and_the_others_are_named(planet: np.ndarray) -> None:
    sigmas = (1.4, 0.2, 2.0, 0.8)
    sequence = FrameSequence.from_arrays([noisy(gaussian_filter(planet, s), k) for k, s in enumerate(sigmas)])
    kept = keep_best(sequence, 0.5)
    assert [frame.name for frame in kept] == ["frame 1", "frame 3"]
    assert [gone.name for gone in kept.left_out] == ["frame 0", "frame 2"]
    assert all("sharpness" in gone.reason for gone in kept.left_out)


@pytest.mark.parametrize(
    ("keep", "count"), [(0.3, 30), ("30%", 30), (12, 12), ("12", 12), (1.0, 100), (500, 100), ("0.25", 25)]
)
def test_keep_is_a_fraction_a_percentage_or_a_number(keep: float | int | str, count: int) -> None:
    assert how_many(100, keep) == count


@pytest.mark.parametrize("keep", [0, -1, 0.0, 1.5, "0%", "120%", "many", True])
def test_a_keep_that_makes_no_sense_is_refused_with_a_remedy(keep: float | int | str) -> None:
    with pytest.raises(UsageError, match="give a fraction"):
        how_many(100, keep)


def test_frames_of_no_quality_are_never_kept() -> None:
    assert best_frames(np.array([0.0, 1.0, 0.0, 0.5]), 1.0).tolist() == [1, 3]
