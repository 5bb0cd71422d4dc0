"""The network's size, its reach, and its alignment."""

from __future__ import annotations

import pytest
import torch

from sciSR.models.espcn import ESPCN, lanczos_phases, limit_undershoot
from sciSR.models.spec import receptive_field


def random_network(scale: int = 2) -> ESPCN:
    torch.manual_seed(0)
    model = ESPCN(scale)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


def test_number_of_parameters_is_that_of_the_paper():
    assert sum(p.numel() for p in ESPCN(scale=2).parameters()) == 58_212


@pytest.mark.parametrize("variant", ["tanh", "relu"])
def test_published_network_has_three_layers(variant):
    numbers = [sum(p.numel() for p in ESPCN(scale, variant=variant).parameters()) for scale in (2, 3, 4)]
    assert numbers == [21_284, 22_729, 24_752]
    shapes = [tuple(p.shape) for p in ESPCN(3, variant=variant).parameters() if p.ndim == 4]
    assert shapes == [(64, 1, 5, 5), (32, 64, 3, 3), (9, 32, 3, 3)]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_network_is_aligned_at_the_edges(scale):
    """It begins as linear interpolation: a straight line goes on as the same straight line."""
    model, n = ESPCN(scale, variant="relu"), 24
    with torch.no_grad():
        model.body[-2].weight[:, 2:] = 0
        out = model(torch.arange(float(n)).expand(1, 1, n, n))[0, 0, scale * n // 2]
    expected = (torch.arange(scale * n) + 0.5) / scale - 0.5
    assert (out - expected)[4 * scale : -4 * scale].abs().max() < 1e-4


def test_filters_of_the_skip_path_are_not_stored():
    assert not any(key.startswith("skip") for key in ESPCN().state_dict())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_skip_path_is_aligned_at_the_edges(scale):
    """A straight line goes on as the same straight line; no half-pixel shift."""
    model, n = ESPCN(scale), 40
    line = torch.arange(n, dtype=torch.float32)[None].expand(n, -1)[None, None]
    out = model.skip(line)[0, 0, scale * n // 2, scale * 8 : -scale * 8]
    expected = ((torch.arange(scale * n) + 0.5) / scale - 0.5)[scale * 8 : -scale * 8]
    assert (out - expected).abs().max() < 0.02
    assert torch.allclose(lanczos_phases(scale).sum(1), torch.ones(scale, dtype=torch.float64))


@pytest.mark.parametrize("scale", [2, 3])
def test_receptive_field_is_that_of_the_gradients(scale):
    model, n = random_network(scale).double(), 25
    model.skip.float()
    middle = n // 2
    for part, radius in ((model.body, 5), (model, 5)):
        x = torch.rand(1, 1, n, n, dtype=torch.float64, requires_grad=True)
        out = part(x) if part is model.body else model.skip(x.float()).double() + model.body(x)
        block = out[0, 0, scale * middle : scale * (middle + 1), scale * middle : scale * (middle + 1)]
        block.square().sum().backward()
        touched = x.grad[0, 0].abs().nonzero()
        assert int((touched - middle).abs().max()) == radius == receptive_field(part)


def test_halo_makes_tiles_equal_the_whole():
    model = random_network().eval()
    x = torch.rand(1, 1, 40, 44)
    with torch.no_grad():
        whole = model(x)[..., 20:60, 20:68]
        tile = model(x[..., 5:35, 5:39])[..., 10:-10, 10:-10]
    assert torch.allclose(tile, whole[..., : tile.shape[-2], : tile.shape[-1]], atol=1e-4, rtol=1e-5)


def test_skip_stays_float32_under_autocast():
    model, x = ESPCN().eval(), torch.rand(1, 1, 20, 20) * 1000
    with torch.no_grad():
        for parameter in model.body.parameters():
            parameter.zero_()
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(x), exact)


def test_unknown_skip_is_refused():
    with pytest.raises(ValueError, match="cubic"):
        ESPCN(skip="cubic")
    with pytest.raises(ValueError, match="magic"):
        ESPCN(finish="magic")


def sky_with_a_star() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 1, 24, 24, generator=generator) * 0.5
    x[0, 0, 10, 11] = 9.0
    return x


def test_limited_pixels_keep_their_flux():
    x = sky_with_a_star()
    z = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
    z[0, 0, 20, 22] += 2.0
    after = limit_undershoot(z, x, 2)
    assert torch.equal((after != z).nonzero()[:, 2:] // 2, torch.tensor([[10, 11]] * 4))
    mean = torch.nn.functional.avg_pool2d(after.double().sinh(), 2)
    assert torch.allclose(mean, x.double().sinh(), rtol=1e-5, atol=1e-5)


def test_finish_leaves_no_hole_beside_a_star():
    x = sky_with_a_star()
    z = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
    z[0, 0, 20, 22] += 2.0
    linear = z.sinh()
    plain = linear - torch.nn.functional.interpolate(
        torch.nn.functional.avg_pool2d(linear, 2) - x.sinh(), scale_factor=2, mode="nearest"
    )
    assert plain.min() < -100
    assert limit_undershoot(z, x, 2).sinh().min() > x.sinh().min() - 1.001


def test_finish_leaves_what_is_right_alone():
    truth = torch.rand(1, 1, 32, 32)
    x = torch.nn.functional.avg_pool2d(truth.sinh(), 2).asinh()
    assert torch.equal(limit_undershoot(truth, x, 2), truth)


def test_finished_network_tiles_exactly():
    model = ESPCN(finish="detector").eval()
    x = sky_with_a_star()
    with torch.no_grad():
        assert torch.allclose(
            model(x)[..., 10:-10, 10:-10][..., :12, :12], model(x[..., :22, :22])[..., 10:22, 10:22]
        )
