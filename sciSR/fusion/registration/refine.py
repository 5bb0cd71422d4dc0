"""All frames against the current estimate of the scene: Gauss-Newton on what each frame still differs by.

A frame moved by ``d`` differs from its prediction by the prediction's slope times ``d``. The estimate of the scene is
made of all frames, so it is sharper and quieter than any reference frame, and lies between them: what a round leaves
of an error is the frame's own share in the estimate, and the next round removes that.

Noise does no harm to first order: a pixel's own noise enters the estimate as a peak on that pixel, whose slope there
is zero. What would do harm is left out: hot pixels and cosmic rays by Tukey's weights, pixels whose slope is mostly
the estimate's noise by a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrame, PreparedFrames, Target
from sciSR.fusion.registration.models import (
    ORDER,
    corrected,
    correction,
    design,
    frame_centre,
    position_covariance,
    robust_sigma,
    tukey,
)
from sciSR.fusion.registration.results import Registered
from sciSR.fusion.registration.scene import Sampled, Scene
from sciSR.fusion.transforms import MODELS, Affine, Chain, Transform, frame_positions

PIXELS = 60_000
"""Pixels of a frame that are used at most: those with the largest slope to noise ratio."""
BLOCK = 12
"""Pixels a side of the squares whose residuals are taken as one: about a star with its wings."""
BRIGHT = 9.0
"""Mean square slope over variance (per pixel squared) of a star that gets a brightness and shape of its own."""
FEWEST_OF_A_STAR = 9
"""Pixels that such a star must have left."""
FEWEST = 30
"""Below that many informative pixels a frame keeps its transform."""
WORSE = 1.2
"""A refinement that claims a larger error than this many times the present one is not taken."""
LARGEST = 1.0
"""A correction of more pixels than this, anywhere in the frame, is no refinement: the frame keeps its transform."""


def refine(
    frames: PreparedFrames,
    image: np.ndarray,
    target: Target,
    current: Sequence[Registered],
    *,
    std: np.ndarray | None = None,
) -> list[Registered]:
    """One round: correct every frame's transform against a fused image.

    The reference (``how == "reference"``) stays the identity: what its own pixels say about the image's place is
    taken out of all the others.

    Parameters
    ----------
    frames : PreparedFrames
        Matched; gone through once. Their own `transform` is not looked at.
    image : ndarray, ``target.shape``
        The estimate, in the level of a native pixel; NaN where nothing is known.
    target : Target
    current : sequence of Registered
        One per frame of `frames`, in the same order.
    std : ndarray, optional
        One standard deviation of `image`: an uncertain estimate counts less.

    Returns
    -------
    list of Registered
        With new transforms and covariances. A frame with too little structure, or whose correction makes no
        sense, keeps what it has and says so in `note`.

    Raises
    ------
    UsageError
        The numbers of frames differ, or the image does not fit the target.
    """
    if len(frames) != len(current):
        raise UsageError(f"{len(frames)} frames, but {len(current)} registrations")
    if tuple(image.shape) != target.shape:
        raise UsageError(f"the fused image has shape {tuple(image.shape)}, the target {target.shape}")
    scene = Scene(image, target, std)
    share = _share(target, len(frames))
    gauge = next((k for k, known in enumerate(current) if known.how == "reference"), None)
    fixed = _reference_model(current)
    steps: list[Step | None] = []
    for k, (frame, known) in enumerate(zip(frames, current, strict=True)):
        model = fixed if k == gauge else known.correction
        steps.append(step_of(scene, frame, known, model, share))
    base = steps[gauge] if gauge is not None else None
    return [
        known if k == gauge else _moved(known, step, base, gauge, current)
        for k, (known, step) in enumerate(zip(current, steps, strict=True))
    ]


def _share(target: Target, frames: int) -> float:
    """A frame's part in the estimate, between that of a mean and that of as many unknowns as data."""
    unknowns = float(target.factors[0] * target.factors[1])
    return float(np.clip(0.5 * (1 + unknowns) / max(frames, 1), 0, 0.9))


def _reference_model(current: Sequence[Registered]) -> str:
    """The simplest of the frames' models: frames that share the reference's rotation share it to the end."""
    used = [ORDER.index(f.correction) for f in current if f.how != "reference"]
    return ORDER[min(used, default=0)]


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


def _moved(
    known: Registered,
    step: Step | None,
    base: Step | None,
    gauge: int | None,
    current: Sequence[Registered],
) -> Registered:
    """The frame's transform with its correction, less the reference's."""
    if step is None:
        return known.replace(note=known.note or "too little structure to refine its place")
    centre = frame_centre(known.shape)
    transform = corrected(known.transform, correction(step.parameters, step.model, centre))
    covariance = step.covariance
    if base is not None and gauge is not None:
        shape = current[gauge].shape
        back = correction(base.parameters, base.model, frame_centre(shape)).inverted()
        transform = _preceded(back, transform)
        covariance = covariance + _carried(base, known, shape)
    nodes = _corners(known.shape)
    moved = np.abs(transform(known.transform.inverse(nodes)) - nodes).max()
    if not np.isfinite(moved) or moved > LARGEST:
        return known.replace(note=known.note or "the refinement did not converge; place from the first guess")
    better = known.replace(transform=transform, covariance=covariance)
    # A poor estimate of the scene tells less than the stars did.
    return known if _error(better, nodes) > WORSE * _error(known, nodes) else better


def _error(place: Registered, nodes: np.ndarray) -> float:
    """Rms of the position's standard deviation over the frame."""
    variance = position_covariance(place.covariance, place.correction, nodes - frame_centre(place.shape))
    return float(np.sqrt(np.einsum("nii->n", variance).mean()))


def _corners(shape: tuple[int, int]) -> np.ndarray:
    r, c = shape[0] - 1.0, shape[1] - 1.0
    return np.array([[0, 0], [0, c], [r, 0], [r, c], [r / 2, c / 2]])


def _preceded(first: Affine, transform: Transform) -> Transform:
    """`first`, then `transform`, as one affine map wherever it is one."""
    if isinstance(transform, Affine):
        return first.then(transform)
    if isinstance(transform, Chain):
        if isinstance(transform.steps[0], Affine):
            return Chain((first.then(transform.steps[0]), *transform.steps[1:]))
        return Chain((first, *transform.steps))
    return Chain((first, transform))


def _carried(base: Step, known: Registered, shape: tuple[int, int]) -> np.ndarray:
    """The reference's covariance in the terms of the frame's model: what it does to the frame's positions.

    Least squares over a lattice of points of the frame: a shift of the reference, seen from a turned frame, is
    another shift; a rotation about another centre is a rotation and a shift.
    """
    linear = known.matrix.linear
    rows, columns = (np.linspace(0, n - 1, 5) for n in known.shape)
    nodes = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    here: Any = design(nodes - frame_centre(known.shape), known.correction)
    there: Any = linear @ design(known.transform.inverse(nodes) - frame_centre(shape), base.model)
    here, there = here.reshape(-1, here.shape[-1]), there.reshape(-1, there.shape[-1])
    change = np.linalg.lstsq(here, there, rcond=None)[0]
    return change @ base.covariance @ change.T
