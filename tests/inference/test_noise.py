"""The noise that a network is told is the noise that is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenes import astro_image, brain, mr_image, sky
from sciSR.image import Image
from sciSR.inference.noise import noise_of
from sciSR.inference.normalise import fit
from sciSR.inference.statistics import sample


def estimate(image: Image, kind: str) -> tuple[float, str]:
    return noise_of(image, fit(sample(image).values, kind))


def head(sigma: float, *, magnitude: bool = True, seed: int = 0) -> np.ndarray:
    """A head in air, its real and imaginary part with normal noise; or real values alone."""
    rng, signal = np.random.default_rng(seed), brain((160, 144))
    real = signal + rng.normal(0, sigma, signal.shape)
    return np.hypot(real, rng.normal(0, sigma, signal.shape)) if magnitude else real


@pytest.mark.parametrize("sigma", [3.0, 10.0, 40.0])
@pytest.mark.parametrize("magnitude", [True, False])
def test_mr_noise_is_found_also_where_air_follows_rayleigh(sigma: float, magnitude: bool) -> None:
    found, origin = estimate(mr_image(head(sigma, magnitude=magnitude)), "range")
    assert found == pytest.approx(sigma, rel=0.12)
    assert origin == "estimated"


def test_air_that_was_set_to_zero_is_no_noise() -> None:
    data = head(10.0)
    data[brain((160, 144)) == 0] = 0.0
    assert estimate(mr_image(data), "range")[0] == pytest.approx(10.0, rel=0.25)


def test_sky_noise_is_that_of_the_empty_sky() -> None:
    assert estimate(astro_image(sky((200, 180))), "sky")[0] == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(("domain", "kind"), [("astronomy", "sky"), ("mr", "range")])
def test_an_images_own_uncertainty_is_believed(domain: str, kind: str) -> None:
    data = sky((64, 64))
    error = np.where(data > 20, 50.0, 1.25)
    error[:3] = np.nan
    image = Image.from_array(data, domain=domain, uncertainty=error)
    assert estimate(image, kind) == (1.25, "uncertainty")


@given(exponent=st.floats(-6, 6), pedestal=st.floats(-30, 30))
@pytest.mark.parametrize(("kind", "data"), [("range", head(10.0)), ("sky", sky((96, 90)))], ids=["mr", "sky"])
def test_it_follows_unit_and_pedestal(kind: str, data: np.ndarray, exponent: float, pedestal: float) -> None:
    make = mr_image if kind == "range" else astro_image
    a = 10.0**exponent
    one, _ = estimate(make(data), kind)
    other, _ = estimate(make(a * data + a * pedestal * data.std()), kind)
    assert other == pytest.approx(a * one, rel=1e-6)


@pytest.mark.parametrize("data", [np.zeros((40, 40)), np.full((3, 5), 7.0), np.full((20, 20), np.nan)])
def test_an_image_without_noise_has_none(data: np.ndarray) -> None:
    assert estimate(mr_image(data), "range")[0] == 0.0
