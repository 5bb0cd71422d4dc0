"""Completeness and purity: how many of the truth's sources an image has, and how many of its own the truth has."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.metrics.sources import Sources, match_points
from sciSR.metrics.windowing import finite_or_none


@dataclass(frozen=True)
class Bin:
    """Sources of some brightness.

    Attributes
    ----------
    faintest, brightest : float
        Flux, in the image's unit: the truth's for completeness, the image's own for purity.
    n_truth, n_found : int
        Sources of the truth, and of the image, of that flux.
    completeness, purity : float
        NaN where there are none.
    """

    faintest: float
    brightest: float
    n_truth: int
    n_found: int
    completeness: float
    purity: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, with magnitudes of zero point 0; NaN is None."""
        ends = [-2.5 * math.log10(f) if f > 0 else math.nan for f in (self.brightest, self.faintest)]
        return {
            "flux": [finite_or_none(self.faintest), finite_or_none(self.brightest)],
            "magnitude": [finite_or_none(m) for m in ends],
            "n_truth": self.n_truth,
            "n_found": self.n_found,
            "completeness": finite_or_none(self.completeness),
            "purity": finite_or_none(self.purity),
        }


@dataclass(frozen=True)
class Census:
    """How many of the truth's sources an image has, and how many of its own the truth has.

    Attributes
    ----------
    completeness : float
        Part of the truth's sources that the image shows; NaN without any.
    purity : float
        Part of the image's sources that the truth knows; NaN without any.
    n_truth, n_found, lost, invented : int
    radius : float
        Within which two are one, pixels.
    bins : tuple of Bin
        By flux, faintest first.
    """

    completeness: float
    purity: float
    n_truth: int
    n_found: int
    lost: int
    invented: int
    radius: float
    bins: tuple[Bin, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN is None."""
        plain = {key: value for key, value in vars(self).items() if key != "bins"}
        plain |= {key: finite_or_none(plain[key]) for key in ("completeness", "purity")}
        return plain | {"bins": [each.as_dict() for each in self.bins]}


def census(
    truth: Sources,
    found: Sources,
    radius: float,
    *,
    all_truth: NDArray | None = None,
    all_found: NDArray | None = None,
    bins: int | Sequence[float] = 4,
) -> Census:
    """Completeness and purity of a catalogue against a true one.

    Parameters
    ----------
    truth, found : Sources
        Of a catalogue of known stars: :meth:`sciSR.metrics.sources.Sources.of_catalogue`.
    radius : float
        Pixels.
    all_truth, all_found : ndarray, (M, 2), optional
        Points down to a lower threshold, among which counterparts are looked for; `truth`'s and `found`'s own by
        default. With one threshold for both, a source at the threshold is half lost and half invented by noise alone.
    bins : int or sequence of float
        Number of bins of equal counts of the truth's sources, or edges in flux.

    Returns
    -------
    Census
    """
    seen = _has_partner(truth.points, found.points, all_found, radius)
    real = _has_partner(found.points, truth.points, all_truth, radius)
    return Census(
        _share(seen),
        _share(real),
        len(seen),
        len(real),
        int((~seen).sum()),
        int((~real).sum()),
        float(radius),
        tuple(_binned(truth.flux, seen, found.flux, real, bins)),
    )


def _has_partner(
    points: NDArray, others: NDArray, fainter: NDArray | None, radius: float
) -> NDArray[np.bool_]:
    """Which points have a counterpart of their own; those that find none look among the fainter ones."""
    has = np.zeros(len(points), bool)
    has[match_points(points, others, radius)[:, 0]] = True
    if fainter is not None:
        left = np.flatnonzero(~has)
        has[left[match_points(points[left], fainter, radius)[:, 0]]] = True
    return has


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else math.nan


def _binned(
    true: NDArray, seen: NDArray, flux: NDArray, real: NDArray, bins: int | Sequence[float]
) -> list[Bin]:
    if isinstance(bins, int):
        if len(true) < 2 * bins:
            return []
        edges = np.quantile(true, np.linspace(0, 1, bins + 1))
    else:
        edges = np.asarray(bins, np.float64)
    out = []
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        last = number == len(edges) - 2
        chosen = [(f >= low) & ((f <= high) if last else (f < high)) for f in (true, flux)]
        counts = [int(each.sum()) for each in chosen]
        out.append(Bin(float(low), float(high), *counts, _share(seen[chosen[0]]), _share(real[chosen[1]])))
    return out
