"""A run's folder: what is in it, and that no run is written over another."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.errors import UsageError
from sciSR.files import atomic_output
from sciSR.training.config import TrainConfig

STARTED = ("LOCAL_RANK", "GROUP_RANK", "SLURM_PROCID")
"""Environment variables of processes that Fabric, torchrun or SLURM started: one of several."""


@dataclass(frozen=True)
class RunFolder:
    """``OUT/NAME``: configuration, checkpoint, curves, samples, weights and card of one run.

    Parameters
    ----------
    path : Path
        The folder.
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        return self.path / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        return self.path / f"{self.name}.yaml"

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    def sample(self, step: int) -> Path:
        """Picture of validation patches after `step` steps."""
        return self.path / "samples" / f"step_{step:07d}.png"

    def bad_batch(self, step: int, rank: int = 0) -> Path:
        """The batch whose loss was not finite, or the share of it of a further process."""
        return self.path / f"bad_batch_step{step}{f'_{rank}' if rank else ''}.npz"

    def summary(self) -> dict[str, Any]:
        """Where things are, and the last validation, for programs."""
        rows: list[dict[str, str]] = []
        if self.metrics.exists():
            with self.metrics.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        last = {key: float(value) for key, value in rows[-1].items() if value} if rows else {}
        paths = {"run": self.path, "weights": self.weights, "card": self.card, "checkpoint": self.checkpoint}
        present = {key: str(path) for key, path in paths.items() if path.exists()}
        return {"name": self.name, **present, "validation": last}


def open_run(out: Path, name: str, *, resume: bool, overwrite: bool) -> RunFolder:
    """Make the folder of a run, or find it.

    Parameters
    ----------
    out : Path
        Folder of all runs.
    name : str
        Of the model.
    resume : bool
        Go on with a run; it may not exist yet.
    overwrite : bool
        Remove an older run of this name.

    Raises
    ------
    UsageError
        There is such a run, and neither was asked for; or the folder can't be made.
    """
    run = _refuse(out, name, resume=resume, overwrite=overwrite)
    try:
        if overwrite and run.path.exists():
            shutil.rmtree(run.path)
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"can't be made ({error.strerror})", where=run.path, remedy="give another --out"
        ) from error
    return run


def refuse_older(out: Path, name: str, *, resume: bool, overwrite: bool) -> None:
    """What `open_run` refuses, before anything else is done; not in a process that another one started."""
    if not any(key in os.environ for key in STARTED):
        _refuse(out, name, resume=resume, overwrite=overwrite)


def _refuse(out: Path, name: str, *, resume: bool, overwrite: bool) -> RunFolder:
    run = RunFolder(Path(out) / name)
    there = run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir()))
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other", remedy="give one of them")
    if overwrite and there and not (run.config.exists() or run.checkpoint.exists()):
        raise UsageError(
            "not a run's folder, so it isn't removed", where=run.path, remedy="give another --out"
        )
    if there and not (resume or overwrite):
        raise UsageError(
            "this run exists already",
            where=run.path,
            remedy="--resume goes on with it, --overwrite starts anew, --set name=... makes another",
        )
    return run


def write_config(run: RunFolder, config: TrainConfig) -> None:
    """Keep the resolved configuration; as JSON, which is YAML too, where no YAML library is installed."""
    with atomic_output(run.config, overwrite=True) as temporary:
        write_yaml(temporary, config.as_dict())


def changes(run: RunFolder, config: TrainConfig) -> list[str]:
    """Values in which a configuration differs from the one that the run was begun with, as ``key: old -> new``."""
    if not run.config.exists():
        return []
    try:
        from ruamel.yaml import YAML

        old = YAML(typ="safe", pure=True).load(run.config.read_text(encoding="utf-8"))
    except ImportError:
        try:
            old = json.loads(run.config.read_text(encoding="utf-8"))
        except json.JSONDecodeError:  # written where there was a YAML library
            return []
    before, now = _flat(old), _flat(config.as_dict())
    keys = [key for key in before | now if before.get(key) != now.get(key)]
    return [f"{key}: {before.get(key)} -> {now.get(key)}" for key in keys]


def write_yaml(path: Path, values: dict[str, Any]) -> None:
    """Plain data as YAML; as JSON, which is YAML too, where no YAML library is installed."""
    with path.open("w", encoding="utf-8") as file:
        try:
            from ruamel.yaml import YAML
        except ImportError:
            json.dump(values, file, indent=2)
            return
        yaml = YAML()
        yaml.default_flow_style = None  # short lists on one line
        yaml.width = 120
        yaml.representer.ignore_aliases = lambda *_: True
        yaml.dump(values, file)


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(values, dict) or not values:
        return {name: values}
    return {
        key: value
        for part, inner in values.items()
        for key, value in _flat(inner, f"{name}.{part}" if name else part).items()
    }
