"""SRCNN as published, on an image that is interpolated as MATLAB does it."""

from __future__ import annotations

import pytest
import torch

from sciSR.forward.bicubic import imresize
from sciSR.models.espcn import FixedInterpolation
from sciSR.models.srcnn import SRCNN


@pytest.mark.parametrize(
    ("kernels", "number"), [((9, 1, 5), 8_129), ((9, 3, 5), 24_513), ((9, 5, 5), 57_281)]
)
def test_number_of_parameters_is_that_of_the_paper(kernels, number):
    """8,032, 24,416 and 57,184 weights in the TPAMI paper, and 97 biases."""
    model = SRCNN(kernels=kernels)
    assert sum(p.numel() for p in model.parameters()) == number
    assert sum(p.numel() for p in model.parameters() if p.ndim > 1) == number - 97


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_its_input_is_matlabs_bicubic_interpolation(scale):
    x = torch.rand(1, 1, 17, 20, generator=torch.Generator().manual_seed(0))
    fixed = FixedInterpolation(scale, kernel="cubic")(x)
    rim = slice(2 * scale, -2 * scale)
    assert torch.allclose(fixed[..., rim, rim], imresize(x, scale)[..., rim, rim], atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_interpolation_does_not_fall_off_at_the_border(scale):
    flat = torch.full((1, 1, 7, 8), 5.0)
    assert torch.allclose(FixedInterpolation(scale, kernel="cubic")(flat), torch.tensor(5.0))


def test_it_starts_as_the_interpolation_but_for_a_hundredth():
    torch.manual_seed(0)
    model, x = SRCNN(), torch.rand(1, 1, 20, 20)
    with torch.no_grad():
        start = model.upsample(x)
        rest = (model(x) - start)[..., 12:-12, 12:-12]
        assert 0 < rest.std() < 0.03
        model.tail.weight[:, 2:] = 0
        assert torch.allclose(model(x)[..., 12:-12, 12:-12], start[..., 12:-12, 12:-12], atol=1e-6)


def test_farther_reach_on_a_finer_grid_is_shorter_in_input_pixels():
    assert [SRCNN(scale).receptive_field() for scale in (1, 2, 3, 4)] == [6, 5, 4, 3]
