"""Rows of scores, and what they amount to: means with their standard errors, paired gains."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = Mapping[str, Mapping[str, Mapping[str, float]]]
"""File -> method -> measure -> value."""

HEADINGS = {
    "psnr": "PSNR dB",
    "ssim": "SSIM",
    "nrmse": "NRMSE",
    "psnr_linear": "linear PSNR dB",
    "bias": "bias %",
    "scatter": "scatter %",
    "s_per_mpix": "s/Mpixel",
}
DIGITS = {"psnr": 2, "ssim": 4, "nrmse": 4, "psnr_linear": 2, "bias": 2, "scatter": 2, "s_per_mpix": 2}


@dataclass(frozen=True)
class Summary:
    """Values of several files.

    Attributes
    ----------
    mean, median, least : float
    error : float
        Standard error of the mean; NaN of fewer than two values.
    files : dict
        Value of each file.
    """

    mean: float
    error: float
    median: float
    least: float
    files: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "mean": self.mean,
            "se": self.error,
            "median": self.median,
            "least": self.least,
            "files": self.files,
        }


def summary(values: Mapping[str, float], left_out: Sequence[str] = ()) -> Summary:
    """Mean and its standard error over the files that count; those `left_out` are listed only."""
    counted = [value for name, value in values.items() if name not in left_out and not math.isnan(value)]
    if not counted:
        return Summary(math.nan, math.nan, math.nan, math.nan, dict(values))
    finite = all(map(math.isfinite, counted))
    error = statistics.stdev(counted) / math.sqrt(len(counted)) if finite and len(counted) > 1 else math.nan
    return Summary(
        math.fsum(counted) / len(counted), error, statistics.median(counted), min(counted), dict(values)
    )


@dataclass(frozen=True)
class Table:
    """Scores of several methods on several files.

    Parameters
    ----------
    name : str
        Of the protocol.
    rows : mapping
        File -> method -> measure -> value.
    classical : sequence of str
        The methods that gains are over: the best of them in each file.
    left_out : sequence of str
        Files that are shown but not counted in means.
    """

    name: str
    rows: Rows
    classical: Sequence[str]
    left_out: Sequence[str] = ()

    @property
    def methods(self) -> list[str]:
        """All methods, in order of appearance."""
        return list(dict.fromkeys(method for row in self.rows.values() for method in row))

    def mean(self, method: str, measure: str) -> Summary:
        """One measure of one method over all files that have it."""
        values = {
            name: row[method][measure] for name, row in self.rows.items() if measure in row.get(method, {})
        }
        return summary(values, self.left_out)

    def gain(self, method: str, rivals: Sequence[str] | None = None, measure: str = "psnr") -> Summary:
        """Paired: in each file the method minus the best of its rivals (the classical methods)."""
        rivals = self.classical if rivals is None else rivals
        gains = {}
        for name, row in self.rows.items():
            best = [row[rival][measure] for rival in rivals if rival in row]
            if method in row and best:
                gains[name] = row[method][measure] - max(best)
        return summary(gains, self.left_out)
