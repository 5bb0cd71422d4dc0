"""Calibrate a head, and measure what its intervals cover: the same judgement for files kept apart and for the table."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sciSR.training.error_cases import Case
from sciSR.training.error_exams import Exam, examine, judged
from sciSR.training.error_tasks import CLASSICAL, Task
from sciSR.uncertainty.conformal import ONE_SIGMA, TWO_SIGMA, grouped_quantile, scores
from sciSR.uncertainty.head import HeadModel

CASES = 6
"""Of each file."""
OTHERS = 5
"""Networks other than the automatic one see one case in so many."""
PIXELS = 40_000
"""Judged pixels that are kept of a case."""
BINS = 5


@dataclass(frozen=True)
class Judgement:
    """Judged pixels of one case, relative to the input's robust scale.

    Parameters
    ----------
    name : str
        File or seed.
    error, predicted : ndarray, float64, 1-D
        Result minus truth; the part of the predicted standard deviation that it can show.
    unseen : float
        The truth's own noise.
    brightness, gradient : ndarray, float64, 1-D
        Of the truth, smoothed by a Gaussian of one coarse pixel: value, and length of the gradient per coarse pixel.
        Those of the input itself would sort the pixels by their noise.
    """

    name: str
    error: NDArray[np.float64]
    predicted: NDArray[np.float64]
    unseen: float
    brightness: NDArray[np.float64]
    gradient: NDArray[np.float64]


def judge(exam: Exam, total: NDArray[np.float64], scale: int) -> Judgement:
    """A sample of an exam's good pixels.

    Parameters
    ----------
    exam : Exam
    total : ndarray ``[N, s h, s w]``
        Predicted standard deviation, relative to the scale.
    scale : int
    """
    places = np.flatnonzero(exam.good)
    if places.size > PIXELS:
        g = np.random.default_rng(zlib.crc32(exam.name.encode()))
        places = np.sort(g.choice(places, PIXELS, replace=False))
    smooth = gaussian_filter(exam.fine.astype(np.float64) - exam.error, (0, scale, scale))
    dy, dx = np.gradient(smooth, axis=(1, 2))
    spread = [x.ravel()[places] for x in (smooth, scale * np.hypot(dy, dx))]
    shown = judged(total.astype(np.float64), exam).ravel()[places]
    return Judgement(exam.name, exam.error.ravel()[places].astype(np.float64), shown, exam.unseen, *spread)


def predict(head: HeadModel, exam: Exam) -> NDArray[np.float64]:
    """What the engine would write for an exam, relative to the scale: ``[N, s h, s w]``."""
    with torch.inference_mode():
        planes = [
            head.total(*(torch.from_numpy(x[k]) for x in (exam.coarse, exam.fine, exam.noise)))
            for k in range(len(exam.coarse))
        ]
    return torch.stack(planes).double().numpy()


def judgements(task: Task, head: HeadModel, cases: Iterable[Case], method: str) -> list[Judgement]:
    """One method on all cases."""
    exams = (examine(case, task.scale, method, task.normalisation) for case in cases)
    return [
        judge(exam, predict(head, exam), task.scale) for exam in exams if exam is not None and exam.good.any()
    ]


def factors(found: Iterable[Judgement], often: int = 1) -> dict[str, Any]:
    """Factor and 95 % interval of some judgements; files and seeds count equally.

    Parameters
    ----------
    found : iterable of Judgement
    often : int
        How often each simulated sky counts, where only some of them were looked at.
    """
    one: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    two: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    found = list(found)
    for each in found:
        one[each.name].append(scores(each.error, each.predicted, each.unseen))
    factor = grouped_quantile(_groups(one, often), ONE_SIGMA)
    for each in found:
        two[each.name].append(scores(each.error, factor * each.predicted, each.unseen, sigmas=2.0))
    wide = grouped_quantile(_groups(two, often), TWO_SIGMA)
    return {"factor": round(factor, 4), "interval_95": round(2 * wide, 4), "files": len(one)}


def _groups(found: Mapping[str, list[NDArray[np.float64]]], often: int) -> list[NDArray[np.float64]]:
    """The scores of each file or seed, those of seeds repeated."""
    return [
        np.concatenate(each)
        for name, each in found.items()
        for _ in range(often if name.startswith("seed ") else 1)
    ]


def _often(cases: list[Case], some: list[Case]) -> int:
    """How often a simulated sky counts among some cases, to have the weight against files that it has among all."""
    ratio = []
    for these in (cases, some):
        names = {case.name for case in these}
        simulated = sum(name.startswith("seed ") for name in names)
        ratio.append(simulated / max(1, len(names) - simulated))
    return max(1, round(ratio[0] / ratio[1])) if ratio[1] > 0 else 1


def calibrate(
    task: Task, head: HeadModel, data: Path, count: int = CASES, show: Any = print
) -> Mapping[str, Mapping[str, Any]]:
    """Calibrations of all methods of a task; ``"default"`` from all of them together, each as often.

    The automatic method and the classical ones see every case, the other networks every fifth.
    """
    cases = list(task.cases("calibrate", data, count))
    found, together = {}, []
    for method in task.methods:
        some = cases if method in (task.automatic, *CLASSICAL) else cases[::OTHERS]
        rows = judgements(task, head, some, method)
        found[method] = factors(rows, _often(cases, some))
        together += rows if len(some) < len(cases) else rows[::OTHERS]
        show(f"{task.name}: {method} {found[method]}")
    return found | {"default": factors(together, _often(cases, cases[::OTHERS]))}
