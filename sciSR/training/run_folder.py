"""A run's folder: what is in it, and that no run is written over another."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sciSR.errors import UsageError


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

    def bad_batch(self, step: int) -> Path:
        """The batch whose loss was not finite."""
        return self.path / f"bad_batch_step{step}.npz"


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
        There is such a run, and neither was asked for.
    """
    run = RunFolder(Path(out) / name)
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other", remedy="give one of them")
    if overwrite and run.path.exists():
        if any(run.path.iterdir()) and not (run.config.exists() or run.checkpoint.exists()):
            raise UsageError(
                "not a run's folder, so it isn't removed", where=run.path, remedy="give another --out"
            )
        shutil.rmtree(run.path)
    if not resume and run.path.exists() and any(run.path.iterdir()):
        raise UsageError(
            "this run exists already",
            where=run.path,
            remedy="--resume goes on with it, --overwrite starts anew, --set name=... makes another",
        )
    run.path.mkdir(parents=True, exist_ok=True)
    return run
