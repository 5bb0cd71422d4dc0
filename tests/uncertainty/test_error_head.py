"""Error heads: exact tiling with a known halo, positive, the same in any unit, shifted with the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciSR.models.error_head import ErrorHead
from sciSR.uncertainty.head import HeadModel
from sciSR.uncertainty.interface import Calibration


def head(scale: int = 2, stretch: str = "sky", factor: float = 1.0) -> HeadModel:
    torch.manual_seed(0)
    network = ErrorHead(scale, stretch, 8, 3)
    torch.nn.init.normal_(network.layers[-1].weight, std=0.2)
    network.eval().requires_grad_(False)
    return HeadModel("h", "", scale, network.receptive_field(), Calibration(factor), stretch, network)


def field(scale: int, size: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randn(size, size, generator=g) + 20 * (torch.rand(size, size, generator=g) > 0.99)
    fine = coarse.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    fine = fine + 0.3 * torch.randn(fine.shape, generator=g)
    return coarse, fine, 0.1 + torch.rand(fine.shape, generator=g)


@pytest.mark.parametrize(("scale", "stretch"), [(2, "sky"), (4, "range"), (3, "sky")])
def test_a_tile_with_its_halo_equals_the_whole(scale, stretch):
    model = head(scale, stretch)
    coarse, fine, noise = field(scale)
    whole = model.total(coarse, fine, noise)
    halo, first, last = model.halo, 15, 24
    wide = slice(first - halo, last + halo)
    much = slice((first - halo) * scale, (last + halo) * scale)
    tile = model.total(coarse[wide, wide], fine[much, much], noise[much, much])
    inner = slice(halo * scale, -halo * scale)
    own = slice(first * scale, last * scale)
    torch.testing.assert_close(tile[inner, inner], whole[own, own], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 4])
def test_the_halo_is_what_it_sees_and_no_more_than_a_pixel_too_much(scale):
    model = head(scale)
    coarse, fine, noise = field(scale)
    middle = 20 * scale
    reach = 0
    for number, given in enumerate((coarse, fine, noise)):
        inputs = [coarse, fine, noise]
        inputs[number] = given.clone().requires_grad_()
        model.total(*inputs)[middle, middle].backward()
        seen = np.argwhere(inputs[number].grad.numpy() != 0) // (1 if number == 0 else scale)
        reach = max(reach, int(np.abs(seen - 20).max()))
    assert model.halo - 1 <= reach <= model.halo


def test_positive_everywhere_even_where_nothing_is_and_no_noise():
    model = head()
    flat = torch.zeros(16, 16)
    total = model.total(flat, torch.zeros(32, 32), torch.zeros(32, 32))
    assert (total > 0).all()
    assert (model.total(*field(2)) > 0).all()
    huge = model.total(flat + 1e9, torch.full((32, 32), 1e9), torch.zeros(32, 32))
    assert torch.isfinite(huge).all()


def test_the_factor_multiplies():
    torch.testing.assert_close(head(factor=1.7).total(*field(2)), 1.7 * head().total(*field(2)))


def test_shifted_with_the_image():
    model = head()
    coarse, fine, noise = field(2)
    here = model.total(coarse, fine, noise)
    there = model.total(*(x.roll((3 * k, 5 * k), (0, 1)) for x, k in ((coarse, 1), (fine, 2), (noise, 2))))
    inner = slice(2 * (model.halo + 5), -2 * (model.halo + 5))
    torch.testing.assert_close(
        there.roll((-6, -10), (0, 1))[inner, inner], here[inner, inner], rtol=1e-5, atol=1e-6
    )


def test_more_noise_never_means_less_error_at_the_same_look():
    model = head()
    coarse, fine, noise = field(2)
    variance = model.total(coarse, fine, noise).square()
    assert (variance >= 0.49 * noise.square()).all()


@pytest.mark.parametrize("arguments", [{"stretch": "log"}, {"depth": 1}, {"scale": 1}])
def test_impossible_heads_are_refused(arguments):
    with pytest.raises(ValueError, match=r"must be|at least"):
        ErrorHead(**arguments)
