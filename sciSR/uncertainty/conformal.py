"""Split conformal calibration: how wide an interval must be to hold what it promises, from errors on files kept apart.

Scores are nested widths: the least factor on a predicted standard deviation at which an interval covers the error. A
quantile of the scores of one set covers the same share of another that is exchangeable with it (Vovk, Gammerman and
Shafer, Algorithmic Learning in a Random World, 2005; Lei et al., JASA 113, 1094, 2018). Pixels of one file are not
exchangeable with those of another: files count equally, and what holds on files never used is measured
(``benchmarks/calibration.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

ONE_SIGMA = 0.6826894921370859
"""Share of a normal distribution within one standard deviation."""
TWO_SIGMA = 0.9544997361036416
"""Share within two."""


def quantile(scores: ArrayLike, coverage: float) -> float:
    """The score that covers a further, exchangeable one with this probability, at least.

    Parameters
    ----------
    scores : array_like
        Any shape.
    coverage : float
        Above 0 and below 1.

    Returns
    -------
    float
        The ``ceil((n + 1) coverage)``-th smallest; infinite where there are too few scores for the promise.

    Notes
    -----
    Without ties the further score lies below with a probability of at least `coverage` and at most
    ``coverage + 1/(n + 1)``.
    """
    _check(coverage)
    flat = np.asarray(scores, np.float64).ravel()
    rank = math.ceil((flat.size + 1) * coverage - 1e-12)
    if rank > flat.size:
        return math.inf
    return float(np.partition(flat, rank - 1)[rank - 1])


def grouped_quantile(groups: Sequence[ArrayLike], coverage: float) -> float:
    """The same with equal weight of each group (file), however many scores it has.

    Parameters
    ----------
    groups : sequence of array_like
        Scores of each; empty ones are left out.
    coverage : float

    Returns
    -------
    float
        The least score up to which the mean over the groups of the share that is covered is ``coverage (n + 1) / n``
        with n scores in all; `quantile` for a single group. Infinite where there are too few.
    """
    _check(coverage)
    flats = [flat for group in groups if (flat := np.asarray(group, np.float64).ravel()).size]
    if not flats:
        return math.inf
    count = sum(flat.size for flat in flats)
    wanted = coverage * (count + 1) / count
    if wanted > 1 + 1e-12:
        return math.inf
    values = np.concatenate(flats)
    weights = np.concatenate([np.full(flat.size, 1 / (flat.size * len(flats))) for flat in flats])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, wanted - 1e-9 / count))
    return float(values[order[min(place, count - 1)]])


def scores(
    error: ArrayLike, predicted: ArrayLike, truth_noise: ArrayLike = 0.0, sigmas: float = 1.0
) -> NDArray[np.float64]:
    """Least factor on a predicted standard deviation with which ``sigmas`` standard deviations cover an error.

    Parameters
    ----------
    error, predicted : array_like
        Alike in shape or broadcast; predicted > 0.
    truth_noise : array_like
        Standard deviation of noise that the truth itself has and the prediction is not about; in quadrature.
    sigmas : float
        Of the interval: 1 for 68 %, 2 for 95 %.

    Returns
    -------
    ndarray
        ``sqrt(max(e^2 - (k t)^2, 0)) / (k p)`` for k sigmas: the interval ``k sqrt((f p)^2 + t^2)`` covers the error
        if and only if f is no less.
    """
    wide = np.asarray(error, np.float64) ** 2 - (sigmas * np.asarray(truth_noise, np.float64)) ** 2
    return np.sqrt(np.maximum(wide, 0)) / (sigmas * np.asarray(predicted, np.float64))


def covered(
    error: ArrayLike,
    predicted: ArrayLike,
    truth_noise: ArrayLike = 0.0,
    sigmas: float = 1.0,
    widen: float = 1.0,
) -> NDArray[np.bool_]:
    """Whether ``sigmas sqrt((widen p)^2 + t^2)`` covers the error, for each pixel.

    Parameters
    ----------
    error, predicted, truth_noise, sigmas
        As for `scores`.
    widen : float
        Factor on `predicted`: of a 95 % interval that is ``interval_95`` wide, ``interval_95 / 2`` with two sigmas.
    """
    wide = (widen * np.asarray(predicted, np.float64)) ** 2 + np.asarray(truth_noise, np.float64) ** 2
    return np.asarray(error, np.float64) ** 2 <= sigmas**2 * wide


def ranks(values: ArrayLike, bins: int) -> NDArray[np.int64]:
    """Bins of equal content by quantiles: 0 for the least values; ties go to one bin."""
    flat = np.asarray(values, np.float64)
    edges = np.quantile(flat, np.arange(1, bins) / bins)
    return np.searchsorted(edges, flat, side="left")


def share_by_bin(inside: ArrayLike, bins: ArrayLike, count: int) -> NDArray[np.float64]:
    """Share of True in each bin; NaN in an empty one.

    Parameters
    ----------
    inside : array_like of bool
    bins : array_like of int
        As `inside`, 0 to ``count - 1``.
    """
    which = np.asarray(bins).ravel()
    total = np.bincount(which, minlength=count).astype(np.float64)
    hits = np.bincount(which, weights=np.asarray(inside, np.float64).ravel(), minlength=count)
    return np.divide(hits, total, out=np.full(count, np.nan), where=total > 0)


def _check(coverage: float) -> None:
    if not 0 < coverage < 1:
        raise ValueError(f"a coverage of {coverage:g}: it must lie between 0 and 1")
