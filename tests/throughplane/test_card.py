"""The card of a network across slices tells what the benchmark measured, and the tools that show cards take it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from sciSR.cli.main import main
from sciSR.errors import ModelError
from sciSR.evaluation.card import write_card
from sciSR.models import files
from sciSR.models.files import load_card, save_model
from sciSR.models.spec import ModelSpec
from sciSR.models.through_plane import ThroughPlane
from sciSR.models.user_models import add_model
from sciSR.throughplane import card

LICENCES = (
    "file\trepo\tcommit\tpath_in_repo\tlicence\tdescription\nmri/train/a.nii.gz\tx/y\tabc\ta.nii\tMIT\thead\n"
)
SCORES = {
    "linear": {"one": (22.0, 0.60), "two": (20.0, 0.50)},
    "cubic": {"one": (23.0, 0.65), "two": (21.0, 0.55)},
    "lanczos": {"one": (23.1, 0.65), "two": (21.1, 0.55)},
    "known-profile inverse": {"one": (24.0, 0.70), "two": (22.5, 0.62)},
    "smoothest that agrees": {"one": (24.2, 0.71), "two": (22.4, 0.61)},
    "ours, from this volume alone (fast)": {"one": (25.0, 0.75), "two": (23.0, 0.64)},
    "ours, pre-trained": {"one": (26.0, 0.80), "two": (23.5, 0.66)},
    "ours, pre-trained, learns (fast)": {"one": (26.3, 0.81), "two": (23.7, 0.67)},
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small network, its draft, a table of licences and a file of scores."""
    torch.manual_seed(0)
    network = ThroughPlane(8, 1, 4)
    spec = ModelSpec(
        "across-toy", "ThroughPlane", {"features": 8, "blocks": 1, "planes": 4}, 1, network.receptive_field(),
        forward_model="slice_profile", domain="mr", normalisation="range",
    )  # fmt: skip
    path = tmp_path / "across-toy.safetensors"
    save_model(path, network, spec)
    draft = {
        "name": "across-toy",
        "summary": "(say in one sentence what it is for)",
        "forward_model": {"name": "slice_profile", "ratio": [1.7, 8.5], "thickness": [0.6, 1.4], "profiles": ["rect"]},
        "limits": ["Not evaluated yet."],
        "data": {"files": [{"file": "mri/train/a.nii.gz", "role": "train", "sha256": "0" * 64}]},
        "training": {"steps": 5},
        "recipe": {"data": {"train": ["mri/train/*.nii.gz"]}},
    }  # fmt: skip
    write_card(path.with_suffix(".yaml"), draft)
    (tmp_path / "medical.tsv").write_text(LICENCES)
    write_scores(tmp_path, SCORES)
    return path


def write_scores(folder: Path, scores: dict) -> Path:
    rows = {
        method: {volume: dict(zip(("psnr", "ssim"), pair, strict=True)) for volume, pair in row.items()}
        for method, row in scores.items()
    }
    (folder / "scores.json").write_text(json.dumps(rows))
    return folder / "scores.json"


def run(monkeypatch: pytest.MonkeyPatch, weights: Path, *more: str) -> int:
    root = weights.parent
    words = [str(weights), str(weights.with_suffix(".yaml")), str(root / "scores.json"), "--data", str(root)]
    monkeypatch.setattr(sys, "argv", ["card", *words, *more])
    return card.main()


def test_gains_are_over_the_best_that_is_not_learned(weights, monkeypatch, capsys):
    assert run(monkeypatch, weights, "--out", str(weights.parent / "out")) == 0
    assert "+1.40 dB" in capsys.readouterr().out
    made = load_card(weights.parent / "out" / weights.name)
    table = made["measured"]["tables"]["mr-through-plane-x4"]
    gain = table["gain_db"]
    assert gain["files"] == {"one": 1.8, "two": 1.0}
    assert (gain["mean"], gain["median"], gain["least"]) == (1.4, 1.4, 1.0)
    assert table["columns"] == ["PSNR dB", "SSIM"]
    assert table["rows"]["one"] == {
        "network": [26.0, 0.8],
        "best": "smoothest that agrees",
        "classical": [24.2, 0.71],
    }
    assert table["rows"]["two"]["best"] == "known-profile inverse"
    assert table["means"]["across-toy, learns (fast)"] == [25.0, 0.74]
    assert table["means"]["from this volume alone (fast)"] == [24.0, 0.695]
    assert made["forward_model"]["name"] == "slice_profile"
    assert "1.7 to 8.5 thin ones" in made["forward_model"]["description"]
    assert "0.6 to 1.4 of their spacing" in made["forward_model"]["description"]
    assert "nearest volume whose thick slices are the measured ones" in made["consistency"]["what"]
    assert made["limits"][0] == "Research use only, not for diagnosis."
    assert not any("In-plane" in text for text in made["limits"])
    assert made["data"]["files"][0]["licence"] == "MIT"
    assert "Gaussian profile" in made["measured"]["protocol"]["mr-through-plane-x4"]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (
            {k: v for k, v in SCORES.items() if k != "known-profile inverse"},
            "no scores of known-profile inverse",
        ),
        ({k: v for k, v in SCORES.items() if k != "ours, pre-trained"}, "no scores of ours, pre-trained"),
        (SCORES | {"cubic": {"one": (23.0, 0.6)}}, "not measured on the same volumes"),
    ],
)
def test_scores_that_could_only_flatter_are_refused(weights, monkeypatch, capsys, scores, said):
    write_scores(weights.parent, scores)
    assert run(monkeypatch, weights, "--out", str(weights.parent / "out")) == 2
    assert said in capsys.readouterr().err
    assert not (weights.parent / "out" / weights.name).exists()


def test_damaged_scores_and_networks_of_another_kind_are_refused(weights, monkeypatch, capsys):
    for text in ("[1, 2", "[]", '{"linear": 3}'):
        (weights.parent / "scores.json").write_text(text)
        assert run(monkeypatch, weights) in (2, 3)
        assert "error:" in capsys.readouterr().err
    network = ThroughPlane(8, 1, 4)
    save_model(weights, network, ModelSpec("across-toy", "ThroughPlane", scale=2, receptive_field=5))
    assert run(monkeypatch, weights) == 2
    assert "sciSR.evaluation.card" in capsys.readouterr().err


def test_the_tools_that_show_cards_take_it(weights, monkeypatch, capsys):
    """As a shipped one: listed with "across" for a scale, shown whole, in the table of the documentation."""
    shipped = weights.parent / "shipped"
    assert run(monkeypatch, weights, "--out", str(shipped)) == 0
    capsys.readouterr()
    monkeypatch.setattr(files, "WEIGHTS", shipped)
    monkeypatch.setenv("SCISR_MODELS", str(weights.parent / "own"))
    assert main(["models"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("across-toy")]
    assert line.split()[2] == "across"
    assert "+1.40 dB (mr-through-plane-x4)" in line
    assert main(["models", "across-toy"]) == 0
    shown = capsys.readouterr().out
    assert "mean +1.40" in shown
    assert "known-profile inverse" in shown
    page = Path(__file__).resolve().parents[2] / "docs" / "measured.py"
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("measured", page))
    module.__spec__.loader.exec_module(module)
    row = "| `across-toy` | slice_profile | mr-through-plane-x4, 2 images | +1.40 dB | +1.40 dB | +1.00 dB |"
    assert row in module.section()


def test_it_can_be_kept_as_ones_own(weights, monkeypatch):
    monkeypatch.setenv("SCISR_MODELS", str(weights.parent / "own"))
    assert add_model(weights).exists()
    network = ThroughPlane(8, 1, 4)
    spec = ModelSpec(
        "short",
        "ThroughPlane",
        {"features": 8, "blocks": 1, "planes": 4},
        1,
        3,
        forward_model="slice_profile",
    )
    save_model(weights.with_name("short.safetensors"), network, spec)
    with pytest.raises(ModelError, match="its spec says 3"):
        add_model(weights.with_name("short.safetensors"))
