"""The noise of a visit has the statistics that it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.training.augment import augment
from sciSR.training.config import AugmentConfig
from sciSR.training.pair import Batch
from sciSR.training.visit_noise import add_noise


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(values, noise, side=200, conditions=0):
    """A batch of constant patches, one for each value (network units)."""
    x = torch.tensor(values)[:, None, None, None].expand(-1, 1, side, side).clone()
    parameters = torch.tensor(noise, dtype=torch.float32).expand(len(values), 3).clone()
    return Batch(x, x.clone(), parameters, torch.full((len(values), conditions), math.nan))


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
@given(
    st.floats(0.001, 0.2), st.floats(0.0, 0.1), st.floats(-0.05, 5.0), st.sampled_from(["range", "unit"]),
    st.integers(0, 1000),
)  # fmt: skip
def test_the_variance_is_v0_plus_v1_u(kind, v0, v1, value, normalisation, seed):
    zero = 0.0 if v1 == 0 else -v0 / (2 * v1)  # half of the background's variance is read-out noise
    value = max(value, zero)
    noisy = add_noise(flat([value], (v0, v1, zero)), kind, generator(seed), normalisation).input
    expected = v0 + v1 * value
    assert noisy.mean().item() == pytest.approx(value, abs=5 * math.sqrt(expected) / 200)
    kurtosis = 3 + v1**2 / expected if kind == "poisson" else 3  # at most: of the photons
    assert noisy.var().item() == pytest.approx(expected, rel=5 * math.sqrt((kurtosis - 1) / 200**2))


def test_a_sky_is_made_noisy_in_linear_units():
    batch = flat([math.asinh(10.0)], (0.25, 0.01, -20.0))
    u = add_noise(batch, "gaussian", generator(), "sky").input.sinh()
    assert u.mean().item() == pytest.approx(10, abs=0.015)
    assert u.var().item() == pytest.approx(0.25 + 0.1, rel=0.04)


def test_few_photons_are_counted_one_by_one():
    """Two photons a pixel and no read-out noise: only whole numbers, with Poisson's frequencies."""
    v1 = 0.1
    noisy = add_noise(flat([0.2], (0.0, v1, 0.0)), "poisson", generator(), "range").input
    counts = (noisy / v1).round()
    torch.testing.assert_close(noisy, counts * v1, rtol=1e-4, atol=1e-5)
    shares = torch.bincount(counts.flatten().long(), minlength=8)[:8] / counts.numel()
    expected = np.array([math.exp(-2) * 2**k / math.factorial(k) for k in range(8)])
    np.testing.assert_allclose(shares.numpy(), expected, atol=0.012)


def test_gain_and_offset_change_the_unit_and_nothing_else():
    for kind, v1 in (("gaussian", 0.1), ("poisson", 0.1), ("rician", 0.0)):
        batch = flat([0.2], (0.03, v1, -0.1))
        moved = augment(batch, AugmentConfig(False, False, gain=2.0, offset=0.3), generator(), "range")
        first, other = (add_noise(b, kind, generator(5), "range").input for b in (batch, moved))
        torch.testing.assert_close(other, 2 * first + 0.3, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("signal", [0.0, 0.05, 0.1, 0.5])
def test_magnitudes_have_rices_mean_and_second_moment(signal):
    """Mean ``sigma sqrt(pi/2) L_1/2(-nu^2 / 2 sigma^2)``, second moment ``nu^2 + 2 sigma^2``."""
    from scipy.special import ive

    sigma, zero = 0.1, -0.3
    noisy = (
        add_noise(flat([signal + zero], (sigma**2, 0.0, zero)), "rician", generator(), "range").input - zero
    )
    a = signal**2 / (4 * sigma**2)
    mean = sigma * math.sqrt(math.pi / 2) * ((1 + 2 * a) * ive(0, a) + 2 * a * ive(1, a))
    assert noisy.min() >= -1e-6
    assert noisy.mean().item() == pytest.approx(mean, rel=0.015)
    assert noisy.square().mean().item() == pytest.approx(signal**2 + 2 * sigma**2, rel=0.03)


@pytest.mark.parametrize("normalisation", ["range", "sky"])
def test_the_condition_is_the_deviation_at_the_background_in_network_units(normalisation):
    batch = flat([0.0, 0.0], (0.01, 0.05, -1.0), conditions=2)
    noisy = add_noise(batch, "gaussian", generator(), normalisation, ("fwhm", "noise"))
    assert noisy.condition[:, 1].tolist() == pytest.approx([0.1, 0.1])
    assert noisy.condition[:, 0].isnan().all()
    assert noisy.input.std().item() == pytest.approx(0.1, rel=0.03)
    assert batch.condition.isnan().all()
    silent = add_noise(batch, "none", generator(), normalisation, ("fwhm", "noise"))
    assert silent.condition[:, 1].tolist() == [0.0, 0.0]


def test_none_leaves_the_input_as_it_is():
    batch = flat([0.3], (0.01, 0.05, -1.0), side=8)
    assert torch.equal(add_noise(batch, "none", generator(), "sky").input, batch.input)


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "rician"])
def test_the_same_seed_draws_the_same_and_the_given_batch_is_not_touched(kind):
    batch = flat([0.3, 1.0], (0.01, 0.05, -0.2), side=16)
    before = batch.input.clone()
    first, again, other = (
        add_noise(batch, kind, generator(s), "sky", hot_pixels=0.1).input for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(batch.input, before)
    assert torch.equal(add_noise(batch, kind, generator(1), "sky", hot_pixels=0.1).truth, batch.truth)


def test_a_variance_below_zero_is_none():
    noisy = add_noise(flat([-10.0], (0.01, 0.05, 0.0), side=8), "gaussian", generator(), "range").input
    assert torch.equal(noisy, torch.full_like(noisy, -10.0))


def test_hot_and_dead_pixels_have_their_share():
    batch = flat([0.5] * 300, (0.01, 0.0, -0.2), side=40)
    x = add_noise(batch, "none", generator(), "range", hot_pixels=(0.0, 0.04)).input
    changed = (x != 0.5).float().mean((1, 2, 3))
    assert changed.mean().item() == pytest.approx(0.02, abs=0.002)
    assert changed.max() > 0.03
    dead, hot = (x == -0.2).sum().item(), (x > 0.5).sum().item()
    assert hot / (hot + dead) == pytest.approx(0.75, abs=0.02)
    assert x[x > 0.5].min() >= 0.5 + 5 * 0.1


def test_an_unknown_kind_is_refused():
    with pytest.raises(UsageError, match=r"speckle.*rician"):
        add_noise(flat([0.0], (0.0, 0.0, 0.0), side=8), "speckle", generator(), "range")
