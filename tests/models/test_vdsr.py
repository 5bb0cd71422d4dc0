"""VDSR as published: one network, and one weights file, for all factors."""

from __future__ import annotations

import pytest
import torch

from sciSR.models.files import load_model, save_model
from sciSR.models.spec import ModelSpec, receptive_field
from sciSR.models.vdsr import VDSR


def test_number_of_parameters_is_that_of_the_paper():
    model = VDSR()
    assert sum(p.numel() for p in model.parameters() if p.ndim > 1) == 664_704
    assert sum(p.numel() for p in model.parameters()) == 664_704 + 19 * 64 + 1
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in model.modules()) == 20


def test_field_of_view_is_the_papers_41_pixels():
    """Of the interpolated image (section 3.1); the interpolation itself adds what its two pixels are."""
    assert VDSR(scale=1).receptive_field() == 20
    assert [VDSR(scale).receptive_field() for scale in (2, 3, 4)] == [12, 8, 7]


def test_weights_do_not_depend_on_the_factor(tmp_path):
    torch.manual_seed(0)
    trained = VDSR(2, depth=4, width=8)
    spec = ModelSpec(
        "toy",
        "VDSR",
        {"depth": 4, "width": 8},
        scale=2,
        scales=(2, 3, 4),
        receptive_field=receptive_field(trained),
    )
    save_model(tmp_path / "toy.safetensors", trained, spec)
    x = torch.rand(1, 1, 9, 9)
    for scale in (2, 3, 4):
        model, read, _ = load_model(tmp_path / "toy.safetensors", scale=scale)
        assert model(x).shape[-1] == 9 * scale
        assert read.receptive_field == receptive_field(model)
        fine = model.upsample(x)
        assert torch.equal(model(x), fine + trained.body(fine))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_its_residual_it_is_the_interpolation(scale):
    model, x = VDSR(scale), torch.rand(1, 1, 12, 12)
    with torch.no_grad():
        model.body[-1].weight.zero_()
        assert torch.equal(model(x), model.upsample(x))


def test_interpolation_keeps_full_precision_under_autocast():
    model, x = VDSR(depth=3).eval(), torch.rand(1, 1, 12, 12) * 1000
    with torch.no_grad():
        model.body[-1].weight.zero_()
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(x), exact)
