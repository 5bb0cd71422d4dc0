"""What every network of the zoo promises to the engine and to the training loop."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.errors import ModelError
from sciSR.models.files import ARCHITECTURES, architecture, load_model, save_model
from sciSR.models.spec import ModelSpec, receptive_field

SMALL: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "srcnn": ("SRCNN", {"widths": [8, 6]}, (2, 3, 4)),
    "srcnn-955": ("SRCNN", {"widths": [8, 6], "kernels": [9, 5, 5]}, (2, 3, 4)),
    "vdsr": ("VDSR", {"depth": 5, "width": 6}, (2, 3, 4)),
    "fsrcnn": ("FSRCNN", {"d": 8, "s": 6, "m": 2}, (2, 3, 4)),
    "espcn": ("ESPCN", {}, (2, 3, 4)),
    "espcn-tanh": ("ESPCN", {"variant": "tanh"}, (2, 3, 4)),
    "espcn-relu": ("ESPCN", {"variant": "relu"}, (2, 3, 4)),
    "srresnet": ("SRResNet", {"blocks": 2, "width": 6}, (2, 3, 4)),
    "edsr": ("EDSR", {"blocks": 2, "width": 6}, (2, 3, 4)),
    "edsr-scaled": ("EDSR", {"blocks": 2, "width": 6, "residual_scaling": 0.1}, (2, 4)),
    "ecbsr": ("ECBSR", {"features": 6, "blocks": 3}, (2, 3, 4)),
    "span": ("SPAN", {"features": 6, "blocks": 2}, (2, 4)),
    "lapsrn": ("LapSRN", {"depth": 2, "width": 6}, (2, 4, 8)),
}
"""Every architecture in a small version, its arguments without the scale, and the scales to try."""

ALL = [(name, scale) for name, (_, _, scales) in SMALL.items() for scale in scales]
cases = pytest.mark.parametrize(("name", "scale"), ALL)


def network(name: str, scale: int, seed: int = 0, **more: Any) -> nn.Module:
    torch.manual_seed(seed)
    kind, arguments, _ = SMALL[name]
    return architecture(kind)(scale=scale, **arguments, **more)


def shaken(name: str, scale: int) -> nn.Module:
    """In evaluation mode, with weights and statistics that keep every path alive."""
    model = network(name, scale)
    with torch.no_grad():
        for key, value in [*model.named_parameters(), *model.named_buffers()]:
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.ndim >= 2 and not key.endswith("kernel"):  # the interpolation's kernel is no weight
                value.copy_(torch.randn_like(value) * (2 / value[0].numel()) ** 0.5)
            elif value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.1)
    return model.eval()


def interpolated(x: Tensor, scale: int) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


@cases
def test_every_input_pixel_becomes_scale_squared(name, scale):
    model = network(name, scale).eval()
    for shape in ((1, 1, 9, 14), (2, 1, 16, 5)):
        out = model(torch.rand(shape))
        assert out.shape == (*shape[:2], scale * shape[2], scale * shape[3])
        assert out.dtype == torch.float32


@cases
def test_receptive_field_is_that_of_the_gradients(name, scale):
    """What lies in an input pixel depends on all inputs up to the radius and on none beyond."""
    model = shaken(name, scale)
    radius = receptive_field(model)
    middle = radius + 3
    x = torch.rand(1, 1, 2 * middle + 1, 2 * middle + 1, requires_grad=True)
    block = slice(scale * middle, scale * (middle + 1))
    model(x)[0, 0, block, block].square().sum().backward()
    for axis in (0, 1):
        touched = x.grad[0, 0].abs().amax(axis).nonzero()[:, 0]
        assert max(middle - int(touched.min()), int(touched.max()) - middle) == radius


@cases
def test_halo_makes_tiles_equal_the_whole(name, scale):
    model = shaken(name, scale)
    halo = receptive_field(model)
    x = torch.rand(1, 1, 2 * halo + 9, 2 * halo + 12)
    with torch.no_grad():
        whole, tile = model(x), model(x[..., 1:-2, 3:-1])
    rim = scale * halo
    inner = tile[..., rim:-rim, rim:-rim]
    expected = whole[..., scale : -2 * scale, 3 * scale : -scale][..., rim:-rim, rim:-rim]
    assert inner.numel() > 0
    assert (inner - expected).abs().max() <= 1e-5 * expected.abs().max()


@cases
def test_weights_files_bring_the_same_network_back(name, scale, tmp_path):
    """Also a batch normalisation's statistics; every tensor is float32, so that it can be stored and averaged."""
    model = network(name, scale, seed=1)
    model.train()(torch.rand(2, 1, 16, 16))  # statistics that are not the initial ones
    kind, arguments, _ = SMALL[name]
    spec = ModelSpec("toy", kind, arguments, scale=scale, receptive_field=receptive_field(model))
    save_model(tmp_path / "toy.safetensors", model, spec)
    again, read, _ = load_model(tmp_path / "toy.safetensors")
    x = torch.rand(1, 1, 12, 13)
    assert read == spec
    assert torch.equal(again(x), model.eval()(x))
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert list(again.state_dict()) == list(model.state_dict())


# The last layer of ECBSR and SPAN is not faint, only smaller than the others.
@pytest.mark.parametrize(("name", "scale"), [case for case in ALL if case[0] not in ("ecbsr", "span")])
@pytest.mark.parametrize("level", [0.5, 30.0])
def test_training_starts_from_an_interpolation(name, scale, level):
    """Whatever the range of values: bright stars are tens of sigmas in the stretch."""
    if name == "espcn-tanh":
        level = 0.5  # made for values of 0 to 1, as published
    x = level * F.avg_pool2d(torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(3)), 3, 1)
    with torch.no_grad():
        out, smooth = network(name, scale).eval()(x), interpolated(x, scale)
    inner = slice(8 * scale, -8 * scale)
    error = (out - smooth)[..., inner, inner].square().mean().sqrt()
    assert error < 0.25 * x.std()


@pytest.mark.parametrize("name", SMALL)
def test_a_few_steps_teach_and_harm_nothing(name):
    """A high learning rate from the first step, on the values of a sky: the loss ends below where it began."""
    model = network(name, 2, seed=2).train()
    generator = torch.Generator().manual_seed(5)
    rough = torch.randn(2, 1, 12, 12, generator=generator).mul_(3)
    truth = F.interpolate(rough, scale_factor=4, mode="bicubic", align_corners=False)
    x = F.avg_pool2d(truth, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(25):
        loss = (model(x) - truth)[..., 12:-12, 12:-12].abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["srcnn", "vdsr", "fsrcnn", "srresnet", "edsr", "lapsrn"])
def test_colours_are_channels_of_one_network(name):
    model = network(name, 2, channels=3).eval()
    x = torch.rand(1, 3, 10, 10)
    assert model(x).shape == (1, 3, 20, 20)
    with torch.no_grad():
        inner = slice(6, -6)
        error = (model(x) - interpolated(x, 2))[..., inner, inner].abs().mean()
    assert error < 0.2


@pytest.mark.parametrize(
    "name", ["srcnn", "vdsr", "fsrcnn", "espcn", "espcn-relu", "srresnet", "edsr", "lapsrn"]
)
def test_half_precision_leaves_the_image_itself_in_full(name):
    """bfloat16 has eight bits; the network may use them, the image that passes through may not lose its own."""
    model, x = network(name, 2).eval(), torch.rand(1, 1, 20, 20)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = model(x)
    assert out.dtype == torch.float32


def test_listing_the_networks_imports_none():
    code = (
        "import sys; from sciSR.models.files import ARCHITECTURES, list_models; list_models();"
        "heavy = [m for m in sys.modules if m.startswith('sciSR.models.')"
        " and m.split('.')[-1] not in ('files', 'spec')]; print(len(ARCHITECTURES), heavy)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split(maxsplit=1)[1].strip() == "[]"


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_registered_networks_exist(name):
    assert issubclass(architecture(name), nn.Module)


@pytest.mark.parametrize(
    ("kind", "arguments", "told"),
    [
        ("SRCNN", {"kernels": (9, 2, 5)}, "kernels"),
        ("SRCNN", {"widths": (64,)}, "widths"),
        ("VDSR", {"depth": 1}, "depth"),
        ("FSRCNN", {"scale": 10}, "scale"),
        ("FSRCNN", {"s": 1}, "channels"),
        ("SRResNet", {"scale": 5}, "scale"),
        ("EDSR", {"scale": 0}, "scale"),
        ("LapSRN", {"scale": 3}, "scale"),
        ("ESPCN", {"variant": "five"}, "variant"),
    ],
)
def test_impossible_arguments_are_refused(kind, arguments, told):
    with pytest.raises(ValueError, match=told):
        architecture(kind)(**arguments)


def test_unknown_networks_are_refused():
    with pytest.raises(ModelError, match="SRCNN"):
        architecture("Strange")
