"""Power spectra of noise, and the self-check of planes whose answer is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binned_statistic

from sciSR.errors import UsageError
from sciSR.metrics import radial_power_spectrum, self_ring_correlation

white = np.random.default_rng(2).normal(scale=3.0, size=(96, 128))


@pytest.mark.parametrize("window", ["hann", "tukey", "none"])
def test_white_noise_is_flat_at_its_variance_times_the_pixel(window: str) -> None:
    found = radial_power_spectrum(white, spacing=0.5, length_unit="arcsec", unit="Jy", window=window)
    assert np.average(found.power, weights=found.n) == pytest.approx(9 * 0.25, rel=0.05)
    slope = np.polyfit(found.frequencies[5:], found.power[5:], 1)[0]
    assert abs(slope) < 1
    assert found.unit == "(Jy)^2 arcsec^2"
    assert found.frequency_unit == "cycles/arcsec"
    assert found.frequencies.max() <= 1.0


def test_rings_are_those_of_a_plain_histogram() -> None:
    found = radial_power_spectrum(white, window="none")
    power = np.abs(np.fft.fft2(white - white.mean())) ** 2 / white.size
    radius = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.fftfreq(128)[None, :])
    # Rings hold their upper end, scipy's bins their lower one: mirrored, the two agree.
    judge = binned_statistic(
        -radius.ravel()[1:], power.ravel()[1:], "mean", bins=-np.arange(64, -1, -1) / 128 - 1e-12
    )
    np.testing.assert_allclose(found.power, judge.statistic[::-1])


def test_the_sum_over_all_frequencies_is_the_variance() -> None:
    smooth = np.fft.ifft2(
        np.where(np.hypot(np.fft.fftfreq(96)[:, None], np.fft.fftfreq(128)) < 0.4, np.fft.fft2(white), 0)
    ).real
    found = radial_power_spectrum(smooth, spacing=(2.0, 2.0), window="none")
    assert (found.power * found.n).sum() / (96 * 2 * 128 * 2) == pytest.approx(smooth.var(), rel=1e-6)


@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-100, 100))
def test_a_change_of_unit_scales_the_power_and_a_pedestal_does_nothing(factor: float, offset: float) -> None:
    before, after = radial_power_spectrum(white), radial_power_spectrum(factor * (white + offset))
    np.testing.assert_allclose(after.power, factor**2 * before.power, rtol=1e-6)


def test_holes_and_masks_are_left_out() -> None:
    holed, mask = white.copy(), np.ones(white.shape, bool)
    holed[40:60, 30:50] = np.nan
    mask[:, :20] = False
    holed[:, :20] = 1e9
    found = radial_power_spectrum(holed, mask=mask)
    assert np.average(found.power, weights=found.n) == pytest.approx(9, rel=0.1)


def test_a_volume_has_shells() -> None:
    found = radial_power_spectrum(
        np.random.default_rng(3).normal(size=(16, 24, 24)), spacing=(3, 1, 1), length_unit="mm"
    )
    assert np.average(found.power, weights=found.n) == pytest.approx(3.0, rel=0.1)
    assert found.unit == "mm^3"
    json.dumps(found.as_dict(), allow_nan=False)
    with pytest.raises(UsageError):
        radial_power_spectrum(np.zeros(100))


def zero_padded(coarse: np.ndarray) -> np.ndarray:
    spectrum = np.fft.fftshift(np.fft.fft2(coarse))
    pad = [(n // 2, n // 2) for n in coarse.shape]
    return np.fft.ifft2(np.fft.ifftshift(np.pad(spectrum, pad))).real * 4


def test_an_oracle_brings_everything_back_and_interpolation_what_the_coarse_grid_held() -> None:
    plane = white[:, :96]

    def cropped(values: np.ndarray) -> np.ndarray:
        spectrum = np.fft.fftshift(np.fft.fft2(values))[24:72, 24:72]
        return np.fft.ifft2(np.fft.ifftshift(spectrum)).real / 4

    oracle = self_ring_correlation(plane, lambda _: plane, 2)
    assert oracle.resolution().reached_end
    plain = self_ring_correlation(plane, zero_padded, 2, degrade=cropped, pixel_size=0.5, length_unit="mm")
    assert plain.coarse_limit == 0.25
    beyond = plain.curve.frequencies > 0.38  # beyond the corners of the coarse grid's square
    assert np.nanmax(np.abs(np.nan_to_num(plain.curve.correlation[beyond]))) < 0.2
    assert plain.curve.correlation[plain.curve.frequencies < 0.22].min() > 0.99
    told = json.loads(json.dumps(plain.as_dict(), allow_nan=False))
    assert told["resolution"]["1/7"]["period"] == pytest.approx(0.5 * told["resolution"]["1/7"]["period_px"])


def test_the_self_check_cuts_to_whole_blocks_and_refuses_wrong_shapes() -> None:
    found = self_ring_correlation(white[:95, :127], lambda coarse: np.kron(coarse, np.ones((3, 3))), 3)
    assert math.isfinite(found.resolution().frequency)
    with pytest.raises(UsageError, match="came back as"):
        self_ring_correlation(white, lambda coarse: coarse, 2)
