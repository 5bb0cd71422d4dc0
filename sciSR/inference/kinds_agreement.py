"""How well a finished result reproduces the input where blocks came in any order: block means, along any axes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.forward.pixel import overlap_matrix
from sciSR.image import Image, LazyArray
from sciSR.inference.agreement import Agreement
from sciSR.inference.consistency import block_means
from sciSR.inference.kinds_parts import BadView
from sciSR.inference.kinds_ranges import Turn
from sciSR.inference.statistics import plane_indices, read_rows
from sciSR.inference.tiles import split

_BAND_BYTES = 16 << 20

Part = Callable[[np.ndarray], np.ndarray]


def mean_agreement(image: Image, fine: LazyArray, factors: tuple[Fraction, ...]) -> Mapping[str, Any]:
    """How far the means over each original voxel are from its value.

    Parameters
    ----------
    image : Image
    fine : LazyArray
        The result, as written.
    factors : tuple of Fraction
        New voxels per old one, one for each axis of the data.
    """
    agreement = Agreement(_pair(image, factors))
    for measured, good, (mean,) in _means(image, fine, factors, (_same,)):
        good &= np.isfinite(mean)
        agreement.take(mean[good], measured[good])
    return agreement.report(enforced=False)


def phase_agreement(
    image: Image, fine: LazyArray, factors: tuple[Fraction, ...], turn: Turn
) -> Mapping[str, Any]:
    """How far the angle of the mean of ``exp(i phase)`` over each original voxel is from its phase, around the circle.

    Parameters as for :func:`mean_agreement`; in the phase's own unit.
    """
    agreement = Agreement(_pair(image, factors), "angle of the block mean of exp(i phase)")
    parts = (lambda values: np.cos(turn.angle(values)), lambda values: np.sin(turn.angle(values)))
    for measured, good, (cosine, sine) in _means(image, fine, factors, parts):
        mean = np.arctan2(sine, cosine) * (turn.period / (2 * np.pi)) + turn.middle
        good &= np.isfinite(mean)
        difference = turn.wrapped(mean[good] - measured[good])
        agreement.take(measured[good] + difference, measured[good])
    return agreement.report(enforced=False)


def _same(values: np.ndarray) -> np.ndarray:
    return values


def _pair(image: Image, factors: tuple[Fraction, ...]) -> tuple[Fraction, Fraction]:
    first, second = image.spatial_axes
    return factors[first], factors[second]


def _means(
    image: Image, fine: LazyArray, factors: tuple[Fraction, ...], parts: tuple[Part, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
    """Bands of the input: values (float64), which are good, and the means of each part of the fine values."""
    first, second = image.spatial_axes
    pair, bad = _pair(image, factors), BadView(image)
    row_bytes = 8 * int(image.shape[second] * pair[1]) * max(1, int(pair[0]))
    for index in plane_indices(image):
        for rows in split(image.shape[first], max(1, _BAND_BYTES // row_bytes)):
            span = rows.fine(pair[0])
            sums: list[Any] = [0.0] * len(parts)
            for weight, place in _fine_planes(index, factors):
                place = tuple(slice(span.start, span.stop) if a == first else e for a, e in enumerate(place))
                values = np.asarray(fine[place])
                for number, part in enumerate(parts):
                    with np.errstate(invalid="ignore"):  # bad voxels, which are left out
                        sums[number] = sums[number] + weight * part(values).astype(np.float64)
            where = tuple(slice(rows.start, rows.stop) if a == first else e for a, e in enumerate(index))
            measured = read_rows(image, index, slice(rows.start, rows.stop)).astype(np.float64)
            yield measured, ~bad[where], [block_means(each, pair, rows) for each in sums]


def _fine_planes(
    index: tuple[slice | int, ...], factors: tuple[Fraction, ...]
) -> Iterator[tuple[float, tuple[slice | int, ...]]]:
    """The fine planes that one coarse plane covers, and the share of it that each is."""
    choices: list[list[tuple[float, slice | int]]] = []
    for entry, factor in zip(index, factors, strict=True):
        if isinstance(entry, slice):
            choices.append([(1.0, entry)])
            continue
        weights, start = overlap_matrix(entry, entry + 1, factor)
        choices.append([(float(w), start + k) for k, w in enumerate(weights[0]) if w > 0])
    for each in itertools.product(*choices):
        yield float(np.prod([weight for weight, _ in each])), tuple(entry for _, entry in each)


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """The agreement of two parts together, from their reports: the worse of both, and the mean of the squares."""
    out = dict(one)
    for name in ("max_abs", "max_relative_to_range"):
        if name in one and name in other:
            out[name] = max(one[name], other[name])
    if "rms" in one and "rms" in other:
        out["rms"] = float(f"{((one['rms'] ** 2 + other['rms'] ** 2) / 2) ** 0.5:.3g}")
    return out
