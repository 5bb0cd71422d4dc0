"""Augmentation keeps a pair a pair: it commutes with the degradation, and the noise follows."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.training.augment import augment, draw
from sciSR.training.config import AugmentConfig
from sciSR.training.consistent import linear, network
from sciSR.training.pair import Batch

STILL = AugmentConfig(flips=False, rotations=False)
CHANGES = {
    "flips": AugmentConfig(flips=True, rotations=False),
    "rotations": AugmentConfig(flips=False, rotations=True),
    "both": AugmentConfig(),
    "gain": AugmentConfig(flips=False, rotations=False, gain=(0.5, 2.0)),
    "offset": AugmentConfig(flips=False, rotations=False, offset=(-0.3, 0.3)),
    "contrast": AugmentConfig(flips=False, rotations=False, contrast=(0.5, 2.0)),
    "mixup": AugmentConfig(flips=False, rotations=False, mixup=1.0),
    "all": AugmentConfig(gain=(0.7, 1.5), offset=(-0.2, 0.2), contrast=(0.8, 1.2), mixup=0.5),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pairs(degrade, normalisation="range", count=4, side=6, scale=2, seed=0, conditions=0):
    g = generator(seed)
    truth = torch.randn(count, 1, scale * side, scale * side, generator=g)
    if normalisation == "sky":
        truth = truth * 2  # linear values up to a few hundred
    x = network(degrade(linear(truth, normalisation)), normalisation)
    noise = torch.rand(count, 3, generator=g)
    return Batch(x, truth, noise, torch.rand(count, conditions, generator=g))


def blocks(u):
    return F.avg_pool2d(u, 2)


@pytest.mark.parametrize("normalisation", ["range", "sky"])
@pytest.mark.parametrize("change", CHANGES)
@given(st.integers(0, 10**6))
def test_every_change_commutes_with_the_block_mean(change, normalisation, seed):
    batch = pairs(blocks, normalisation, seed=seed)
    after = augment(batch, CHANGES[change], generator(seed), normalisation)
    expected = network(blocks(linear(after.truth, normalisation)), normalisation)
    torch.testing.assert_close(after.input, expected, rtol=1e-4, atol=1e-4)
    assert after.truth.shape == batch.truth.shape


@pytest.mark.parametrize("operator", [KSpaceCrop(2), GaussianDecimation(2), KSpaceCrop(3)], ids=str)
@given(st.integers(0, 10**6))
def test_and_with_the_other_forward_models(operator, seed):
    batch = pairs(operator.apply, scale=operator.scale, seed=seed)
    after = augment(batch, CHANGES["all"], generator(seed), "range")
    torch.testing.assert_close(after.input, operator.apply(after.truth), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalisation", ["range", "sky"])
def test_the_same_seed_gives_the_same_batch_and_the_given_one_is_not_touched(normalisation):
    batch = pairs(blocks, normalisation)
    before = [t.clone() for t in (batch.input, batch.truth, batch.noise)]
    first, again, other = (augment(batch, CHANGES["all"], generator(s), normalisation) for s in (1, 1, 2))
    assert torch.equal(first.truth, again.truth)
    assert torch.equal(first.input, again.input)
    assert torch.equal(first.noise, again.noise)
    assert not torch.equal(first.truth, other.truth)
    for now, then in zip((batch.input, batch.truth, batch.noise), before, strict=True):
        assert torch.equal(now, then)


def test_nothing_asked_nothing_changed():
    batch = pairs(blocks, "sky")
    after = augment(batch, STILL, generator(), "sky")
    assert torch.equal(after.truth, batch.truth)
    assert torch.equal(after.input, batch.input)


def test_all_eight_orientations_occur_and_only_those_asked_for():
    one = torch.arange(16.0).reshape(1, 1, 4, 4)
    batch = Batch(
        one.repeat(400, 1, 1, 1), one.repeat(400, 1, 1, 1), torch.zeros(400, 3), torch.zeros(400, 0)
    )
    for config, number in (
        (AugmentConfig(), 8),
        (CHANGES["flips"], 2),
        (CHANGES["rotations"], 4),
        (STILL, 1),
    ):
        after = augment(batch, config, generator(), "range")
        assert torch.equal(after.input, after.truth)
        kinds, counts = after.truth.flatten(1).unique(dim=0, return_counts=True)
        assert len(kinds) == number
        assert counts.min() > 400 / number / 2


def test_gain_offset_and_contrast_by_hand():
    batch = pairs(blocks)
    t = batch.truth
    after = augment(
        batch, AugmentConfig(False, False, gain=1.5, offset=0.1, contrast=0.8), generator(), "range"
    )
    mean = t.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(after.truth, 1.5 * (mean + 0.8 * (t - mean)) + 0.1)


@given(st.floats(0.3, 3.0), st.floats(-1.0, 1.0), st.floats(-1.0, 5.0))
def test_noise_follows_gain_and_offset(gain, offset, value):
    """gain (u + n) + offset has the variance gain^2 (v0 + v1 u), as a function of its own mean."""
    batch = pairs(blocks)
    config = AugmentConfig(False, False, gain=(gain, gain), offset=offset)
    after = augment(batch, config, generator(), "range")
    v0, v1, zero = batch.noise.unbind(1)
    w0, w1, nought = after.noise.unbind(1)
    torch.testing.assert_close(
        w0 + w1 * (gain * value + offset), gain**2 * (v0 + v1 * value), rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(nought, gain * zero + offset, rtol=1e-4, atol=1e-5)


def test_mixtures_are_of_two_pairs_in_linear_units():
    batch = pairs(blocks, "sky", count=2)
    after = augment(batch, CHANGES["mixup"], generator(3), "sky")
    u, mixed = batch.truth.sinh(), after.truth.sinh()
    weight = ((mixed[0] - u[0]) * (u[1] - u[0])).sum() / (u[1] - u[0]).square().sum()
    assert 0.01 < weight < 0.99
    torch.testing.assert_close(mixed[0], torch.lerp(u[0], u[1], weight), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        after.noise[0], torch.lerp(batch.noise[0], batch.noise[1], weight), rtol=1e-3, atol=1e-4
    )


def test_pairs_that_were_degraded_differently_are_not_mixed():
    batch = pairs(blocks, count=8, conditions=1)
    assert torch.equal(augment(batch, CHANGES["mixup"], generator(), "range").truth, batch.truth)
    batch.condition = torch.full((8, 1), math.nan)  # not told yet, and the same for all
    assert not torch.equal(augment(batch, CHANGES["mixup"], generator(), "range").truth, batch.truth)


def test_draws_fill_their_range():
    values = draw((0.5, 2.0), 20000, generator(), torch.device("cpu"), log=True)
    assert 0.5 <= values.min() < 0.51 < 1.98 < values.max() <= 2.0
    assert values.log().mean().item() == pytest.approx(0, abs=0.01)
    assert draw(3.0, 4, generator(), torch.device("cpu")).tolist() == [3.0] * 4
