"""Scores of several methods on several images, and what they amount to: means, standard errors, paired gains."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Rows = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Image -> method -> measure -> value."""


@dataclass(frozen=True)
class Column:
    """How a measure is shown."""

    heading: str
    digits: int


COLUMNS = {
    "psnr": Column("PSNR dB", 2),
    "ssim": Column("SSIM", 4),
    "nrmse": Column("NRMSE", 4),
    "psnr_linear": Column("linear PSNR dB", 2),
    "bias": Column("bias %", 2),
    "scatter": Column("scatter %", 2),
    "s_per_mpix": Column("s/Mpixel", 2),
}


@dataclass(frozen=True)
class MethodInfo:
    """What a table says of a method besides its scores.

    Attributes
    ----------
    kind : {"classical", "trained", "oracle", "reference"}
    architecture : str
        Of a network.
    parameters : int
        Trainable numbers; 0 for the others.
    """

    kind: str
    architecture: str = ""
    parameters: int = 0


@dataclass(frozen=True)
class Summary:
    """Values of several images.

    Attributes
    ----------
    mean, median, least : float
        NaN if there are none.
    se : float
        Standard error of the mean; NaN of fewer than two values.
    files : dict
        Value of each image.
    """

    mean: float
    se: float
    median: float
    least: float
    files: dict[str, float] = field(default_factory=dict)


def summary(values: Mapping[str, float], left_out: Iterable[str] = ()) -> Summary:
    """Mean and its standard error over the images that count.

    Parameters
    ----------
    values : mapping
        Image -> value; NaN does not count.
    left_out : iterable of str
        Images that are listed only.
    """
    skipped = set(left_out)
    counted = [value for name, value in values.items() if name not in skipped and not math.isnan(value)]
    if not counted:
        return Summary(math.nan, math.nan, math.nan, math.nan, dict(values))
    finite = all(map(math.isfinite, counted))
    se = statistics.stdev(counted) / math.sqrt(len(counted)) if finite and len(counted) > 1 else math.nan
    mean = math.fsum(counted) / len(counted) if finite else sum(counted)
    return Summary(mean, se, statistics.median(counted), min(counted), dict(values))


@dataclass(frozen=True)
class Table:
    """Scores by one forward model at one scale.

    Parameters
    ----------
    name : str
        Of the protocol, e.g. "mr-kspace".
    scale : int
    rows : mapping
        Image -> method -> measure -> value.
    methods : mapping of str to MethodInfo
        In the order they are shown.
    left_out : sequence of str
        Images that are shown, but not counted in means.
    """

    name: str
    scale: int
    rows: Rows
    methods: Mapping[str, MethodInfo]
    left_out: Sequence[str] = ()

    def of_kind(self, kind: str) -> list[str]:
        """Names of the classical methods, of the networks or of the oracles."""
        return [name for name, info in self.methods.items() if info.kind == kind]

    @property
    def measures(self) -> list[str]:
        """All measures that any row has, in the order they are shown."""
        found = {key for row in self.rows.values() for scores in row.values() for key in scores}
        return [key for key in COLUMNS if key in found]

    @property
    def counted(self) -> list[str]:
        """The images that count in means."""
        return [name for name in self.rows if name not in self.left_out]

    def mean(self, method: str, measure: str) -> Summary:
        """One measure of one method over all images that have it."""
        values = {
            name: row[method][measure] for name, row in self.rows.items() if measure in row.get(method, {})
        }
        return summary(values, self.left_out)

    def best(self, name: str, kind: str = "classical", measure: str = "psnr") -> str | None:
        """The best method of a kind on one image."""
        row = self.rows[name]
        able = [each for each in self.of_kind(kind) if measure in row.get(each, {})]
        return max(able, key=lambda each: row[each][measure]) if able else None

    def gain(self, method: str, over: str = "classical", measure: str = "psnr") -> Summary:
        """Paired: in each image the method minus the *best* of the others of a kind, and the mean of that.

        The standard error is that of the paired differences: what images differ by from each other cancels.
        """
        gains = {}
        for name, row in self.rows.items():
            best = self.best(name, over, measure)
            if best is not None and best != method and measure in row.get(method, {}):
                gains[name] = _difference(row[method][measure], row[best][measure])
        return summary(gains, self.left_out)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready but for NaN: protocol, methods with their means and gains, all rows."""
        methods = {}
        for name, info in self.methods.items():
            means = {key: asdict(self.mean(name, key)) for key in self.measures}
            for each in means.values():
                del each["files"]  # they stand in the rows
            gain = {} if info.kind == "classical" else {"gain_db": asdict(self.gain(name))}
            if info.kind == "trained" and self.of_kind("oracle"):
                gain["gain_over_oracle_db"] = asdict(self.gain(name, "oracle"))
            methods[name] = {**asdict(info), "mean": means, **gain}
        return {
            "protocol": self.name,
            "scale": self.scale,
            "not_in_mean": [name for name in self.left_out if name in self.rows],
            "methods": methods,
            "rows": {name: {m: dict(scores) for m, scores in row.items()} for name, row in self.rows.items()},
        }


def _difference(a: float, b: float) -> float:
    """a - b; 0 where both are infinite (both perfect)."""
    return 0.0 if math.isinf(a) and a == b else a - b
