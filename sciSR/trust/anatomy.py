"""Blobs and edges of an image without a sky (MR, photographs), and whether the input shows them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sciSR.trust.templates import Array, Forward, Noise, fit, level_and_slope

SCALES = (0.6, 1.2)
"""Widths (standard deviations, coarse pixels) of the blobs that are looked for."""
RATIO = 1.6
"""Of the two Gaussians whose difference finds them."""
DETECTION = 3.0
"""Sigmas of what the input's noise alone makes of that difference, or of the slope of edges."""
LEAST = 0.005
"""Part of the output's range that a blob's contrast must have; an edge's step four times that."""
ROUND = 6.0
"""Largest ratio of the curvatures along both axes at which an extremum is a blob and no ridge or edge."""
MOST = 4000


@dataclass(frozen=True)
class Spot:
    """A blob or a piece of an edge.

    Attributes
    ----------
    kind : {"source", "edge"}
    y, x : int
        Fine pixels.
    radius : float
        Fine pixels.
    sign : int
        -1 for a dark blob.
    """

    kind: str
    y: int
    x: int
    radius: float
    sign: int = 1


def detect(output: Array, noise: Noise, factor: float, threshold: float = DETECTION) -> list[Spot]:
    """Blobs (extrema of a difference of Gaussians) and edges (places of greatest slope), strongest first.

    Parameters
    ----------
    output : ndarray, float64 ``[H, W]``
        NaN where bad.
    noise : Noise
        Of the input.
    factor : float
        Fine pixels for each coarse one.
    threshold : float
        Sigmas of what the input's noise makes of a blob; of edges twice that.
    """
    bad = ~np.isfinite(output)
    if bad.all() or np.ptp(output[~bad]) == 0:
        return []
    low, high = np.quantile(output[~bad], [0.01, 0.995])
    values = np.where(bad, low, output)
    extent = float(high - low)
    found = _blobs(values, noise, factor, extent, threshold)
    found += _edges(values, noise, factor, extent, threshold)
    near_bad = _dilated(bad, math.ceil(3 * factor)) if bad.any() else bad
    kept = [(strength, spot) for strength, spot in found if not near_bad[spot.y, spot.x]]
    kept.sort(key=lambda each: -each[0])
    return [spot for _, spot in kept[:MOST]]


def _dilated(bad: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    from scipy.ndimage import maximum_filter

    return maximum_filter(bad, 2 * distance + 1)


def _blobs(
    values: Array, noise: Noise, factor: float, extent: float, threshold: float
) -> list[tuple[float, Spot]]:
    from scipy.ndimage import gaussian_filter, maximum_filter

    found: list[tuple[float, Spot]] = []
    taken = np.zeros(values.shape, bool)
    for scale in SCALES:
        width = scale * factor
        response = gaussian_filter(values, width) - gaussian_filter(values, RATIO * width)
        size = np.abs(response)
        limit = max(
            threshold * noise.typical * _spread("blob", width, factor, noise.correlation), LEAST * extent
        )
        y, x = np.nonzero((size == maximum_filter(size, 2 * math.ceil(width) + 1)) & (size > limit))
        for row, column in zip(y.tolist(), x.tolist(), strict=True):
            if taken[row, column] or not _is_round(response, row, column):
                continue
            reach = math.ceil(width)
            taken[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = True
            spot = Spot("source", row, column, 1.5 * width, 1 if response[row, column] > 0 else -1)
            found.append((float(size[row, column]), spot))
    return found


def _is_round(response: Array, y: int, x: int) -> bool:
    """Whether both curvatures have one sign and are alike (Lowe 2004, doi:10.1023/B:VISI.0000029664.99615.94)."""
    if not (0 < y < response.shape[0] - 1 and 0 < x < response.shape[1] - 1):
        return False
    near = response[y - 1 : y + 2, x - 1 : x + 2]
    yy, xx = near[0, 1] + near[2, 1] - 2 * near[1, 1], near[1, 0] + near[1, 2] - 2 * near[1, 1]
    yx = (near[2, 2] + near[0, 0] - near[0, 2] - near[2, 0]) / 4
    determinant = yy * xx - yx**2
    return bool(determinant > 0 and (yy + xx) ** 2 / determinant < (ROUND + 1) ** 2 / ROUND)


def _edges(
    values: Array, noise: Noise, factor: float, extent: float, threshold: float
) -> list[tuple[float, Spot]]:
    from scipy.ndimage import gaussian_filter, maximum_filter

    width = 0.35 * factor
    slope = np.hypot(*np.gradient(gaussian_filter(values, width)))
    limit = max(
        2 * threshold * noise.typical * _spread("edge", width, factor, noise.correlation),
        4 * LEAST * extent / factor,
    )
    y, x = np.nonzero((slope == maximum_filter(slope, 2 * math.ceil(factor) + 1)) & (slope > limit))
    radius = 1.5 * factor
    return [
        (float(slope[row, column]) * factor, Spot("edge", row, column, radius))
        for row, column in zip(y.tolist(), x.tolist(), strict=True)
    ]


@functools.lru_cache(maxsize=64)
def _spread(kind: str, width: float, factor: float, correlation: tuple[float, float]) -> float:
    """Standard deviation of a detector's response to an upscaled image of nothing but noise of unit variance."""
    from scipy.ndimage import gaussian_filter, zoom

    coarse = np.random.default_rng(5).standard_normal((96, 96))
    blur = [math.sqrt(max(0.0, -0.25 / math.log(max(r, 1e-9)))) if r > 0.02 else 0.0 for r in correlation]
    coarse = gaussian_filter(coarse, blur, mode="wrap")
    fine = zoom(coarse / coarse.std(), factor, order=3, mode="reflect", grid_mode=True)
    if kind == "blob":
        return float((gaussian_filter(fine, width) - gaussian_filter(fine, RATIO * width)).std())
    return float(np.sqrt(np.mean(np.square(np.gradient(gaussian_filter(fine, width))).sum(0))))


class Judge:
    """Holds blobs and edges of an output against the input.

    Parameters
    ----------
    output : ndarray, float64 ``[H, W]``
        NaN where bad.
    residual : ndarray, float64 ``[h, w]``
        The input minus the forward model's image of the output; NaN where bad.
    noise : Noise
    forward : Forward
    """

    def __init__(self, output: Array, residual: Array, noise: Noise, forward: Forward) -> None:
        self.output, self.residual, self.noise, self.forward = output, residual, noise, forward

    def support(self, spot: Spot) -> tuple[float, float]:
        """Sigmas with which the input shows a spot (negative: the opposite), and its contrast.

        The feature is the output minus the smoothest surface through what surrounds it, from one coarse pixel beyond
        its own radius: a bright spot with a dark ring that cancels it in the input is one feature, which the input
        does not show.
        """
        reach = spot.radius + float(max(self.forward.factors))
        half = math.ceil(reach) + 1
        box = tuple(
            slice(max(0, at - half), min(n, at + half + 1))
            for at, n in zip((spot.y, spot.x), self.output.shape, strict=True)
        )
        patch = self.forward.patch((box[0], box[1]))
        fine = self.output[patch.fine]
        fine = np.where(np.isfinite(fine), fine, np.nanmedian(fine))
        y, x = np.mgrid[patch.fine[0], patch.fine[1]]
        distance = np.hypot(y - spot.y, x - spot.x)
        if (distance <= reach).all():
            return 0.0, 0.0
        feature = fine - smoothed_over(fine, distance <= reach)
        template = patch.apply(feature)
        # What the input shows beyond the surroundings: the feature as the output has it, and what that leaves over.
        values = self.residual[patch.coarse] + template
        level, *slopes = level_and_slope(patch.shape)
        others = [level, *slopes] if spot.kind == "source" else [level]
        found = fit(values, self.noise.on(patch), [template, *others], self.noise.correlation)
        core = feature[distance <= max(1.0, 0.5 * spot.radius)]
        contrast = float(core.mean()) if spot.kind == "source" else float(np.ptp(feature))
        return found.support, contrast


def smoothed_over(values: Array, inside: NDArray[np.bool_]) -> Array:
    """The surface that equals `values` outside and solves Laplace's equation inside."""
    count = int(inside.sum())
    number = np.full(values.shape, -1)
    number[inside] = np.arange(count)
    matrix, right = np.zeros((count, count)), np.zeros(count)
    y, x = np.nonzero(inside)
    place = np.arange(count)
    for down, across in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        rows, columns = y + down, x + across
        within = (rows >= 0) & (rows < values.shape[0]) & (columns >= 0) & (columns < values.shape[1])
        matrix[place, place] += within
        near = number[rows[within], columns[within]]
        known = near < 0
        matrix[place[within][~known], near[~known]] -= 1
        right[place[within][known]] += values[rows[within][known], columns[within][known]]
    out = values.copy()
    out[inside] = np.linalg.solve(matrix, right)
    return out
