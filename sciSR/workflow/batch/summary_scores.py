"""Scores of a whole run: what the step ``evaluate`` measured, each branch beside the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciSR.workflow.pipelines.work import ItemResult

SHOWN = (
    "psnr",
    "ssim",
    "nrmse",
    "psnr_asinh",
    "aperture_bias",
    "aperture_scatter",
    "centroid_scatter",
    "mean_bias",
)
"""Measures of a table, those that there are; see docs/metrics.md. The JSON document has all."""

Found = dict[tuple[str, str], dict[str, dict[str, float]]]


def scores(results: Iterable[ItemResult]) -> list[dict[str, Any]]:
    """Mean and median of each measure over the items, for each branch.

    Branches are compared on the same items: those for which all branches of the step have the measure.

    Parameters
    ----------
    results : iterable of ItemResult

    Returns
    -------
    list of dict
        ``step``, ``branch``, and ``scores``: of each measure ``items``, ``mean`` and ``median``; in the order in which
        the pipeline has them. Empty where nothing was evaluated.
    """
    found = _by_branch(results)
    rows = []
    for (step, branch), measures in found.items():
        beside = [other for (same, _), other in found.items() if same == step]
        told: dict[str, Any] = {}
        for measure, values in measures.items():
            common = [key for key in values if all(key in other.get(measure, {}) for other in beside)]
            if common:
                numbers = [values[key] for key in common]
                told[measure] = {"items": len(common), "mean": fmean(numbers), "median": median(numbers)}
        rows.append({"step": step, "branch": branch, "scores": told})
    return rows


def _by_branch(results: Iterable[ItemResult]) -> Found:
    """Of each step and branch, of each measure, its value for each item: the mean over the item's parts."""
    found: Found = {}
    for result in results:
        for step in result.steps:
            parts = step.get("record", {}).get("parts", ()) if step.get("step") == "evaluate" else ()
            told = [part["scores"] for part in parts if isinstance(part.get("scores"), Mapping)]
            if not told:
                continue
            name = str(step["id"]).partition(".")[0]
            measures = found.setdefault((name, str(step.get("branch", ""))), {})
            for measure in dict.fromkeys(key for part in told for key in part):
                values = [float(part[measure]) for part in told if _is_number(part.get(measure))]
                if values:
                    measures.setdefault(measure, {})[result.key] = fmean(values)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def score_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and body of a table of the means, as texts; both empty where there is nothing."""
    shown = [name for name in SHOWN if any(name in row["scores"] for row in rows)]
    if not shown:
        return [], []
    several = len({row["step"] for row in rows}) > 1
    body = []
    for row in rows:
        label = row["branch"] or row["step"]
        label = f"{row['step']} {label}" if several and row["branch"] else label
        counts = {told["items"] for told in row["scores"].values()}
        cells = [f"{row['scores'][n]['mean']:.4g}" if n in row["scores"] else "" for n in shown]
        body.append([label, str(max(counts, default=0)), *cells])
    return ["branch", "items", *shown], body
