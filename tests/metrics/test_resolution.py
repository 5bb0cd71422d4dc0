"""Fourier ring correlation on cases whose answer is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.metrics.resolution import (
    RingCorrelation,
    fourier_ring_correlation,
    frc_report,
    frc_resolution,
    tapered_window,
    threshold_curve,
)

SHAPE = (128, 128)


def band_limited(cutoff: float, seed: int = 3, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """White noise of unit variance per coefficient below `cutoff` cycles per pixel, nothing above."""
    white = np.random.default_rng(seed).normal(size=shape)
    spectrum = np.fft.rfft2(white)
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    return np.fft.irfft2(np.where(radius <= cutoff, spectrum, 0), s=shape)


def two_halves(signal: np.ndarray, sigma: float, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed).normal(scale=sigma, size=(2, *signal.shape))
    return signal + noise[0], signal + noise[1]


def test_an_image_correlates_fully_with_itself() -> None:
    image = band_limited(0.5)
    curve = fourier_ring_correlation(image, image)
    np.testing.assert_allclose(curve.correlation, 1.0, atol=1e-12)
    assert frc_resolution(curve).reached_end
    assert frc_resolution(curve).period == 2.0


def test_an_image_is_opposite_to_its_negative() -> None:
    image = band_limited(0.5)
    np.testing.assert_allclose(fourier_ring_correlation(image, -image).correlation, -1.0, atol=1e-12)


@given(cutoff=st.floats(0.1, 0.45), seed=st.integers(0, 99))
def test_the_cutoff_of_a_band_limited_scene_is_its_resolution(cutoff: float, seed: int) -> None:
    halves = two_halves(band_limited(cutoff, seed), 0.05, seed + 1000)
    curve = fourier_ring_correlation(*halves, window="none")
    for threshold in ("1/7", "half-bit"):
        found = frc_resolution(curve, threshold)
        # Rings are 1/128 wide, and three of them are averaged.
        assert abs(found.frequency - cutoff) < 2 / 128
        assert not found.reached_end


@pytest.mark.parametrize("snr", [0.2, 1.0, 5.0])
def test_the_correlation_of_halves_is_the_signals_share_of_their_power(snr: float) -> None:
    """For white signal and noise, ``FRC = SNR / (1 + SNR)``, SNR a ratio of powers."""
    halves = two_halves(band_limited(0.8), 1 / math.sqrt(snr))
    for window in ("none", "tukey", "hann"):
        curve = fourier_ring_correlation(*halves, window=window)
        mean = np.average(curve.correlation, weights=curve.n)
        assert abs(mean - snr / (1 + snr)) < 4 / math.sqrt(curve.n.sum())


@pytest.mark.parametrize(("window", "width"), [("none", 1.0), ("tukey", 6.0), ("hann", 6.0)])
def test_pure_noise_scatters_by_one_over_root_n(window: str, width: float) -> None:
    pulls = []
    for seed in range(60):
        halves = two_halves(np.zeros(SHAPE), 1.0, seed)
        curve = fourier_ring_correlation(*halves, window=window, ring_width=width)
        pulls.append(curve.correlation[2:] * np.sqrt(curve.n[2:]))
    scatter = np.std(pulls)
    assert 0.9 < scatter < 1.05
    assert abs(np.mean(pulls)) < 0.1


def test_pure_noise_has_no_resolution() -> None:
    for seed in range(20):
        found = frc_resolution(fourier_ring_correlation(*two_halves(np.zeros(SHAPE), 1.0, seed)), "half-bit")
        assert math.isnan(found.frequency)
        assert math.isnan(found.period)


def test_half_bit_threshold_is_van_heels_formula() -> None:
    """Equation 17 with its published, rounded constants; and its limit for many coefficients, 0.1716."""
    n = np.array([4.0, 30.0, 200.0, 1e4])
    published = (0.2071 + 1.9102 / np.sqrt(n)) / (1.2071 + 0.9102 / np.sqrt(n))
    np.testing.assert_allclose(threshold_curve(n, "half-bit"), published, rtol=2e-4)
    assert threshold_curve(np.array([1e12]), "half-bit")[0] == pytest.approx(0.1716, abs=1e-4)


def test_two_halves_at_one_seventh_make_a_whole_at_one_half() -> None:
    """Rosenthal and Henderson: the whole's correlation with the truth is ``sqrt(2 FRC / (1 + FRC))``."""
    half = threshold_curve(np.array([50.0]), "1/7")[0]
    assert math.sqrt(2 * half / (1 + half)) == pytest.approx(0.5)


@given(gain=st.floats(0.01, 100), offset=st.floats(-1e4, 1e4), swap=st.booleans())
def test_gain_offset_and_order_of_the_halves_do_not_matter(gain: float, offset: float, swap: bool) -> None:
    a, b = two_halves(band_limited(0.3, shape=(48, 64)), 0.5)
    plain = fourier_ring_correlation(a, b).correlation
    other = (gain * b + offset, a) if swap else (a, gain * b + offset)
    np.testing.assert_allclose(fourier_ring_correlation(*other).correlation, plain, atol=1e-6)


def test_rings_hold_every_coefficient_up_to_the_limit_once() -> None:
    for shape in ((64, 64), (63, 65), (48, 96)):
        image = np.random.default_rng(0).normal(size=shape)
        curve = fourier_ring_correlation(image, image, window="none")
        radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
        assert curve.n.sum() == pytest.approx(np.sum((radius > 0) & (radius <= 0.5 + 1e-9)))
        assert np.all(np.diff(curve.frequencies) > 0)


def test_bad_pixels_are_left_out_of_both() -> None:
    a, b = two_halves(band_limited(0.2), 0.3)
    mask = np.ones(SHAPE, bool)
    mask[30:33] = False
    expected = fourier_ring_correlation(a, b, mask=mask).correlation
    a[30], b[31], b[32] = np.nan, np.inf, np.nan
    np.testing.assert_array_equal(fourier_ring_correlation(a, b).correlation, expected)


def test_scattered_holes_in_both_images_are_no_detail() -> None:
    """Bright smooth light seen through the same holes would else correlate at all frequencies."""
    generator = np.random.default_rng(8)
    y, x = np.indices(SHAPE) - 60.0
    light = 60 * np.exp(-(y**2 + x**2) / (2 * 12.0**2))
    holes = generator.random(SHAPE) < 0.02
    holes[:20, 30:] = True
    holes[70:84, 90:110] = True
    a, b = two_halves(light, 1.0)
    clean = frc_resolution(fourier_ring_correlation(a, b))
    a, b = np.where(holes, np.nan, a), np.where(holes, np.nan, b)
    holed = frc_resolution(fourier_ring_correlation(a, b))
    assert clean.frequency < 0.08
    assert holed.frequency < clean.frequency + 0.1


def test_edges_of_the_field_do_not_correlate() -> None:
    """A gradient makes a jump at the wrap-around, whose cross of power the window takes away."""
    ramp = np.linspace(0, 200, SHAPE[0])[:, None] * np.ones(SHAPE)
    halves = two_halves(ramp, 1.0)
    bare = fourier_ring_correlation(*halves, window="none").correlation[20:]
    tapered = fourier_ring_correlation(*halves).correlation[20:]
    assert bare.mean() > 0.5
    assert abs(tapered.mean()) < 0.05


def test_a_spike_at_high_frequency_is_no_resolution() -> None:
    frequencies = np.linspace(0.01, 0.5, 50)
    correlation = np.zeros(50)
    correlation[30:40] = 0.9
    assert math.isnan(frc_resolution(RingCorrelation(frequencies, correlation, np.full(50, 100.0))).frequency)


def test_a_curve_that_dips_and_rises_again_ends_at_the_dip() -> None:
    """Artefacts that both images share come back at high frequencies; detail does not."""
    frequencies = np.linspace(0.005, 0.5, 100)
    correlation = np.clip(1.2 - 2.5 * frequencies, 0, 1)
    correlation[80:] = 0.8
    found = frc_resolution(RingCorrelation(frequencies, correlation, np.full(100, 1e4)))
    assert found.rises_again
    assert not found.reached_end
    assert found.frequency == pytest.approx(0.4, abs=0.01)


def test_a_common_artefact_beyond_the_scenes_limit_is_not_called_detail() -> None:
    artefact = band_limited(0.5, seed=77) - band_limited(0.44, seed=77)
    halves = two_halves(3 * band_limited(0.3) + 2 * artefact, 0.5)
    found = frc_resolution(fourier_ring_correlation(*halves))
    assert found.frequency < 0.34
    # And where noise is low enough that the curve never falls below the threshold:
    scene = 3 * band_limited(0.3) + 0.3 * (band_limited(0.44, 5) - band_limited(0.3, 5)) + 2 * artefact
    found = frc_resolution(fourier_ring_correlation(*two_halves(scene, 0.5)))
    assert found.rises_again
    assert 0.28 < found.frequency < 0.45


def test_noise_of_a_falling_curve_is_no_dip() -> None:
    for seed in range(20):
        halves = two_halves(band_limited(0.5, seed), 0.9, seed + 500)
        assert not frc_resolution(fourier_ring_correlation(*halves)).rises_again


def test_crossing_lies_between_rings() -> None:
    frequencies = np.linspace(0.01, 0.5, 50)
    curve = RingCorrelation(frequencies, 1 - 2 * frequencies, np.full(50, 1e6))
    assert frc_resolution(curve).frequency == pytest.approx((1 - 1 / 7) / 2, abs=1e-3)


def test_the_report_speaks_of_native_pixels() -> None:
    halves = two_halves(band_limited(0.2), 0.05)
    report = frc_report(*halves, factor=2)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["resolution"]["1/7"]["frequency"] == pytest.approx(0.4, abs=6 / 128)
    assert report["resolution"]["1/7"]["period_px"] == pytest.approx(2.5, abs=0.3)
    assert max(report["frequencies"]) <= 1.0


def test_window_falls_to_zero_at_the_edges_and_is_one_in_the_middle() -> None:
    window = tapered_window((40, 60))
    assert window.shape == (40, 60)
    assert window[20, 30] == pytest.approx(1, abs=5e-3)
    assert window[0].max() < 0.01
    np.testing.assert_allclose(window, window[::-1, ::-1])


@pytest.mark.parametrize(
    ("a", "b", "how"),
    [
        (np.zeros((8, 9)), np.zeros((9, 8)), {}),
        (np.zeros((4, 4)), np.zeros((4, 4)), {}),
        (np.full((16, 16), np.nan), np.zeros((16, 16)), {}),
        (np.zeros((16, 16)), np.zeros((16, 16)), {"window": "hat"}),
        (np.zeros((16, 16)), np.zeros((16, 16)), {"window": np.ones((3, 3))}),
        (np.zeros((16, 16)), np.zeros((16, 16)), {"ring_width": 0.5}),
    ],
)
def test_what_makes_no_sense_is_refused(a: np.ndarray, b: np.ndarray, how: dict) -> None:
    with pytest.raises(UsageError):
        fourier_ring_correlation(a, b, **how)


def test_images_without_any_power_have_no_correlation() -> None:
    curve = fourier_ring_correlation(np.zeros((32, 32)), np.zeros((32, 32)))
    assert np.isnan(curve.correlation).all()
    assert math.isnan(frc_resolution(curve).frequency)
