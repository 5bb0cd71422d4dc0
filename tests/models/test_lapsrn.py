"""LapSRN as published: a pyramid of images, each of which is meant."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sciSR.models.lapsrn import LapSRN


@pytest.mark.parametrize(
    ("scale", "weights", "biases"), [(2, 406_672, 769), (4, 812_768, 1_474), (8, 665_904, 1_219)]
)
def test_number_of_parameters_is_that_of_the_paper(scale, weights, biases):
    """812k in the journal version's table (the network for scale 4); one level less is its 407k with shared levels."""
    model = LapSRN(scale)
    assert sum(p.numel() for p in model.parameters() if p.ndim > 1) == weights
    assert sum(p.numel() for p in model.parameters() if p.ndim == 1) == biases


def test_depth_is_the_papers():
    for scale, depth in ((2, 10), (4, 10), (8, 5)):
        convolutions = [m for m in LapSRN(scale).features[0] if type(m) is torch.nn.Conv2d]
        assert len(convolutions) == depth
    assert len([m for m in LapSRN(2, depth=3).features[0] if type(m) is torch.nn.Conv2d]) == 3


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_every_level_doubles_and_the_last_is_the_output(scale):
    torch.manual_seed(0)
    model, x = LapSRN(scale, depth=2, width=8), torch.rand(2, 1, 7, 9)
    levels = model.levels(x)
    assert [tuple(level.shape[2:]) for level in levels] == [(7 * f, 9 * f) for f in (2, 4, 8) if f <= scale]
    assert torch.equal(levels[-1], model(x))


def test_levels_share_no_weights():
    model = LapSRN(4, depth=2, width=4)
    pointers = [p.data_ptr() for p in model.parameters()]
    assert len(set(pointers)) == len(pointers)
    assert not torch.equal(model.features[0][0].weight, model.features[1][0].weight)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_image_branch_starts_as_repeated_linear_interpolation(scale):
    model, x = LapSRN(scale, depth=1, width=4), torch.rand(1, 1, 12, 12)
    with torch.no_grad():
        for band in model.bands:
            band.weight.zero_()
        out, expected = model(x), x
        for _ in range(scale.bit_length() - 1):
            expected = F.interpolate(expected, scale_factor=2, mode="bilinear", align_corners=False)
    inner = slice(2 * scale, -2 * scale)  # the transposed convolution has zeros beyond the border
    assert torch.allclose(out[..., inner, inner], expected[..., inner, inner], atol=1e-6)


def test_a_loss_on_every_level_reaches_every_weight():
    torch.manual_seed(0)
    model = LapSRN(4, depth=2, width=8)
    sum(level.square().mean() for level in model.levels(torch.rand(1, 1, 12, 12))).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_image_keeps_full_precision_under_autocast():
    model, x = LapSRN(4, depth=1, width=4), torch.rand(1, 1, 12, 12) * 1000
    with torch.no_grad():
        for band in model.bands:
            band.weight.zero_()
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(x), exact)
