"""Calibrate the uncertainty of isotropic volumes: ``python -m sciSR.training.error_across --data ROOT [--out FOLDER]``.

Sharp volumes become thick slices along one of their axes, the shipped network makes them thin again, and its errors are
compared with how much its views differ (`sciSR.throughplane.spread`). See :mod:`sciSR.training.across_cases`.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sciSR.errors import SciSRError, SciSRWarning
from sciSR.evaluation.card import write_card
from sciSR.evaluation.terms import read_terms, refuse_unstated, terms_of
from sciSR.forward.slice_sampling import along
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.inference.statistics import sample
from sciSR.models.files import WEIGHTS
from sciSR.provenance import file_sha256
from sciSR.throughplane import running
from sciSR.throughplane.method import DEFAULT, Method, matrix_of
from sciSR.throughplane.plan import IsotropicPlan, plan_isotropic
from sciSR.throughplane.spread import NAME, SpreadModel, entry, smoothed
from sciSR.throughplane.uncertainty import Deviations
from sciSR.training.across_cases import AcrossCase, case
from sciSR.training.card_draft import commit, versions
from sciSR.training.error_calibration import PIXELS, Judgement, factors, related
from sciSR.uncertainty.conformal import ONE_SIGMA, TWO_SIGMA
from sciSR.uncertainty.interface import Calibration, Uncertain
from sciSR.uncertainty.noise import pixel_noise
from sciSR.uncertainty.propagation import StoredDeviation

KEPT = "openms_long_p20_study2_FLAIR.nii.gz"
"""The network did not learn from it, it only chose when to stop by it."""
VOLUMES = (
    KEPT,
    "openms_p07_FLAIR_mni1mm.nii.gz",
    "openms_p07_T1_mni1mm.nii.gz",
    "studyforrest_7T_T1_0p7.nii.gz",
    "openms_long_p01_study2_FLAIR.nii.gz",
    "openms_long_p03_study1_T2W.nii.gz",
    "openms_long_p04_study1_T1W.nii.gz",
    "openms_long_p04_study1_T2W.nii.gz",
    "pymskt_knee_mese_echo1.nii.gz",
)
LIMITS = (1.5, 7.0)
"""Ratios that the result is held to serve."""
CASES = {"0": 10, "fast": 1}
"""Of each volume, by self-training: learning takes a minute for each."""


HOW = (
    "Split conformal, as for the error heads: factor is the quantile of |error| / predicted that covers 68.27 %, "
    "interval_95 the number of calibrated standard deviations that covers 95.45 %. The network learned from all "
    "of these volumes but one, which told when to stop and counts as much as all others together: no further ones "
    "exist. Weight and power of the spread come from other windows of the others. After learning from the volume "
    "itself fewer windows were looked at; the numbers are multiplied with what they are without it on all over those."
)


CARD_LIMITS = [
    "Research use only, not for diagnosis.",
    "Holds on average over the voxels of many volumes; a single one can lie above or below, and errors of "
    "neighbouring voxels are not independent.",
    "Found with a Gaussian slice profile as wide as the slices' distance, and told to the network; a wrong profile "
    "errs by more.",
    "Anatomy and contrasts as listed: brains, and a knee.",
]


@dataclass(frozen=True)
class AcrossExam:
    """What became of a case: judged voxels only, in the unit of the data's range.

    Parameters
    ----------
    name : str
    ratio : int
    error, noise, shared, spread, brightness, gradient : ndarray, float64, 1-D
        Result minus truth; variance of the slices' noise in the result, and the part of it that the truth has too;
        smoothed variance of the views; value and gradient of the smoothed truth.
    unseen : float
    method : Method
    """

    name: str
    ratio: int
    error: NDArray[np.float64]
    noise: NDArray[np.float64]
    shared: NDArray[np.float64]
    spread: NDArray[np.float64]
    brightness: NDArray[np.float64]
    gradient: NDArray[np.float64]
    unseen: float
    method: Method

    def judged(self, model: SpreadModel) -> Judgement:
        """With a model's standard deviation, less what of the noise the truth has too (95 % at most)."""
        variance = np.square(model.total(np.sqrt(self.noise), self.spread, self.ratio))
        shown = np.sqrt(np.maximum(variance - self.shared, 0.05 * variance))
        return Judgement(self.name, self.error, shown, self.unseen, self.brightness, self.gradient)


def image_of(thick: NDArray[np.float64], ratio: int) -> Image:
    """Thick slices as the engine takes them, told their thickness as a header would."""
    return Image(
        data=thick.astype(np.float32),
        axes=("x", "y", "z"),
        spatial=("x", "y"),
        grid=AffineGrid(thick.shape, np.diag([1.0, 1.0, float(ratio), 1.0])),
        domain="mr",
        slice_thickness=float(ratio),
    )


class _Parts(Deviations):
    """Noise and spread are kept apart."""

    def __init__(self, plan: IsotropicPlan, matrix: torch.Tensor) -> None:
        super().__init__(plan, matrix)
        self.views: StoredDeviation = StoredDeviation(plan.output.shape)

    def settle(self, order: Any, parts: Any) -> None:
        """Later."""

    def close(self) -> None:
        """Later."""


def examine(given: AcrossCase, self_training: str) -> AcrossExam | None:
    """A case through the engine, noise and spread told apart; None for a constant volume."""
    image = image_of(given.thick, given.ratio)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        plan = plan_isotropic(image, self_training=self_training, uncertainty=True, device="cpu")
        kept = _Parts(plan, matrix_of(plan.method, plan.operator))
        out = np.empty(plan.output.shape, np.float32)
        running.run(plan, lambda index, block: out.__setitem__(index, block), lambda _: None, kept)
        own = image_of(given.clean, given.ratio)
        clean = np.asarray(pixel_noise(own, sample(own), Uncertain()).deviation[:, :, :], np.float64)
    unit = plan.normaliser.scale
    if unit == 0:
        return None
    places = np.flatnonzero(given.good)
    g = np.random.default_rng(zlib.crc32(given.name.encode()))
    if places.size > PIXELS // 2:
        places = np.sort(g.choice(places, PIXELS // 2, replace=False))
    smooth = gaussian_filter(given.truth, 1.0)
    parts = (
        (out - given.truth) / unit,
        np.square(kept.stored[...].astype(np.float64)) / unit**2,
        along(kept.squared, torch.from_numpy(clean**2), 2).numpy() / unit**2,
        smoothed(np.square(kept.views[...].astype(np.float64)), given.ratio) / unit**2,
        smooth / unit,
        np.sqrt(sum(np.square(each) for each in np.gradient(smooth))) / unit,
    )
    picked = [part.ravel()[places].astype(np.float64) for part in parts]
    return AcrossExam(given.name, given.ratio, *picked, given.unseen / unit, plan.method)


def exams(paths: list[Path], self_training: str, start: int, count: int) -> Iterator[AcrossExam]:
    """Cases of each volume, with the next numbers after `start` in turns; those that hold too little left out."""
    half = CASES["0"] // 2
    for place, path in enumerate(paths):
        for turn in range(count):
            made = case(path, start + (place + turn) % half)
            found = None if made is None else examine(made, self_training)
            if found is not None:
                yield found


def fitted(found: list[AcrossExam]) -> tuple[float, float]:
    """Weight and power of a `SpreadModel`, by the pinball loss of the logarithms that the error heads learn with."""
    from scipy.optimize import minimize

    def loss(at: NDArray[np.float64]) -> float:
        model, total = SpreadModel(float(np.exp(at[0])), float(at[1]), Calibration()), 0.0
        for exam in found:
            one = exam.judged(model)
            wide = 0.5 * np.log(np.square(one.predicted) + one.unseen**2)
            excess = np.log(np.abs(one.error) + 1e-7) - wide
            total += _pinball(excess, ONE_SIGMA) + 2 * _pinball(excess - np.log(2) - at[2], TWO_SIGMA)
        return total / len(found)

    best = minimize(loss, [2.0, 0.5, 0.2], method="Nelder-Mead", options={"xatol": 1e-2, "fatol": 1e-5})
    return round(float(np.exp(best.x[0])), 3), round(float(best.x[1]), 3)


def _pinball(excess: NDArray[np.float64], share: float) -> float:
    return float(np.maximum(share * excess, (share - 1) * excess).mean())


def weighed(rows: list[Judgement]) -> dict[str, Any]:
    """Factors in which the volume that the network did not learn from counts as much as all others together."""
    others = {row.name for row in rows} - {KEPT}
    again = [
        replace(row, name=f"{row.name} {turn}")
        for row in rows
        if row.name == KEPT
        for turn in range(1, len(others))
    ]
    return factors([*rows, *again]) | {"files": len({row.name for row in rows})}


def calibrate(data: Path, show: Any = print) -> dict[str, Any]:
    """Weight and power from windows of half the numbers, factors from the other half.

    Returns
    -------
    dict
        ``"spread"`` and ``"calibration"`` of the card.
    """
    paths = [data / "mri/train" / name for name in VOLUMES]
    half = CASES["0"] // 2
    # Not from the volume that the network did not learn from: it is for the factors.
    weight, power = fitted(list(exams(paths[1:], "0", 0, half)))
    show(f"weight {weight} power {power}")
    model, methods = SpreadModel(weight, power, Calibration()), {}

    def calibration(self_training: str, count: int) -> dict[str, Any]:
        return weighed([exam.judged(model) for exam in exams(paths, self_training, half, count)])

    methods[DEFAULT] = calibration("0", half)
    there = calibration("0", CASES["fast"])
    fast = calibration("fast", CASES["fast"])
    methods[entry(DEFAULT, "fast")] = related(fast, methods[DEFAULT], there)
    show(f"{methods}")
    return {
        "spread": {"weight": weight, "power": power, "ratios": list(LIMITS)},
        "calibration": {"how": HOW, "methods": methods},
    }


def card(data: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The card as plain data; it stands for a model without weights."""
    table, files = read_terms(data), []
    refuse_unstated([f"mri/train/{name}" for name in VOLUMES], table)
    for name in VOLUMES:
        file = f"mri/train/{name}"
        terms = terms_of(file, table)
        about = {} if terms is None else {"licence": terms.stated or terms.licence, "origin": terms.origin}
        files.append({"file": file, "role": "calibrate", "sha256": file_sha256(data / file), **about})
    return {
        "name": NAME,
        "summary": "How far isotropic volumes are from the truth, from how much the views of the through-plane network "
        "differ; no weights.",
        "licence": "BSD-3-Clause",
        "domain": "mr",
        "forward_model": {"name": "slice_profile"},
        "network": {"name": DEFAULT, "sha256": file_sha256(WEIGHTS / f"{DEFAULT}.safetensors")},
        "limits": CARD_LIMITS,
        "data": {"files": files},
        "training": {"commit": commit(), "versions": versions()},
        "recipe": {"command": "python -m sciSR.training.error_across --data ROOT", "windows": dict(CASES)},
        **found,
        "date": datetime.date.today(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Calibrate and write the card; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="data root with mri/train")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the card")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        write_card(given.out / f"{NAME}.yaml", card(given.data, calibrate(given.data)))
    except SciSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
