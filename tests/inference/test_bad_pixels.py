"""A bad pixel never leaks into a good one, and is flagged again over the same piece of sky."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sciSR
from scenes import assert_same_to_rounding, astro_image, sky

MODELS = ["espcn-astro-x2", "cubic", "fourier", "nearest"]


def with_bad(seed: int, n: int, shape: tuple[int, int] = (48, 44)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    bad = np.zeros(shape, dtype=bool)
    for _ in range(n):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        bad[y : y + rng.integers(1, 5), x : x + rng.integers(1, 5)] = True
    return sky(shape, seed), bad


@pytest.mark.parametrize("model", MODELS)
@given(
    seed=st.integers(0, 50),
    n=st.integers(1, 6),
    garbage=st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -7.0]),
)
def test_what_sat_under_a_flag_changes_no_good_pixel(model: str, seed: int, n: int, garbage: float) -> None:
    data, bad = with_bad(seed, n)
    one = sciSR.upscale(astro_image(np.where(bad, garbage, data), mask=bad), 2, model)
    two = sciSR.upscale(astro_image(np.where(bad, 12345.0, data), mask=bad), 2, model)
    good = ~np.repeat(np.repeat(bad, 2, 0), 2, 1)
    assert np.array_equal(np.asarray(one.data)[good], np.asarray(two.data)[good])
    assert np.array_equal(np.asarray(one.mask[:, :]), ~good)


@pytest.mark.parametrize("quantity", ["density", "total"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_flags_cover_the_same_footprint(value: float, quantity: str) -> None:
    data, bad = with_bad(3, 5)
    result = np.asarray(sciSR.upscale(astro_image(np.where(bad, value, data), quantity=quantity), 2).data)
    footprint = np.repeat(np.repeat(bad, 2, 0), 2, 1)
    assert np.array_equal(~np.isfinite(result), footprint)
    assert np.all(np.isnan(result[footprint]) if np.isnan(value) else result[footprint] == value)


@given(seed=st.integers(0, 50), tile=st.integers(16, 60))
def test_the_fill_does_not_depend_on_the_tile(seed: int, tile: int) -> None:
    data, bad = with_bad(seed, 6)
    image = astro_image(np.where(bad, np.nan, data))
    whole, tiled = (np.asarray(sciSR.upscale(image, 2, "espcn-astro-x2", tile=t).data) for t in (999, tile))
    assert_same_to_rounding(tiled, whole)


def test_a_fractional_scale_flags_every_fine_pixel_that_touches_a_bad_one() -> None:
    data = sky((9, 9))
    data[4, 4] = np.nan
    result = np.asarray(sciSR.upscale(astro_image(data), "4/3", "linear").data)
    # pixel 4 spans [4, 5] of 9, fine pixels are 3/4 wide: 5 to 6 are touched (16/3 to 20/3)
    expected = np.zeros((12, 12), dtype=bool)
    expected[5:7, 5:7] = True
    assert np.array_equal(np.isnan(result), expected)


def test_masked_values_are_kept_and_shared_like_the_rest() -> None:
    data, bad = with_bad(1, 3)
    result = sciSR.upscale(astro_image(data, mask=bad, quantity="total"), 2)
    footprint = np.repeat(np.repeat(bad, 2, 0), 2, 1)
    expected = np.repeat(np.repeat(data, 2, 0), 2, 1)[footprint] / 4
    np.testing.assert_allclose(np.asarray(result.data)[footprint], expected, rtol=1e-6)


def test_an_image_of_nan_stays_an_image_of_nan() -> None:
    result = np.asarray(sciSR.upscale(astro_image(np.full((10, 12), np.nan)), 2, "espcn-astro-x2").data)
    assert result.shape == (20, 24)
    assert np.isnan(result).all()
