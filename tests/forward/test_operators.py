"""Every forward model is linear, has its adjoint and pseudo-inverse, keeps the level, and sits at the pixel edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import GeometryError
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop

OPERATORS = [KSpaceCrop, GaussianDecimation]
sizes = st.integers(1, 9)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny tensors: threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", OPERATORS)
@given(height=sizes, width=sizes, scale=st.integers(1, 4))
def test_adjoint_is_the_transpose(kind, height, width, scale):
    operator = kind(scale)
    x, y = noise(scale * height, scale * width), noise(height, width, seed=1)
    assert torch.isclose((operator.apply(x) * y).sum(), (x * operator.adjoint(y)).sum(), atol=1e-9)


@pytest.mark.parametrize("kind", OPERATORS)
@given(height=sizes, width=sizes, scale=st.integers(1, 4))
def test_pseudo_inverse_reproduces_the_measurement(kind, height, width, scale):
    operator, y = kind(scale), noise(height, width)
    assert torch.allclose(operator.apply(operator.pinv(y)), y, atol=1e-8)


@pytest.mark.parametrize("kind", OPERATORS)
@given(height=sizes, width=sizes, scale=st.integers(1, 3))
def test_pseudo_inverse_has_the_least_norm(kind, height, width, scale):
    operator, x = kind(scale), noise(scale * height, scale * width)
    seen = operator.pinv(operator.apply(x))
    assert torch.isclose((seen * (x - seen)).sum(), torch.zeros((), dtype=torch.float64), atol=1e-7)


@pytest.mark.parametrize("kind", OPERATORS)
def test_constants_keep_their_level(kind):
    operator = kind(2)
    assert torch.allclose(operator.apply(torch.full((12, 10), 7.0)), torch.full((6, 5), 7.0))
    assert torch.allclose(operator.pinv(torch.full((6, 5), 7.0)), torch.full((12, 10), 7.0), atol=1e-5)


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("scale", [2, 3])
def test_mirror_images_stay_mirror_images(kind, scale):
    """Only an edge-aligned grid commutes with a flip; a grid that keeps pixel 0 doesn't."""
    operator, x = kind(scale), noise(scale * 8, scale * 7)
    assert torch.allclose(operator.apply(x.flip(-1)), operator.apply(x).flip(-1), atol=1e-10)
    assert torch.allclose(operator.apply(x.flip(-2)), operator.apply(x).flip(-2), atol=1e-10)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_kspace_samples_a_wave_at_the_pixel_centres(scale):
    n = 16
    fine = (torch.arange(scale * n, dtype=torch.float64) + 0.5) / scale - 0.5
    coarse = torch.arange(n, dtype=torch.float64)

    def wave(position):
        return torch.cos(2 * torch.pi * 3 * position / n + 0.7)

    plane = wave(fine)[None].expand(scale * 4, -1)
    assert torch.allclose(KSpaceCrop(scale).apply(plane), wave(coarse)[None].expand(4, -1), atol=1e-12)
    assert torch.allclose(KSpaceCrop(scale).pinv(wave(coarse)[None].expand(4, -1)), plane, atol=1e-12)


def test_kspace_measured_coefficients_survive_consistency():
    operator, y, x = KSpaceCrop(2), noise(9, 12), noise(18, 24, seed=2)
    after = x + operator.pinv(y - operator.apply(x))
    assert torch.allclose(operator.apply(after), y, atol=1e-12)
    assert torch.allclose(operator.out_of_band(after), operator.out_of_band(x), atol=1e-12)
    assert operator.apply(operator.out_of_band(x)).abs().max() < 1e-12


def test_gaussian_agrees_with_a_direct_sum():
    operator, x = GaussianDecimation(2), noise(16, 16)
    sigma = 2 / (2 * np.sqrt(2 * np.log(2)))
    d = np.arange(16) - (2 * 3 + 0.5)
    row = np.exp(-0.5 * (d / sigma) ** 2) * (np.abs(d) <= 4 * sigma + 0.5)
    row /= row.sum()
    assert float(operator.apply(x)[3, 3]) == pytest.approx(row @ x.numpy() @ row, rel=2e-3, abs=2e-4)


@pytest.mark.parametrize("kind", OPERATORS)
def test_wrong_sizes_are_refused_by_name(kind):
    with pytest.raises(GeometryError, match=r"\(5, 6\)"):
        kind(2).apply(torch.zeros(5, 6))
