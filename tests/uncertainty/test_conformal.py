"""Conformal calibration: its promise holds exactly for exchangeable scores, files count equally, bins add up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sciSR.uncertainty.conformal import (
    ONE_SIGMA,
    TWO_SIGMA,
    covered,
    grouped_quantile,
    quantile,
    ranks,
    scores,
    share_by_bin,
)

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)
SETS = hnp.arrays(np.float64, st.integers(2, 60), elements=FINITE, unique=True)
SHARES = st.floats(0.05, 0.95)


@given(SETS, SHARES)
def test_any_of_exchangeable_scores_is_covered_as_often_as_promised(values, share):
    # Exchangeable: each of the n + 1 is equally likely to be the one that was not there for the calibration.
    inside = [value <= quantile(np.delete(values, k), share) for k, value in enumerate(values)]
    assert share - 1e-9 <= np.mean(inside)
    reachable = math.ceil(len(values) * share - 1e-12) <= len(values) - 1
    assert np.mean(inside) <= (share + 1 / len(values) + 1e-9 if reachable else 1)


@given(SETS, SHARES)
def test_one_file_alone_is_calibrated_like_its_pixels(values, share):
    assert grouped_quantile([values], share) == quantile(values, share)


@given(SETS, SHARES, st.integers(2, 5))
def test_files_count_equally_however_large_they_are(values, share, times):
    other = values + 3.0
    more = grouped_quantile([np.tile(values, 40 * times), np.tile(other, 40)], share)
    pooled = np.sort(np.concatenate([values, other]))
    # The finite-sample correction shrinks with the number of pixels: at most one score further.
    places = [
        int(np.searchsorted(pooled, each))
        for each in (more, grouped_quantile([np.tile(values, 40), np.tile(other, 40)], share))
    ]
    assert abs(places[0] - places[1]) <= 1


def test_too_few_scores_promise_nothing():
    assert quantile([1.0, 2.0], 0.9) == math.inf
    assert quantile([], 0.5) == math.inf
    assert grouped_quantile([], 0.5) == grouped_quantile([[]], 0.5) == math.inf
    assert grouped_quantile([[1.0], [2.0]], 0.9) == math.inf


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, math.nan])
def test_a_coverage_is_a_share(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile([1.0], share)


@given(
    hnp.arrays(np.float64, 30, elements=st.floats(-10, 10)),
    hnp.arrays(np.float64, 30, elements=st.floats(0.01, 10)),
    st.floats(0, 3),
    st.floats(0.01, 5),
    st.sampled_from([1.0, 2.0]),
)
def test_a_score_is_the_least_factor_that_covers(error, predicted, noise, factor, sigmas):
    needed = scores(error, predicted, noise, sigmas)
    clear = np.abs(needed - factor) > 1e-9 * (1 + factor)
    inside = covered(error, predicted, noise, sigmas, widen=factor)
    np.testing.assert_array_equal(inside[clear], (needed <= factor)[clear])


def test_calibrated_normal_errors_are_covered_by_one_and_two_sigmas():
    g = np.random.default_rng(1)
    wide, noise = np.exp(g.normal(size=200_000)), 0.7
    error = np.hypot(1.6 * wide, noise) * g.standard_normal(wide.size)
    half = len(wide) // 2
    factor = quantile(scores(error[:half], wide[:half], noise), ONE_SIGMA)
    assert factor == pytest.approx(1.6, rel=0.01)
    assert covered(error[half:], wide[half:], noise, widen=factor).mean() == pytest.approx(
        ONE_SIGMA, abs=0.004
    )
    two = quantile(scores(error[:half], factor * wide[:half], noise, 2.0), TWO_SIGMA)
    assert two == pytest.approx(1.0, rel=0.01)
    assert covered(error[half:], wide[half:], noise, 2.0, two * factor).mean() == pytest.approx(
        TWO_SIGMA, abs=0.003
    )


@given(hnp.arrays(np.float64, st.integers(5, 80), elements=FINITE), st.integers(1, 5))
def test_bins_hold_every_pixel_once_and_shares_add_up(values, count):
    which = ranks(values, count)
    assert which.min() >= 0
    assert which.max() < count
    assert (np.diff(which[np.argsort(values, kind="stable")]) >= 0).all()
    inside = values > 0
    sizes = np.bincount(which, minlength=count)
    shares = np.nan_to_num(share_by_bin(inside, which, count))
    assert (shares * sizes).sum() == pytest.approx(inside.sum())


def test_an_empty_bin_has_no_share():
    assert np.isnan(share_by_bin([True], [0], 2)[1])
