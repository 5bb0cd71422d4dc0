"""The training loop, one visible page on Lightning's Fabric.

Every random choice is a function of (seed, step), so a run that was stopped, or killed, goes on exactly where its last
checkpoint was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from sciSR.errors import SciSRError
from sciSR.models.files import save_model
from sciSR.training import checkpoint, logs, losses, optimizers, schedules
from sciSR.training.config import TrainConfig
from sciSR.training.machine import Stop, keep_memory, make_fabric
from sciSR.training.networks import Average, Networks, spec_of
from sciSR.training.pair import Batch, Patches
from sciSR.training.run_folder import RunFolder
from sciSR.training.validation import chunks, predict, scale_of, validate
from sciSR.training.visit import visit


@dataclass
class State:
    """What a run knows besides its tensors; plain values.

    Parameters
    ----------
    step : int
        Steps done.
    running, counted : float, int
        Sum of the training loss over the steps since the last validation, and their number.
    best : float
        Best validation loss.
    waited : int
        Validations without improvement.
    seconds : float
        Time in the loop, over all sessions.
    history : list of dict
        One row for each validation.
    """

    step: int = 0
    running: float = 0.0
    counted: int = 0
    best: float = math.inf
    waited: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def train(
    config: TrainConfig,
    patches: Patches,
    run: RunFolder,
    *,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    show: Callable[[str], None] = print,
) -> bool:
    """Train a network, from the run's checkpoint on if it has one.

    Parameters
    ----------
    config : TrainConfig
    patches : Patches
        Where batches come from.
    run : RunFolder
        What is written where.
    device : str
        "auto", "cpu" or "cuda".
    devices, nodes : int
        Processes of a node, nodes; each process takes its share of every batch.
    show : callable
        Gets one line at each validation.

    Returns
    -------
    bool
        Whether it came to its end; False if it was interrupted (a checkpoint is there).
    """
    keep_memory()
    loop = config.training
    fabric = make_fabric(loop.precision, device, devices, nodes)
    fabric.launch()
    torch.manual_seed(loop.seed)
    networks = Networks(config).to(memory_format=torch.channels_last)
    spec = spec_of(config, networks.main)
    model, optimizer = fabric.setup(networks, optimizers.build(config.optimizer, networks))
    average = Average(networks.main, loop.ema)
    held = patches.validation().to(fabric.device)
    loss = losses.build(config, spec.receptive_field, fabric.device)
    state, events = State(), logs.Events(run)
    tensors = {"model": networks.main, "optimizer": optimizer, "average": average.network}

    if run.checkpoint.exists():
        saved = checkpoint.load(run.checkpoint)
        for key, part in tensors.items():
            part.load_state_dict(saved[key])
        state = State(**saved["state"])
        show(f"goes on at step {state.step}")

    def save() -> None:
        checkpoint.save(
            run.checkpoint, {k: part.state_dict() for k, part in tensors.items()} | {"state": vars(state)}
        )

    clock = time.perf_counter()
    batches = iter(patches.batches(state.step, loop.batch, loop.seed))
    with Stop(fabric) as stop:
        while state.step < loop.steps:
            torch.manual_seed(loop.seed * 1_000_003 + state.step)
            lr = config.optimizer.lr * schedules.rate(config.schedule, state.step, loop.steps)
            optimizers.set_rate(optimizer, lr)
            batch = visit(next(batches), config, state.step).to(fabric.device)
            prediction = model(batch.input, batch.condition, scale_of(batch), levels=True)
            total, _ = loss(prediction, batch)
            if not math.isfinite(value := total.item()):
                raise _bad_batch(run, batch, state.step, value)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(total)
            if config.optimizer.clip:
                fabric.clip_gradients(
                    model, optimizer, max_norm=config.optimizer.clip, error_if_nonfinite=False
                )
            optimizer.step()
            average.update(state.step)
            state.step, state.running, state.counted = (
                state.step + 1,
                state.running + value,
                state.counted + 1,
            )

            if state.step % loop.validate_every == 0 or state.step == loop.steps:
                now = time.perf_counter()
                row = {"step": state.step, "train_loss": state.running / state.counted, "lr": lr}
                row |= validate(average.network, held, loss, loop.batch)
                row["ms_per_step"] = (now - clock) / state.counted * 1000
                state.history.append(row)
                state.waited = 0 if row["loss"] < state.best else state.waited + 1
                state.best = min(state.best, row["loss"])
                state.seconds, state.running, state.counted = state.seconds + now - clock, 0.0, 0
                show(logs.line(row, loop.steps))
                few = next(chunks(held, loop.samples))
                logs.draw_samples(
                    run.sample(state.step),
                    few.input,
                    loss.finished(predict(average.network, few), few),
                    few.truth,
                )
                logs.write_history(run.metrics, state.history)
                logs.draw_curves(run.curves, state.history, config.name)
                events.write(row)
                save_model(run.weights, average.network, spec)
                clock = time.perf_counter()
            ended = state.step == loop.steps or (loop.patience is not None and state.waited >= loop.patience)
            if ended or state.step % loop.checkpoint_every == 0 or stop.now(state.step):
                save()
            if ended or stop.now(state.step):
                break
    events.close()
    return not stop.asked


def _bad_batch(run: RunFolder, batch: Batch, step: int, value: float) -> SciSRError:
    """Keep the batch whose loss is not finite; the error to raise."""
    path = run.bad_batch(step)
    arrays = {item.name: getattr(batch, item.name).cpu().numpy() for item in fields(batch)}
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return SciSRError(
        f"the loss of step {step} is {value}",
        where=path,
        remedy="that is its batch; give a smaller optimizer.lr or optimizer.clip, or precision fp32",
    )
