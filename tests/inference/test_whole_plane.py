"""Results reproduce what was measured on the whole plane: k-space, and the samples of a Gaussian profile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sciSR
from scenes import brain, mr_image
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.inference.whole_plane import GaussianSamples


@given(
    scale=st.sampled_from([2, 3, 4]),
    fwhm=st.floats(0.5, 1.5),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
)
def test_it_is_the_exact_inverse_of_least_norm(scale: int, fwhm: float, height: int, width: int) -> None:
    operator = GaussianSamples(scale, fwhm)
    y = torch.randn(height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = operator.pinv(y)
    assert (operator.apply(x) - y).abs().max() <= 1e-11 * float(y.abs().max() + 1)
    # Least norm: orthogonal to whatever the measurement does not see.
    other = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    unseen = other - operator.pinv(operator.apply(other))
    assert abs(float((x * unseen).sum())) <= 1e-8 * float(x.norm() * other.norm() + 1e-12)


@pytest.mark.parametrize("model", ["espcn-mr-gaussian-x2", "cubic", "fourier", "nearest"])
@settings(max_examples=6)
@given(seed=st.integers(0, 99), height=st.integers(8, 41), width=st.integers(8, 41))
def test_samples_are_kept_to_rounding(model: str, seed: int, height: int, width: int) -> None:
    data = brain((height, width), seed)
    result = sciSR.upscale(mr_image(data), 2, model, consistency="gaussian")
    back = GaussianDecimation(2).apply(torch.from_numpy(np.asarray(result.data, np.float64))).numpy()
    largest = np.abs(back - data).max()
    assert largest <= 1e-6 * max(1.0, np.abs(data).max())
    agreement = result.provenance.steps[-1]["agreement"]
    assert agreement["operator"] == "Gaussian samples"
    assert agreement["max_abs"] == pytest.approx(largest, rel=0.02, abs=1e-12)


@pytest.mark.parametrize("model", ["espcn-mr-gaussian-x2", "espcn-mr-kspace-x2"])
def test_samples_are_kept_also_where_a_network_is_applied_twice(model: str) -> None:
    data = brain((24, 20))
    consistency = "gaussian" if "gaussian" in model else "kspace"
    result = sciSR.upscale(mr_image(data), 4, model, consistency=consistency)
    assert result.provenance.steps[-1]["agreement"]["max_relative_to_range"] < 1e-6


def test_the_width_is_the_users() -> None:
    data = brain((30, 26))
    result = sciSR.upscale(mr_image(data), 3, "cubic", consistency="gaussian", psf_fwhm=1.3)
    back = GaussianDecimation(3, 3.9).apply(torch.from_numpy(np.asarray(result.data, np.float64))).numpy()
    assert np.abs(back - data).max() <= 1e-6 * np.abs(data).max()


def test_a_width_that_blows_up_noise_is_refused() -> None:
    with pytest.raises(sciSR.SciSRError, match="without blowing up noise"):
        sciSR.upscale(mr_image(brain((24, 20))), 2, "cubic", consistency="gaussian", psf_fwhm=2.0)


@pytest.mark.parametrize("consistency", ["kspace", "gaussian"])
@pytest.mark.parametrize("scale", ["3/2", "2,3"])
def test_it_needs_one_whole_factor(consistency: str, scale: str) -> None:
    with pytest.raises(sciSR.SciSRError, match="one whole-number scale"):
        sciSR.upscale(mr_image(brain((24, 24))), scale, "cubic", consistency=consistency)
