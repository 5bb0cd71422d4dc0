"""What the intervals of stated uncertainties cover, on files and simulated skies that nothing was made from.

``python benchmarks/calibration.py [HEAD ...] --data ../shared/data [--methods auto,cubic] [--skies 32] [--files]
[--json out.json]``

Each case goes through the engine with its uncertainty, and the result is compared with the truth. Skies: simulated
ones (every fourth a resampled mosaic) and the block means of ``astro/check``; MR: slices of ``mri/check`` through the
scanner's model. ``error-mr-across``: windows of ``mri/check`` as slices two to six times as thick, seen through a
Gaussian profile, every third with more noise, and isotropic again by the through-plane network (``--learning``). A real
truth has noise of its own. What the measurement holds of it cancels in the error, so its variance is taken off the
stated one (95 % of it at most); what the measurement does not hold nobody can know, so it is added in quadrature. Both
are estimated from the images (``sciSR/training/error_cases.py``, ``across_cases.py``), and the share of the added part
is shown: where it is near 1 a coverage says little. Simulated skies have noiseless truths and need neither.

Coverage is a mean over files; bins hold a fifth of each file's pixels, by brightness and by gradient of the smoothed
truth. MR is judged in the foreground, skies everywhere but near bad pixels and the border.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sciSR.evaluation import protocols
from sciSR.throughplane.method import DEFAULT
from sciSR.throughplane.spread import NAME, entry, load_spread
from sciSR.training import across_cases, error_across, error_cases
from sciSR.training.error_calibration import BINS, Judgement, judge
from sciSR.training.error_cases import Case
from sciSR.training.error_exams import examine
from sciSR.training.error_tasks import SEEDS, TASKS, Task
from sciSR.uncertainty.conformal import covered, ranks, share_by_bin
from sciSR.uncertainty.interface import Calibration
from sciSR.uncertainty.loading import load_error_model


def cases(task: Task, data: Path, skies: int) -> Iterator[Case]:
    """Simulated skies of seeds of their own, and the check files."""
    if task.domain == "astronomy":
        for number in range(skies):
            seed = SEEDS["test"] + 1 + number
            yield error_cases.simulated(seed, task.scale, resampled=number % 4 == 3)
    folder = data / ("astro/check" if task.domain == "astronomy" else "mri/check")
    for path in sorted(folder.glob("*.fits" if task.domain == "astronomy" else "*.nii.gz")):
        if path.name in protocols.NOT_IN_MEAN:
            continue
        found = error_cases.checked(protocols.check_file(path), task.forward, task.scale)
        if found is not None:
            yield found


def row(found: Judgement, calibration: Calibration) -> dict[str, Any]:
    """Coverage of one case: in total, and by bins."""
    one = covered(found.error, found.predicted, found.unseen)
    two = covered(found.error, found.predicted, found.unseen, 2.0, calibration.interval_95 / 2)
    bins = {"brightness": ranks(found.brightness, BINS), "gradient": ranks(found.gradient, BINS)}
    noise = found.unseen**2
    share = noise / (float(np.median(found.predicted)) ** 2 + noise)
    return {
        "68": float(one.mean()),
        "95": float(two.mean()),
        **{f"68 by {key}": share_by_bin(one, which, BINS).tolist() for key, which in bins.items()},
        **{f"95 by {key}": share_by_bin(two, which, BINS).tolist() for key, which in bins.items()},
        "truth noise": share,
    }


def measure(task: Task, method: str, some: list[Case]) -> dict[str, dict[str, Any]]:
    """One method through the engine with its uncertainty: a row for each file or seed."""
    model = load_error_model(task.domain, task.forward, task.scale, method)
    if model is None:
        raise SystemExit(f"no head is shipped for {task.name}")
    rows = {}
    for case in some:
        exam = examine(case, task.scale, method, task.normalisation, model)
        if exam is not None and exam.good.any():
            rows[exam.name] = row(judge(exam, exam.noise, task.scale), model.calibration)
    return rows


def measure_across(data: Path, self_training: str, windows: int) -> dict[str, dict[str, Any]]:
    """The through-plane network: a row for each volume, the mean over its windows."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((data / "mri/check").glob("*.nii.gz")):
        for number in range(windows if path.name not in protocols.NOT_IN_MEAN else 0):
            case = across_cases.case(path, number)
            exam = None if case is None else error_across.examine(case, self_training)
            if exam is None:
                continue
            model = load_spread("mr", exam.ratio, exam.method)
            if model is None:
                raise SystemExit(f"no calibration is shipped for self-training {self_training}")
            rows[exam.name].append(row(exam.judged(model), model.calibration))
    return {name: mean(each) for name, each in rows.items()}


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Each file counts equally."""
    return {key: np.nanmean([each[key] for each in rows], axis=0).tolist() for key in rows[0]}


def line(name: str, found: dict[str, Any], files: int) -> str:
    """A row of the table."""
    parts = [f"{name} | {files} | {100 * found['68']:.1f} / {100 * found['95']:.1f}"]
    worst: dict[str, tuple[float, str]] = defaultdict(lambda: (0.0, ""))
    for key in ("brightness", "gradient"):
        parts.append(" ".join(f"{100 * x:.0f}" for x in found[f"68 by {key}"]))
        for level, wanted in (("68", 0.6827), ("95", 0.9545)):
            for number, value in enumerate(found[f"{level} by {key}"]):
                off = value - wanted
                if abs(off) > abs(worst[level][0]):
                    worst[level] = off, f"{100 * value:.1f} ({key} {number + 1})"
    parts.append(f"{worst['68'][1]}; {worst['95'][1]}")
    parts.append(f"{found['truth noise']:.2f}")
    return "| " + " | ".join(parts) + " |"


HEADER = """
| | files | 68 % / 95 % | 68 % by brightness | 68 % by gradient | worst bin: 68 %; 95 % | truth's noise |
|---|---|---|---|---|---|---|"""


def show(found: dict[str, Any], name: str, rows: dict[str, dict[str, Any]], files: bool) -> None:
    """Lines of the table, and the rows kept."""
    found[name] = rows
    kinds = {
        "all": list(rows.values()),
        "simulated": [each for key, each in rows.items() if key.startswith("seed")],
        "real": [each for key, each in rows.items() if not key.startswith("seed")],
    }
    for kind, these in kinds.items():
        if (these and len(these) < len(rows)) or kind == "all":
            print(line(f"{name} {kind}", mean(these), len(these)), flush=True)
    if files:
        for key, each in rows.items():
            print(line(f"  {key}", each, 1), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("heads", nargs="*", metavar="HEAD", help=", ".join((*TASKS, NAME)))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--methods", default="auto,cubic", help="comma between; auto: the network that auto takes"
    )
    parser.add_argument("--skies", type=int, default=32)
    parser.add_argument("--windows", type=int, default=10, help="of each volume for error-mr-across")
    parser.add_argument("--learning", default="0", help="self-training there, comma between: 0, fast")
    parser.add_argument("--files", action="store_true", help="a row for each file")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    print(HEADER)
    for name in given.heads or (*TASKS, NAME):
        if name == NAME:
            for word in given.learning.split(","):
                rows = measure_across(given.data, word, given.windows)
                show(found, f"{name} {entry(DEFAULT, word)}", rows, given.files)
            continue
        task = TASKS[name]
        some = list(cases(task, given.data, given.skies))
        for word in given.methods.split(","):
            method = task.automatic if word == "auto" else word
            rows = measure(task, method, some)
            show(found, f"{name} {method}", rows, given.files)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
