"""Weights are data: a pickle that would run something is refused, whatever its file is called, and runs nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import read, refusal

import sciSR
from networks import write_network
from sciSR.models.files import load_model
from sciSR.models.user_models import add_model
from sciSR.training.patch_file import PatchFile


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCISR_MODELS", str(tmp_path / "mine"))
    return tmp_path / "ran"


def write(path: Path, marker: Path, kind: str) -> Path:
    content = {"weight": torch.zeros(3), "state": Touch(marker)}
    if kind == "torch":
        torch.save(content, path)
    elif kind == "old torch":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors", ".PTH"])
def test_nothing_runs(tmp_path: Path, marker: Path, kind: str, suffix: str) -> None:
    path = write(tmp_path / f"evil{suffix}", marker, kind)
    image = sciSR.Image.from_array(np.random.default_rng(0).gamma(2, 50, (16, 16)))
    for attempt in (
        lambda: load_model(path),
        lambda: sciSR.upscale(image, 2, str(path), device="cpu"),
        lambda: add_model(path, "mine"),
    ):
        assert "evil" in refusal(attempt)
        assert not marker.exists()


def test_no_folder_is_searched_for_pickles(tmp_path: Path, marker: Path) -> None:
    """One is read only where its path was given: none is found by name, and none is taken for an image."""
    (tmp_path / "mine").mkdir()
    path = write(tmp_path / "mine" / "evil.pth", marker, "torch")
    assert "is unknown" in refusal(lambda: load_model("evil"))
    assert refusal(lambda: read(path))
    assert not marker.exists()


def test_checkpoints_of_a_training_run_nothing(tmp_path: Path, marker: Path) -> None:
    from sciSR.training import checkpoint

    path = write(tmp_path / "last.pt", marker, "torch")
    assert refusal(lambda: checkpoint.load(path))
    assert not marker.exists()


def test_patches_hold_no_objects(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "patches.npz"
    np.savez(path, about=np.array([Touch(marker)], dtype=object))
    assert "patch file" in refusal(lambda: PatchFile(path))
    assert not marker.exists()


def test_honest_tensors_are_read(tmp_path: Path, marker: Path) -> None:
    model, spec, _ = load_model(write_network(tmp_path, "ESPCN", 2))
    assert spec.scale == 2
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 16, 16)
