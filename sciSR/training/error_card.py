"""The card of an error head, and the files that are shipped: weights, and beside them what they came from."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from sciSR.evaluation.card import write_card
from sciSR.evaluation.terms import read_terms, refuse_unstated, terms_of
from sciSR.models.error_head import ErrorHead
from sciSR.provenance import file_sha256
from sciSR.training.card_draft import commit, hardware, versions
from sciSR.training.error_tasks import SEEDS, Task

LIMITS = [
    "Research use only, not for diagnosis.",
    "Tells how far a method errs on images like those it was trained and calibrated on; on others it can be wrong: "
    "heed the warning that an image lies outside.",
    "Holds on average over the pixels of many files; a single file can lie above or below (docs/uncertainty.md), and "
    "errors of neighbouring pixels are not independent.",
    "Judged against noisy truths where no noiseless ones exist: their own noise is accounted for as far as it could "
    "be estimated.",
]
HOW = (
    "Split conformal: factor is the quantile of |error| / predicted that covers 68.27 %, interval_95 the number of "
    "calibrated standard deviations that covers 95.45 %, with the finite-sample correction; on files and seeds that "
    "the head did not learn from, each with equal weight. Networks other than the one that auto takes saw fewer or "
    "smaller cases; theirs are multiplied with what that one's are on all cases over what they are on those. 'default' "
    "is from all methods together and serves those that are not listed."
)


def finish(
    task: Task,
    network: ErrorHead,
    facts: Mapping[str, Any],
    data: Path,
    out: Path,
    show: Callable[[str], None],
) -> None:
    """Write ``NAME.safetensors``, calibrate what was written, and write ``NAME.yaml``.

    Parameters
    ----------
    task : Task
    network : ErrorHead
        Trained.
    facts : mapping
        Of the training: ``arguments``, ``recipe``, ``seconds``, ``loss``.
    data, out : Path
        Data root; folder of weights and cards.
    show : callable
        Gets lines of progress.

    Raises
    ------
    UsageError
        The terms of a file that it learned from are not stated.
    """
    from sciSR.training.error_calibration import calibrate
    from sciSR.uncertainty.loading import read_head, save_head

    files = files_of(task, data)
    spec = {
        "name": task.name,
        "architecture": "ErrorHead",
        "arguments": dict(facts["arguments"]),
        "scale": task.scale,
        "receptive_field": network.receptive_field(),
        "forward_model": task.forward,
        "domain": task.domain,
        "normalisation": task.normalisation,
    }
    path = out / f"{task.name}.safetensors"
    out.mkdir(parents=True, exist_ok=True)
    save_head(path, network, spec)
    methods = calibrate(task, read_head(path), data, show=show)
    write_card(path.with_suffix(".yaml"), card(task, spec, facts, files, methods, path))


def card(
    task: Task,
    spec: Mapping[str, Any],
    facts: Mapping[str, Any],
    files: list[dict[str, Any]],
    methods: Mapping[str, Mapping[str, Any]],
    weights: Path,
) -> dict[str, Any]:
    """The card as plain data."""
    known: dict[str, Any] = {
        "name": task.name,
        "summary": f"How far the results of x{task.scale} methods are from the truth, pixel by pixel; made for "
        f"{task.automatic}, serves any.",
        "sha256": file_sha256(weights),
        "bytes": weights.stat().st_size,
        "parameters": facts["parameters"],
        "licence": "BSD-3-Clause",
        **{key: spec[key] for key in ("domain", "architecture", "arguments", "scale", "receptive_field")},
        "forward_model": {"name": task.forward},
        "normalisation": task.normalisation,
        "limits": LIMITS,
        "data": {"files": files},
        "training": {
            "steps": facts["recipe"]["steps"],
            "time": f"{facts['seconds'] / 60:.1f} minutes",
            "hardware": hardware(torch.device("cpu"), 1),
            "seed": facts["recipe"]["seed"],
            "commit": commit(),
            "versions": versions(),
            "loss": facts["loss"],
        },
        "recipe": {
            "command": f"python -m sciSR.training.error_heads {task.name} --data ROOT",
            **facts["recipe"],
        },
        "calibration": {"how": HOW, "methods": {name: dict(row) for name, row in methods.items()}},
        "date": datetime.date.today(),
    }
    if task.domain == "astronomy":
        known["data"]["simulated"] = {
            role: f"seeds from {SEEDS[role] + 1}" for role in ("train", "calibrate")
        }
    return known


def files_of(task: Task, data: Path) -> list[dict[str, Any]]:
    """The files with their role, licence, checksum and origin.

    Raises
    ------
    UsageError
        The terms of one that the head learns from are not stated.
    """
    table, found = read_terms(data), []
    refuse_unstated(task.files["train"], table)
    for role, names in task.files.items():
        for name in names:
            terms = terms_of(name, table)
            about = {"licence": "not stated"}
            if terms is not None:
                about = {"licence": terms.stated or terms.licence, "origin": terms.origin}
            found.append({"file": name, "role": role, "sha256": file_sha256(data / name), **about})
    return found
