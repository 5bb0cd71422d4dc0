"""Telling planets from stars, galaxies, nebulae and nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sciSR.fusion.planetary import find_disc, looks_planetary
from sciSR.fusion.planetary.simulate import ClipSettings, draw_planet, simulate_clip
from sciSR.image import Image
from sciSR.sequence import Frame, FrameSequence

SIZE = 128


def sequence(picture: np.ndarray, source: str | None = None, noise: float = 5.0) -> FrameSequence:
    rng = np.random.default_rng(3)
    path = None if source is None else Path(source)
    frames = [
        Frame(
            Image.from_array(picture + rng.normal(50, noise, picture.shape), source=path), name=f"frame {k}"
        )
        for k in range(3)
    ]
    return FrameSequence(tuple(frames))


def stars(count: int, seed: int = 1, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    field = np.zeros((size, size))
    field[tuple(rng.integers(0, size, (2, count)))] = 10 ** rng.uniform(3, 5, count)
    return gaussian_filter(field, 1.3)


def planet(radius: float = 30.0) -> np.ndarray:
    return 1000 * draw_planet(
        ClipSettings(size=SIZE, radius=radius, oversampling=1), np.random.default_rng(1)
    )


def galaxy() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    return 5000 * np.exp(-np.hypot(y, 2 * x) / 8)


@pytest.mark.parametrize(("radius", "source"), [(9.0, "mars.avi"), (20.0, None), (45.0, "jupiter.fits")])
def test_a_disc_is_seen_as_a_planet_whatever_its_size(radius: float, source: str | None) -> None:
    answer = looks_planetary(sequence(planet(radius), source))
    assert answer
    assert "disc" in answer.reason


def test_a_planet_with_moons_is_still_a_planet() -> None:
    assert looks_planetary(sequence(planet(20.0) + 0.05 * stars(4)))


def test_hot_pixels_are_no_stars() -> None:
    picture = planet(25.0)
    picture[np.random.default_rng(2).random(picture.shape) < 0.003] += 5000
    assert looks_planetary(sequence(picture))


@pytest.mark.parametrize(
    "picture",
    [
        stars(60),
        stars(5),
        galaxy(),
        galaxy() + stars(30),
        planet(20.0) + stars(200, seed=4),
        np.zeros((SIZE, SIZE)),
    ],
    ids=["stars", "few stars", "galaxy", "galaxy and stars", "disc among many stars", "nothing"],
)
def test_stars_galaxies_and_noise_are_no_planet_even_in_a_video(picture: np.ndarray) -> None:
    planetary, reason = looks_planetary(sequence(picture, "clip.ser"))
    assert not planetary
    assert reason


def test_a_surface_that_fills_the_frame_counts_in_a_video_only() -> None:
    moon = 1000 * draw_planet(
        ClipSettings(size=SIZE, radius=1000.0, oversampling=1), np.random.default_rng(1)
    )
    assert looks_planetary(sequence(moon, "moon.SER"))
    assert not looks_planetary(sequence(moon, "nebula.fits"))


def test_the_disc_found_is_the_disc_drawn() -> None:
    clip = simulate_clip(size=128, radius=40.0, frames=1, warp=0.0, jitter=0.0, blur=0.5, oversampling=2)
    disc = find_disc(clip.frames[0])
    assert disc.kind == "disc"
    np.testing.assert_allclose(disc.centre, (63.5, 63.5), atol=1.5)
    assert disc.mask.sum() == pytest.approx(np.pi * 40**2 * 0.935, rel=0.12)
    assert disc.sky == pytest.approx(clip.settings.pedestal * 1023, abs=5)


def test_the_noise_found_is_that_of_the_disc_not_of_the_sky() -> None:
    picture = planet(40.0)
    rng = np.random.default_rng(0)
    disc = find_disc(rng.poisson(np.clip(picture, 0, None)) + rng.normal(0, 2, picture.shape))
    expected = np.sqrt(np.mean(picture[disc.mask]) + 4)
    assert disc.noise == pytest.approx(expected, rel=0.1)
