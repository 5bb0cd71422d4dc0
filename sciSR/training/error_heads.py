"""Train and calibrate an error head: ``python -m sciSR.training.error_heads NAME... --data ROOT [--out FOLDER]``.

The loss is the negative log-likelihood of an asymmetric Laplace distribution of ``log |e|`` about ``log s``: the
pinball loss (Koenker and Bassett, Econometrica 46, 33, 1978) at 68.27 %; and likewise at 95.45 % about ``log (k s)``,
with one k for the head. It is heteroscedastic like a Gaussian's, but what it finds is the width that covers, however
heavy the tails. Everything follows from the seeds; no step depends on how often it was run before.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sciSR.errors import SciSRError
from sciSR.models.error_head import ErrorHead
from sciSR.training.error_exams import Exam, examine
from sciSR.training.error_tasks import TASKS, Task
from sciSR.uncertainty.conformal import ONE_SIGMA, TWO_SIGMA

FEATURES = 24
DEPTH = 4
STEPS = 1200
BATCH = 8
PATCH = {2: 48, 4: 32}
"""Coarse pixels a side, by scale."""
RATE = 3e-3
SEED = 1
LEAST = 1e-7
"""Least error that is told from none, in units of the robust scale."""
RIM = 3
"""Coarse pixels along a patch's border without a loss: they see its replicated edge."""
_KEPT = {2: 112, 4: 64}


def tell(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def exams_of(task: Task, data: Path, show: Callable[[str], None] = tell) -> list[Exam]:
    """What the head learns from: every case by one method."""
    found = []
    for number, case in enumerate(task.cases("train", data, task.cases_of_each)):
        exam = examine(case, task.scale, task.method(number), task.normalisation)
        if exam is not None:
            found.append(windowed(exam, task.scale, _KEPT[task.scale], number))
    show(f"{task.name}: {len(found)} cases to learn from")
    return found


def windowed(exam: Exam, scale: int, side: int, seed: int) -> Exam:
    """A window of `side` coarse pixels of an exam: where of three tries most is judged."""
    g = np.random.default_rng([11, seed])
    height, width = exam.coarse.shape[1:]
    places = [[int(g.integers(max(1, n - side + 1))) for n in (height, width)] for _ in range(3)]

    def cut(values: np.ndarray, place: list[int], factor: int) -> np.ndarray:
        y, x = (p * factor for p in place)
        return values[:, y : y + side * factor, x : x + side * factor]

    best = max(places, key=lambda place: float(cut(exam.good, place, scale).mean()))
    whole = {"coarse": 1, "fine": scale, "noise": scale, "error": scale, "good": scale}
    cuts = {key: cut(getattr(exam, key), best, factor).copy() for key, factor in whole.items()}
    return Exam(exam.name, exam.method, shared=exam.shared, unseen=exam.unseen, **cuts)


def train_head(
    task: Task, exams: list[Exam], steps: int = STEPS, show: Callable[[str], None] = tell
) -> tuple[ErrorHead, float]:
    """Fit a head to exams: it, and the loss of the last steps. The same from the same exams on the same machine."""
    torch.manual_seed(SEED)
    g = np.random.default_rng(SEED)
    network = ErrorHead(**arguments_of(task))
    tail = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.AdamW([*network.parameters(), tail], RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    mean = last = 0.0
    for step in range(steps):
        batch = [_patch(exams[int(g.integers(len(exams)))], task.scale, g) for _ in range(BATCH)]
        coarse, fine, noise, error, good, shared, unseen = (
            torch.stack(each) for each in zip(*batch, strict=True)
        )
        variance = network(coarse, fine, noise).square()
        loss = pinball(variance, error, good, shared, unseen, tail)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean += loss.item()
        if (step + 1) % 250 == 0:
            show(f"{task.name}: step {step + 1}, loss {mean / 250:.4f}, tail {2 * tail.exp().item():.3f}")
            mean, last = 0.0, mean / 250
    return network.eval().requires_grad_(False), last


def arguments_of(task: Task) -> dict[str, Any]:
    """Of the head's constructor."""
    return {"scale": task.scale, "stretch": task.normalisation, "features": FEATURES, "depth": DEPTH}


def pinball(
    variance: Tensor, error: Tensor, good: Tensor, shared: Tensor, unseen: Tensor, tail: Tensor
) -> Tensor:
    """The loss, a mean over the good pixels.

    Parameters
    ----------
    variance : Tensor ``[B, 1, s h, s w]``
        Predicted, noise and the method's own error together.
    error, good : Tensor, as `variance`
    shared, unseen : Tensor ``[B, 1, 1, 1]``
        Standard deviations of the truth's own noise: what cancels in the error, what no method can know.
    tail : Tensor, scalar
        Logarithm of half the number of standard deviations that cover 95.45 %.
    """
    shown = torch.maximum(variance - shared.square(), 0.05 * variance) + unseen.square()
    excess = error.abs().clamp_min(LEAST).log() - 0.5 * shown.clamp_min(LEAST**2).log()
    far = excess - np.log(2.0) - tail
    losses = _check_loss(excess, ONE_SIGMA) + 2 * _check_loss(far, TWO_SIGMA)
    return (losses * good).sum() / good.sum().clamp_min(1)


def _check_loss(excess: Tensor, share: float) -> Tensor:
    return torch.maximum(share * excess, (share - 1) * excess)


def _patch(exam: Exam, scale: int, g: np.random.Generator) -> tuple[Tensor, ...]:
    """A random patch of an exam, turned and mirrored at random."""
    side = PATCH[scale]
    height, width = exam.coarse.shape[1:]
    plane = int(g.integers(len(exam.coarse)))
    y, x = (int(g.integers(max(1, n - side + 1))) for n in (height, width))
    turns, flip = int(g.integers(4)), bool(g.integers(2))

    def cut(values: np.ndarray, factor: int) -> Tensor:
        part = torch.from_numpy(
            values[plane, y * factor : (y + side) * factor, x * factor : (x + side) * factor]
        ).float()
        missing = [side * factor - n for n in part.shape]
        if any(missing):
            part = F.pad(part[None, None], (0, missing[1], 0, missing[0]), mode="replicate")[0, 0]
        part = torch.rot90(part, turns)
        return (part.flip(-1) if flip else part)[None]

    good = cut(exam.good, scale)
    inner = torch.zeros_like(good)
    rim = RIM * scale
    inner[:, rim:-rim, rim:-rim] = 1
    known = (cut(exam.coarse, 1), cut(exam.fine, scale), cut(exam.noise, scale), cut(exam.error, scale))
    return (*known, good * inner, *(torch.full((1, 1, 1), value) for value in (exam.shared, exam.unseen)))


def make(task: Task, exams: list[Exam], data: Path, out: Path, steps: int, start: float) -> None:
    """Train on exams, write the weights, calibrate them and write the card; `start` by the monotonic clock."""
    from sciSR.training.error_card import finish

    network, loss = train_head(task, exams, steps)
    facts = {
        "arguments": arguments_of(task),
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "seconds": time.monotonic() - start,
        "loss": round(loss, 4),
        "recipe": {
            "steps": steps,
            "seed": SEED,
            "batch": BATCH,
            "patch": PATCH[task.scale],
            "rate": RATE,
            "cases_of_each_file": task.cases_of_each,
            "cases": len(exams),
        },
    }
    finish(task, network, facts, data, out, tell)


def main(arguments: list[str] | None = None) -> int:
    """Train, calibrate, write weights and card; the exit code."""
    from sciSR.models.files import WEIGHTS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=sorted(TASKS))
    parser.add_argument("--data", type=Path, required=True, help="data root with astro/train and mri/train")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of weights and cards")
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        for name in given.names:
            start, task = time.monotonic(), TASKS[name]
            make(task, exams_of(task, given.data), given.data, given.out, given.steps, start)
    except SciSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
