"""Edges and fine structure: the formulas, judged by scipy and scikit-image, and what masks promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, signal
from skimage.filters import sobel_h, sobel_v
from skimage.metrics import structural_similarity

from sciSR.metrics import gradient_correlation, hfen, nrmse, psnr, ssim
from sciSR.metrics.detail import hfen_sums, log_kernel
from sciSR.metrics.fidelity import ErrorSums

rng = np.random.default_rng(1)
truth = ndimage.gaussian_filter(rng.normal(size=(60, 70)), 1.2)
image = truth + 0.05 * rng.normal(size=truth.shape)


def test_the_kernel_is_the_laplacian_of_a_gaussian() -> None:
    kernel = log_kernel()
    assert kernel.shape == (15, 15)
    assert abs(kernel.sum()) < 1e-15
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-16)
    impulse = np.zeros((41, 41))
    impulse[20, 20] = 1
    judge = ndimage.gaussian_laplace(impulse, 1.5, truncate=10)[13:28, 13:28]
    assert np.abs(kernel - judge).max() < 0.03 * np.abs(judge).max()  # sampled, and sampled once more


def test_hfen_is_the_norm_of_the_filtered_error() -> None:
    filtered = [signal.convolve2d(each, log_kernel(), mode="valid") for each in (image - truth, truth)]
    assert hfen(truth, image) == pytest.approx(np.linalg.norm(filtered[0]) / np.linalg.norm(filtered[1]))


def test_hfen_ends() -> None:
    assert hfen(truth, truth) == 0
    assert hfen(truth, np.full_like(truth, 3.0)) == pytest.approx(1)
    assert hfen(truth, truth + 100) == pytest.approx(0, abs=1e-9)
    assert math.isnan(hfen(truth[:14], truth[:14]))


def test_planes_add_up_to_the_volume() -> None:
    volumes = [np.stack([each, each[::-1]]) for each in (truth, image)]
    sums = np.sum([hfen_sums(a, b) for a, b in zip(*volumes, strict=True)], axis=0)
    assert math.sqrt(sums[0] / sums[1]) == pytest.approx(hfen(truth, image))


def test_gradient_correlation_is_that_of_sobel_gradients() -> None:
    inside = np.s_[1:-1, 1:-1]
    judge = [
        np.corrcoef(f(truth)[inside].ravel(), f(image)[inside].ravel())[0, 1] for f in (sobel_h, sobel_v)
    ]
    assert gradient_correlation(truth, image) == pytest.approx(np.mean(judge))


def test_gradient_correlation_ignores_gain_and_offset_and_sees_the_sign() -> None:
    assert gradient_correlation(truth, 3 * truth + 7) == pytest.approx(1)
    assert gradient_correlation(truth, -truth) == pytest.approx(-1)
    assert math.isnan(gradient_correlation(truth, np.ones_like(truth)))


MEASURES = {
    "psnr": lambda a, b, m: psnr(a, b, 1.0, m),
    "nrmse": nrmse,
    "ssim": lambda a, b, m: ssim(a, b, 1.0, m, whole=True),
    "hfen": hfen,
    "gradient": gradient_correlation,
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_mask_excludes_exactly(name: str) -> None:
    mask = np.zeros(truth.shape, bool)
    mask[8:50, 10:52] = True
    wild = rng.normal(size=(2, *truth.shape)) * 1e6
    measure = MEASURES[name]
    expected = measure(truth, image, mask)
    assert math.isfinite(expected)
    assert measure(np.where(mask, truth, wild[0]), np.where(mask, image, wild[1]), mask) == pytest.approx(
        expected, rel=1e-6
    )
    assert measure(np.where(mask, truth, np.nan), np.where(mask, image, np.inf), mask) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("name", MEASURES)
def test_nan_pixels_never_count(name: str) -> None:
    holed = image.copy()
    holed[20, 30] = np.nan
    whole = MEASURES[name](truth, image, None)
    assert MEASURES[name](truth, holed, None) == pytest.approx(whole, rel=0.05)


@given(factor=st.floats(1e-6, 1e6), offset=st.floats(-10, 10))
def test_a_common_change_of_unit_changes_nothing(factor: float, offset: float) -> None:
    a, b = (factor * (each + offset) for each in (truth, image))
    assert psnr(a, b, factor) == pytest.approx(psnr(truth, image, 1.0))
    for measure in (nrmse, hfen, gradient_correlation):
        assert measure(a, b) == pytest.approx(measure(truth, image), rel=1e-6)


def test_whole_windows_are_those_of_a_crop() -> None:
    mask = np.zeros(truth.shape, bool)
    crop = np.s_[8:50, 10:52]
    mask[crop] = True
    _, judge = structural_similarity(
        truth[crop],
        image[crop],
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert ssim(truth, image, 1.0, mask, whole=True) == pytest.approx(judge[5:-5, 5:-5].mean())


@given(cut=st.integers(1, 59), seed=st.integers(0, 9))
def test_sums_of_blocks_are_those_of_the_whole(cut: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random(truth.shape) < 0.7
    parts = [
        ErrorSums.of(truth[rows] + 1e6, image[rows] + 1e6, mask[rows]) for rows in (np.s_[:cut], np.s_[cut:])
    ]
    total = parts[0] + parts[1]
    assert total.n == mask.sum()
    assert total.psnr(2.0) == pytest.approx(psnr(truth, image, 2.0, mask), rel=1e-6)
    assert total.nrmse == pytest.approx(nrmse(truth, image, mask), rel=1e-6)
    assert total.mean_bias == pytest.approx((image - truth)[mask].mean(), abs=1e-9)
