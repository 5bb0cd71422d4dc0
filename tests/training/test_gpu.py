"""Training and inference on a GPU, and the same promises on the CPU; `pytest -m gpu` on a machine that has one."""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_training import ToyPatches, toy_config

from sciSR.models import discriminators
from sciSR.models.files import ARCHITECTURES, architecture, load_model
from sciSR.training import losses
from sciSR.training.config import AdversarialConfig, LossTerm, TrainConfig
from sciSR.training.loop import train
from sciSR.training.networks import Networks
from sciSR.training.run_folder import RunFolder
from sciSR.training.validation import validate

gpu = pytest.mark.gpu
DEVICES = ["cpu", pytest.param("cuda", marks=gpu)]
PRECISIONS = [
    ("cpu", "fp32"),
    ("cpu", "bf16"),
    pytest.param("cuda", "fp32", marks=gpu),
    pytest.param("cuda", "bf16", marks=gpu),
    pytest.param("cuda", "fp16", marks=gpu),
]
on_devices = pytest.mark.parametrize("device", DEVICES)
at_precisions = pytest.mark.parametrize(("device", "precision"), PRECISIONS)

KINDS: dict[str, dict[str, Any]] = {
    "conditional": {
        "model__architecture": "ConditionalECBSR",
        "model__arguments": {"features": 6, "blocks": 2, "conditions": 2},
        "model__conditions": ("noise", "fwhm"),
        "forward__noise": "gaussian",
    },
    "progressive": {
        "model__architecture": "LapSRN",
        "model__arguments": {"depth": 2, "width": 6},
        "model__scale": 4,
    },
    "adversarial": {"loss__adversarial": AdversarialConfig()},
    "adversarial, relativistic": {
        "loss__adversarial": AdversarialConfig(discriminator="dcgan", relativistic=True)
    },
    "consistent": {"consistency": "kspace", "loss__consistency": "inside", "optimizer__kind": "muon"},
    "several scales": {
        "model__architecture": "VDSR",
        "model__arguments": {"depth": 3, "width": 8},
        "model__scales": (2, 3),
    },
    "several terms": {
        "loss__terms": tuple(
            LossTerm(kind) for kind in ("charbonnier", "fourier", "gradient", "ssim", "log_mse")
        )
    },
}
NETWORKS: dict[str, dict[str, Any]] = {
    "ConditionalECBSR": {"features": 6, "blocks": 3, "conditions": 2},
    "ECBSR": {"features": 6, "blocks": 3, "branches": ["identity", "edges", "chain"]},
    "EDSR": {"blocks": 2, "width": 6},
    "ESPCN": {},
    "FSRCNN": {"d": 8, "s": 6, "m": 2},
    "LapSRN": {"depth": 2, "width": 6},
    "SPAN": {"features": 6, "blocks": 2},
    "SRCNN": {"widths": [8, 6]},
    "SRResNet": {"blocks": 2, "width": 6},
    "SparseCoding": {"atoms": 24, "components": 8},
    "VDSR": {"depth": 5, "width": 6},
}
"""Every network in a small version."""


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The discriminators' layers with a few channels each."""
    for name, arguments in (("srgan", {"width": 8, "dense": 16}), ("dcgan", {"width": 8})):
        narrow = functools.partial(discriminators.DISCRIMINATORS[name], **arguments)
        monkeypatch.setitem(discriminators.DISCRIMINATORS, name, narrow)


@pytest.fixture
def full_float32() -> Iterator[None]:
    """Products of full float32 instead of TensorFloat-32's eleven bits, which a GPU takes by default."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    yield
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


def run(out: Path, config: TrainConfig, device: str, patches: ToyPatches | None = None, **options: Any):
    return train(config, patches or ToyPatches(), out, device=device, show=str, **options)


def rows(folder: RunFolder) -> list[dict[str, float]]:
    with folder.metrics.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def interrupt_after(steps: int):
    def tick(step: int, ms: float) -> None:
        if step == steps:
            signal.raise_signal(signal.SIGINT)

    return tick


def toy(precision: str = "fp32", **changes: Any) -> TrainConfig:
    return toy_config(
        **{"training__steps": 7, "training__validate_every": 7, "training__precision": precision} | changes
    )


@at_precisions
def test_loss_falls(tmp_path: Path, device: str, precision: str) -> None:
    changes = {"training__steps": 50, "training__validate_every": 10, "schedule__warmup": 5}
    config = toy(precision, **changes, optimizer__kind="muon")
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=2e-3))
    folder, whole = run(tmp_path, config, device)
    first, *_, last = rows(folder)
    assert whole
    assert last["loss"] < first["loss"]
    assert last["psnr"] > last["psnr_interpolation"] + 0.5


@at_precisions
def test_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, device: str, precision: str) -> None:
    config = toy(precision)
    straight, _ = run(tmp_path / "straight", config, device)
    _, ended = run(tmp_path / "stopped", config, device, tick=interrupt_after(4))
    assert not ended
    stopped, ended = run(tmp_path / "stopped", config, device, resume=True)
    assert ended
    saved, expected = (torch.load(each.checkpoint, weights_only=True) for each in (stopped, straight))
    assert saved["state"]["step"] == expected["state"]["step"] == 7
    assert saved.get("scaler") == expected.get("scaler")  # of fp16's gradients
    exact = device == "cpu"  # sums on a GPU may be taken in another order
    for key in ("model", "average"):
        torch.testing.assert_close(
            saved[key], expected[key], rtol=0 if exact else 1e-2, atol=0 if exact else 1e-3
        )


@on_devices
def test_checkpoint_of_a_cpu_goes_on_here(tmp_path: Path, device: str) -> None:
    config = toy()
    run(tmp_path, config, "cpu", tick=interrupt_after(3))
    begun = torch.load(RunFolder(tmp_path / config.name).checkpoint, weights_only=True)
    folder, whole = run(tmp_path, config, device, resume=True)
    saved = torch.load(folder.checkpoint, weights_only=True)
    assert whole
    assert (begun["state"]["step"], saved["state"]["step"]) == (3, 7)
    assert any(not torch.equal(saved["model"][key], value) for key, value in begun["model"].items())


@on_devices
def test_weights_of_a_cpu_are_where_a_run_here_begins(tmp_path: Path, device: str) -> None:
    first, _ = run(tmp_path, toy(name="first"), "cpu")
    config = toy(model__start=str(first.weights), name="second", training__steps=1)
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=1e-12))
    second, _ = run(tmp_path, config, device)
    one, other = (load_model(each.weights)[0].state_dict() for each in (first, second))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@on_devices
def test_weights_from_here_measure_the_same_on_a_cpu(tmp_path: Path, device: str, full_float32: None) -> None:
    config, patches = toy(), ToyPatches()
    folder, _ = run(tmp_path, config, device, patches)
    network, spec, _ = load_model(folder.weights)
    loss = losses.build(config, spec.receptive_field, "cpu")
    here = validate(network, patches.validation(), loss, config.training.batch)
    measured = rows(folder)[-1]
    assert {key: measured[key] for key in here} == pytest.approx(here, rel=1e-4)


@on_devices
@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_every_kind_of_training_takes_a_step(tmp_path: Path, device: str, changes: dict[str, Any]) -> None:
    config = toy("bf16", training__steps=2, training__validate_every=2, schedule__warmup=0, **changes)
    scales = config.model.scales or (config.model.scale,)
    rival = config.loss.adversarial
    side = 44 if rival and rival.discriminator == "dcgan" else 16  # that one judges 64 fine pixels
    patches = ToyPatches(scales, len(config.model.conditions), side)
    torch.manual_seed(config.training.seed)
    fresh = Networks(config).main.state_dict()
    folder, whole = run(tmp_path, config, device, patches)
    saved = torch.load(folder.checkpoint, weights_only=True)
    assert whole
    assert all(math.isfinite(value) for value in rows(folder)[-1].values())
    moved = [key for key, value in fresh.items() if not torch.equal(value, saved["model"][key].cpu())]
    assert moved
    assert ("adversary" in saved) == (rival is not None)


def shaken(name: str) -> nn.Module:
    """A small network in evaluation mode whose weights and statistics keep every path alive."""
    torch.manual_seed(1)
    model = architecture(name)(scale=2, **NETWORKS[name]).eval()
    with torch.no_grad():
        for key, value in [*model.named_parameters(), *model.named_buffers()]:
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif (
                value.is_floating_point()
                and value.ndim >= 2
                and not key.endswith(("kernel", "filters", "unit"))
            ):
                value.copy_(torch.randn_like(value) * (2 / value[0].numel()) ** 0.5)
            elif value.is_floating_point() and value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.1)
    return model


def test_every_registered_network_is_compared() -> None:
    across_slices = {"ThroughPlane"}  # tests/throughplane/test_gpu.py
    assert NETWORKS.keys() == ARCHITECTURES.keys() - across_slices


@on_devices
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_network_gives_what_it_gives_on_a_cpu(name: str, device: str, full_float32: None) -> None:
    """Also in the order of memory that training and the engine choose for convolutions."""
    model = shaken(name)
    x = torch.rand(2, 1, 25, 31, generator=torch.Generator().manual_seed(2))
    told = [torch.tensor([[0.02, 1.0], [0.1, 2.0]])] if name.startswith("Conditional") else []
    with torch.no_grad():
        expected = model(x, *told)
        model = model.to(device, memory_format=torch.channels_last)
        seen = model(
            x.to(device).contiguous(memory_format=torch.channels_last), *(each.to(device) for each in told)
        )
    assert expected.std() > 0.01
    torch.testing.assert_close(seen.cpu(), expected, rtol=1e-4, atol=1e-4)
