"""Community checkpoints keep the engine's promises; unsafe and unsuitable ones are refused by name."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import sciSR
from sciSR.errors import ModelError, SciSRWarning
from sciSR.models.files import load_model, load_spec

needs_spandrel = pytest.mark.skipif(
    importlib.util.find_spec("spandrel") is None,
    reason="spandrel is not installed (pip install --no-deps spandrel einops)",
)


def compact() -> nn.Module:
    from spandrel.architectures.Compact import Compact

    return Compact(num_feat=12, num_conv=4, upscale=3)


def esrgan(**changes: object) -> nn.Module:
    from spandrel.architectures.ESRGAN import ESRGAN

    return ESRGAN(**({"num_filters": 8, "num_blocks": 1, "scale": 4, "plus": False} | changes))


def unshuffling() -> nn.Module:
    """Real-ESRGAN x2: works on groups of 2 x 2 pixels."""
    return esrgan(shuffle_factor=2, in_nc=12)


def span() -> nn.Module:
    from spandrel.architectures.SPAN import SPAN

    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=12, upscale=2)


def swinir() -> nn.Module:
    """Attention within windows of 8 x 8 pixels, shifted by half of one in every second layer."""
    from spandrel.architectures.SwinIR import SwinIR

    return SwinIR(
        upscale=2, window_size=8, depths=[2], num_heads=[2], embed_dim=12, mlp_ratio=2, upsampler="pixelshuffledirect"
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "compact": (compact, 3),
    "esrgan": (esrgan, 4),
    "unshuffling": (unshuffling, 2),
    "span": (span, 2),
    "swinir": (swinir, 2),
    "deep": (lambda: esrgan(num_blocks=4, scale=2), 2),
}
LOCAL = ["compact", "esrgan", "unshuffling", "span", "swinir"]


def checkpoint(folder: Path, name: str) -> Path:
    from sciSR.models.spandrel_import import import_spandrel

    import_spandrel()
    torch.manual_seed(0)
    path = folder / f"{name}.pth"
    torch.save({"params_ema": NETWORKS[name][0]().state_dict()}, path)
    return path


def picture(shape: tuple[int, int] = (70, 83)) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    smooth = 100 + 40 * np.sin(yy / 5) * np.cos(xx / 7)
    return smooth + np.random.default_rng(0).normal(0, 2, shape)


def upscaled(image: sciSR.Image, path: Path, **options: object) -> sciSR.Image:
    with pytest.warns(SciSRWarning, match="nothing is known"):
        return sciSR.upscale(image, load_spec(path).scale, str(path), **options)


@needs_spandrel
@pytest.mark.parametrize("name", LOCAL)
def test_local_networks_tile_exactly(name: str, tmp_path: Path) -> None:
    path, image = checkpoint(tmp_path, name), sciSR.Image.from_array(picture())
    spec = load_spec(path)
    assert spec.scale == NETWORKS[name][1]
    assert spec.exact_tiling
    assert 0 < spec.receptive_field < 47
    whole, tiled = (
        np.asarray(upscaled(image, path, tile=t, consistency="none").data, float) for t in (4096, 19)
    )
    assert np.abs(whole - tiled).max() <= 1e-5 * np.ptp(whole)


@needs_spandrel
@pytest.mark.parametrize("name", ["compact", "unshuffling"])
def test_it_is_the_mean_of_what_the_network_makes_of_a_grey_picture(name: str, tmp_path: Path) -> None:
    from sciSR.models.spandrel_import import import_spandrel

    path, data = checkpoint(tmp_path, name), picture((48, 40))
    low, high = data.min(), data.max()
    found = import_spandrel().ModelLoader().load_from_file(path)
    pad = 24  # the engine mirrors the image at its border
    wide = np.pad((data - low) / (high - low), pad, mode="symmetric").astype(np.float32)
    with torch.inference_mode():
        out = found.model.eval()(torch.from_numpy(wide)[None, None].repeat(1, 3, 1, 1))[0].mean(0).numpy()
    inner = slice(found.scale * pad, -found.scale * pad)
    expected = out[inner, inner] * (high - low) + low
    result = np.asarray(upscaled(sciSR.Image.from_array(data), path, consistency="none").data)
    assert np.abs(result - expected).max() <= 1e-5 * np.ptp(expected)


@needs_spandrel
def test_values_beyond_the_range_are_not_clamped(tmp_path: Path) -> None:
    path, data = checkpoint(tmp_path, "compact"), picture((48, 40))
    result = np.asarray(upscaled(sciSR.Image.from_array(data), path, consistency="none").data)
    assert result.min() < data.min() or result.max() > data.max()


@needs_spandrel
@pytest.mark.parametrize("domain", ["generic", "astronomy", "mr", "ct"])
def test_unit_and_pedestal_change_nothing(domain: str, tmp_path: Path) -> None:
    path, data = checkpoint(tmp_path, "compact"), picture((40, 33))
    one, other = (
        np.asarray(upscaled(sciSR.Image.from_array(d, domain=domain), path).data, float)
        for d in (data, 1e-3 * data - 7)
    )
    assert np.abs(other - (1e-3 * one - 7)).max() <= 2e-5 * 1e-3 * np.ptp(one) + 1e-6


@needs_spandrel
def test_flux_is_kept_and_the_file_is_on_record(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "esrgan")
    data = picture((32, 36))
    result = upscaled(sciSR.Image.from_array(data, domain="astronomy", quantity="total"), path)
    means = np.asarray(result.data, float).reshape(32, 4, 36, 4).sum((1, 3))
    assert np.abs(means - data).max() <= 1e-5 * np.abs(data).max()
    step = result.provenance.steps[-1]
    assert (step["model"], step["architecture"]) == ("esrgan", "spandrel:ESRGAN")
    assert "forward_model" not in step
    assert step["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@needs_spandrel
def test_a_network_that_sees_too_far_is_tiled_with_a_declared_error(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "deep")
    spec = load_spec(path)
    assert not spec.exact_tiling
    image = sciSR.Image.from_array(picture((40, 44)))
    with pytest.warns(SciSRWarning):
        plan = sciSR.inference.plan_upscale(image, 2, str(path), consistency="none")
    assert any("tiles differ from the whole by up to" in message for message in plan.messages)
    whole, tiled = (upscaled(image, path, tile=t, consistency="none") for t in (4096, 24))
    assert whole.provenance.steps[-1]["exact_tiling"] is False
    difference = np.abs(np.asarray(whole.data) - np.asarray(tiled.data)).max()
    assert difference <= 1e-2 * np.ptp(np.asarray(whole.data))


@needs_spandrel
def test_safetensors_without_our_metadata_are_community_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {key: value.contiguous() for key, value in compact().state_dict().items()}
    save_file(tensors, tmp_path / "c.safetensors")
    assert load_spec(tmp_path / "c.safetensors").architecture == "spandrel:Compact"


@needs_spandrel
def test_what_is_no_super_resolution_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match="knows no architecture"):
        load_model(tmp_path / "odd.pth")
    torch.save(esrgan(scale=1).state_dict(), tmp_path / "restore.pth")
    with pytest.raises(ModelError, match="no super-resolution"):
        load_model(tmp_path / "restore.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="no dictionary"):
        load_model(tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ModelError, match=r"text\.pth"):
        load_model(tmp_path / "text.pth")


class Evil:
    """Runs a program where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.mark}",)


@needs_spandrel
def test_a_pickle_that_would_run_a_program_is_refused_and_does_not(tmp_path: Path) -> None:
    torch.save({"params": {"a": torch.zeros(1)}, "evil": Evil(tmp_path / "mark")}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"could run any program.*\.safetensors"):
        load_model(tmp_path / "evil.pth")
    assert not (tmp_path / "mark").exists()


@needs_spandrel
def test_the_stand_in_for_torchvision_goes_away_again() -> None:
    code = (
        "import sys\n"
        "from sciSR.models.spandrel_import import import_spandrel\n"
        "before = 'torchvision' in sys.modules\n"
        "assert import_spandrel().MAIN_REGISTRY\n"
        "import importlib.util\n"
        "if importlib.util.find_spec('torchvision') is None: assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_spandrel_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "spandrel" else find(name, *a)
    )
    torch.save({}, tmp_path / "some.pth")
    with pytest.raises(ModelError, match="pip install --no-deps spandrel einops"):
        load_model(tmp_path / "some.pth")
