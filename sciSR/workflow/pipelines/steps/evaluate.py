"""The step ``evaluate``: how good is the product, beside something that is known?"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sciSR.errors import UsageError
from sciSR.workflow.pipelines.naming import fill
from sciSR.workflow.pipelines.products import (
    PARTS,
    input_file,
    input_of,
    made_from,
    one_input,
    plain,
    target_of,
)
from sciSR.workflow.pipelines.work import InputPath, Product, StepName, Work


def evaluate(
    work: Work,
    *,
    against: StepName | None = None,
    truth: InputPath | None = None,
    models: list[str] | str | None = None,
    mask: InputPath | Literal["all", "foreground"] | None = None,
    region: str | None = None,
    data_range: float | None = None,
    resample: Literal["nearest", "linear", "cubic"] | None = None,
    forward: Literal["kspace", "gaussian", "detector", "bicubic"] | None = None,
    scale: int | None = None,
    snr: float | None = None,
    planes: int = 24,
    device: str = "auto",
    save: bool = True,
    output: str | None = None,
) -> Product:
    """Compare the product with a truth, like ``scisr compare``, or examine networks on it, like ``scisr evaluate``.

    One of `against`, `truth` and `models` is given. The scores go into the run's summary, and with all curves into
    a JSON file; pixels are not changed.

    Parameters
    ----------
    against : str
        Name of the earlier step whose product is the truth.
    truth : str
        A file that is the truth: a path below the inputs, with fields like "truth/{stem}.fits".
    models : list of str
        Networks to examine on the product, which is taken for sharp: names, paths, all-mri-x2, classical.
    mask : str
        Where pixels count: an image below the inputs (not 0), all, or foreground. Of a comparison.
    region : str
        "A:B,C:D", only these pixels of the truth, from 0. Of a comparison.
    data_range : float
        Peak of PSNR and SSIM; from the truth's quantiles by default. Of a comparison.
    resample : str
        Bring a product on another grid to the truth's pixels first. Of a comparison.
    forward : str
        Degrade by this instead of each network's own forward model. Of an examination.
    scale : int
        Factor, for networks that serve several. Of an examination.
    snr : float
        Add noise to the degraded images. Of an examination.
    planes : int
        At most so many planes of each volume or cube. Of an examination.
    device : str
        auto, cpu, cuda, cuda:N or mps. Of an examination.
    save : bool
        Put the JSON file into the output folder.
    output : str
        Template of its name, without .json; by default the outputs' name and "_scores".

    Raises
    ------
    UsageError
        Not one of `against`, `truth` and `models`, or grids that differ.
    SciSRError
    """
    given = [name for name, value in (("against", against), ("truth", truth), ("models", models)) if value]
    if len(given) != 1:
        raise UsageError(
            f"'evaluate' has {' and '.join(given) or 'nothing'} to compare with",
            where=work.key,
            remedy="give one of 'against', 'truth' and 'models'",
        )
    if models:
        found, brief = _examined(work, models, forward, scale, snr, planes, device)
    else:
        found, brief = _compared(work, against, truth, mask, region, data_range, resample)
    ready = {}
    if save:
        name = f"{work.name}_scores" if output is None else fill(output, work.facts)
        file = target_of(replace(work, name=name), ".json")
        file.write_text(json.dumps(plain(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        ready = {f"{name}.json": file}
    return replace(work.product, ready=ready, record=plain(brief), messages=())


def _compared(
    work: Work,
    against: str | None,
    truth: str | None,
    mask: str | None,
    region: str | None,
    data_range: float | None,
    resample: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    from sciSR.comparison.compare import compare

    if against is not None:
        before = made_from(work, against)
        known, options = input_of(work, before), {**dict(work.product.options), **before.options}
    else:
        known, options = input_file(work, str(truth), "truth"), dict(work.product.options)
    if mask not in (None, "all", "foreground"):
        mask = str(input_file(work, str(mask), "mask"))
    result = compare(
        known,
        one_input(work),
        mask=mask,
        data_range=data_range,
        region=region,
        resample=resample,
        options=options,
    )
    whole = result.as_dict()
    for part in whole["parts"]:
        part["truth"] = Path(str(part["truth"])).name
        for image in part["images"]:
            image["file"] = Path(str(image["file"])).name
    parts = [
        {
            "part": part["part"],
            "scores": {key: score["value"] for key, score in part["images"][0]["scores"].items()},
            "notes": part["notes"],
        }
        for part in whole["parts"]
    ]
    return whole, {"truth": known.name, "parts": parts[:PARTS]}


def _examined(
    work: Work,
    models: list[str] | str,
    forward: str | None,
    scale: int | None,
    snr: float | None,
    planes: int,
    device: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    from sciSR.evaluation.evaluate import Examiner, checked_snr, collect
    from sciSR.evaluation.select import select
    from sciSR.workflow.outputs import find_inputs

    tasks = select(models, forward, scale)
    path = one_input(work)
    [job] = find_inputs([path], dict(work.product.options))
    examiner = Examiner(tasks, forward, scale, planes, device, checked_snr(snr))
    whole = collect(examiner.examine(job, work.progress), 1).as_dict()
    tables = [_brief(table) for table in whole["tables"]]
    return whole, {"tables": tables}


def _brief(table: Mapping[str, Any]) -> dict[str, Any]:
    """The means of each method, without rows."""
    methods = {
        name: {key: _rounded(value["mean"]) for key, value in told["mean"].items()}
        for name, told in table["methods"].items()
    }
    return {"protocol": table["protocol"], "scale": table["scale"], "methods": methods}


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
