"""Dictionaries are learned from patches alone: features as the network sees them, and the best sharp atoms for them."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from pathlib import Path

import pytest
import torch
from toy_training import ToyPatches, history_of, toy_config, write_patch_file

from sciSR.errors import SciSRWarning, UsageError
from sciSR.models.files import load_model
from sciSR.models.sparse_coding import SparseCoding
from sciSR.training import dictionary
from sciSR.training.config import ModelConfig
from sciSR.training.loop import train
from sciSR.training.patch_file import PatchFile
from sciSR.training.run_folder import RunFolder

pytest.importorskip("sklearn")

SMALL = {"atoms": 48, "components": 12, "iterations": 10}


def config(**arguments: object):
    model = ModelConfig("SparseCoding", SMALL | arguments)
    return toy_config(model=model, training__steps=30, training__batch=8, name="sparse-toy")


def patches(side: int = 20) -> ToyPatches:
    return ToyPatches(patch=side)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("run") / "sparse-toy"
    folder.mkdir()
    dictionary.fit(config(), patches(), folder, show=str)
    return RunFolder(folder)


@pytest.mark.parametrize(("scale", "patch", "kernel"), [(2, 3, "cubic"), (3, 1, "cubic"), (2, 5, "lanczos")])
def test_the_convolution_gives_the_same_features_as_the_fine_image(
    scale: int, patch: int, kernel: str
) -> None:
    torch.manual_seed(0)
    network = SparseCoding(scale, atoms=8, patch=patch, components=6, kernel=kernel)
    components = torch.randn(6, 4 * (scale * patch) ** 2)
    reach = network.features_radius()
    x = torch.rand(2, 1, 2 * reach + 5, 2 * reach + 3)
    with torch.no_grad():
        network.analysis.copy_(dictionary.as_convolution(network, components))
        fine = dictionary.fine_features(network, x)
        expected = torch.einsum("dn,bnhw->bhwd", components, fine).flatten(1, 2)
        found = network.features(x).unflatten(1, x.shape[-2:])[:, reach:-reach, reach:-reach].flatten(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_features_are_derivatives() -> None:
    network = SparseCoding(2, atoms=8, patch=3, components=6)
    rows, columns = torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij")
    x = (3 * rows - 5 * columns)[None, None]
    with torch.no_grad():
        kinds = dictionary.fine_features(network, x).unflatten(1, (4, 36)).mean((0, 2, 3, 4))
    # Over two fine pixels, each half a coarse one; a plane has no second derivative.
    torch.testing.assert_close(kinds, torch.tensor([-5.0, 3.0, 0.0, 0.0]), rtol=1e-4, atol=1e-4)


def test_components_are_orthonormal_and_keep_the_most_energy() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(500, 12, generator=generator) * torch.linspace(3, 0.1, 12)
    components = dictionary.principal(features, 5)
    torch.testing.assert_close(components @ components.mT, torch.eye(5), rtol=0, atol=1e-5)
    kept = (features @ components.mT).square().mean(0)
    assert torch.all(kept.diff() <= 1e-6)
    assert kept.sum() >= features.square().mean(0).topk(5).values.sum() * (1 - 1e-6)
    with pytest.raises(UsageError, match="components is 13, more than the 12"):
        dictionary.principal(features, 13)


def test_sharp_atoms_are_found_where_details_follow_from_the_codes() -> None:
    torch.manual_seed(2)
    network = SparseCoding(2, **SMALL)
    features = torch.randn(4000, 144)
    with torch.no_grad():
        components = dictionary.principal(features, 12)
        network.analysis.copy_(dictionary.as_convolution(network, components))
        codes = network.codes(features @ components.mT)
        truth = torch.randn(48, 36)
        dictionary.fit_high(network, dictionary.Samples(features, codes @ truth))
        found = codes @ network.high
    assert float((found - codes @ truth).norm() / (codes @ truth).norm()) < 0.01


def test_it_beats_the_interpolation_on_what_it_never_saw(learned: RunFolder) -> None:
    (row,) = history_of(learned)
    assert row["psnr"] > row["psnr_interpolation"] + 1.0
    network, spec, _ = load_model(learned.weights)
    held = patches().make(8, 2, 12345)
    rim = 2 * network.receptive_field()
    with torch.no_grad():
        errors = [
            float((image - held.truth)[..., rim:-rim, rim:-rim].square().mean())
            for image in (network(held.input), network.skip(held.input))
        ]
    assert errors[0] < 0.8 * errors[1]
    assert spec.architecture == "SparseCoding"
    assert spec.receptive_field == network.receptive_field()
    assert torch.allclose(network.low.norm(dim=1), torch.ones(48), atol=1e-5)


def test_a_run_leaves_what_every_run_leaves(learned: RunFolder) -> None:
    for path in (learned.weights, learned.card, learned.config, learned.metrics):
        assert path.exists()


def test_learning_twice_gives_the_same_bytes(learned: RunFolder, tmp_path: Path) -> None:
    folder = tmp_path / "sparse-toy"
    folder.mkdir()
    weights = dictionary.fit(config(), patches(), folder, show=str)
    assert weights.read_bytes() == learned.weights.read_bytes()


def test_the_training_loop_learns_it_too(learned: RunFolder, tmp_path: Path) -> None:
    run, whole = train(config(), patches(), tmp_path, device="cpu", show=str)
    assert whole
    assert run.weights.read_bytes() == learned.weights.read_bytes()


def test_a_patch_file_will_do(tmp_path: Path) -> None:
    toy = dataclasses.replace(config(), training=dataclasses.replace(config().training, steps=6))
    write_patch_file(tmp_path / "toy.npz", toy)
    wide = dataclasses.replace(toy, model=ModelConfig("SparseCoding", SMALL | {"kernel": "lanczos"}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        with pytest.raises(UsageError, match=r"patches of 12 pixels are too small .* at least 15"):
            train(wide, PatchFile(tmp_path / "toy.npz"), tmp_path / "a", device="cpu", show=str)
        run, _ = train(toy, PatchFile(tmp_path / "toy.npz"), tmp_path / "b", device="cpu", show=str)
    assert load_model(run.weights)[0].high.square().mean() > 0


def test_too_few_patches_are_told(tmp_path: Path) -> None:
    few = dataclasses.replace(config(), training=dataclasses.replace(config().training, steps=1, batch=1))
    folder = tmp_path / "few"
    folder.mkdir()
    with pytest.warns(SciSRWarning, match="patches with structure are few for 48 atoms"):
        dictionary.fit(few, patches(14), folder, show=str)


@pytest.mark.parametrize(
    "change", [{"scales": (2, 3)}, {"conditions": ("noise",)}, {"start": "x.safetensors"}]
)
def test_what_dictionaries_can_not_have_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    wrong = dataclasses.replace(config(), model=dataclasses.replace(config().model, **change))
    with pytest.raises(UsageError, match="one scale, no conditions"):
        dictionary.fit(wrong, patches(), tmp_path, show=str)


def test_without_scikit_learn_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UsageError, match=r"pip install 'sciSR\[train\]'"):
        dictionary.fit(config(), patches(), tmp_path, show=str)
