"""The fused convolution gives the same network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sciSR.inference.fused import FusedConvolution, fuse_activations
from sciSR.models.espcn import ESPCN
from sciSR.models.files import load_model

NAMES = ["espcn-mr-kspace-x2", "espcn-mr-gaussian-x2", "espcn-astro-x2"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (65, 33)])
def test_a_fused_network_is_the_same_network(name: str, shape: tuple[int, int]) -> None:
    plain, fused = load_model(name)[0], fuse_activations(load_model(name)[0])
    x = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0)) * 3
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), plain(x), rtol=2e-6, atol=2e-6)
        with torch.autocast("cpu", torch.bfloat16):
            a, b = fused(x), plain(x)
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.PReLU(), nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.Tanh()]
)
def test_activations_are_fused_to_the_same_values(activation: nn.Module) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Identity(), activation)
    fused = fuse_activations(nn.Sequential(*plain))
    x = 3 * torch.randn(2, 3, 17, 9)
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), plain(x), rtol=2e-6, atol=2e-6)
    if torch.backends.mkldnn.is_available():
        assert any(isinstance(m, FusedConvolution) for m in fused.modules())


def test_other_networks_are_left_as_they_are() -> None:
    odd = nn.Sequential(nn.Conv2d(1, 2, 3, padding="same"), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.PReLU(2))
    assert not any(isinstance(m, FusedConvolution) for m in fuse_activations(odd).modules())


def test_a_machine_without_the_operator_runs_the_plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self, x):
        raise AttributeError("no such operator")

    monkeypatch.setattr(FusedConvolution, "forward", missing)
    assert not any(isinstance(m, FusedConvolution) for m in fuse_activations(ESPCN()).modules())
