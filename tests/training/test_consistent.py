"""The consistency step as a layer: it reproduces the measurement, changes nothing that agrees, and passes gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.forward.pixel import BlockMean
from sciSR.training.consistent import Consistency, linear, network
from sciSR.training.pair import Batch

CASES = [
    ("blockmean", "range"),
    ("blockmean", "sky"),
    ("gaussian", "range"),
    ("gaussian", "sky"),
    ("kspace", "range"),
]


def forward(kind, scale):
    return {
        "blockmean": BlockMean((scale, scale)),
        "gaussian": GaussianDecimation(scale),
        "kspace": KSpaceCrop(scale),
    }[kind]


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("kind", "normalisation"), CASES)
@given(st.sampled_from([2, 3, 4]), st.integers(5, 12), st.integers(0, 10**6))
def test_the_result_reproduces_the_input(kind, normalisation, scale, side, seed):
    x, y = draw(2, 1, scale * side, scale * side, seed=seed), draw(2, 1, side, side, seed=seed + 1)
    out = linear(Consistency(kind, normalisation).project(x, y), normalisation)
    torch.testing.assert_close(
        forward(kind, scale).apply(out), linear(y, normalisation), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize(("kind", "normalisation"), CASES)
def test_what_agrees_already_is_left_alone(kind, normalisation):
    x = draw(2, 1, 24, 24)
    y = network(forward(kind, 2).apply(linear(x, normalisation)), normalisation)
    torch.testing.assert_close(Consistency(kind, normalisation).project(x, y), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "normalisation"), CASES)
def test_it_is_the_nearest_such_image(kind, normalisation):
    """The correction is orthogonal to all that the forward model doesn't see."""
    x, y, other = draw(1, 1, 16, 16), draw(1, 1, 8, 8, seed=1), draw(1, 1, 16, 16, seed=2)
    step = Consistency(kind, normalisation)
    change = linear(step.project(x, y), normalisation) - linear(x, normalisation)
    unseen = linear(step.project(other, torch.zeros_like(y)), normalisation)
    assert abs((change * unseen).sum().item()) < 1e-7 * float(change.norm() * unseen.norm())


@pytest.mark.parametrize(("kind", "normalisation"), CASES)
def test_gradients_pass_to_the_output_and_to_the_input(kind, normalisation):
    step = Consistency(kind, normalisation)
    x, y = draw(1, 1, 10, 10).requires_grad_(), draw(1, 1, 5, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(step.project, (x, y))


def test_the_matrix_inverse_of_the_gaussian_is_that_of_the_engine():
    y = draw(1, 1, 9, 11)
    ours = Consistency("gaussian", "range").operator(3).pinv(y)
    torch.testing.assert_close(ours, GaussianDecimation(3).pinv(y, iterations=200), rtol=1e-6, atol=1e-8)


def test_a_wild_output_stays_finite_and_has_a_finite_gradient():
    x = torch.tensor([[200.0, -300.0], [0.0, 1.0]]).repeat(4, 4)[None, None].requires_grad_()
    out = Consistency("blockmean", "sky").project(x, torch.ones(1, 1, 4, 4))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(x.grad).all()


def test_kspace_keeps_the_error_beyond_the_band_alone():
    truth, x = draw(1, 1, 24, 24), draw(1, 1, 24, 24, seed=1)
    batch = Batch(draw(1, 1, 12, 12, seed=2), truth, torch.zeros(1, 3), torch.zeros(1, 0))
    error = Consistency("kspace", "range").finish(x, batch) - truth
    torch.testing.assert_close(error, KSpaceCrop(2).out_of_band(x - truth))


def test_the_fast_stretch_is_asinh():
    u = torch.from_numpy(
        np.concatenate([-np.logspace(-20, 8.3, 4000), [0.0], np.logspace(-20, 8.3, 4000)])
    ).float()
    np.testing.assert_allclose(network(u, "sky").numpy(), np.arcsinh(u.double().numpy()), rtol=4e-7)
    z = torch.linspace(-18, 18, 1001)
    torch.testing.assert_close(network(linear(z, "sky"), "sky"), z, rtol=1e-6, atol=1e-6)


def test_no_step_of_an_unknown_kind():
    with pytest.raises(UsageError, match=r"'none'.*blockmean"):
        Consistency("none", "range")
