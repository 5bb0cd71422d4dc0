"""The standard deviation that was written with an output: in it, or in a file beside it; and whether it is its own."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.adapter import Adapter
from sciSR.errors import SciSRError
from sciSR.image import Image
from sciSR.inference.statistics import plane_indices, read_rows
from sciSR.verify.claims import claims_of
from sciSR.verify.geometry import TOLERANCE, apart, landmarks
from sciSR.verify.result import Check, Pair, Status

MEDIAN = 0.1
"""Relative: the recorded median is that of a sample."""
_SAMPLE = 1 << 21
_ROWS = 64


def deviation_of(adapter: Adapter, output: Path, after: Image) -> Any:
    """The standard deviation of an output's image, on its pixels; None where there is none.

    Parameters
    ----------
    adapter : Adapter
        The output's.
    output : Path
    after : Image
    """
    if after.uncertainty is not None:
        return after.uncertainty
    ask = getattr(adapter, "uncertainty_of", None)
    if ask is not None:
        with contextlib.suppress(SciSRError):
            return ask(output, after)
    beside = std_beside(adapter, output)
    if beside is None:
        return None
    with contextlib.suppress(SciSRError):
        return next((image.data for image in adapter.read(beside) if _fits(image, after)), None)
    return None


def std_beside(adapter: Adapter, output: Path) -> Path | None:
    """``NAME_std.nii.gz`` beside ``NAME.nii.gz``, where there is one."""
    name = output.name
    for suffix in adapter.suffixes:
        if name.lower().endswith(suffix) and output.is_file():
            beside = output.with_name(f"{name[: -len(suffix)]}_std{name[-len(suffix) :]}")
            return beside if beside.is_file() else None
    return None


def _fits(image: Image, after: Image) -> bool:
    """Whether two images have the same pixels in the same place."""
    if image.shape != after.shape or type(image.grid) is not type(after.grid):
        return False
    off = apart(after.grid, image.grid, landmarks(after.shape), [1.0] * len(after.shape))
    return not bool((off > 100 * TOLERANCE).any())


def deviation_checks(pair: Pair, *, within: bool) -> list[Check]:
    """Whether the standard deviation that the record tells of is there, and is the one that it tells of.

    Parameters
    ----------
    pair : Pair
    within : bool
        Whether it stands in the output itself, or its file is there: then it was not only left elsewhere.
    """
    told = claims_of(pair.before, pair.after).step.get("uncertainty")
    if not isinstance(told, dict):
        return []
    name, part, unit = "recorded uncertainty", pair.before.part, pair.after.unit or ""
    if pair.after.uncertainty is None:
        status: Status = "failed" if within else "warning"
        what = "the record tells of a standard deviation; there is none on the output's pixels"
        return [Check("values", name, status, what, part=part)]
    recorded = told.get("median")
    if not isinstance(recorded, int | float) or not math.isfinite(recorded):
        return [Check("values", name, "skipped", "no median of it is recorded", part=part)]
    measured = _median(pair.after)
    message = f"median recorded as {recorded:.4g}, measured {measured:.4g}"
    good = abs(measured - recorded) <= MEDIAN * abs(recorded)
    if not good:
        message += ": it is not the one that was written with the output"
    return [Check("values", name, "passed" if good else "failed", message, measured, recorded, unit, part)]


def _median(image: Image) -> float:
    """Of a sample of the image's standard deviation."""
    step = max(1, math.isqrt(math.prod(image.shape) // _SAMPLE))
    first, _ = image.spatial_axes
    sample = [np.empty(0)]
    for index in plane_indices(image):
        for start in range(0, image.shape[first], _ROWS):
            values = read_rows(image, index, slice(start, start + _ROWS), "uncertainty")[::step, ::step]
            sample.append(values[np.isfinite(values)])
    values = np.concatenate(sample)
    return float(np.median(values)) if values.size else math.nan
