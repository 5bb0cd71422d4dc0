"""EDSR-baseline as published."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sciSR.models.edsr import EDSR


@pytest.mark.parametrize(("scale", "number"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_number_of_parameters_is_that_of_the_paper(scale, number):
    """1.37, 1.55 and 1.52 million, colour, without the subtraction of the mean colour."""
    assert sum(p.numel() for p in EDSR(scale, channels=3).parameters()) == number


def test_the_large_network_is_the_papers():
    """32 blocks of 256 channels, residual scaling 0.1: 40.7 million at scale 2, 43 at scale 4."""
    with torch.device("meta"):  # the count needs no memory
        for scale, number in ((2, 40_729_603), (4, 43_089_923)):
            model = EDSR(scale, blocks=32, width=256, residual_scaling=0.1, channels=3)
            assert sum(p.numel() for p in model.parameters()) == number


def test_no_activation_lies_outside_the_blocks():
    model = EDSR(2, blocks=2, width=8)
    assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == 2


def test_residual_scaling_damps_every_block():
    torch.manual_seed(0)
    model, x = EDSR(2, blocks=1, width=4, residual_scaling=0.1), torch.rand(1, 4, 8, 8)
    block = model.body[0]
    with torch.no_grad():
        plain = nn.Sequential(*block)(x)
        assert torch.allclose(block(x), x + 0.1 * plain)
