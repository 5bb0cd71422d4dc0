"""The training loop, one visible page on Lightning's Fabric.

Every random choice is a function of (seed, step), so a run that was stopped, or killed, goes on exactly where its last
checkpoint was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from lightning.fabric import Fabric

from sciSR.training import losses, optimizers, schedules
from sciSR.training.adversarial import Adversary
from sciSR.training.checkpoint import Session, State
from sciSR.training.config import TrainConfig
from sciSR.training.machine import Stop, keep_memory, make_fabric, on_first
from sciSR.training.networks import Average, Networks, spec_of
from sciSR.training.pair import Batch, Patches
from sciSR.training.record import Record, not_finite
from sciSR.training.run_folder import RunFolder, open_run
from sciSR.training.validation import scale_of
from sciSR.training.visit import step_seed, visit


def train(
    config: TrainConfig,
    patches: Patches,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    show: Callable[[str], None] = print,
    tick: Callable[[int, float], None] = lambda step, rate: None,
) -> tuple[RunFolder, bool]:
    """Train a network, from the run's last checkpoint on if it has one.

    Parameters
    ----------
    config : TrainConfig
    patches : Patches
        Where batches come from.
    out : Path
        Folder of all runs; this one is in ``out/NAME``.
    resume, overwrite : bool
        What to do with an older run of this name: go on with it, remove it; by default its existence is an error.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    devices, nodes : int
        Processes of a node, nodes; each process takes its share of every batch.
    show : callable
        Gets one line at each validation.
    tick : callable
        Gets the number of steps done and the milliseconds of one, after each.

    Returns
    -------
    run : RunFolder
        With the averaged weights in ``run.weights``.
    whole : bool
        Whether it came to its end; False if it was interrupted, and can go on.

    Raises
    ------
    UsageError
        There is such a run already, or the configuration can't work.
    SciSRError
        The loss is not finite; the batch is in the run's folder.
    """
    keep_memory()
    loop = config.training
    fabric = make_fabric(loop.precision, device, devices, nodes, loop.batch)
    fabric.launch()
    run = on_first(fabric, lambda: open_run(out, config.name, resume=resume, overwrite=overwrite))
    if config.model.architecture == "SparseCoding":  # learned without gradients
        from sciSR.training.dictionary import fit

        fit(config, patches, run.path, fabric=fabric, show=show)
        return run, True
    torch.manual_seed(loop.seed)
    networks = Networks(config).to(memory_format=torch.channels_last)
    model, optimizer = fabric.setup(networks, optimizers.build(config.optimizer, networks))
    average = Average(networks.main, loop.ema)
    spec = spec_of(config, networks.main)
    loss = losses.build(config, spec.receptive_field, fabric.device)
    rival = config.loss.adversarial and Adversary(
        config.loss.adversarial, fabric.device, loop.precision, _mean(fabric)
    )
    session = Session(
        run.checkpoint, networks.main, optimizer, average.network, rival, fabric.strategy.precision
    )
    state = session.restore() if run.checkpoint.exists() else State()
    record = Record(run, config, spec, patches, loss, fabric, show)
    record.begin(state)
    batches = _visits(patches, config, state.step, fabric)
    batch = next(batches)
    with Stop(fabric) as stop:
        while not state.over(config):
            began, step = time.perf_counter(), state.step
            torch.manual_seed(step_seed(loop.seed, step))
            rate = config.optimizer.lr * schedules.rate(config.schedule, step, loop.steps)
            optimizers.set_rate(optimizer, rate)
            prediction = model(batch.input, batch.condition, scale_of(batch), levels=True)
            total, parts = loss(prediction, batch)
            playing = rival is not None and rival.active(step)
            if playing:
                fake, real = loss.judged(prediction, batch)
                parts["adversarial"] = rival.term(fake, real)
                total = total + parts["adversarial"]
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(total)
            if config.optimizer.clip is not None:
                fabric.clip_gradients(
                    model, optimizer, max_norm=config.optimizer.clip, error_if_nonfinite=False
                )
            optimizer.step()
            if playing:
                parts["discriminator"] = rival.step(fake, real)
            average.update(step)
            seen, batch = batch, next(batches)  # made while a GPU still works on this one
            values = _values(fabric, {"loss": total} | parts)
            if not math.isfinite(values["loss"]):
                raise not_finite(run, seen, step, values, fabric.global_rank)
            state.add(values, time.perf_counter() - began)
            tick(state.step, state.ms_per_step)
            if state.step % loop.validate_every == 0 or state.step == loop.steps:
                record.validate(average.network, state, rate)
            halt = stop.now(state.step)
            if fabric.is_global_zero and (
                halt or state.over(config) or state.step % loop.checkpoint_every == 0
            ):
                session.save(state)
            if halt:
                break
    whole = state.over(config)
    record.end(state, whole)
    return run, whole


def _visits(patches: Patches, config: TrainConfig, first: int, fabric: Fabric) -> Iterator[Batch]:
    """This process's share of the batch of every step from `first` on, on its device."""
    batches = patches.batches(first, config.training.batch, config.training.seed)
    for step, batch in enumerate(batches, first):
        yield visit(batch, config, step).share(fabric.global_rank, fabric.world_size).to(fabric.device)


def _mean(fabric: Fabric) -> Callable[[torch.Tensor], torch.Tensor] | None:
    return None if fabric.world_size == 1 else lambda tensor: fabric.all_reduce(tensor, reduce_op="mean")


def _values(fabric: Fabric, parts: dict[str, torch.Tensor]) -> dict[str, float]:
    """Numbers of all parts, over all processes; the device is waited for once."""
    stacked = torch.stack([part.detach().float() for part in parts.values()])
    if fabric.world_size > 1:
        stacked = fabric.all_reduce(stacked, reduce_op="mean")
    return dict(zip(parts, stacked.tolist(), strict=True))
