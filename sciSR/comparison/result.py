"""What a comparison finds: scores of each image by each measure, and which image is best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sciSR.metrics.windowing import finite_or_none

Better = Literal["high", "low", "zero", "none"]


@dataclass(frozen=True)
class Measure:
    """One column.

    Attributes
    ----------
    key, heading : str
    unit : str
        Empty where it has none.
    better : {"high", "low", "zero", "none"}
        What the best image has most of.
    decimals : int, optional
        Digits after the point that are shown; four significant ones by default.
    grain : float
        Values closer than this are equally good.
    about : str
        One line: what exactly was measured here.
    """

    key: str
    heading: str
    unit: str = ""
    better: Better = "low"
    decimals: int | None = None
    grain: float = 0.0
    about: str = ""

    def rank(self, value: float) -> float:
        """Less is better; infinite for what can't be ranked."""
        if math.isnan(value) or self.better == "none":
            return math.inf
        return {"high": -value, "low": value, "zero": abs(value)}[self.better]


@dataclass(frozen=True)
class Score:
    """One value.

    Attributes
    ----------
    value : float
        NaN where it could not be measured.
    spread : float, optional
        Standard deviation over the planes, of a measure that is averaged over them.
    """

    value: float
    spread: float | None = None

    def as_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = {"value": _number(self.value)}
        if self.spread is not None:
            told["spread"] = finite_or_none(self.spread)
        return told


def _number(value: float) -> float | str | None:
    """An infinite PSNR is an answer, and JSON has no word for it."""
    return "inf" if value == math.inf else finite_or_none(value)


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes
    ----------
    name : str
        As messages name it.
    scores : mapping of str to Score
    details : mapping
        JSON-ready: curves, bins of brightness, offsets along each axis.
    notes : tuple of str
        How it was brought to the truth's grid, what it does not tell.
    """

    name: str
    scores: Mapping[str, Score]
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartComparison:
    """One image of the truth's file, and those compared with it.

    Attributes
    ----------
    part, domain, truth : str
    settings : mapping
        JSON-ready: data range and how it was chosen, what counts, sizes of pixels and apertures.
    measures : tuple of Measure
    rows : tuple of Row
    notes : tuple of str
    """

    part: str
    domain: str
    truth: str
    settings: Mapping[str, Any]
    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def best(self, measure: Measure) -> list[str]:
        """Names of the best images by a measure; none where nothing can be ranked or there is but one image."""
        if len(self.rows) < 2 or measure.better == "none":
            return []
        ranks = {
            row.name: measure.rank(row.scores[measure.key].value) if measure.key in row.scores else math.inf
            for row in self.rows
        }
        least = min(ranks.values())
        if least == math.inf:
            return []
        return [name for name, rank in ranks.items() if rank == least or rank - least < measure.grain]

    def as_dict(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "truth": self.truth,
            "domain": self.domain,
            **self.settings,
            "measures": {
                each.key: {
                    "heading": each.heading,
                    "unit": each.unit,
                    "better": each.better,
                    "about": each.about,
                }
                for each in self.measures
            },
            "images": [
                {
                    "file": row.name,
                    "scores": {key: score.as_dict() for key, score in row.scores.items()},
                    **row.details,
                    "notes": list(row.notes),
                }
                for row in self.rows
            ],
            "best": {each.key: self.best(each) for each in self.measures},
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Comparison:
    """All parts of a truth.

    Attributes
    ----------
    parts : tuple of PartComparison
    """

    parts: tuple[PartComparison, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, with all curves."""
        return {"parts": [part.as_dict() for part in self.parts]}

    def __str__(self) -> str:
        from sciSR.comparison.render import render

        return render(self)

    def score(self, measure: str, image: int = 0, part: int = 0) -> float:
        """One value, e.g. ``comparison.score("psnr")`` of the first image.

        Raises
        ------
        KeyError
            No such measure.
        """
        return self.parts[part].rows[image].scores[measure].value


def mean_score(values: Sequence[float]) -> Score:
    """The mean over planes and their spread; of a single plane without a spread."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Score(math.nan)
    mean = sum(known) / len(known)  # infinite where one is
    if len(values) == 1 or math.isinf(mean):
        return Score(mean)
    return Score(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in known) / len(known)))
