"""Calibrate a head, and measure what its intervals cover: the same judgement for files kept apart and for the table."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sciSR.training.error_cases import RIM, Case
from sciSR.training.error_exams import Exam, examine, judged
from sciSR.training.error_tasks import CLASSICAL, Task
from sciSR.uncertainty.conformal import ONE_SIGMA, TWO_SIGMA, grouped_quantile, scores
from sciSR.uncertainty.head import HeadModel

CASES = 6
"""Of each file."""
OTHERS = 5
"""Networks other than the automatic one see one case of MR in so many."""
SMALL = {2: 96, 4: 64}
"""Coarse pixels a side of what they see of a sky, by scale."""
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

    The automatic method and the classical ones see every case. The other networks see fewer (`fewer`), and their
    numbers are multiplied with what the automatic method's are for all cases over what they are for those.
    """
    cases = list(task.cases("calibrate", data, count))
    few = fewer(task, cases)
    often = _often(cases, few)
    found, together = {}, []
    for method in task.methods:
        rows = judgements(task, head, few, method)
        together += rows
        if method in (task.automatic, *CLASSICAL):
            found[method] = factors(judgements(task, head, cases, method))
        else:
            found[method] = factors(rows, often)
        if method == task.automatic:
            there = factors(rows, often)
        elif method not in CLASSICAL:
            found[method] = related(found[method], found[task.automatic], there)
        show(f"{task.name}: {method} {found[method]}")
    return found | {"default": related(factors(together, often), found[task.automatic], there)}


def related(few: Mapping[str, Any], every: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """A calibration on few cases, times what another one's is on all over what it is on those few."""
    ratio = {key: round(few[key] * every[key] / there[key], 4) for key in ("factor", "interval_95")}
    return ratio | {"files": few["files"]}


def fewer(task: Task, cases: list[Case]) -> list[Case]:
    """What slow networks see: the middle of half of the skies, from every file; one case of MR in five.

    Acquired k-space belongs to whole slices, which can't be cut.
    """
    if task.domain != "astronomy":
        return cases[::OTHERS]
    # In fours: every fourth simulated sky is a resampled mosaic.
    return [middle(case, task.scale, SMALL[task.scale]) for k, case in enumerate(cases) if k // 4 % 2 == 0]


def middle(case: Case, scale: int, side: int) -> Case:
    """The central `side` coarse pixels of a case, as they are in the whole."""
    starts = [max(0, (n - side) // 2) for n in case.coarse.shape[1:]]

    def cut(values: NDArray[Any], factor: int) -> NDArray[Any]:
        return values[(slice(None), *(slice(a * factor, (a + side) * factor) for a in starts))]

    error = case.uncertainty
    return replace(
        case,
        truth=cut(case.truth, scale),
        coarse=cut(case.coarse, 1),
        uncertainty=None if error is None else cut(error, 1),
        good=_inside(cut(case.good, scale)),
    )


def _inside(good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without the rim: what is cut off is not seen."""
    inner = np.zeros_like(good)
    inner[:, RIM:-RIM, RIM:-RIM] = good[:, RIM:-RIM, RIM:-RIM]
    return inner
