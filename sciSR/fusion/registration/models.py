"""Linear models of a transform's correction: their parameters, least squares, and covariance.

Every model is a small correction in the *frame's* pixels about the frame's centre ``m``, applied after a known
transform ``T``: with ``v = T(p) - m``, the position of a reference point ``p`` moves by ``design(v) @ parameters``.

| model | parameters, in this order |
|---|---|
| shift | row, column (pixels, at the frame's centre) |
| euclidean | row, column, rotation (radians, row axis towards column axis) |
| similarity | row, column, rotation, relative scale |
| affine | row, column, and the linear part's change: row-row, row-column, column-row, column-column |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sciSR.fusion.transforms import MODELS, Affine, Chain, Transform

ORDER = ("shift", "euclidean", "similarity", "affine")
"""From the simplest to the richest."""
FEWEST = {"shift": 1, "euclidean": 3, "similarity": 8, "affine": 12}
"""Stars that a model must at least have, before it is considered."""


def frame_centre(shape: tuple[int, int]) -> np.ndarray:
    """The centre of a frame, (row, column)."""
    return (np.asarray(shape, dtype=np.float64) - 1) / 2


def design(offsets: np.ndarray, model: str) -> np.ndarray:
    """Derivatives of the positions by the model's parameters.

    Parameters
    ----------
    offsets : ndarray, (..., 2)
        Positions in the frame less the frame's centre.
    model : str
        One of `ORDER`.

    Returns
    -------
    ndarray, (..., 2, k)
    """
    v = np.asarray(offsets, dtype=np.float64)
    out = np.zeros((*v.shape, MODELS[model]))
    out[..., 0, 0] = out[..., 1, 1] = 1
    if model in ("euclidean", "similarity"):
        out[..., 0, 2], out[..., 1, 2] = -v[..., 1], v[..., 0]
    if model == "similarity":
        out[..., :, 3] = v
    if model == "affine":
        out[..., 0, 2:4] = v
        out[..., 1, 4:6] = v
    return out


def correction(parameters: np.ndarray, model: str, centre: np.ndarray) -> Affine:
    """The affine map of the frame's pixels that these parameters mean; exact for any rotation and scale."""
    shift = (float(parameters[0]), float(parameters[1]))
    if model == "affine":
        linear = np.eye(2) + np.reshape(parameters[2:6], (2, 2))
        middle = np.asarray(centre, dtype=np.float64)
        return Affine(np.column_stack([linear, middle + np.asarray(shift) - linear @ middle]))
    angle = float(parameters[2]) if model != "shift" else 0.0
    scale = 1 + float(parameters[3]) if model == "similarity" else 1.0
    return Affine.about((float(centre[0]), float(centre[1])), angle, scale, shift)


def corrected(transform: Transform, change: Affine) -> Transform:
    """`transform` and then `change`, as one affine map wherever it is one."""
    if isinstance(transform, Affine):
        return transform.then(change)
    if isinstance(transform, Chain) and isinstance(transform.steps[-1], Affine):
        return Chain((*transform.steps[:-1], transform.steps[-1].then(change)))
    return Chain((transform, change))


def position_covariance(covariance: np.ndarray, model: str, offsets: np.ndarray) -> np.ndarray:
    """Covariance ``(..., 2, 2)`` of positions in the frame, `offsets` from its centre."""
    jacobian = design(offsets, model)
    return jacobian @ covariance @ np.swapaxes(jacobian, -1, -2)


@dataclass(frozen=True, eq=False)
class Fit:
    """A least-squares fit.

    Attributes
    ----------
    transform : Transform
    model : str
    covariance : ndarray, (k, k)
        Of the model's parameters, scaled so that the residuals have the expected size.
    weights : ndarray, (n,)
        Robust weight of each pair, 0 to 1.
    rms : float
        Robustly weighted rms length of the residuals, pixels.
    chi2 : float
        Weighted sum of squares of the residuals by the given errors.
    """

    transform: Transform
    model: str
    covariance: np.ndarray
    weights: np.ndarray
    rms: float
    chi2: float


def tukey(ratio: np.ndarray, cut: float = 4.7) -> np.ndarray:
    """Tukey's biweight: 1 at zero, 0 beyond `cut` standard deviations."""
    return np.square(np.clip(1 - np.square(ratio / cut), 0, None))


def robust_sigma(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation about the median."""
    values = np.asarray(values)
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def solve(
    transform: Transform,
    points: np.ndarray,
    seen: np.ndarray,
    errors: np.ndarray,
    model: str,
    centre: np.ndarray,
    *,
    systematic: float | None = None,
) -> Fit:
    """Correct `transform` so that `points` of the reference fall on the positions `seen` in the frame.

    Iteratively re-weighted least squares with Tukey's weights; an extra error, equal for all pairs and added in
    quadrature, is found such that the residuals have the size they should (a centroid of an undersampled star has
    an error of its own that photon noise does not know).

    Parameters
    ----------
    transform : Transform
        Reference to frame; good to within some pixels.
    points, seen : ndarray, (n, 2)
    errors : ndarray, (n,)
        One standard deviation per axis of ``seen - transform(points)``.
    model : str
        What may be corrected.
    centre : ndarray, (2,)
        The frame's centre.
    systematic : float, optional
        The extra error, where it is known already (to compare models on equal terms).

    Returns
    -------
    Fit
    """
    k = MODELS[model]
    weights = np.ones(len(points))
    extra = 0.0 if systematic is None else systematic
    normal = np.eye(k)
    ratio = np.zeros(len(points))
    for step in range(12):
        where = transform(points)
        residual = seen - where
        if step:  # the first step must bring the pairs together before any is judged
            if systematic is None:
                extra = _extra_error(residual, errors, weights, k)
            ratio = np.sqrt(np.mean(np.square(residual), axis=-1)) / np.hypot(errors, extra)
            weights = tukey(ratio)
            if (weights > 0.1).sum() * 2 < k + 1:
                weights = np.ones(len(points))
        inverse = weights / (np.square(errors) + extra**2)
        jacobian = design(where - centre, model)
        normal = np.einsum("n,nik,nil->kl", inverse, jacobian, jacobian)
        right = np.einsum("n,nik,ni->k", inverse, jacobian, residual)
        update = np.linalg.lstsq(normal, right, rcond=1e-12)[0]
        transform = corrected(transform, correction(update, model, centre))
        moved = np.abs(design(where - centre, model) @ update).max(initial=0)
        if step > 2 and moved < 1e-5:
            break
    residual = seen - transform(points)
    squares = np.square(residual).sum(axis=-1)
    chi2 = float((weights * squares / (np.square(errors) + extra**2)).sum())
    freedom = max(2 * weights.sum() - k, 1.0)
    covariance = np.linalg.pinv(normal, hermitian=True) * max(chi2 / freedom, 1.0)
    rms = float(np.sqrt((weights * squares).sum() / max(weights.sum(), 1e-9)))
    return Fit(transform, model, covariance, weights, rms, chi2)


def _extra_error(residual: np.ndarray, errors: np.ndarray, weights: np.ndarray, k: int) -> float:
    """The error per axis to add in quadrature so that the median ratio is what it is for a normal distribution."""
    squares = np.square(residual).mean(axis=-1)
    good = weights > 0.1
    n = int(good.sum())
    if n < 3:
        return 0.0
    # The residuals of a fit are smaller than the errors; the mean of two squares has the median 0.693.
    shrink = max(1 - k / (2 * n), 0.2)
    squares, variances = squares[good] / shrink, np.square(errors[good])
    if np.median(squares / variances) <= 0.693:
        return 0.0
    low, high = 0.0, float(np.sqrt(squares.max())) + 1e-9
    for _ in range(40):
        middle = (low + high) / 2
        if np.median(squares / (variances + middle**2)) > 0.693:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def choose(
    starts: Mapping[str, Transform],
    points: np.ndarray,
    seen: np.ndarray,
    errors: np.ndarray,
    centre: np.ndarray,
) -> Fit:
    """The simplest model that explains the pairs: the least Bayesian information criterion.

    The errors of the pairs are those that the richest model leaves, so that all are judged on equal terms; a model
    beyond ``euclidean`` must win by 6 more per parameter, because detectors rarely change their scale between
    frames and a few blends pretend that they do.

    Parameters
    ----------
    starts : mapping of str to Transform
        The models allowed, and the transform that each corrects.
    points, seen, errors, centre
        As for :func:`solve`.
    """
    n = len(points)
    names = [m for m in ORDER if m in starts]
    allowed = [m for m in names if n >= FEWEST[m]] or names[:1]
    rich = solve(starts[allowed[-1]], points, seen, errors, allowed[-1], centre)
    if len(allowed) == 1:
        return rich
    used = rich.weights > 0.1
    extra = _extra_error(seen - rich.transform(points), errors, rich.weights, MODELS[rich.model])
    variance = np.square(errors[used]) + extra**2
    scores = {}
    for model in allowed:
        fit = solve(starts[model], points[used], seen[used], errors[used], model, centre, systematic=extra)
        left = np.square(seen[used] - fit.transform(points[used])).sum(axis=-1)
        beyond = max(0, MODELS[model] - MODELS["euclidean"])
        scores[model] = float((left / variance).sum()) + MODELS[model] * np.log(2 * used.sum()) + 6 * beyond
    best = min(allowed, key=scores.__getitem__)
    return solve(starts[best], points, seen, errors, best, centre)
