"""Exams: what the engine made of a case, how far it is from the truth, and the noise that went through."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRWarning
from sciSR.image import Image
from sciSR.inference.normalise import fit
from sciSR.inference.plan import plan_upscale
from sciSR.training.error_cases import Case
from sciSR.uncertainty.interface import ErrorModel, Uncertain

PROBES = 4


@dataclass(frozen=True)
class Exam:
    """One case by one method, relative to offset and robust scale of its input.

    Parameters
    ----------
    name, method : str
    coarse : ndarray, float32 ``[N, h, w]``
    fine, noise, error : ndarray, float32 ``[N, s h, s w]``
        Result, propagated noise, and result minus truth.
    good : ndarray of bool ``[N, s h, s w]``
    shared, unseen : float
        Of the truth's own noise: see `sciSR.training.error_cases.Case`.
    """

    name: str
    method: str
    coarse: NDArray[np.float32]
    fine: NDArray[np.float32]
    noise: NDArray[np.float32]
    error: NDArray[np.float32]
    good: NDArray[np.bool_]
    shared: float
    unseen: float


def run(
    case: Case, scale: int, method: str, uncertainty: Uncertain | bool, forward: str = "auto"
) -> tuple[Any, Any]:
    """A case through the engine; the plan and the finished image, its uncertainty read.

    Parameters
    ----------
    case : Case
    scale : int
    method : str
        A network or a classical method.
    uncertainty : Uncertain or bool
        As for :func:`sciSR.inference.plan_upscale`.
    """
    error = case.uncertainty
    image = Image.from_array(case.coarse, domain=case.domain, uncertainty=error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        plan = plan_upscale(image, scale, method, device="cpu", uncertainty=uncertainty)
    out = np.empty(plan.output.shape, np.float64)

    def put(index: tuple[slice | int, ...], block: NDArray[np.float32]) -> None:
        out[index] = block

    done = plan.run(put)
    return plan, done.replace(data=out)


def examine(
    case: Case, scale: int, method: str, normalisation: str, model: ErrorModel | None = None
) -> Exam | None:
    """What a head is shown of a case, and how wrong the method is; None for a constant image.

    Parameters
    ----------
    case : Case
    scale : int
    method : str
    normalisation : {"sky", "range"}
        Of the head.
    model : ErrorModel, optional
        With it the exam's `noise` is the whole standard deviation that the engine writes.
    """
    plan, done = run(case, scale, method, Uncertain(probes=PROBES, model=model))
    normaliser = fit(plan.sample.values, normalisation)
    if normaliser.scale == 0:
        return None
    unit = normaliser.inverse_scale
    noise = np.asarray(done.uncertainty[(slice(None),) * 3], np.float64) * unit

    def relative(values: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.nan_to_num((values - normaliser.offset) * unit).astype(np.float32)

    error = np.nan_to_num((done.data - case.truth) * unit).astype(np.float32)
    good = case.good & np.isfinite(done.data) & np.isfinite(noise)
    return Exam(
        case.name,
        method,
        relative(case.coarse),
        relative(done.data),
        np.nan_to_num(noise).astype(np.float32),
        error,
        good,
        case.shared * unit,
        case.unseen * unit,
    )


def judged(total: NDArray[np.float64], exam: Exam) -> NDArray[np.float64]:
    """The part of a predicted standard deviation that the exam's error can show.

    The noise that truth and observation share is in the prediction, but cancels in the error: its variance is taken
    away, up to 95 %. The truth's unseen noise is added where the error is judged (`sciSR.uncertainty.conformal`).
    """
    variance = total**2
    return np.sqrt(np.maximum(variance - exam.shared**2, 0.05 * variance))
