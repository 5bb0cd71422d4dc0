"""The last layer on groups of pixels gives the same pixels in the same order."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sciSR.inference.subpixel import GroupedConvolution, GroupedInterpolation, group_subpixels, in_order
from sciSR.models.ecbsr import ECBSR
from sciSR.models.espcn import ESPCN, FixedInterpolation
from sciSR.models.reparameterised import merge


@given(batch=st.integers(1, 2), height=st.integers(1, 9), width=st.integers(1, 9))
def test_the_copy_is_a_pixel_shuffle(batch: int, height: int, width: int) -> None:
    x = torch.arange(batch * 16 * height * width, dtype=torch.float32).view(batch, 16, height, width)
    for layout in (torch.contiguous_format, torch.channels_last):
        assert torch.equal(in_order(x.contiguous(memory_format=layout)), F.pixel_shuffle(x, 4))


@given(
    height=st.integers(1, 20), width=st.integers(1, 20), kernel=st.sampled_from([1, 3, 5]), bias=st.booleans()
)
def test_joined_features_and_interpolation_are_the_same(
    height: int, width: int, kernel: int, bias: bool
) -> None:
    torch.manual_seed(height * 31 + width)
    last, skip = nn.Conv2d(6, 4, kernel, padding=kernel // 2, bias=bias), FixedInterpolation(2)
    x, features = torch.randn(1, 1, height, width), torch.randn(1, 6, height, width)
    with torch.inference_mode():
        expected = skip.join(x, last(features))
        found = GroupedInterpolation(skip).join(x, GroupedConvolution(last)(features))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", [ESPCN(2), ECBSR(2, features=8, blocks=2)])
def test_networks_of_scale_two_are_taken(model: nn.Module) -> None:
    model = merge(model.eval())
    x = torch.randn(1, 1, 33, 18, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(x)
        found = group_subpixels(model)(x)
    assert isinstance(model.skip, GroupedInterpolation)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", [ESPCN(3), ESPCN(2, variant="relu"), nn.Sequential(nn.Conv2d(1, 4, 3))])
def test_others_are_left_as_they_are(model: nn.Module) -> None:
    before = [type(layer) for layer in model.modules()]
    assert [type(layer) for layer in group_subpixels(model).modules()] == before
