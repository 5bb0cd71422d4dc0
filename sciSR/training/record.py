"""What the loop measures and leaves behind: validation, logs, pictures, weights and card."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
from lightning.fabric import Fabric
from torch import nn

from sciSR.errors import SciSRError
from sciSR.files import atomic_output
from sciSR.models.files import save_model
from sciSR.models.spec import ModelSpec
from sciSR.training import logs
from sciSR.training.card_draft import write_draft
from sciSR.training.checkpoint import State
from sciSR.training.config import TrainConfig
from sciSR.training.losses import Loss
from sciSR.training.machine import on_first
from sciSR.training.pair import Batch, Patches
from sciSR.training.run_folder import RunFolder, changes, write_config
from sciSR.training.validation import chunks, predict, validate

AGAIN = "lower optimizer.lr or optimizer.clip, or try training.precision fp32, then go on with --resume"
"""What to do about values that are not finite."""


class Record:
    """Validation and everything in the run's folder but the checkpoint.

    The first process measures and writes; all know the result, so that they agree when to stop.

    Parameters
    ----------
    run : RunFolder
    config : TrainConfig
    spec : ModelSpec
    patches : Patches
        For the held-out pairs.
    loss : Loss
    fabric : Fabric
    show : callable
        Gets one line at each validation.
    """

    def __init__(
        self,
        run: RunFolder,
        config: TrainConfig,
        spec: ModelSpec,
        patches: Patches,
        loss: Loss,
        fabric: Fabric,
        show: Callable[[str], None],
    ) -> None:
        self.run, self.config, self.spec, self.patches, self.loss = run, config, spec, patches, loss
        self.held = patches.validation().to(fabric.device)
        self.fabric, self.writes = fabric, fabric.is_global_zero
        self._show = show
        self.events: logs.Events | None = None
        self._first = 0

    def begin(self, state: State) -> None:
        """Keep the configuration, and say how a resumed one differs."""
        self._first = state.step
        if not self.writes:
            return
        if state.step:
            self.show(f"goes on after step {state.step}")
            for change in changes(self.run, self.config):
                self.show(f"changed since: {change}")
        write_config(self.run, self.config)
        self.events = logs.Events(self.run, state.step)

    def show(self, line: str) -> None:
        """A line, from the first process."""
        if self.writes:
            self._show(line)

    def validate(self, network: nn.Module, state: State, rate: float) -> None:
        """Measure the averaged network, and write all that depends on it."""
        loop = self.config.training
        row = {"step": state.step, "lr": rate, "ms_per_step": state.ms_per_step}
        row |= {f"train_{key}": value / state.counted for key, value in state.sums.items()}
        # Running statistics of a batch normalisation differ between processes: the first one's are kept, and measured.
        row |= on_first(self.fabric, lambda: validate(network, self.held, self.loss, loop.batch))
        if not math.isfinite(row["loss"]):  # the last step's weights, which no training loss has seen yet
            raise SciSRError(
                f"the loss of the held-out patches after step {state.step} is not finite ({row['loss']:g}); "
                "nothing was kept of it",
                where=self.run.path,
                remedy=AGAIN,
            )
        better = row["loss"] < state.best
        state.best, state.waited = min(state.best, row["loss"]), 0 if better else state.waited + 1
        state.sums, state.counted = {}, 0
        state.history.append(row)
        if not self.writes:
            return
        self.show(logs.line(row, loop.steps))
        logs.write_history(self.run.metrics, state.history)
        logs.draw_curves(self.run.curves, state.history, self.config.name)
        self._draw(network, state.step)
        if self.events is not None:
            self.events.write(row)
        if better or loop.patience is None:  # early stopping keeps the best, a finished schedule ends with it
            extra = {
                "config": json.dumps(self.config.as_dict(), sort_keys=True),
                "steps": json.dumps(state.step),
            }
            save_model(self.run.weights, network, self.spec, extra)

    def end(self, state: State, whole: bool) -> None:
        """Close the logs, and draft the card of a run that came to its end."""
        if self.events is not None:
            self.events.close()
        trained = (
            state.step > self._first or not self.run.card.exists()
        )  # a finished run's card may have been edited
        if self.writes and whole and trained:
            write_draft(self.run, self.config, self.patches, state, self.fabric)

    def _draw(self, network: nn.Module, step: int) -> None:
        if self.config.training.samples:
            few = next(chunks(self.held, self.config.training.samples))
            output = self.loss.finished(predict(network, few), few)
            logs.draw_samples(self.run.sample(step), few.input, output, few.truth)


def not_finite(run: RunFolder, batch: Batch, step: int, values: dict[str, float], rank: int) -> SciSRError:
    """Keep the batch whose loss is not finite; the error to raise.

    Every process keeps its share: all of them stop, and the fault is in one.
    """
    path: Path = run.bad_batch(step, rank)
    arrays = {item.name: getattr(batch, item.name).cpu().numpy() for item in fields(batch)}
    with atomic_output(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    shown = ", ".join(f"{key} {value:g}" for key, value in values.items())
    return SciSRError(
        f"the loss of step {step} is not finite ({shown}); the file holds its batch",
        where=path,
        remedy=AGAIN,
    )
