"""Point spread functions have the width they claim; the detector has the variance it claims."""

from __future__ import annotations

import numpy as np
import pytest

from sciSR.errors import UsageError
from sciSR.forward import noise, psf


@pytest.mark.parametrize("kind", [psf.gaussian, psf.moffat, psf.airy])
@pytest.mark.parametrize("fwhm", [6.0, 11.0])
def test_half_of_the_peak_lies_at_half_the_width(kind, fwhm):
    kernel = kind(201, fwhm)
    row = kernel[100, 100:] / kernel[100, 100]
    assert np.interp(0.5, row[:20][::-1], np.arange(20)[::-1]) == pytest.approx(fwhm / 2, rel=0.02)
    assert kernel.sum() == pytest.approx(1)
    assert np.allclose(kernel, kernel[::-1, ::-1])


def test_ellipticity_stretches_one_axis():
    kernel = psf.gaussian(61, 10.0, ellipticity=0.4, angle=0.0)
    y, x = np.mgrid[-30:31, -30:31]
    assert np.sqrt((kernel * y**2).sum() / (kernel * x**2).sum()) == pytest.approx(0.6, rel=1e-3)


def test_even_sizes_are_refused():
    with pytest.raises(UsageError, match="odd"):
        psf.gaussian(20, 3.0)


def test_detector_mean_and_variance():
    level = np.full((400, 400), 50.0)
    image = noise.expose(level, 4.0, np.random.default_rng(0))
    assert image.mean() == pytest.approx(50, abs=0.1)
    assert image.var() == pytest.approx(noise.variance(level, 4.0)[0, 0], rel=0.02)


def test_an_image_exposed_in_pieces_is_the_image_exposed_at_once():
    level = np.linspace(0, 200, 60).reshape(10, 6)
    photons, read = np.random.default_rng(1), np.random.default_rng(2)
    pieces = np.concatenate([noise.expose(part, 3.0, photons, read) for part in np.split(level, 5)])
    whole = noise.expose(level, 3.0, np.random.default_rng(1), np.random.default_rng(2))
    assert np.array_equal(pieces, whole)


@pytest.mark.parametrize("read_noise", [0.0, 5.0])
@pytest.mark.parametrize("snr", [3.0, 40.0])
def test_the_gain_gives_the_signal_to_noise_that_was_asked(snr, read_noise):
    electrons = noise.gain_for(snr, 12.5, read_noise) * 12.5
    assert electrons / np.sqrt(noise.variance(np.array(electrons), read_noise)) == pytest.approx(snr)
    exposed = noise.expose(np.full((300, 300), electrons), read_noise, np.random.default_rng(0))
    assert exposed.mean() / exposed.std() == pytest.approx(snr, rel=0.02)


def test_no_gain_makes_a_dark_level_bright():
    with pytest.raises(UsageError, match="no signal"):
        noise.gain_for(10.0, 0.0, 1.0)


def test_rician_noise_is_rayleigh_without_signal_and_gaussian_with_much():
    dark, bright = (noise.rician(np.full((500, 500), v), 2.0, np.random.default_rng(3)) for v in (0.0, 200.0))
    assert dark.mean() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.01)
    assert dark.std() == pytest.approx(2 * np.sqrt(2 - np.pi / 2), rel=0.01)
    assert bright.mean() == pytest.approx(np.sqrt(200**2 + 2**2), rel=1e-3)
    assert bright.std() == pytest.approx(2, rel=0.01)


def test_hot_and_dead_pixels_are_as_many_as_asked():
    image = np.full((400, 400), 10.0)
    out = noise.hot_and_dead(image, 0.02, 1.0, 0.0, np.random.default_rng(4))
    hot, dead = out > 10, out == 0
    assert (hot | dead).mean() == pytest.approx(0.02, rel=0.1)
    assert hot.sum() / (hot | dead).sum() == pytest.approx(0.75, abs=0.05)
    assert (out[hot] - 10).min() >= 5
    assert (out[hot] - 10).max() <= 320
    assert np.array_equal(out[~(hot | dead)], image[~(hot | dead)])
