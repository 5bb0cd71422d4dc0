"""`scisr models add` and `remove`: checked before they are kept, never in the way of the shipped ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sciSR
from networks import random_network, write_network
from sciSR.cli.main import main
from sciSR.errors import ModelError, SciSRWarning
from sciSR.models.files import list_models, load_card, load_model, load_spec, save_model
from sciSR.models.user_models import add_model, list_user_models, remove_model, user_folder, user_paths


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCISR_MODELS", str(tmp_path / "mine"))
    return tmp_path / "mine"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return Path(write_network(tmp_path, "EDSR", 2))


def test_an_added_model_is_used_by_name(weights: Path, own_folder: Path) -> None:
    target = add_model(weights, "net-mr-x2")
    assert target == own_folder / "net-mr-x2.safetensors"
    data = np.random.default_rng(0).gamma(2, 50, (24, 20))
    one, two = (
        sciSR.upscale(sciSR.Image.from_array(data), 2, model) for model in ("net-mr-x2", str(weights))
    )
    assert np.array_equal(one.data, two.data)
    assert one.provenance.steps[-1]["model"] == "net-mr-x2"
    assert list(own_folder.iterdir()) == [target]


def test_under_its_own_name_the_copy_is_the_file(weights: Path) -> None:
    assert add_model(weights).read_bytes() == weights.read_bytes()


def test_the_card_goes_along_and_describes_the_copy(weights: Path) -> None:
    card = "name: toy-EDSR\nsha256: '0'\nbytes: 1\n# a comment\nlimits: [Research use.]\n"
    weights.with_suffix(".yaml").write_text(card)
    target = add_model(weights, "other")
    found = load_card("other")
    assert found["name"] == "other"
    assert found["sha256"] == load_model("other")[2]
    assert found["bytes"] == target.stat().st_size
    assert found["limits"] == ["Research use."]
    assert "# a comment" in target.with_suffix(".yaml").read_text()


def test_a_name_is_taken_once(weights: Path) -> None:
    add_model(weights, "a")
    with pytest.raises(ModelError, match="--overwrite"):
        add_model(weights, "a")
    add_model(weights, "a", overwrite=True)
    remove_model("a")
    assert user_paths() == {}
    with pytest.raises(ModelError, match="none of your models"):
        remove_model("a")


@pytest.mark.parametrize("name", ["auto", "cubic", "../escape", "a/b", ".hidden", "", "x" * 200, "ü"])
def test_impossible_names_are_refused(name: str, weights: Path, own_folder: Path) -> None:
    if name == "":
        path = weights.with_name("nameless.safetensors")
        model, spec, _ = load_model(weights)
        save_model(path, model, dataclasses.replace(spec, name=""))
        weights, name = path, None
    with pytest.raises(ModelError, match="can't name a model"):
        add_model(weights, name)
    assert not own_folder.exists()


def test_shipped_names_are_protected(weights: Path) -> None:
    shipped = list_models()[0].name
    with pytest.raises(ModelError, match="shipped"):
        add_model(weights, shipped)
    with pytest.raises(ModelError, match="shipped, and stays"):
        remove_model(shipped)


def test_a_spec_that_promises_too_small_a_reach_is_refused(tmp_path: Path, own_folder: Path) -> None:
    model, spec = random_network("EDSR", 2)
    save_model(tmp_path / "short.safetensors", model, dataclasses.replace(spec, receptive_field=5))
    with pytest.raises(ModelError, match="inputs 8 pixels away, its spec says 5"):
        add_model(tmp_path / "short.safetensors")
    assert not own_folder.exists()
    declared = dataclasses.replace(spec, receptive_field=5, exact_tiling=False)
    save_model(tmp_path / "declared.safetensors", model, declared)
    add_model(tmp_path / "declared.safetensors")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model, spec = random_network("ESPCN", 3)
    with torch.no_grad():
        model.body[0].bias[3] = torch.nan
    save_model(tmp_path / "nan.safetensors", model, spec)
    with pytest.raises(ModelError, match=r"body\.0\.bias are not all finite"):
        add_model(tmp_path / "nan.safetensors")


def test_every_factor_is_tried(tmp_path: Path) -> None:
    model, spec = random_network("VDSR", 2, scales=(2, 3))
    save_model(tmp_path / "vdsr.safetensors", model, spec)
    add_model(tmp_path / "vdsr.safetensors")
    assert load_spec("toy-VDSR").factors == (2, 3)
    model, spec = random_network("ESPCN", 2)
    save_model(tmp_path / "espcn.safetensors", model, dataclasses.replace(spec, scales=(2, 3)))
    with pytest.raises(ModelError, match="don't fit"):
        add_model(tmp_path / "espcn.safetensors")


def test_conditional_models_are_tried_with_a_condition(tmp_path: Path) -> None:
    add_model(write_network(tmp_path, "ConditionalECBSR", 2))
    assert list_user_models()[0].conditions == ("noise", "fwhm", "kspace")


def test_a_damaged_file_among_them_is_left_out_with_a_warning(weights: Path, own_folder: Path) -> None:
    add_model(weights, "good")
    (own_folder / "bad.safetensors").write_text("no weights")
    with pytest.warns(SciSRWarning, match=r"bad\.safetensors"):
        assert [spec.name for spec in list_user_models()] == ["good"]


def test_auto_takes_shipped_models_only(weights: Path) -> None:
    add_model(weights, "zzz")
    assert "zzz" not in [spec.name for spec in list_models()]


@pytest.mark.parametrize(
    ("platform", "variable", "value", "expected"),
    [
        ("linux", "XDG_DATA_HOME", "/data", "/data/sciSR/models"),
        ("linux", "XDG_DATA_HOME", "relative/is/ignored", "/home/me/.local/share/sciSR/models"),
        ("linux", "HOME", "/home/me", "/home/me/.local/share/sciSR/models"),
        ("darwin", "HOME", "/home/me", "/home/me/Library/Application Support/sciSR/models"),
        ("win32", "LOCALAPPDATA", "/local", "/local/sciSR/models"),
    ],
)
def test_the_folder_is_the_platforms(
    platform: str, variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SCISR_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("sys.platform", platform)
    assert user_folder() == Path(expected)


def test_the_command_line_adds_lists_shows_and_removes(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "add", str(weights), "--name", "net"]) == 0
    assert "without a card" in capsys.readouterr().err
    assert main(["models", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)["models"]}
    assert listed["net"]["yours"]
    assert not any(each["yours"] for name, each in listed.items() if name != "net")
    assert main(["models"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("net ")]
    assert "yours" in line
    for words in (
        ["models", "net", "--json"],
        ["models", "--json", "net"],
        ["models", "show", "net", "--json"],
    ):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["architecture"] == "EDSR"
    assert main(["models", "remove", "net"]) == 0
    capsys.readouterr()
    assert main(["models", "net"]) == 2
    assert "unknown" in capsys.readouterr().err
    assert main(["models", "add", "none.safetensors"]) == 2
    assert "no such file" in capsys.readouterr().err
