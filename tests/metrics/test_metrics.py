"""Known answers for the measures of quality."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.metrics import aperture_sums, flux_error, nrmse, psnr, ssim
from sciSR.metrics.photometry import circle_weights

truth = np.random.default_rng(0).random((32, 40))


def test_psnr_of_a_known_error():
    assert psnr(truth, truth + 0.1, 1.0) == pytest.approx(20)
    assert psnr(truth, truth, 1.0) == math.inf
    mask = np.zeros(truth.shape, bool)
    assert math.isnan(psnr(truth, truth, 1.0, mask))
    mask[4, 5] = True
    image = truth.copy()
    image[4, 5] += 0.01
    image[9, 9] += 100
    assert psnr(truth, image, 1.0, mask) == pytest.approx(40)


def test_ssim_and_nrmse_ends():
    assert ssim(truth, truth, 1.0) == pytest.approx(1)
    assert ssim(truth, 1 - truth, 1.0) < 0
    assert nrmse(truth, truth) == 0
    assert nrmse(truth, np.full_like(truth, truth.mean())) == pytest.approx(1)


@given(y=st.floats(5, 9), x=st.floats(5, 9), radius=st.floats(0.3, 5))
def test_aperture_area_is_that_of_the_circle(y, x, radius):
    _, _, weights = circle_weights(y, x, radius)
    assert weights.sum() == pytest.approx(math.pi * radius**2, rel=2e-3)
    assert weights.min() >= 0
    assert weights.max() <= 1 + 1e-12


def test_aperture_sums_and_borders():
    sums = aperture_sums(np.ones((20, 20)), np.array([[10.0, 10.0], [1.0, 10.0]]), 3.0)
    assert sums[0] == pytest.approx(9 * math.pi, rel=1e-4)
    assert math.isnan(sums[1])


def test_flux_error_sees_a_gain():
    image = np.zeros((40, 40))
    image[10, 10], image[25, 20] = 100, 300
    bias, scatter = flux_error(image + 5, 0.9 * image + 5, np.array([[10, 10], [25, 20]]), 3.0, sky=5)
    assert bias == pytest.approx(-10)
    assert scatter == pytest.approx(0, abs=1e-9)
