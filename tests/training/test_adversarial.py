"""Both sides of adversarial training: their losses, their gradients, and a resume that changes nothing."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.models import discriminators
from sciSR.training.adversarial import Adversary, discriminator_loss, generator_loss
from sciSR.training.config import AdversarialConfig


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    """The papers' layers with a few channels each."""
    for name, arguments in (("srgan", {"width": 8, "dense": 16}), ("dcgan", {"width": 8})):
        narrow = functools.partial(discriminators.DISCRIMINATORS[name], **arguments)
        monkeypatch.setitem(discriminators.DISCRIMINATORS, name, narrow)


def logits(seed, shape=(4, 1)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def images(seed, side=32, count=2):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


def bce(x, target):
    return F.binary_cross_entropy_with_logits(x, torch.full_like(x, target))


@given(st.integers(0, 1000))
def test_the_standard_losses_are_cross_entropies(seed):
    real, fake = logits(seed), logits(seed + 1)
    torch.testing.assert_close(discriminator_loss(real, fake), (bce(real, 1.0) + bce(fake, 0.0)).float())
    torch.testing.assert_close(generator_loss(real, fake), bce(fake, 1.0).float())


@given(st.integers(0, 1000))
def test_the_relativistic_losses_are_esrgans(seed):
    real, fake = logits(seed), logits(seed + 1)
    r, f = torch.sigmoid(real - fake.mean()), torch.sigmoid(fake - real.mean())
    torch.testing.assert_close(
        discriminator_loss(real, fake, True),
        (-r.log().mean() - (1 - f).log().mean()).float(),
        rtol=1e-4,
        atol=1e-5,
    )
    torch.testing.assert_close(
        generator_loss(real, fake, True),
        (-(1 - r).log().mean() - f.log().mean()).float(),
        rtol=1e-4,
        atol=1e-5,
    )
    torch.testing.assert_close(generator_loss(real, fake, True), discriminator_loss(fake, real, True))
    shifted = discriminator_loss(real + 5, fake + 5, True)  # only the difference counts
    torch.testing.assert_close(shifted, discriminator_loss(real, fake, True), rtol=1e-4, atol=1e-5)


def test_who_can_not_tell_has_the_loss_of_chance():
    nothing = torch.zeros(4, 1)
    for relativistic in (False, True):
        assert discriminator_loss(nothing, nothing, relativistic).item() == pytest.approx(2 * math.log(2))


def test_a_sure_discriminator_still_pulls_the_network():
    """The saturating loss log(1 - D) would have a gradient of e^-20 here."""
    fake = torch.full((3, 1), -20.0, requires_grad=True)
    generator_loss(torch.zeros(3, 1), fake).backward()
    assert fake.grad.sum().item() == pytest.approx(-1, rel=1e-4)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_extreme_logits_stay_finite(logit):
    real, fake = torch.full((2, 1), logit), torch.full((2, 1), -logit)
    for relativistic in (False, True):
        for of in (discriminator_loss, generator_loss):
            assert torch.isfinite(of(real.bfloat16(), fake.bfloat16(), relativistic))


@pytest.mark.parametrize("relativistic", [False, True])
def test_the_terms_gradient_reaches_the_prediction_and_not_the_discriminator(relativistic):
    adversary = Adversary(AdversarialConfig(relativistic=relativistic, weight=0.5), "cpu")
    fake = images(0).requires_grad_()
    term = adversary.term(fake, images(1))
    term.backward()
    assert fake.grad.abs().max() > 0
    assert all(p.grad is None and p.requires_grad for p in adversary.discriminator.parameters())
    heavier = Adversary(AdversarialConfig(relativistic=relativistic, weight=1.0), "cpu")
    heavier.load_state_dict(adversary.state_dict())
    torch.testing.assert_close(heavier.term(fake, images(1)), 2 * term, rtol=0.01, atol=0.01)


def test_a_step_is_the_discriminators_alone():
    adversary = Adversary(AdversarialConfig(), "cpu")
    before = [p.detach().clone() for p in adversary.discriminator.parameters()]
    fake = (2 * images(0)).requires_grad_()
    adversary.step(fake, images(1))
    assert fake.grad is None
    assert not any(
        torch.equal(a, b) for a, b in zip(before, adversary.discriminator.parameters(), strict=True)
    )


@pytest.mark.parametrize(("kind", "side"), [("srgan", 32), ("dcgan", 64)])
@pytest.mark.parametrize("relativistic", [False, True])
def test_it_learns_to_tell_smooth_from_rough(kind, side, relativistic):
    torch.manual_seed(0)
    adversary = Adversary(AdversarialConfig(kind, relativistic, lr=1e-3), "cpu", "bf16")

    def pairs(seed):
        rough = images(seed, side, 4)
        return F.avg_pool2d(rough, 3, 1, 1), rough

    first = adversary.step(*pairs(0))
    for seed in range(1, 25):
        last = adversary.step(*pairs(seed))
    assert last.dtype == torch.float32
    assert last < 0.5 * first
    fake, real = pairs(9)
    assert adversary.term(real, real) < adversary.term(fake, real)


def test_a_resumed_adversary_goes_on_bit_for_bit():
    def rounds(adversary, first, last):
        for seed in range(first, last):
            adversary.step(images(2 * seed), images(2 * seed + 1))
            adversary.term(images(seed), images(seed + 50))
        return adversary

    torch.manual_seed(3)
    whole = Adversary(AdversarialConfig(), "cpu")
    start = {k: v.clone() for k, v in whole.discriminator.state_dict().items()}
    half = Adversary(AdversarialConfig(), "cpu")
    half.discriminator.load_state_dict(start)
    rounds(whole, 0, 4)
    rest = Adversary(AdversarialConfig(), "cpu")
    rest.load_state_dict(rounds(half, 0, 2).state_dict())
    rounds(rest, 2, 4)
    for a, b in zip(
        whole.discriminator.state_dict().values(), rest.discriminator.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_gradients_are_averaged_over_processes():
    seen = []
    adversary = Adversary(AdversarialConfig(), "cpu", reduce=lambda g: seen.append(g) or 0 * g)
    before = [p.detach().clone() for p in adversary.discriminator.parameters()]
    adversary.step(images(0), images(1))
    assert len(seen) == len(before)
    assert all(torch.equal(a, b) for a, b in zip(before, adversary.discriminator.parameters(), strict=True))


def test_it_counts_from_its_start_on():
    adversary = Adversary(AdversarialConfig(start=10), "cpu")
    assert [adversary.active(step) for step in (0, 9, 10, 11)] == [False, False, True, True]


def test_too_small_patches_and_unknown_kinds_are_refused():
    with pytest.raises(UsageError, match=r"needs 64 pixels.*has 32"):
        Adversary(AdversarialConfig("dcgan"), "cpu").step(images(0), images(1))
    with pytest.raises(UsageError, match="no discriminator 'wgan'"):
        Adversary(AdversarialConfig("wgan"), "cpu")
