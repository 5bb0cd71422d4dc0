"""VGG-19 as a loss: torchvision's layout, the user's own file, nothing unpickled but tensors."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file

from sciSR.errors import ModelError, UsageError
from sciSR.training import losses, perceptual
from sciSR.training.config import LossConfig, LossTerm, ModelConfig, TrainConfig
from sciSR.training.pair import Batch

SHAPES = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128)}
"""torchvision's ``features.N`` of the first convolutions: (out, in)."""


def weights(last=7):
    g = torch.Generator().manual_seed(0)
    state = {"classifier.0.weight": torch.zeros(2, 2)}  # the rest of the file is left alone
    for at, (out, into) in SHAPES.items():
        if at <= last:
            state[f"features.{at}.weight"] = torch.randn(out, into, 3, 3, generator=g) / (9 * into) ** 0.5
            state[f"features.{at}.bias"] = 0.1 * torch.randn(out, generator=g)
    return state


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(weights(), path)
    return str(path)


def pair(seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(2, 1, 12, 12, generator=g, dtype=dtype) for _ in range(2))


def test_the_layers_are_torchvisions():
    places = perceptual._indices()
    assert places["conv1_1"] == 0
    assert places["relu2_2"] == 8
    assert places["conv3_4"] == 16
    assert places["conv5_4"] == 34
    assert places["relu5_4"] == 35
    with torch.device("meta"):
        network = perceptual.Vgg19(("conv5_4",))
    assert len(network.features) == 35
    assert sum(p.numel() for p in network.parameters()) == 20_024_384
    assert not any(p.requires_grad for p in network.parameters())


def test_activations_are_those_of_a_chain_of_convolutions(file):
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    before, after = perceptual.load_vgg(file, ("conv2_1", "relu2_1"))(x)
    state = weights()
    y = x
    for at in (0, 2):
        y = torch.conv2d(y, state[f"features.{at}.weight"], state[f"features.{at}.bias"], padding=1).relu()
    y = torch.max_pool2d(y, 2)
    y = torch.conv2d(y, state["features.5.weight"], state["features.5.bias"], padding=1)
    torch.testing.assert_close(before, y)
    torch.testing.assert_close(after, y.relu())


def test_equal_images_have_no_distance_and_gradients_reach_the_prediction_alone(file):
    x, t = pair()
    term = perceptual.vgg(file, layers="conv2_2")
    assert term(t, t).item() == 0
    x.requires_grad_()
    t.requires_grad_()
    term(x, t).backward()
    assert x.grad.abs().max() > 0
    assert t.grad is None


def test_layers_have_weights_and_criteria(file):
    x, t = pair()
    first, second = (perceptual.vgg(file, layers=name)(x, t) for name in ("conv1_2", "relu2_2"))
    both = perceptual.vgg(file, layers={"conv1_2": 2.0, "relu2_2": 0.5})(x, t)
    torch.testing.assert_close(both, 2 * first + 0.5 * second)
    torch.testing.assert_close(perceptual.vgg(file, layers=["conv1_2", "relu2_2"])(x, t), first + second)
    assert perceptual.vgg(file, layers="conv1_2", criterion="mse")(x, t) != first


@pytest.mark.parametrize("normalisation", ["range", "sky"])
def test_black_and_white_are_the_domains(file, normalisation):
    x, t = pair()
    low, high = perceptual.RANGES[normalisation]
    scaled = perceptual.vgg(file, normalisation=normalisation, layers="conv2_1")
    plain = perceptual.vgg(file, layers="conv2_1", low=0.0, high=1.0)
    torch.testing.assert_close(
        scaled(low + (high - low) * x, low + (high - low) * t), plain(x, t), rtol=1e-4, atol=1e-6
    )


def test_it_is_a_term_of_the_loss(file):
    x, t = (torch.nn.functional.interpolate(v, scale_factor=2) for v in pair())
    config = TrainConfig(
        "toy", "natural", "unit", ModelConfig("ESPCN"),
        loss=LossConfig((LossTerm("vgg", 0.5, {"file": file, "layers": "conv2_2"}),)),
    )  # fmt: skip
    batch = Batch(t[..., ::2, ::2], t, torch.zeros(2, 3), torch.zeros(2, 0))
    _, parts = losses.build(config, 0, "cpu")(x, batch)
    torch.testing.assert_close(parts["vgg"], 0.5 * perceptual.vgg(file, layers="conv2_2")(x, t))


def test_safetensors_serve_as_well(file, tmp_path):
    save_file(weights(), tmp_path / "vgg.safetensors")
    x, t = pair()
    first, second = (
        perceptual.vgg(str(f), layers="conv2_1")(x, t) for f in (file, tmp_path / "vgg.safetensors")
    )
    assert torch.equal(first, second)


class Dangerous:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_does_more_is_refused_and_not_run(tmp_path):
    for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))):
        save({"features.0.weight": Dangerous(tmp_path / "run")}, tmp_path / "bad.pth")
        with pytest.raises(ModelError, match="nothing else is unpickled"):
            perceptual.load_vgg(tmp_path / "bad.pth", ("conv1_1",))
        assert not (tmp_path / "run").exists()


def test_what_is_no_vgg_is_refused_with_a_reason(file, tmp_path):
    with pytest.raises(ModelError, match=r"no such file.*nothing is downloaded"):
        perceptual.load_vgg(tmp_path / "none.pth", ("conv1_1",))
    with pytest.raises(ModelError, match=r"features.10.weight is missing"):
        perceptual.load_vgg(file, ("conv3_1",))
    torch.save({**weights(0), "features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "grey.pth")
    with pytest.raises(ModelError, match=r"features.0.weight is of another shape"):
        perceptual.load_vgg(tmp_path / "grey.pth", ("conv1_1",))
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="no dictionary of tensors"):
        perceptual.load_vgg(tmp_path / "list.pth", ("conv1_1",))
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(ModelError, match="can't be read"):
        perceptual.load_vgg(tmp_path / "empty.pth", ("conv1_1",))
    with pytest.raises(UsageError, match=r"no layer conv6_1"):
        perceptual.vgg(file, layers="conv6_1")
    with pytest.raises(UsageError, match=r"'l7'.*l1, mse"):
        perceptual.vgg(file, layers="conv1_1", criterion="l7")
    with pytest.raises(UsageError, match="must be above low"):
        perceptual.vgg(file, layers="conv1_1", low=1.0, high=1.0)
