"""Small trainings that tests share: synthetic patches, as an object and as a file, and a configuration for them."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from sciSR.training import patch_file
from sciSR.training.config import LoopConfig, ModelConfig, OptimizerConfig, TrainConfig
from sciSR.training.pair import Batch
from sciSR.training.run_folder import RunFolder

PATCH = 12


def toy_config(**changes: Any) -> TrainConfig:
    """ESPCN on 12 x 12 patches for a few steps; `changes` are parts or fields of the parts ("training.steps")."""
    config = TrainConfig(
        "toy",
        "mr",
        "range",
        ModelConfig("ESPCN"),
        optimizer=OptimizerConfig(kind="adamw"),
        training=LoopConfig(
            steps=12, batch=4, precision="fp32", ema=0.9, validate_every=6, checkpoint_every=4, samples=0
        ),
    )
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            value = dataclasses.replace(getattr(config, part), **{key: value})
        config = dataclasses.replace(config, **{part: value})
    return config


class ToyPatches:
    """Band-limited random images and their block means; see `sciSR.training.pair.Patches`.

    Parameters
    ----------
    scales : tuple of int
        They take turns, a batch each.
    conditions : int
    """

    def __init__(self, scales: tuple[int, ...] = (2,), conditions: int = 0, patch: int = PATCH) -> None:
        self.scales, self.conditions, self.patch = scales, conditions, patch
        self.asked: list[tuple[int, int, int]] = []

    def batches(self, first_step: int, size: int, seed: int) -> Iterator[Batch]:
        self.asked.append((first_step, size, seed))
        step = first_step
        while True:
            yield self.make(size, self.scales[step % len(self.scales)], seed * 1000 + step)
            step += 1

    def validation(self) -> Batch:
        return self.make(6, self.scales[0], 7)

    def make(self, count: int, scale: int, seed: int) -> Batch:
        """Smooth in steps of a fine pixel, so that there is something to learn beyond interpolation."""
        generator = torch.Generator().manual_seed(seed)
        side = scale * self.patch
        noise = torch.randn(count, 1, side + 4, side + 4, generator=generator)
        truth = 0.5 + 0.5 * F.avg_pool2d(F.avg_pool2d(noise, 3, 1), 3, 1)
        coarse = F.avg_pool2d(truth, scale)
        condition = torch.rand(count, self.conditions, generator=generator)
        return Batch(coarse, truth, torch.zeros(count, 3), condition)


def write_patch_file(path: Path, config: TrainConfig, count: int = 24) -> None:
    """A patch file as `sciSR.training.prepare` makes it, from `ToyPatches`."""
    toy, scale = ToyPatches(), config.model.scale
    about = {"version": patch_file.VERSION, "config": config.as_dict(), "scales": [scale], "files": []}
    about |= {"pairs": {f"x{scale}": count}, "validation_pairs": 6}
    arrays: dict[str, Any] = {}
    for name, batch in (("train", toy.make(count, scale, 1)), ("validation", toy.make(6, scale, 2))):
        arrays[f"{name}_x{scale}_input"] = batch.input[:, 0].half().numpy()
        arrays[f"{name}_x{scale}_truth"] = batch.truth[:, 0].half().numpy()
        arrays[f"{name}_x{scale}_noise"] = batch.noise.numpy()
        arrays[f"{name}_x{scale}_condition"] = batch.condition.numpy()
    patch_file.save(path, about, arrays)


def history_of(run: RunFolder) -> list[dict[str, float]]:
    """Rows of the run's CSV file."""
    with run.metrics.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
