"""How patches, bytes and time are shared among the networks of a zoo; plain arithmetic, used by train_zoo.py."""

from __future__ import annotations

import dataclasses
import heapq
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from sciSR.training.config import TrainConfig

WEIGHTS = {"ECBSR": 6.0, "ConditionalECBSR": 4.0, "SRCNN": 1.0, "FSRCNN": 1.0, "ESPCN": 1.0}
"""Shares of bytes and time by architecture: what ships as the default gets most; `USUAL` for all others."""
USUAL = 2.0
STARTS = {
    "ecbsr-mr-kspace-x2": "ecbsr-mr-kspace-x2-first",
    "srgan-mr-kspace-x4": "srresnet-mr-kspace-x4",
    "srgan-astro-x4": "srresnet-astro-x4",
}
"""Networks that begin from another one's weights where their configuration has no ``model.start``: such a start is
another run's file, which a configuration can't know."""
LEAST, MOST = 20, 60_000
"""Steps of a network."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A network to train.

    Parameters
    ----------
    name : str
    weight : float
        Its share of the time, relative to the others'.
    ms : float
        Milliseconds of a step.
    overhead : float
        Seconds of a run besides its steps.
    after : str, optional
        Name of the task that makes the weights it begins from.
    steps, done : int
        Of a run that was begun earlier, so its `steps` are fixed; 0 otherwise.
    """

    name: str
    weight: float
    ms: float
    overhead: float
    after: str | None = None
    steps: int = 0
    done: int = 0

    def seconds(self, steps: int) -> float:
        """Of all that is still to do."""
        return self.overhead + max(0, steps - self.done) * self.ms / 1000


def weight(config: TrainConfig) -> float:
    """A network's share of bytes and time, relative to the others'."""
    return WEIGHTS.get(config.model.architecture, USUAL)


def origin(config: TrainConfig, names: Sequence[str]) -> str | None:
    """Which of the networks `names` makes the weights that this one begins from; None: none of them."""
    start = config.model.start or STARTS.get(config.name)
    if start is None:
        return None
    stem = Path(start).stem if start.endswith(".safetensors") else start
    return stem if stem in names and stem != config.name else None


def data_key(config: TrainConfig) -> str:
    """Text that is the same for configurations that can train from the same patches."""
    values = config.as_dict()
    data = {k: v for k, v in values["data"].items() if k not in ("patches", "validation_patches", "workers")}
    model = {k: values["model"][k] for k in ("scale", "scales", "conditions")}
    cut = {k: values["augment"][k] for k in ("gamma", "rescale")}  # these act when patches are cut
    rest = {k: values[k] for k in ("domain", "normalisation", "forward")}
    return json.dumps({**rest, "model": model, "data": data, "augment": cut}, sort_keys=True)


def groups(configs: Mapping[str, TrainConfig]) -> dict[str, list[str]]:
    """Configurations by the patches that they share; each group is called after its shortest key."""
    found: dict[str, list[str]] = {}
    for key, config in configs.items():
        found.setdefault(data_key(config), []).append(key)
    return {min(keys, key=lambda key: (len(key), key)): sorted(keys) for keys in found.values()}


def shares(weights: Mapping[str, Sequence[float]], total: float) -> dict[str, float]:
    """Bytes of each group from its networks' weights: the root of their sum, since they use the same patches."""
    roots = {key: math.sqrt(sum(values)) for key, values in weights.items()}
    return {key: total * root / sum(roots.values()) for key, root in roots.items()}


def order(tasks: Sequence[Task], steps: Mapping[str, int]) -> list[Task]:
    """Tasks by what hangs on them, longest first; a task stands after the one that it begins from."""
    tails: dict[str, float] = {}

    def tail(task: Task) -> float:
        if task.name not in tails:
            later = (tail(other) for other in tasks if other.after == task.name)
            tails[task.name] = task.seconds(steps[task.name]) + max(later, default=0.0)
        return tails[task.name]

    return sorted(tasks, key=lambda task: (-tail(task), task.after is not None, task.name))


def makespan(tasks: Sequence[Task], steps: Mapping[str, int], workers: int) -> float:
    """Seconds until all is done, by `workers` at a time, each taking the first ready task of `order`."""
    waiting, ended = (
        order(tasks, steps),
        dict.fromkeys({t.after for t in tasks} - {t.name for t in tasks}, 0.0),
    )
    running: list[tuple[float, str]] = []
    now = 0.0
    while waiting or running:
        ready = next((t for t in waiting if t.after is None or t.after in ended), None)
        if ready is not None and len(running) < workers:
            waiting.remove(ready)
            heapq.heappush(running, (now + ready.seconds(steps[ready.name]), ready.name))
        else:
            now, name = heapq.heappop(running)
            ended[name] = now
    return now


def plan(tasks: Sequence[Task], seconds: float, workers: int) -> dict[str, int]:
    """Steps of each network, so that all end within `seconds`.

    Every network gets time in proportion to its weight, as much as fits, but `LEAST` to `MOST` steps. What was begun
    keeps its steps.
    """

    def steps(unit: float) -> dict[str, int]:
        return {
            t.name: t.steps or max(LEAST, min(MOST, int(1000 * unit * t.weight / max(t.ms, 1e-3))))
            for t in tasks
        }

    low, high = 0.0, seconds * workers
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if makespan(tasks, steps(middle), workers) <= seconds else (low, middle)
    return steps(low)
