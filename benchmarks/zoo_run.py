"""Trains the networks of a zoo one after the other or several at a time; used by train_zoo.py.

The training itself is `sciSR.training.loop.train`, as for a single network.
"""

from __future__ import annotations

import concurrent.futures as futures
import dataclasses
import functools
import itertools
import multiprocessing
import signal
import statistics
import tempfile
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_plan import Task

from sciSR.errors import SciSRError
from sciSR.training.config import TrainConfig

GRACE = 6.0
"""Seconds before the end at which a run that isn't done stops and writes its checkpoint."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A network, and what a process needs to know to train it."""

    config: TrainConfig
    patches: Path
    out: Path
    device: str
    threads: int
    deadline: float  # of time.time(), which all processes share
    after: str | None = None


def pool(workers: int) -> Any:
    """Processes that keep their CUDA context between networks; one network at a time needs none."""
    if workers == 1:
        return _Here()
    context = multiprocessing.get_context("spawn")
    return futures.ProcessPoolExecutor(workers, mp_context=context)


class _Here(futures.Executor):
    """Runs what it is given at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()
        future.set_result(fn(*args, **kwargs))
        return future


def results_of(pool: Any, call: Any, arguments: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, Any]]:
    """First argument and result of each call, in order."""
    sent = [pool.submit(call, *job) for job in arguments]
    for job, future in zip(arguments, sent, strict=True):
        yield job[0], future.result()


def in_turn(
    pool: Any, jobs: Mapping[str, Job], tasks: Sequence[Task], steps: Mapping[str, int], workers: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train in the order of the tasks, each after the one that it begins from; results as they come.

    What isn't among the tasks was trained before.
    """
    waiting, running = list(tasks), {}
    whole = set(jobs) - {task.name for task in tasks}
    while waiting or running:
        ready = next((t for t in waiting if t.after is None or t.after in whole), None)
        if ready is not None and len(running) < workers:
            waiting.remove(ready)
            running[pool.submit(run, jobs[ready.name], steps[ready.name])] = ready.name
            continue
        if not running:
            for task in waiting:
                yield task.name, {"whole": False, "waits": task.after}
            return
        done, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
        for future in done:
            name, result = running.pop(future), future.result()
            if result["whole"]:
                whole.add(name)
            elif result.get("stopped"):
                waiting.clear()
            yield name, result


@functools.lru_cache(maxsize=4)
def open_patches(path: Path) -> Any:
    from sciSR.training.patch_file import PatchFile

    patches = PatchFile(path)
    patches.files = types.SimpleNamespace(root=path.parent)  # where the tables of terms of use lie
    return patches


def probe(job: Job, steps: int) -> dict[str, Any]:
    """Milliseconds of a step, seconds of a run besides its steps, and operations of a step."""
    import torch

    from sciSR.training.loop import train

    torch.set_num_threads(job.threads)
    loop = dataclasses.replace(
        job.config.training, steps=steps, validate_every=steps, checkpoint_every=steps, patience=None
    )
    model = dataclasses.replace(job.config.model, start=None)
    config = dataclasses.replace(job.config, training=loop, model=model)
    began, times = time.perf_counter(), []
    try:
        with tempfile.TemporaryDirectory() as scratch:
            train(
                config,
                open_patches(job.patches),
                Path(scratch),
                device=job.device,
                show=lambda line: None,
                tick=lambda step, ms: times.append(time.perf_counter()),
            )
        seconds, flops = time.perf_counter() - began, _flops(config)
    except (SciSRError, RuntimeError) as error:
        return {"error": str(error)}
    each = [later - sooner for sooner, later in itertools.pairwise(times)]
    ms = 1000 * statistics.median(each[len(each) // 3 :])
    return {"ms": ms, "overhead": max(0.0, seconds - ms * steps / 1000), "flops": flops}


def _flops(config: TrainConfig) -> float:
    """Of a step without the discriminator: forward, and twice that backward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from sciSR.training.networks import Networks

    model, side = config.model, config.data.patch
    network = Networks(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, side, side), torch.zeros(1, len(model.conditions)), model.scale)
    return 3.0 * config.training.batch * counter.get_total_flops()


def run(job: Job, steps: int) -> dict[str, Any]:
    """Train a network to its end or until time is up."""
    import torch

    from sciSR.training.loop import train

    if time.time() > job.deadline - GRACE:
        return {"whole": False, "done": _done(job)}
    torch.set_num_threads(job.threads)
    validate = max(1, -(-steps // 6))
    loop = dataclasses.replace(
        job.config.training,
        steps=steps,
        validate_every=validate,
        checkpoint_every=max(validate, 500),
        samples=min(job.config.training.samples, 4),
    )
    schedule = dataclasses.replace(
        job.config.schedule, warmup=min(job.config.schedule.warmup, max(1, steps // 10))
    )
    config = dataclasses.replace(job.config, training=loop, schedule=schedule)

    def tick(step: int, ms: float) -> None:
        if time.time() > job.deadline and step < steps:
            signal.raise_signal(signal.SIGINT)  # which the loop takes as a wish to stop, with a checkpoint

    began = time.perf_counter()
    try:
        folder, whole = train(
            config,
            open_patches(job.patches),
            job.out,
            resume=True,
            device=job.device,
            show=lambda line: None,
            tick=tick,
        )
    except (SciSRError, RuntimeError) as error:
        return {"whole": False, "error": str(error), "done": _done(job)}
    last = folder.summary()["validation"]
    return {
        "whole": whole,
        "stopped": not whole and time.time() < job.deadline,  # by a signal from outside
        "done": steps if whole else _done(job),
        "seconds": time.perf_counter() - began,
        "ms_per_step": last.get("ms_per_step"),
        "gain": last["psnr"] - last["psnr_interpolation"] if last else None,
    }


def _done(job: Job) -> int:
    """Steps in a run's checkpoint."""
    from sciSR.training.checkpoint import load
    from sciSR.training.run_folder import RunFolder

    path = RunFolder(job.out / job.config.name).checkpoint
    return int(load(path)["state"]["step"]) if path.exists() else 0


def matrix_rate(device: Any, side: int = 8192, times: int = 10) -> float:
    """Operations a second of a large product of bfloat16 matrices: what this machine can do at most."""
    import torch

    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        a @ b
    torch.cuda.synchronize()
    return 2.0 * side**3 * times / (time.perf_counter() - began)


def line(name: str, known: Mapping[str, Any], peak: float | None) -> str:
    """One network in words."""
    if "error" in known:
        return f"{name}: {known['error']}"
    parts = [f"{name}: {known['done']}/{known['steps']} steps"]
    if known.get("waits"):
        return f"{parts[0]}, waits for {known['waits']}"
    if "seconds" in known:
        parts.append(f"{known['seconds']:.0f} s")
    if ms := known.get("ms_per_step"):
        parts.append(f"{ms:.1f} ms a step")
        if peak:
            parts.append(f"{100 * known['flops'] / (ms / 1000) / peak:.2f} % of the matrix rate")
    if known.get("gain") is not None:
        parts.append(f"{known['gain']:+.2f} dB over interpolation")
    return ", ".join(parts) + ("" if known.get("whole") else ": not done, the same command goes on")
