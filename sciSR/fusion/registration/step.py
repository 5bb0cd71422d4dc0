"""One frame's correction against an estimate of the scene: robust weighted least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.prepared import PreparedFrame
from sciSR.fusion.registration.models import design, frame_centre, robust_sigma, tukey
from sciSR.fusion.registration.results import Registered
from sciSR.fusion.registration.scene import Sampled, Scene
from sciSR.fusion.transforms import MODELS, Affine, Transform, frame_positions

PIXELS = 40_000
"""Pixels of a frame that are used at most: those with the largest slope to noise ratio."""
BLOCK = 12
"""Pixels a side of the squares whose residuals are taken as one: about a star with its wings."""
BRIGHT = 9.0
"""Mean square slope over variance (per pixel squared) of a star that gets a brightness and shape of its own."""
FEWEST_OF_A_STAR = 9
"""Pixels that such a star must have left."""
FEWEST = 30
"""Below that many informative pixels a frame keeps its transform."""


@dataclass(frozen=True, eq=False)
class Step:
    """A frame's correction: parameters, covariance, and the model they belong to."""

    parameters: np.ndarray
    covariance: np.ndarray
    model: str


def step_of(
    scene: Scene,
    frame: PreparedFrame,
    known: Registered,
    model: str,
    share: float,
    background: int = 1,
) -> Step | None:
    """Gauss-Newton for one frame; None where it holds too little.

    `background` is the degree of the polynomial that the frame's background may differ by; `share` see
    :func:`_share`.
    """
    shape = frame.values.shape
    positions = frame_positions(known.transform, range(shape[0]), shape[1])
    index, inside = scene.nearest(positions)
    usable = inside & ~frame.bad & np.isfinite(frame.variance) & (frame.variance > 0)
    variance = np.where(usable, frame.variance, 1).astype(np.float64)
    information = np.where(usable, np.square(scene.slope.ravel()[index], dtype=np.float64) / variance, 0)
    chosen = _informative(information)
    if chosen.size < FEWEST:
        return None
    where = positions.reshape(-1, 2)[chosen]
    there = scene.sample(where)
    variance = variance.ravel()[chosen]
    if scene.variance is not None:
        variance = variance + scene.variance.ravel()[index.ravel()[chosen]]
    residual = frame.values.ravel()[chosen].astype(np.float64) - there.value
    row, column = np.unravel_index(chosen, shape)
    pixel = np.stack([row, column], axis=-1) - frame_centre(shape)
    jacobian = _jacobian(known.transform, where, there.slope, pixel, model)
    stars = _stars(scene.cells.ravel()[index.ravel()[chosen]], row, column, residual, variance, there)
    columns = np.column_stack([jacobian, _polynomial(pixel, shape, background)])
    return _solve(residual, variance, there, columns, stars, model, share)


@dataclass(frozen=True, eq=False)
class Groups:
    """Pixels that belong together.

    Attributes
    ----------
    free : ndarray of int, (n,)
        Which of the sets of gain, offset and shape a pixel shares: one for each bright star, 0 for all the rest.
    cluster : ndarray of int, (n,)
        Which residuals may be wrong together: those of a star, or of a square of `BLOCK` pixels.
    """

    free: np.ndarray
    cluster: np.ndarray


def _stars(
    cell: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
    there: Sampled,
) -> Groups:
    """Bright stars stand for themselves, with a brightness and a width of their own: they vary, saturate, and are
    what an estimate of the scene has wrong first."""
    count = int(cell.max(initial=0)) + 1
    number = np.bincount(cell, minlength=count)
    strength = np.bincount(cell, np.square(there.slope).sum(axis=-1) / variance, minlength=count)
    own = (number >= FEWEST_OF_A_STAR) & (strength > BRIGHT * number)
    own[0] = False
    name = np.where(own, np.cumsum(own), 0)
    square = (row // BLOCK) * (column.max(initial=0) // BLOCK + 1) + column // BLOCK
    free = name[cell]
    return Groups(free, np.where(free > 0, free, own.sum() + 1 + square))


def _polynomial(pixel: np.ndarray, shape: tuple[int, int], degree: int) -> np.ndarray:
    """Powers of the position, -1 to 1 over the frame, up to `degree` together."""
    r, c = (pixel / (np.asarray(shape) / 2)).T
    return np.stack([r**i * c**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=-1)


def _informative(information: np.ndarray) -> np.ndarray:
    """Flat indices of the pixels whose slope stands out of the estimate's noise, the best `PIXELS` of them."""
    flat = information.ravel()
    positive = flat[flat > 0]
    if positive.size == 0:
        return np.zeros(0, dtype=np.int64)
    # The slope's noise has no preferred direction: its square is exponential, with this median, where nothing is.
    floor = 4 * np.median(positive[:: max(1, positive.size // 20_000)])
    chosen = np.flatnonzero(flat > floor)
    if chosen.size > PIXELS:
        chosen = chosen[np.argpartition(-flat[chosen], PIXELS)[:PIXELS]]
    return chosen


def _jacobian(
    transform: Transform, where: np.ndarray, slope: np.ndarray, pixel: np.ndarray, model: str
) -> np.ndarray:
    """Derivatives (n, k) of the predictions by the model's parameters.

    A correction moves the frame's position of a scene point by ``design @ parameters``; the frame's pixel then sees
    the scene at a place that is moved the other way: by the inverse of the transform's local linear part.
    """
    if isinstance(transform, Affine):
        linear = transform.linear
        by_frame = slope @ np.linalg.inv(linear)
    else:
        few = max(1, len(where) // 200)
        steps = [np.array([0.5, 0]), np.array([0, 0.5])]
        local = np.stack(
            [(transform(where[::few] + s) - transform(where[::few] - s)) for s in steps], axis=-1
        )
        # Distortions change so little over a frame that one matrix serves the derivative (not the positions).
        by_frame = slope @ np.linalg.inv(local.mean(axis=0))
    return -np.einsum("ni,nik->nk", by_frame, design(pixel, model))


def _solve(
    residual: np.ndarray,
    variance: np.ndarray,
    there: Sampled,
    columns: np.ndarray,
    groups: Groups,
    model: str,
    share: float,
) -> Step | None:
    """Robust weighted least squares for the correction, and for what else may differ.

    Parameters
    ----------
    columns : ndarray, (n, p)
        Derivatives by the model's parameters, then by those of the background.
    groups : Groups
        Each with its own offset, gain, and second derivatives of the scene: what a wider, narrower or elongated
        star differs by. They are even where a shift is odd, so little is lost.
    """
    k = MODELS[model]
    # Far from a unit matrix otherwise: rotations multiply slopes by hundreds of pixels.
    unit = np.sqrt(np.mean(np.square(columns), axis=0)) + 1e-30
    columns = columns / unit
    even = np.column_stack([np.ones_like(residual), there.value, there.curvature])
    even = even / (np.sqrt(np.mean(np.square(even), axis=0)) + 1e-30)
    steep = np.square(there.slope).sum(axis=-1)
    left = _freed(residual[:, None], even, 1 / variance, groups.free)[:, 0]
    solution = np.zeros(columns.shape[1])
    for _ in range(6):
        total = variance + _looseness(left, variance, steep) ** 2 * steep
        ratio = left / np.sqrt(total)
        weights = tukey(ratio / max(robust_sigma(ratio), 0.1)) / total
        both = _freed(np.column_stack([columns, residual]), even, weights, groups.free)
        odd, rest = both[:, :-1], both[:, -1]
        new = np.linalg.lstsq(odd.T @ (weights[:, None] * odd), odd.T @ (weights * rest), rcond=1e-10)[0]
        left = rest - odd @ new
        done = np.abs(new - solution).max() < 1e-3 * np.abs(new).max()
        solution = new
        if done:
            break
    covariance = _sandwich(odd, weights, left, groups.cluster)[:k, :k] / np.outer(unit[:k], unit[:k])
    parameters = solution[:k] / unit[:k]
    if not (np.isfinite(parameters).all() and np.isfinite(covariance).all()):
        return None
    # The frame's own noise is in the estimate too, and hides that share of itself.
    return Step(parameters, covariance / (1 - share), model)


def _freed(values: np.ndarray, even: np.ndarray, weights: np.ndarray, group: np.ndarray) -> np.ndarray:
    """`values` (n, q) less their weighted least-squares fit by `even` (n, p) within each group."""
    p, count = even.shape[1], int(group.max(initial=0)) + 1

    def sums(product: np.ndarray) -> np.ndarray:
        return np.bincount(group, product, minlength=count)

    weighted = even * weights[:, None]
    normal = np.empty((count, p, p))
    for i in range(p):
        for j in range(i + 1):
            normal[:, i, j] = normal[:, j, i] = sums(weighted[:, i] * even[:, j])
    right = np.empty((count, p, values.shape[1]))
    for i in range(p):
        for j in range(values.shape[1]):
            right[:, i, j] = sums(weighted[:, i] * values[:, j])
    # A whisper of a ridge: on a few pixels the second derivatives can be combinations of the rest.
    size = np.einsum("gii->g", normal)
    normal += (1e-9 * size + 1e-300)[:, None, None] * np.eye(p)
    fit = np.linalg.solve(normal, right)
    out = values.astype(np.float64, copy=True)
    for i in range(p):
        out -= even[:, i, None] * fit[group, i]
    return out


def _sandwich(columns: np.ndarray, weights: np.ndarray, left: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Covariance from what the residuals really are, those of one star taken as one (cluster-robust).

    The pixels of a star that the estimate has wrong are wrong together (Liang & Zeger, Biometrika 73, 13, 1986).
    """
    inverse = np.linalg.pinv(columns.T @ (weights[:, None] * columns), hermitian=True)
    names, member = np.unique(block, return_inverse=True)
    score = columns * (weights * left)[:, None]
    summed = np.stack([np.bincount(member, s, minlength=len(names)) for s in score.T], axis=-1)
    factor = len(names) / max(len(names) - columns.shape[1], 1)
    return factor * inverse @ (summed.T @ summed) @ inverse


def _looseness(left: np.ndarray, variance: np.ndarray, steep: np.ndarray) -> float:
    """Pixels of disagreement beyond noise on steep slopes: errors of place and of the star's shape.

    Bright stars' cores then count as what they are, a few pixels with one error of place each.
    """
    shiny = steep > 25 * variance
    if shiny.sum() < 20:
        return 0.0
    squares, variance, steep = np.square(left[shiny]), variance[shiny], steep[shiny]
    if np.median(squares / variance) <= 0.455:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        # The median of the square of a standard normal variable is 0.455.
        if np.median(squares / (variance + middle**2 * steep)) > 0.455:
            low = middle
        else:
            high = middle
    return (low + high) / 2
