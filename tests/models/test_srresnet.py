"""SRResNet as published; its batch normalisation is neither in the way of tiles nor of weights files."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sciSR.models.layers import fold_batch_norm
from sciSR.models.srresnet import SRResNet, stages


def test_number_of_parameters_is_that_of_the_paper():
    """1.5 million for the colour network at scale 4 (section 3.2 and figure 4)."""
    model = SRResNet(4, channels=3)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * 16 + 1 + 2 + 1
    assert sum(p.numel() for p in model.parameters()) == 1_547_350
    assert sum(p.numel() for p in SRResNet(4).parameters()) == 1_526_612


def test_enlargement_goes_by_twos_and_threes():
    assert [stages(scale) for scale in (1, 2, 3, 4, 6, 8)] == [[], [2], [3], [2, 2], [2, 3], [2, 2, 2]]


def learned(seed: int = 0) -> SRResNet:
    torch.manual_seed(seed)
    model = SRResNet(2, blocks=2, width=8)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.2)
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def test_normalisation_folds_into_the_convolutions():
    """Same values also at the border, where the padding is zero before the normalisation and after it."""
    model, x = learned(), torch.rand(2, 1, 9, 11)
    with torch.no_grad():
        before = model(x)
        folded = fold_batch_norm(model)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        assert torch.allclose(folded(x), before, atol=1e-5)


def test_statistics_do_not_change_while_it_is_used():
    model, x = learned(), torch.rand(1, 1, 12, 12)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    one, many = model(x), model(torch.cat([x, 100 * x]))
    assert torch.allclose(one[0], many[0], atol=1e-5)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_starts_as_linear_interpolation(scale):
    """Without the faint channels exactly; the trunk says nothing yet, and PReLU lets the image through."""
    torch.manual_seed(0)
    model, n = SRResNet(scale, blocks=2).eval(), 16
    with torch.no_grad():
        model.tail.weight[:, 2:] = 0
        line = torch.arange(-n / 2, n / 2).expand(1, 1, n, n)  # of both signs
        out = model(line)[0, 0, scale * n // 2]
    expected = (torch.arange(scale * n) + 0.5) / scale - 0.5 - n / 2
    # At scale 4 the line is interpolated twice, which is the same line.
    assert (out - expected)[6 * scale : -6 * scale].abs().max() < 1e-4
