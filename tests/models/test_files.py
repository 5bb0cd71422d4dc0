"""Weights files carry their contract, and damaged ones are refused with one clear line."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from fractions import Fraction

import pytest
import torch
from safetensors.torch import save_file

from sciSR.errors import ModelError
from sciSR.inference.candidates import best_network, is_adversarial
from sciSR.models.espcn import ESPCN
from sciSR.models.files import WEIGHTS, list_models, load_card, load_model, save_model
from sciSR.models.spec import ModelSpec, receptive_field

SPEC = ModelSpec("toy", "ESPCN", {"scale": 3}, scale=3, receptive_field=5)
SHIPPED = [spec.name for spec in list_models()]


def test_round_trip(tmp_path):
    torch.manual_seed(1)
    model = ESPCN(scale=3)
    save_model(tmp_path / "toy.safetensors", model, SPEC)
    again, spec, digest = load_model(tmp_path / "toy.safetensors")
    assert spec == SPEC
    assert digest == hashlib.sha256((tmp_path / "toy.safetensors").read_bytes()).hexdigest()
    x = torch.rand(1, 1, 12, 13)
    assert torch.equal(again(x), model(x))
    assert not again.training
    assert [p.name for p in tmp_path.iterdir()] == ["toy.safetensors"]


def test_unknown_metadata_of_newer_versions_is_left_alone():
    assert ModelSpec.from_metadata({**SPEC.to_metadata(), "future": '"yes"'}) == SPEC


@pytest.mark.parametrize("change", [{"forward_model": "magic"}, {"scale": 0}, {"receptive_field": 1.5}])
def test_impossible_specs_are_refused(change):
    with pytest.raises(ModelError, match=next(iter(change))):
        dataclasses.replace(SPEC, **change)


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.safetensors"):
        load_model(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ModelError, match="not a readable safetensors"):
        load_model(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(ModelError, match=r"metadata|no architecture"):
        load_model(tmp_path / "bare.safetensors")
    save_model(tmp_path / "other.safetensors", ESPCN(scale=2), SPEC)
    with pytest.raises(ModelError, match="don't fit"):
        load_model(tmp_path / "other.safetensors")
    save_model(tmp_path / "strange.safetensors", ESPCN(3), dataclasses.replace(SPEC, architecture="Strange"))
    with pytest.raises(ModelError, match="Strange"):
        load_model(tmp_path / "strange.safetensors")


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ModelError, match="espcn-astro-x2"):
        load_model("espcn-astro-x9")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_are_whole(name):
    model, spec, _ = load_model(name)
    path = WEIGHTS / f"{name}.safetensors"
    assert spec.name == name == path.stem
    across = spec.forward_model == "slice_profile"  # any ratio
    assert spec.scale == 1 if across else name.endswith(f"-x{spec.scale}")
    assert spec.receptive_field == math.ceil(receptive_field(model))
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert path.stat().st_size < 40e6
    assert is_adversarial(spec) == name.startswith("srgan")


def test_every_domain_has_its_default_network():
    for domain, forward in (("mr", "kspace"), ("mr", "gaussian"), ("astronomy", "detector")):
        way = best_network(domain, forward, (Fraction(2), Fraction(2)))
        assert way.times == 1
        assert not way.spec.conditions


@pytest.mark.parametrize("name", SHIPPED)
def test_cards_say_what_a_user_must_know(name):
    card = load_card(name)
    _, spec, digest = load_model(name)
    assert card["name"] == name
    assert card["sha256"] == digest
    assert card["forward_model"]["name"] == spec.forward_model
    assert "Research use only, not for diagnosis" in card["limits"][0] or spec.domain == "astronomy"
    assert all(entry["licence"] for entry in card["data"]["files"])
    assert card["measured"]
