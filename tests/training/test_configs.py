"""Every recipe of configs/train runs: from files, through its own forward model, loss and network, to weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from sample_files import write_picture, write_sky, write_volume
from toy_training import history_of

from sciSR.models.files import load_model
from sciSR.training.config_file import load_config
from sciSR.training.dataset import FilePatches
from sciSR.training.features import FeatureNetwork, save_features
from sciSR.training.loop import train

RECIPES = sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml"))
TOY = {
    "data.patch": 16,
    "data.validation_patches": 2,
    "data.foreground": 0.0,
    "data.exclude": [],
    "data.group": None,
    "data.workers": 0,
    "model.start": None,
    "training.steps": 2,
    "training.batch": 2,
    "training.validate_every": 2,
    "training.checkpoint_every": 2,
    "training.samples": 1,
}
FILES = {"mr": "mr/sub-0{}.nii.gz", "astronomy": "sky/field_{}.fits", "natural": "pictures/{}.png"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two small files of each domain."""
    root = tmp_path_factory.mktemp("data")
    for number in (1, 2):
        write_volume(root / FILES["mr"].format(number), (150, 144, 2), seed=number)
        write_sky(
            root / FILES["astronomy"].format(number), (150, 144), seed=number, centre=(10.0 * number, 20.0)
        )
        write_picture(root / FILES["natural"].format(number), (150, 144), seed=number)
    return root


def at_toy_size(path: Path, data: Path, folder: Path) -> list[str]:
    """Overrides that leave the recipe's network, forward model, loss and optimiser as they are."""
    config = load_config(path)
    pattern = FILES[config.domain]
    values = TOY | {
        "data.train": [pattern.format(1)],
        "data.validation": [pattern.format(2)],
        "data.root": str(data),
    }
    for number, term in enumerate(config.loss.terms):
        if term.kind == "features":
            values[f"loss.terms.{number}.options.file"] = str(folder / "features.safetensors")
            save_features(folder / "features.safetensors", FeatureNetwork(), config.normalisation)
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_trains(path, data, tmp_path):
    config = load_config(path, at_toy_size(path, data, tmp_path))
    run, whole = train(config, FilePatches(config), tmp_path, device="cpu", show=str)
    assert whole
    (row,) = history_of(run)
    assert all(math.isfinite(value) for value in row.values())
    model, spec, _ = load_model(run.weights)
    assert (spec.name, spec.architecture, spec.scale) == (
        config.name,
        config.model.architecture,
        config.model.scale,
    )
    assert (spec.domain, spec.forward_model) == (config.domain, config.forward.kinds[0])
    assert sum(weight.numel() for weight in model.parameters()) > 1000
    assert run.card.exists()
