"""A run's state on disk: whole or not at all, and read without running any code of it."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sciSR.errors import SciSRError, UnreadableError, UsageError
from sciSR.files import atomic_output
from sciSR.training.config import TrainConfig

VERSION = 1


@dataclass
class State:
    """What a run knows besides its tensors; plain values.

    Parameters
    ----------
    step : int
        Steps done.
    sums : dict of float
        Of each part of the training loss over the steps since the last validation.
    counted : int
        Their number.
    best : float
        Best validation loss.
    waited : int
        Validations since then.
    seconds : float
        Time of all steps, over all sessions.
    history : list of dict
        One row for each validation.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    best: float = math.inf
    waited: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def over(self, config: TrainConfig) -> bool:
        """Whether all steps are done, or validation has stopped improving."""
        patience = config.training.patience
        return self.step >= config.training.steps or (patience is not None and self.waited >= patience)

    def add(self, values: dict[str, float], seconds: float) -> None:
        """One more step."""
        self.step += 1
        self.counted += 1
        self.seconds += seconds
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value

    @property
    def ms_per_step(self) -> float:
        """Mean over the whole run."""
        return 1000 * self.seconds / max(1, self.step)


class Session:
    """What goes into a run's checkpoint and comes out of it.

    Parameters
    ----------
    path : Path
        The checkpoint.
    model, optimizer, average, rival, scaler
        Anything with ``state_dict`` and ``load_state_dict``; None is left out.
    """

    def __init__(self, path: Path, model: Any, optimizer: Any, average: Any, rival: Any, scaler: Any) -> None:
        self.path = path
        parts = {
            "model": model,
            "optimizer": optimizer,
            "average": average,
            "adversary": rival,
            "scaler": scaler,
        }
        self.parts = {key: part for key, part in parts.items() if part is not None}

    def save(self, state: State) -> None:
        """Write it all.

        Raises
        ------
        SciSRError
            The weights are not finite: the older checkpoint stays, so that the run can go on from there.
        """
        for name, value in self.parts["model"].state_dict().items():
            if not torch.isfinite(value).all():
                raise SciSRError(
                    f"weights {name} are not finite after step {state.step}; the last checkpoint is kept",
                    where=self.path,
                    remedy="lower optimizer.lr or optimizer.clip, then go on with --resume",
                )
        save(self.path, {key: part.state_dict() for key, part in self.parts.items()} | {"state": vars(state)})

    def restore(self) -> State:
        """Put everything back.

        Raises
        ------
        UsageError
            The checkpoint is of another network or optimiser.
        """
        saved = load(self.path)
        try:
            for key, part in self.parts.items():
                part.load_state_dict(saved[key])
            return State(**saved["state"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(
                f"the checkpoint is of another network, optimiser or discriminator ({reason})",
                where=self.path,
                remedy="resume with the run's own configuration, or start anew with --overwrite",
            ) from error


def save(path: Path, values: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries; a kill at any moment leaves the old or the new file."""
    with atomic_output(path, overwrite=True) as temporary:
        torch.save({"version": VERSION, **values}, temporary)


def load(path: Path) -> dict[str, Any]:
    """The inverse of `save`, on the CPU.

    Raises
    ------
    UnreadableError
        The file is damaged, of another version, or holds more than plain values.
    """
    remedy = "start anew with --overwrite"
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise UnreadableError(f"no readable checkpoint ({reason})", where=path, remedy=remedy) from error
    version = values.get("version") if isinstance(values, dict) else None
    if version != VERSION:
        raise UnreadableError(
            f"checkpoint of version {version}, expected {VERSION}", where=path, remedy=remedy
        )
    return values
