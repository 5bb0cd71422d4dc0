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
from typing import Any

import numpy as np

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrames, Target
from sciSR.fusion.registration.models import (
    ORDER,
    corrected,
    correction,
    design,
    frame_centre,
    position_covariance,
)
from sciSR.fusion.registration.results import Registered
from sciSR.fusion.registration.scene import Scene
from sciSR.fusion.registration.step import Step, step_of
from sciSR.fusion.transforms import Affine, Chain, Transform

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
