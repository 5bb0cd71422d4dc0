"""What else a scanner does to k-space: lines that are left out, and windows against ringing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.forward.apodisation import Apodisation, tukey
from sciSR.forward.kspace import KSpaceCrop
from sciSR.forward.operator import Chain
from sciSR.forward.partial_fourier import PartialFourier, acquired, homodyne

sizes = st.integers(1, 16)
shares = st.floats(0.5, 1.0)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def complex_noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.complex(noise(*shape, seed=seed), noise(*shape, seed=seed + 50))


def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The inner product of two images as vectors of real numbers."""
    return (a * b.conj()).real.sum()


def object_of_body(n: int) -> torch.Tensor:
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5
    inside = ((axis[:, None] / 0.4) ** 2 + (axis / 0.3) ** 2 < 1).double()
    return inside * (1 + 0.5 * torch.cos(9 * axis[:, None]) * torch.sin(7 * axis))


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 300), share=shares)
def test_more_than_half_of_the_lines_and_the_centre_are_acquired(n, share):
    mask = acquired(n, share)
    assert bool(mask[0])
    assert int(mask.sum()) >= max(n // 2 + 1, share * n - 1e-6)
    k = torch.fft.fftfreq(n, d=1.0 / n)
    assert float(k[mask].min()) > float(k[~mask].max() if (~mask).any() else -n)  # from one side only


@given(height=sizes, width=sizes, share=shares, axis=st.sampled_from([-1, -2]), real=st.booleans())
def test_partial_fourier_adjoint_is_the_transpose(height, width, share, axis, real):
    operator = PartialFourier(share, axis, real)
    x = noise(height, width) if real else complex_noise(height, width)
    y = complex_noise(height, width, seed=1)
    assert torch.isclose(inner(operator.apply(x), y), inner(x + 0j, operator.adjoint(y) + 0j), atol=1e-9)


@given(height=sizes, width=sizes, share=shares, axis=st.sampled_from([-1, -2]), real=st.booleans())
def test_partial_fourier_pseudo_inverse_obeys_penrose(height, width, share, axis, real):
    operator = PartialFourier(share, axis, real)
    x = noise(height, width) if real else complex_noise(height, width)
    seen = operator.apply(x)
    back = operator.pinv(seen)
    assert torch.allclose(operator.apply(back), seen, atol=1e-10)
    assert abs(float(inner(back + 0j, x - back + 0j))) < 1e-9  # the smallest such image


def test_conjugate_lines_give_a_real_scene_back():
    x = noise(15, 12)
    operator = PartialFourier(0.6)
    assert torch.allclose(operator.pinv(operator.apply(x)), x, atol=1e-12)
    assert not torch.allclose(operator.apply(x).abs(), x.abs(), atol=0.05)  # zero filling does not


def test_homodyne_restores_a_scene_with_a_slow_phase():
    scene = object_of_body(128)
    axis = (torch.arange(128, dtype=torch.float64) + 0.5) / 128 - 0.5
    phase = torch.exp(1j * (0.8 + 2 * axis[:, None] + 1.5 * axis))
    filled = PartialFourier(0.625, real=False).apply(scene * phase)
    error = [
        float((image - scene).norm() / scene.norm()) for image in (filled.abs(), homodyne(filled, 0.625))
    ]
    assert error[1] < 0.5 * error[0]
    assert error[1] < 0.03


@pytest.mark.parametrize(("n", "share"), [(33, 0.55), (33, 0.8), (32, 1.0), (33, 1.0)])
def test_homodyne_is_exact_for_a_constant_phase(n, share):
    scene = object_of_body(n)
    filled = PartialFourier(share, real=False).apply(scene * torch.exp(torch.tensor(0.7j)))
    assert torch.allclose(homodyne(filled, share), scene, atol=1e-10)


def test_zero_filling_blurs_along_one_axis_only():
    x = noise(20, 24)
    assert torch.allclose(PartialFourier(0.7, -2).apply(x).mean(-2).real, x.mean(-2), atol=1e-12)
    lines = torch.fft.fft2(PartialFourier(0.7, -2).apply(x)).abs().sum(-1)
    assert int((lines < 1e-9).sum()) == 6


@pytest.mark.parametrize("share", [0.3, 1.2])
def test_impossible_shares_are_refused(share):
    with pytest.raises(UsageError, match="partial Fourier"):
        PartialFourier(share).apply(noise(4, 4))


@given(height=sizes, width=sizes, taper=st.floats(0, 1))
def test_apodisation_is_its_own_transpose_and_has_an_inverse(height, width, taper):
    operator = Apodisation(taper)
    x, y = noise(height, width), noise(height, width, seed=1)
    assert torch.isclose((operator.apply(x) * y).sum(), (x * operator.adjoint(y)).sum(), atol=1e-9)
    assert torch.allclose(operator.pinv(operator.apply(x)), x, atol=1e-8)
    assert torch.allclose(operator.apply(torch.full_like(x, 3.0)), torch.full_like(x, 3.0))


def test_the_window_goes_from_a_rectangle_to_hann():
    assert torch.equal(tukey(9, 0.0), torch.ones(9, dtype=torch.float64))
    k = torch.arange(-4, 5, dtype=torch.float64)
    assert torch.allclose(torch.fft.fftshift(tukey(9, 1.0)), torch.cos(torch.pi * k / 10) ** 2)
    assert torch.equal(torch.fft.fftshift(tukey(101, 0.3))[40:61], torch.ones(21, dtype=torch.float64))


def test_a_window_takes_ringing_away():
    step = torch.zeros(128, 128, dtype=torch.float64)
    step[:, 33:96] = 1
    ringing = [float(Chain((KSpaceCrop(2), Apodisation(t))).apply(step).max() - 1) for t in (0.0, 0.5, 1.0)]
    assert ringing[0] > 0.05
    assert ringing[0] > ringing[1] > ringing[2]
    assert ringing[2] < 0.01


@given(height=st.integers(2, 8), width=st.integers(2, 8), scale=st.integers(1, 3), share=shares)
def test_a_whole_acquisition_has_its_adjoint(height, width, scale, share):
    operator = Chain((KSpaceCrop(scale), Apodisation(0.6), PartialFourier(share)))
    x, y = noise(scale * height, scale * width), complex_noise(height, width)
    assert torch.isclose(inner(operator.apply(x), y), (x * operator.adjoint(y)).sum(), atol=1e-9)
