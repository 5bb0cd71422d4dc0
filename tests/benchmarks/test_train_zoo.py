"""Preparing the patches of a zoo: as large as told, and with all that the other machine lacks."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from sample_files import config_of, with_data, write_volume

from sciSR.errors import UsageError
from sciSR.training.config import LossTerm, TrainConfig
from sciSR.training.patch_file import PatchFile

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import train_zoo


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    for seed in range(3):
        write_volume(tmp_path / "data" / f"sub-{seed}.nii", seed=seed)
    return config_of(tmp_path / "data", validation_share=0.3)


def test_patch_file_is_no_larger_than_its_share_and_nearly_that(config: TrainConfig, tmp_path: Path) -> None:
    target, limit = tmp_path / "toy.npz", 60_000
    pairs, size = train_zoo._draw(with_data(config, patches=2000), target, limit, None)
    assert target.stat().st_size == size
    assert 0.8 * limit < size <= limit
    assert PatchFile(target).count(2) == pairs


def test_fewer_pairs_than_fit_are_as_many_as_the_recipe_says(config: TrainConfig, tmp_path: Path) -> None:
    pairs, size = train_zoo._draw(config, tmp_path / "toy.npz", 1e6, None)
    assert pairs == config.data.patches
    assert size < 1e6


def test_files_that_a_recipe_names_come_along(config: TrainConfig, tmp_path: Path) -> None:
    for name in ("features.safetensors", "start.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    terms = (LossTerm("features", options={"file": str(tmp_path / "features.safetensors")}),)
    config = dataclasses.replace(
        config,
        loss=dataclasses.replace(config.loss, terms=terms),
        model=dataclasses.replace(config.model, start=str(tmp_path / "start.safetensors")),
    )
    folder = tmp_path / "zoo"
    folder.mkdir()
    carried = train_zoo._carried(config, folder, {"a": config})
    assert carried.model.start == "start.safetensors"
    assert sorted(path.name for path in folder.iterdir()) == ["features.safetensors", "start.safetensors"]


def test_only_means_recipes_and_networks_by_name_or_pattern() -> None:
    keys = {"mri-x2": "ecbsr-mr-x2", "mri-x4": "ecbsr-mr-x4", "astro-x2": "ecbsr-astro-x2"}
    assert train_zoo._chosen(keys, "mri-*") == ["mri-x2", "mri-x4"]
    assert train_zoo._chosen(keys, "ecbsr-astro-x2,mri-x4") == ["mri-x4", "astro-x2"]
    with pytest.raises(UsageError, match="there are mri-x2"):
        train_zoo._chosen(keys, "vdsr")
