"""Gauss-Newton steps of rigid motion, gain and offset, on the forward operator itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sciSR.stacks.operator import StackOperator

HUBER = 2.0
"""Residuals, in units of their own spread, beyond which they count in proportion and no more in square."""

STEEP = 0.3
"""Of the root mean square slope: voxels with more are those that tell of motion."""
LITTLE = 0.3
"""Of the usual contrast of a stack's slices: one with less keeps its stack's motion."""


@dataclass(frozen=True, eq=False)
class Slopes:
    """One stack's residuals and what they depend on.

    Attributes
    ----------
    residual : ndarray, ``[n]``
        Measured minus predicted, in the stack's own intensities.
    predicted : ndarray, ``[n]``
        Without gain and offset.
    jacobian : ndarray, ``[n, 6]``
        Of the prediction with its gain: per degree about, and per millimetre along, the world's axes.
    weights : ndarray, ``[n]``
        0 where nothing is to be learnt.
    usable : ndarray of bool, ``[n]``
        Where the volume could be relied on.
    slice_of : ndarray, ``[n]``
    positions : ndarray, ``[n, 3]``
        World, millimetres.
    centre : ndarray, ``[3]``
        About which the rotations go.
    gain : float
    """

    residual: np.ndarray
    predicted: np.ndarray
    jacobian: np.ndarray
    weights: np.ndarray
    usable: np.ndarray
    slice_of: np.ndarray
    positions: np.ndarray
    centre: np.ndarray
    gain: float


def slopes(
    operator: StackOperator,
    spectrum: Tensor,
    known: Tensor,
    gain: tuple[float, float],
    centre: np.ndarray,
    slice_weights: np.ndarray | None = None,
) -> Slopes:
    """Linearise one stack around its present motion.

    Parameters
    ----------
    operator : StackOperator
        With the present motion.
    spectrum : Tensor
        Of the present volume.
    known : Tensor of bool, the canvas's shape
        Where that volume can be relied on.
    gain : (float, float)
        Gain and offset.
    centre : ndarray, ``[3]``
        World.
    slice_weights : ndarray, ``[slices]``, optional
    """
    value, slope = operator.values_and_slopes(spectrum)
    at = operator.world()
    predicted, slope = value.double().cpu().numpy(), slope.double().cpu().numpy()
    residual = operator.measured.double().cpu().numpy() - gain[0] * predicted - gain[1]
    # omega x (p - c), in degrees.
    jacobian = np.empty((len(at), 6))
    jacobian[:, :3] = np.cross(at - centre, slope) * np.radians(1)
    jacobian[:, 3:] = slope
    usable = supported(operator.canvas.affine, known, at)
    # Air is quiet, but tells nothing: residuals are large or small against those where something is to be seen.
    steep = np.square(slope).sum(1)
    steep = steep > STEEP**2 * steep[usable].mean() if usable.any() else usable
    weights = usable * robust(residual, usable & steep)
    if slice_weights is not None:
        weights = weights * slice_weights[operator.slice_of]
    return Slopes(
        residual, predicted, gain[0] * jacobian, weights, usable, operator.slice_of, at, centre, gain[0]
    )


def supported(affine: np.ndarray, known: Tensor, points: np.ndarray) -> np.ndarray:
    """`known` at the voxels nearest to points of the world."""
    back = np.linalg.inv(affine)
    index = np.rint(points @ back[:3, :3].T + back[:3, 3]).astype(np.int64)
    inside = ((index >= 0) & (index < np.array(known.shape))).all(1)
    index = np.where(inside[:, None], index, 0)
    return inside & known.cpu().numpy()[tuple(index.T)]


def robust(residual: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Huber's weights, with the spread of the residuals that are not quiet."""
    size = np.abs(residual[usable])
    if not size.size:
        return np.ones_like(residual)
    spread = 1.4826 * float(np.median(size))
    if spread <= 0:
        spread = float(size.mean())
    return 1 / np.maximum(1.0, np.abs(residual) / (HUBER * spread)) if spread > 0 else np.ones_like(residual)


@dataclass(frozen=True, eq=False)
class Step:
    """Degrees and millimetres, ``[6]``, gain and offset to be added; their formal errors; the residual's spread."""

    motion: np.ndarray
    gain: np.ndarray
    error: np.ndarray
    spread: float


MOST = np.array([2.0] * 3 + [2.0] * 3)
"""Degrees and millimetres of one step at most: the linearisation holds no farther."""


def stack_step(s: Slopes, *, intensities: bool = True) -> Step:
    """The step that fits a whole stack best."""
    columns = [s.jacobian]
    if intensities:
        columns += [s.predicted[:, None], np.ones((len(s.predicted), 1))]
    jacobian = np.concatenate(columns, axis=1)
    scale = np.sqrt((s.weights[:, None] * jacobian**2).sum(0))
    scale[scale <= 1e-9 * scale.max(initial=0)] = np.inf
    matrix = (jacobian * s.weights[:, None]).T @ jacobian / np.outer(scale, scale)
    matrix[np.diag_indices_from(matrix)] += 1e-6
    inverse = np.linalg.inv(matrix)
    found = inverse @ (jacobian.T @ (s.weights * s.residual) / scale) / scale
    total = s.weights.sum()
    variance = float((s.weights * s.residual**2).sum() / max(total - len(found), 1.0))
    error = np.sqrt(np.clip(np.diag(inverse), 0, None) * variance) / scale
    motion = np.clip(found[:6], -MOST, MOST)
    gain = found[6:] if intensities else np.zeros(2)
    return Step(motion, gain, error[:6], variance**0.5)


def largest(step: np.ndarray, radius: float) -> float:
    """Millimetres by which a step moves anything within `radius` of its centre, at most."""
    return float(np.linalg.norm(step[3:]) + np.radians(np.linalg.norm(step[:3])) * radius)


def contrasts(s: Slopes, slices: int) -> np.ndarray:
    """Standard deviation of what is predicted of each slice; NaN where that is less than half of it."""
    out = np.full(slices, np.nan)
    for k in range(slices):
        here = s.slice_of == k
        usable = here & s.usable
        if usable.sum() >= max(32, 0.5 * here.sum()):
            out[k] = s.predicted[usable].std() * abs(s.gain)
    return out


def telling(s: Slopes, slices: int) -> np.ndarray:
    """True for slices that show enough of the body for their own motion to be seen."""
    contrast = contrasts(s, slices)
    known = np.isfinite(contrast)
    return known & (contrast > LITTLE * np.median(contrast[known])) if known.any() else known


@dataclass(frozen=True, eq=False)
class SliceSteps:
    """Steps of slices about their own centres.

    Attributes
    ----------
    steps : ndarray, ``[slices, 6]``
        Degrees and millimetres.
    centres : ndarray, ``[slices, 3]``
    evidence : ndarray, ``[slices]``
        By how much the slice's squared residual falls, in units of its variance.
    share : ndarray, ``[slices]``
        That, over all of the slice's squared residual.
    """

    steps: np.ndarray
    centres: np.ndarray
    evidence: np.ndarray
    share: np.ndarray


def slice_steps(s: Slopes, deviations: np.ndarray, loose: np.ndarray, spread: float) -> SliceSteps:
    """Steps for each slice by itself, drawn towards its stack's motion.

    Parameters
    ----------
    s : Slopes
    deviations : ndarray, ``[slices, 6]``
        Present ones from the stack's motion.
    loose : ndarray, ``[6]``
        Standard deviation of such deviations, degrees and millimetres.
    spread : float
        Standard deviation of a residual.
    """
    slices = len(deviations)
    judged = telling(s, slices)
    out = SliceSteps(np.zeros((slices, 6)), np.zeros((slices, 3)), np.zeros(slices), np.zeros(slices))
    for k in range(slices):
        here = (s.slice_of == k) & (s.weights > 0)
        if not judged[k] or not here.any():
            continue
        jacobian, weights, residual = s.jacobian[here].copy(), s.weights[here], s.residual[here]
        # About the slice's own centre, where rotation and shift are least mixed.
        centre = s.positions[here].mean(0)
        jacobian[:, :3] -= np.radians(1) * np.cross(centre - s.centre, jacobian[:, 3:])
        scaled = jacobian * weights[:, None] / spread**2
        matrix, right = scaled.T @ jacobian, scaled.T @ residual
        prior = np.diag(1 / loose**2)
        step = np.clip(np.linalg.solve(matrix + prior, right - prior @ deviations[k]), -MOST, MOST)
        out.steps[k], out.centres[k] = step, centre
        out.evidence[k] = float(2 * right @ step - step @ matrix @ step)
        out.share[k] = out.evidence[k] * spread**2 / max(float(weights @ residual**2), 1e-30)
    return out
