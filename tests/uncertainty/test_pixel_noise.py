"""The noise of each input pixel: from the file, the detector, or the pixels; magnitudes have less without signal."""

from __future__ import annotations

import numpy as np
import pytest

from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.inference.statistics import sample
from sciSR.sequence import NoiseModel
from sciSR.uncertainty.interface import Uncertain
from sciSR.uncertainty.noise import pixel_noise
from sciSR.uncertainty.rician import deviation, mean_and_deviation


def sky(shape=(80, 90), level=100.0, sigma=3.0, seed=0):
    return level + sigma * np.random.default_rng(seed).standard_normal(shape)


def found(image: Image, **settings):
    return pixel_noise(image, sample(image), Uncertain(**settings))


def test_moments_of_a_magnitude_are_those_of_many_draws() -> None:
    rng = np.random.default_rng(3)
    for snr in (0.0, 0.7, 2.0, 6.0):
        drawn = np.hypot(snr + rng.standard_normal(200_000), rng.standard_normal(200_000))
        mean, spread = mean_and_deviation(np.array(snr))
        assert mean == pytest.approx(drawn.mean(), rel=0.01)
        assert spread == pytest.approx(drawn.std(), rel=0.01)
    assert mean_and_deviation(np.array(0.0))[1] == pytest.approx(np.sqrt(2 - np.pi / 2))


def test_a_magnitude_without_signal_has_0655_of_the_noise_and_with_much_signal_all_of_it() -> None:
    low, high = deviation(np.array([0.0, 2.0, 900.0]), 2.0)[[0, 2]]
    assert low == pytest.approx(0.6551 * 2, rel=1e-3)
    assert high == 2
    assert (deviation(np.array([1.0]), 0.0) == 0).all()


def test_magnitudes_of_mr_get_less_in_the_air_and_all_in_tissue() -> None:
    rng = np.random.default_rng(1)
    signal = np.zeros((96, 96))
    signal[32:64, 32:64] = 200.0
    image = Image.from_array(
        np.hypot(signal + 5 * rng.standard_normal(signal.shape), 5 * rng.standard_normal(signal.shape)),
        domain="mr",
    )
    noise = found(image)
    sigma = noise.deviation[:, :]
    assert noise.origin == "estimated"
    assert np.median(sigma[:24]) == pytest.approx(0.655 * 5, rel=0.12)
    assert np.median(sigma[36:60, 36:60]) == pytest.approx(5, rel=0.12)


def test_a_part_of_the_magnitudes_deviation_is_a_part_of_the_whole() -> None:
    image = Image.from_array(np.abs(sky(level=4.0)), domain="mr")
    whole = found(image).deviation[:, :]
    assert (found(image).deviation[10:17, 3:40] == whole[10:17, 3:40]).all()


def test_the_files_own_errors_come_first_and_a_gain_beside_them_is_said_to_be_unused() -> None:
    error = np.full((80, 90), 0.25)
    noise = found(Image.from_array(sky(), uncertainty=error), gain=2.0)
    assert noise.deviation is error
    assert any("not used" in said for said in noise.messages)


def test_gain_and_read_noise_are_photons_and_the_readout() -> None:
    values = sky()
    sigma = found(Image.from_array(values), gain=4.0, read_noise=8.0).deviation[:, :]
    assert sigma == pytest.approx(np.sqrt(values / 4 + 4))


def test_a_gain_alone_takes_the_skys_noise_and_adds_photons_above_it() -> None:
    values = sky((200, 200))
    values[100, 100] = 1100.0
    noise = found(Image.from_array(values), gain=10.0)
    assert np.median(noise.deviation[:20, :]) == pytest.approx(3, rel=0.06)
    assert noise.deviation[100:101, 100:101][0, 0] == pytest.approx(np.sqrt(9 + 100), rel=0.02)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.3, 4.9])
def test_whole_numbers_have_the_noise_that_they_were_rounded_from(sigma) -> None:
    noise = found(
        Image.from_array(np.round(sky((200, 200), sigma=sigma)).astype(np.uint16), domain="astronomy")
    )
    assert dict(noise.parameters)["sigma"] == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.04)


def test_a_bias_on_raw_numbers_is_no_light() -> None:
    raw = np.random.default_rng(0).poisson(400, (80, 90)) / 2 + 1000  # gain 2, a sky of 200 on a bias of 1000
    noise = found(Image.from_array(np.round(raw).astype(np.uint16)), gain=2.0, read_noise=0.0)
    assert np.median(noise.deviation[:, :]) == pytest.approx(10, rel=0.05)
    assert any("level without light" in said for said in noise.messages)


def test_a_gain_that_the_pixels_contradict_is_used_and_the_contradiction_said() -> None:
    noise = found(Image.from_array(sky(sigma=3.0)), gain=1.0, read_noise=0.0)
    assert np.median(noise.deviation[:, :]) == pytest.approx(10, rel=0.05)
    assert any("tell 10 in the empty sky, the pixels show 3" in said for said in noise.messages)
    agreed = found(Image.from_array(sky(sigma=10.0)), gain=1.0, read_noise=0.0)
    assert len(agreed.messages) == 1


def test_what_the_header_tells_is_used_and_said() -> None:
    told = NoiseModel(2.0, 6.0, 10.0)
    image = Image.from_array(sky(), noise=lambda image: (told, "the read noise is a guess"))
    noise = found(image)
    assert noise.origin == "header"
    assert "the read noise is a guess" in noise.messages
    assert noise.deviation[:, :] == pytest.approx(np.sqrt((np.asarray(image) - 10) / 2 + 9))


def test_a_header_that_the_pixels_contradict_is_not_used_but_told() -> None:
    noise = found(Image.from_array(sky(), noise=lambda image: (None, "does not fit")))
    assert noise.origin == "estimated"
    assert "does not fit" in noise.messages


@pytest.mark.parametrize(
    ("domain", "settings", "said"),
    [
        ("generic", {"read_noise": 3.0}, "without a gain"),
        ("generic", {"gain": 0.0}, "gain of 0"),
        ("generic", {"gain": float("nan")}, "gain of nan"),
        ("generic", {"gain": 1.0, "read_noise": -1.0}, "read noise of -1"),
        ("mr", {"gain": 1.0}, "mean nothing to MR"),
    ],
)
def test_settings_that_can_not_be_are_refused(domain, settings, said) -> None:
    with pytest.raises(UsageError, match=said):
        found(Image.from_array(sky(), domain=domain), **settings)


@pytest.mark.parametrize("domain", ["astronomy", "mr", "generic"])
def test_an_estimate_follows_the_unit(domain) -> None:
    values = np.abs(sky())
    one, other = (found(Image.from_array(values * a, domain=domain)).deviation[:, :] for a in (1, 1024))
    assert other == pytest.approx(1024 * one, rel=1e-9)
