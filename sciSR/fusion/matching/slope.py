"""Gain between two noisy, smoothed images that differ by a gain and a smooth background besides."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sciSR.fusion.matching.robust import mad_std, sample

_BIN = 3  # images are summed over 3 x 3 pixels and smoothed by (1, 2, 1) / 4 before they are compared
_KERNEL = np.repeat([1.0, 2.0, 1.0], _BIN) / (4 * _BIN)
_QUIET = float(np.sum(_KERNEL**2) ** 2)  # variance of smoothed white noise
_CORRELATED = 1 / (_QUIET * _BIN**2)  # how many points of the comparison share one noise value
_JACK = 4  # jackknife over this many tiles a side
_STEPS = 15


@dataclass(frozen=True, eq=False)
class Lattice:
    """Both images, smoothed over the same good pixels, at the points of a coarse lattice.

    Attributes
    ----------
    frame, predicted, variance : ndarray, (n,), float64
        The variance is that of the smoothed frame.
    place : ndarray, (n, 2)
        Row and column, from -0.5 to 0.5 from edge to edge.
    tile : ndarray of int, (n,)
        For the jackknife.
    """

    frame: np.ndarray
    predicted: np.ndarray
    variance: np.ndarray
    place: np.ndarray
    tile: np.ndarray


def binned(image: np.ndarray) -> np.ndarray:
    """Sums over squares of 3 x 3 pixels; the rest at the far edges is left out."""
    n, m = (k // _BIN * _BIN for k in image.shape)
    rows = sum(image[k:n:_BIN, :m] for k in range(_BIN))
    return sum(rows[:, k::_BIN] for k in range(_BIN))


def unbinned(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of such squares at the pixels of an image; the rest at the far edges like its neighbours."""
    fine = np.repeat(np.repeat(mask, _BIN, axis=0), _BIN, axis=1)
    rest = [(0, max(0, n - m)) for n, m in zip(shape, fine.shape, strict=True)]
    return np.pad(fine, rest, mode="edge")[: shape[0], : shape[1]]


def smooth_lattice(
    values: np.ndarray, predicted: np.ndarray, variance: np.ndarray, good: np.ndarray
) -> Lattice:
    """Smooth both images over the same good pixels; points with more than half of theirs bad are left out."""

    def smoothed(image: np.ndarray) -> np.ndarray:
        image = np.pad(binned(image), 1) * np.float32(1 / (16 * _BIN**2))
        image = image[:-2] + 2 * image[1:-1] + image[2:]
        return (image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]).astype(np.float64)

    inside = good.astype(np.float32)
    share = smoothed(inside)
    level = np.float32(np.median(sample(values[good])))  # keeps float32 sums exact under a large pedestal
    kept = share > 0.5
    share = share[kept]
    place = np.argwhere(kept) * _BIN + (_BIN + 1) / 2
    cell = np.argwhere(kept) * _JACK // np.array(kept.shape)
    return Lattice(
        smoothed(np.where(good, values - level, np.float32(0)))[kept] / share + level,
        smoothed(predicted * inside)[kept] / share,
        np.maximum(_QUIET * smoothed(variance * inside)[kept] / share**2, 1e-60),
        place / np.array(values.shape) - 0.5,
        cell[:, 0] * _JACK + cell[:, 1],
    )


def first_slope(lattice: Lattice, floor: float, guess: float) -> float:
    """Weighted median of the ratios of the two images where both are well above the noise."""
    if lattice.frame.size == 0:
        return guess
    rise = lattice.predicted - floor
    noise = np.sqrt(lattice.variance)
    faint = rise <= max(0.0, float(np.median(rise)))
    above = lattice.frame - np.median(lattice.frame[faint])
    bright = (above + guess * rise > 20 * noise) & (rise > 0)
    if np.count_nonzero(bright) < 8:
        return guess
    ratio, weight = above[bright] / rise[bright], rise[bright] / noise[bright]
    order = np.argsort(ratio)
    half = np.searchsorted(np.cumsum(weight[order]), 0.5 * weight.sum())
    found = float(ratio[order][half])
    return found if found > 0 else guess


def joint_slope(
    lattice: Lattice, smooth: int, floor: float, g: float, model_error: float
) -> tuple[float, float] | None:
    """Gain and a smooth background together, robustly, with noise in both images.

    Two sets of points answer for two sets of unknowns: bright ones for the gain, faint ones for the background. They
    are told apart by the sum of both images weighted such that its noise is not correlated with that of their
    difference, so that the choice favours neither sign of it. The prediction's noise adds to the second moment
    of the prediction and, times minus the gain, to its product with the difference: both are known from the scatter
    at faint points and taken out (Fuller, Measurement Error Models, 1987, section 1.2). Outliers lose their
    say by Tukey's biweight.

    Parameters
    ----------
    lattice : Lattice
    smooth : {0, 1, 3}
        Terms of the background: none, a level, a plane.
    floor : float
        Level of the prediction at faint points.
    g : float
        First guess.
    model_error : float
        Relative error granted to bright points.

    Returns
    -------
    (gain, error), or None where there is no signal
    """
    rise = lattice.predicted - floor
    terms = np.column_stack([np.ones(rise.size), lattice.place])[:, :smooth]
    x = np.column_stack([rise, terms])
    answer = np.zeros(1 + smooth)
    answer[0] = g
    if smooth and rise.size:
        answer[1] = np.median(lattice.frame - g * rise)
    noise = np.sqrt(lattice.variance)
    share, quiet = 0.0, np.abs(g * rise) < 3 * noise
    for step in range(_STEPS):
        left = lattice.frame - x @ answer
        g = answer[0]
        # The frame's own noise is known; what the faint points scatter beyond it is the prediction's. Not believed
        # before the background is fitted.
        total = mad_std(sample((left / noise)[quiet])) ** 2 if quiet.any() else 1.0
        share = max(total - 1.0, 0.0) if step > 2 else 0.0
        error = np.sqrt(lattice.variance * max(total, 1.0) + (model_error * g * rise) ** 2)
        sum_of_both = (g * rise + share * (left + g * rise)) / (1 + share)
        chosen, quiet = sum_of_both > 3 * error, np.abs(sum_of_both) <= 3 * error
        if np.count_nonzero(chosen) < 8 or (smooth and np.count_nonzero(quiet) < 8):
            return None
        u = left / error
        scale = [max(mad_std(sample(u[some]), 0.0), 0.3) if some.any() else 1.0 for some in (chosen, quiet)]
        u /= 6 * np.where(chosen, *scale)
        weight = np.square(np.maximum(1 - u * u, 0)) / error**2
        z = np.column_stack([chosen * rise, quiet[:, None] * terms]) * weight[:, None]
        known = np.where(chosen, weight * share * lattice.variance / g**2, 0.0)
        matrix, vector = z.T @ x, z.T @ left
        matrix[0, 0] -= known.sum()
        vector[0] += g * known.sum()
        try:
            change = np.linalg.solve(matrix, vector)
        except np.linalg.LinAlgError:
            return None
        answer = answer + change
        if not answer[0] > 0 or matrix[0, 0] <= 0:
            return None
        if step > 3 and abs(change[0]) < 1e-5 * answer[0]:
            break
    formal = scale[0] * np.sqrt(_CORRELATED * np.linalg.inv(matrix)[0, 0])
    spread = _jackknife(lattice.tile, z, x, left, known, g)
    return float(answer[0]), float(max(formal, spread))


def _jackknife(
    tile: np.ndarray, z: np.ndarray, x: np.ndarray, left: np.ndarray, known: np.ndarray, g: float
) -> float:
    """Error of the gain from leaving out each tile in turn; 0 where too few tiles see any light."""
    order = np.argsort(tile, kind="stable")
    bounds = np.searchsorted(tile[order], np.arange(_JACK**2 + 1))
    matrices, vectors = [], []
    for a, b in pairwise(bounds):
        part = order[a:b]
        matrix, vector = z[part].T @ x[part], z[part].T @ left[part]
        matrix[0, 0] -= known[part].sum()
        vector[0] += g * known[part].sum()
        matrices.append(matrix)
        vectors.append(vector)
    matrix, vector = sum(matrices), sum(vectors)
    used = [k for k, m in enumerate(matrices) if m[0, 0] > 0]
    if len(used) < 4:
        return 0.0
    try:
        without = np.array([np.linalg.solve(matrix - matrices[k], vector - vectors[k])[0] for k in used])
    except np.linalg.LinAlgError:
        return float("inf")
    return float(np.sqrt((len(used) - 1) / len(used) * np.sum((without - without.mean()) ** 2)))
