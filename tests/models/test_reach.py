"""How far networks see is counted exactly, whatever their layers do to the grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sciSR.errors import ModelError
from sciSR.models.espcn import ESPCN, FixedInterpolation
from sciSR.models.reach import before, magnification, reach
from sciSR.models.spec import receptive_field


def layer(kind: str, size: int, factor: int) -> nn.Module:
    """One layer with weights that cancel nowhere, of one channel on either side."""
    match kind:
        case "convolution":
            made: nn.Module = nn.Conv2d(1, 1, 2 * size + 1, padding=size)
        case "dilated":
            made = nn.Conv2d(1, 1, 3, dilation=size, padding=size)
        case "transposed":
            taps = 2 * size + factor
            made = nn.ConvTranspose2d(1, 1, taps, stride=factor, padding=size)
        case "shuffled":
            made = nn.Sequential(
                nn.Conv2d(1, factor**2, 2 * size - 1, padding=size - 1), nn.PixelShuffle(factor)
            )
        case _:
            made = FixedInterpolation(factor, radius=size, kernel=kind)
    for parameter in made.parameters():
        nn.init.uniform_(parameter, 0.5, 1)
    return made


layers = st.builds(
    layer,
    st.sampled_from(["convolution", "dilated", "transposed", "shuffled", "lanczos", "cubic"]),
    st.integers(1, 3),
    st.integers(1, 3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(layers, min_size=1, max_size=3))
def test_interval_is_that_of_the_gradients(stack):
    """The input pixels that change what lies in an input pixel are those that are counted, on both sides."""
    network = nn.Sequential(*stack)
    fine = magnification(network)
    first, last = before(network, 0, fine - 1)
    middle = reach(network) + 8
    x = torch.rand(1, 1, 2 * middle + 1, 1 + 2 * middle).requires_grad_()
    # Along one row is enough: the layers are alike on both axes. The other axis is summed over.
    network(x)[0, 0, :, fine * middle : fine * (middle + 1)].sum().backward()
    touched = x.grad[0, 0].abs().amax(0).nonzero()[:, 0] - middle
    # A sum of taps of both signs may cancel to nearly nothing, hence no farther, and as far but for the kernels' ends.
    assert first <= int(touched.min())
    assert int(touched.max()) <= last
    if not any(isinstance(each, FixedInterpolation) for each in stack):
        assert (int(touched.min()), int(touched.max())) == (first, last)


def test_sums_are_rounded_once():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, dilation=2), nn.ReLU(), nn.PixelShuffle(2), nn.Conv2d(1, 1, 5))
    assert receptive_field(net) == reach(net) == 2 + 1


def test_a_network_within_another_tells_its_own():
    inner = ESPCN(2)
    assert reach(nn.Conv2d(1, 1, 3, padding=1), inner, nn.Conv2d(1, 1, 3, padding=1)) == 1 + 5 + 1


@pytest.mark.parametrize("unknown", [nn.InstanceNorm2d(1), nn.Conv2d(1, 1, 3, stride=2), nn.Upsample(2)])
def test_layers_that_are_not_understood_are_refused(unknown):
    with pytest.raises(ModelError, match=type(unknown).__name__):
        receptive_field(nn.Sequential(unknown))
