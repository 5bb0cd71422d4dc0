"""Classical methods against independent implementations, on exactly edge-aligned grids."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import sciSR
from sciSR.classical import axis_weights
from sciSR.classical.fourier import fourier_resample
from sciSR.forward.kspace import KSpaceCrop
from sciSR.image import Image


def field(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 50.0, (height, width))


def upscaled(data: np.ndarray, scale: object, method: str) -> np.ndarray:
    image = Image.from_array(data)
    return np.asarray(sciSR.upscale(image, scale, method, consistency="none").data, dtype=np.float64)


# scipy cuts its boundary recursion short, which shows on images of a few pixels.
@given(height=st.integers(16, 40), width=st.integers(16, 40), scale=st.integers(2, 5))
def test_cubic_is_scipys_spline_on_its_edge_aligned_grid(height: int, width: int, scale: int) -> None:
    data = field(height, width)
    judge = ndimage.zoom(data, scale, order=3, mode="reflect", grid_mode=True)
    np.testing.assert_allclose(upscaled(data, scale, "cubic"), judge, rtol=2e-6, atol=2e-4)


@given(height=st.integers(2, 40), width=st.integers(2, 40), scale=st.integers(2, 5))
def test_linear_is_torchs_bilinear(height: int, width: int, scale: int) -> None:
    data = field(height, width)
    judge = torch.nn.functional.interpolate(
        torch.from_numpy(data)[None, None], scale_factor=scale, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(upscaled(data, scale, "linear"), judge[0, 0].numpy(), rtol=1e-6, atol=1e-5)


@given(height=st.integers(1, 30), width=st.integers(1, 30), scale=st.integers(2, 5))
def test_nearest_repeats_pixels(height: int, width: int, scale: int) -> None:
    data = field(height, width).astype(np.float32)
    assert np.array_equal(upscaled(data, scale, "nearest"), data.repeat(scale, 0).repeat(scale, 1))


@given(height=st.integers(2, 33), width=st.integers(2, 33), scale=st.integers(2, 4))
def test_fourier_is_the_inverse_of_the_kspace_crop(height: int, width: int, scale: int) -> None:
    data = field(height, width)
    judge = KSpaceCrop(scale).pinv(torch.from_numpy(data)).numpy()
    np.testing.assert_allclose(upscaled(data, scale, "fourier"), judge, rtol=2e-6, atol=2e-4)


@given(n=st.integers(2, 40), extra=st.integers(0, 50))
def test_fourier_moves_no_wave(n: int, extra: int) -> None:
    """A wave below the Nyquist frequency is sampled at exactly the edge-aligned positions, at any size."""
    size = n + extra
    for k in range(0, (n - 1) // 2 + 1):
        x = np.cos(2 * np.pi * k * (np.arange(n) + 0.5) / n + 0.3)
        fine = np.cos(2 * np.pi * k * (np.arange(size) + 0.5) / size + 0.3)
        np.testing.assert_allclose(fourier_resample(torch.from_numpy(x), size).numpy(), fine, atol=1e-9)


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos", "fourier"])
@pytest.mark.parametrize("scale", [2, 3, "3/2", 1.37])
def test_a_symmetric_image_stays_symmetric(method: str, scale: object) -> None:
    """Half-voxel shifts, the classic defect, break this."""
    data = field(21, 16)
    data = data + data[::-1] + data[:, ::-1] + data[::-1, ::-1]
    fine = upscaled(data, scale, method)
    np.testing.assert_allclose(fine, fine[::-1, ::-1], rtol=1e-6, atol=1e-4)


@given(
    method=st.sampled_from(["nearest", "linear", "cubic", "lanczos"]),
    p=st.integers(1, 9),
    q=st.integers(1, 9),
    start=st.integers(0, 50),
)
def test_weights_sum_to_one(method: str, p: int, q: int, start: int) -> None:
    factor = Fraction(max(p, q), min(p, q))
    weights = axis_weights(method, factor, (start, start + 20), (start // 9 - 30, start + 60))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize("method", ["cubic", "lanczos"])
def test_interpolation_passes_through_the_samples(method: str) -> None:
    """At an odd factor the middle fine pixel sits on the coarse one."""
    data = field(25, 19)
    fine = upscaled(data, 3, method)
    np.testing.assert_allclose(fine[1::3, 1::3], data, rtol=1e-6)
