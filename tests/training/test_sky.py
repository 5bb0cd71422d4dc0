"""Simulated skies, and the variants of real ones."""

from __future__ import annotations

import numpy as np
import pytest

from sciSR.training.scenes import simulate
from sciSR.training.sky import Mosaic, Variant, block_mean, simulated_sky, smooth_noise


def test_simulated_scenes_are_repeatable_and_their_noise_is_known():
    first, again = simulate(5, size=64), simulate(5, size=64)
    assert np.array_equal(first.observed, again.observed)
    assert first.truth.shape == (128, 128)
    assert not np.array_equal(first.observed, simulate(6, size=64).observed)
    mean = block_mean(first.truth, 2)
    pull = (first.observed - mean) / np.sqrt((mean + first.read_noise**2) / first.frames)
    assert pull.std() == pytest.approx(1, abs=0.05)


def test_stars_lie_where_they_say():
    fixed = {
        "sky": 100,
        "frames": 1e4,
        "fwhm": 1.5,
        "stars": 1,
        "galaxies": 0,
        "nebula": 0,
        "bright": 1e4,
        "faint": 9e3,
    }
    scene = simulate(3, size=64, fixed=fixed)
    light = np.clip(scene.truth - scene.sky, 0, None)
    y, x = np.unravel_index(light.argmax(), light.shape)
    assert np.hypot(y - scene.stars[0, 0], x - scene.stars[0, 1]) <= 1


def test_mosaics_keep_their_level_and_have_smooth_noise():
    generator = np.random.default_rng(2)
    mosaic, flat = Mosaic(1.8, 3), np.full((96, 90), 50.0)
    assert np.allclose(mosaic.apply(flat), 50)
    noisy = mosaic.apply(flat, 2.0, generator) - 50
    assert noisy.shape == flat.shape
    assert abs(noisy.mean()) < 0.3
    assert (noisy[:, 1:] * noisy[:, :-1]).mean() > 0.2 * noisy.var()


def test_a_mosaic_stays_in_place():
    y, x = np.indices((64, 60))
    blob = np.exp(-0.5 * ((y - 30.3) ** 2 + (x - 25.8) ** 2) / 4.0**2)
    seen = Mosaic(1.9, 3).apply(blob)
    assert (seen * y).sum() / seen.sum() == pytest.approx(30.3, abs=0.05)
    assert (seen * x).sum() / seen.sum() == pytest.approx(25.8, abs=0.05)
    assert seen.sum() == pytest.approx(blob.sum(), rel=0.01)


def test_variants_come_in_their_shares():
    generator = np.random.default_rng(0)
    drawn = [Variant.draw(2, 0.4, generator) for _ in range(4000)]
    shares = {
        "mosaic": (sum(v.mosaic is not None for v in drawn), 0.3),
        "blurred": (sum(v.blur > 0 for v in drawn), 0.1),
        "reduced": (sum(v.reduce == 2 for v in drawn), 0.3),
        "itself": (sum(v == Variant() for v in drawn), 0.3),
    }
    for count, share in shares.values():
        assert count / 4000 == pytest.approx(share, abs=0.03)


def test_a_blur_has_the_width_it_names():
    point = np.zeros((41, 41))
    point[20, 20] = 1
    seen = Variant(blur=3.0).apply(point)
    assert seen[20, 20] > seen[20, 21] > seen[20, 22] > 0
    half = np.interp(0.5 * seen[20, 20], seen[20, 20:30][::-1], np.arange(10)[::-1])
    assert 2 * half == pytest.approx(3.0, rel=0.05)


def test_a_simulated_mosaic_has_its_noise_in_the_truth():
    plain, mosaic = simulated_sky(4, 2, 0.0), simulated_sky(4, 2, 1.0)
    assert mosaic.frames > plain.frames
    assert mosaic.truth.shape == plain.truth.shape == (512, 512)
    assert np.array_equal(mosaic.truth, simulated_sky(4, 2, 1.0).truth)
    noise = np.std(mosaic.observed - block_mean(mosaic.truth, 2))
    assert noise < np.std(plain.observed - block_mean(plain.truth, 2))


def test_smooth_noise_has_unit_variance_and_its_width():
    field = smooth_noise((200, 200), 4.0, np.random.default_rng(1))
    assert field.std() == pytest.approx(1)
    lag = (field[:, 4:] * field[:, :-4]).mean()
    assert lag == pytest.approx(np.exp(-0.25 * (4 / (4.0 / 2.3548)) ** 2), abs=0.08)
