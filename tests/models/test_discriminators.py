"""Discriminators as published, for patches of any size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sciSR.models.discriminators import DISCRIMINATORS, DCGANDiscriminator, SRGANDiscriminator


def test_srgan_discriminator_is_the_papers():
    """Figure 4: eight convolutions of 3x3 from 64 to 512 channels, every second with stride 2, dense 1024 and 1."""
    with torch.device("meta"):
        model = SRGANDiscriminator(channels=3)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in layers] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [m.stride[0] for m in layers] == [1, 2] * 4
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 7
    assert [m.out_features for m in model.modules() if isinstance(m, nn.Linear)] == [1024, 1]
    assert sum(p.numel() for p in model.parameters()) == 23_563_649


def test_patches_of_the_paper_are_not_averaged():
    """96 x 96 pixels leave 6 x 6 features: the adaptive mean does nothing."""
    torch.manual_seed(0)
    model, x = SRGANDiscriminator(width=4, dense=8).eval(), torch.rand(2, 1, 96, 96)
    features = model.body[:-1](x)
    assert features.shape[2:] == (6, 6)
    assert torch.equal(model.head(features), model(x))


@pytest.mark.parametrize("side", [16, 48, 96, 130])
def test_srgan_discriminator_takes_any_patch(side):
    assert SRGANDiscriminator(width=2, dense=4)(torch.rand(3, 1, side, side)).shape == (3, 1)


def test_dcgan_discriminator_has_neither_dense_layers_nor_pooling():
    """Four strided convolutions, doubling the channels, and a last one for the logit; normalised but for the ends."""
    model = DCGANDiscriminator(channels=3)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in layers] == [64, 128, 256, 512, 1]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 3
    kinds = {type(m) for m in model.modules()}
    assert kinds == {DCGANDiscriminator, nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU}


@pytest.mark.parametrize(("side", "places"), [(64, 1), (80, 4), (96, 9)])
def test_dcgan_discriminator_judges_every_place(side, places):
    assert DCGANDiscriminator(width=2)(torch.rand(2, 1, side, side)).shape == (2, places)


@pytest.mark.parametrize("name", sorted(DISCRIMINATORS))
def test_it_learns_to_tell(name):
    """Blurred noise from noise, within a few steps; and its gradient reaches the image."""
    torch.manual_seed(0)
    options = {"dense": 8} if name == "srgan" else {}
    model = DISCRIMINATORS[name](width=4, **options)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(15):
        real = torch.rand(6, 1, 64, 64)
        fake = nn.functional.avg_pool2d(real, 5, 1, 2)
        logits = model(torch.cat([real, fake]))
        wanted = torch.cat([torch.ones_like(logits[:6]), torch.zeros_like(logits[6:])])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert logits[:6].mean() > logits[6:].mean() + 1
    image = fake.detach().requires_grad_()
    model(image).sum().backward()
    assert image.grad.abs().max() > 0


@pytest.mark.parametrize("name", sorted(DISCRIMINATORS))
def test_all_its_state_is_float(name):
    model = DISCRIMINATORS[name](width=2)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
