"""The self-check prefers the method that really is better on the image at hand."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from sciSR.inference.selfcheck import errors_on_own_downsample, gain_on_own_downsample, sky_level_and_noise

rng = np.random.default_rng(0)


def zoom(order: int):
    return lambda y: ndimage.zoom(y, 2, order=order, mode="reflect", grid_mode=True)


smooth = 50 * ndimage.gaussian_filter(rng.normal(size=(128, 120)), 3) + 10


def test_better_and_worse_networks_are_told_apart():
    classical = {"nearest": zoom(0), "linear": zoom(1)}
    gain, best = gain_on_own_downsample(smooth, zoom(3), classical)
    assert gain > 1
    assert best == "linear"
    gain, best = gain_on_own_downsample(smooth, zoom(0), {"linear": zoom(1)})
    assert gain < -1


def test_bad_pixels_do_not_count():
    holed = smooth.copy()
    holed[30:34, 40:50] = np.nan
    whole = errors_on_own_downsample(smooth, {"cubic": zoom(3)})["cubic"]
    part = errors_on_own_downsample(holed, {"cubic": zoom(3)})["cubic"]
    assert part == np.float64(part)
    assert abs(part / whole - 1) < 0.2


def test_the_unit_does_not_matter():
    classical = {"linear": zoom(1)}
    gain, _ = gain_on_own_downsample(smooth, zoom(3), classical)
    again, _ = gain_on_own_downsample(1e-5 * smooth - 3, zoom(3), classical)
    assert math.isclose(gain, again, abs_tol=1e-6)


def test_nothing_to_judge():
    for plane in (np.zeros((64, 64)), np.full((64, 64), np.nan), smooth[:20, :20]):
        gain, best = gain_on_own_downsample(plane, zoom(3), {"linear": zoom(1)})
        assert math.isnan(gain)
        assert best == "linear"


def test_sky_of_a_star_field():
    image = rng.normal(100, 5, (200, 200))
    image[::9, ::9] += 1e4
    level, noise = sky_level_and_noise(image)
    assert abs(level - 100) < 0.3
    assert abs(noise - 5) < 0.3
