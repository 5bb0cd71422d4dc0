"""A frame registered to the reference's own pixels, without stars: correlation first, then least squares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sciSR.fusion.prepared import PreparedFrame, Target
from sciSR.fusion.registration.models import corrected, correction, design, frame_centre
from sciSR.fusion.registration.phase import (
    ALIKE,
    EVIDENCE,
    Plane,
    blurred,
    find_shift,
    likeness,
    turned,
    warped,
)
from sciSR.fusion.registration.refine import Scene, Step, step_of
from sciSR.fusion.registration.results import Registered
from sciSR.fusion.transforms import Affine, Transform

SMOOTHINGS = (4.0, 2.0, 1.0)
"""Gaussian widths (pixels) of both images: wide ones catch, the last one measures. Below 1 the noise of an
interpolated reference depends on the fraction of a pixel, and draws the fit towards halves."""
WORST = 1.0
"""Pixels of error beyond which a fit is no registration."""


@dataclass(frozen=True, eq=False)
class Direct:
    """A transform from images alone, its covariance, and the linear model of its last correction."""

    transform: Transform
    covariance: np.ndarray
    model: str


def register_images(
    reference: Plane, frame: Plane, *, guess: Transform | None, reach: float | None, model: str
) -> tuple[Direct | None, str]:
    """Correlate, fit, and check the fit by another correlation.

    Parameters
    ----------
    reference, frame : Plane
    guess : Transform or None
        Reference to frame, to within `reach` pixels; None where nothing is known: then rotations, scales and mirror
        images are tried as well.
    reach : float or None
        Pixels, per axis.
    model : str
        A linear model, or ``"auto"``: a rotation is kept where it is significant.

    Returns
    -------
    Direct or None
    str
        Why there is none.
    """
    reason = ""
    for start in _starts(reference, frame, guess, model):
        shift, why = find_shift(reference, frame, start, reach)
        reason = reason or why
        if shift is None:
            continue
        begin = shift if start is None else corrected(start, shift)
        found = _fit(reference, frame, begin, model, guess)
        if found is None:
            reason = "the correlation's peak leads to no stable fit"
            continue
        alike = likeness(reference, frame, found.transform)
        if alike.correlation < ALIKE:
            reason = f"the best correlation is false: the images are {alike.correlation:.2f} alike where they overlap"
            continue
        if alike.evidence < EVIDENCE:
            reason = f"the best correlation rests on too few details ({alike.evidence:.1f} sigma): it may be chance"
            continue
        return found, ""
    return None, reason


def _starts(
    reference: Plane, frame: Plane, guess: Transform | None, model: str
) -> Iterator[Transform | None]:
    """What to try, the most likely first; the spectra are looked at only if no displacement does."""
    yield guess
    if guess is None and model != "shift":
        yield from turned(reference, frame)


def _fit(
    reference: Plane, frame: Plane, begin: Transform, model: str, guess: Transform | None
) -> Direct | None:
    rich = "euclidean" if model == "auto" else model
    found = _least_squares(reference, frame, begin, rich)
    if found is None or model != "auto":
        return found
    angle, sigma = _rotation(found, begin), float(np.sqrt(found.covariance[2, 2]))
    if abs(angle) > 3 * sigma or not _plain(begin, guess):
        return found
    return _least_squares(reference, frame, begin, "shift") or found


def _rotation(found: Direct, begin: Transform) -> float:
    if isinstance(found.transform, Affine) and isinstance(begin, Affine):
        return found.transform.angle - begin.angle
    middle = np.zeros((1, 2))
    ahead = np.array([[100.0, 0.0]])
    one, other = (t(ahead) - t(middle) for t in (begin, found.transform))
    return float(np.arctan2(other[0, 1], other[0, 0]) - np.arctan2(one[0, 1], one[0, 0]))


def _plain(begin: Transform, guess: Transform | None) -> bool:
    """True where no rotation but the guess's own is in the start: a shift is then the simpler model."""
    return guess is not None or (isinstance(begin, Affine) and np.allclose(begin.linear, np.eye(2)))


def _least_squares(reference: Plane, frame: Plane, begin: Transform, model: str) -> Direct | None:
    """Gauss-Newton from wide to narrow smoothing."""
    transform, step = begin, None
    shape = frame.values.shape
    centre = frame_centre(shape)
    corners = np.array([[0, 0], [0, shape[1]], [shape[0], 0], shape], dtype=float) - centre
    for sigma in SMOOTHINGS:
        image = np.where(reference.good, blurred(reference.values, reference.good, sigma), np.nan)
        seen = np.where(frame.good, blurred(frame.values, frame.good, sigma), 0).astype(np.float32)
        gain = _gain(Plane(np.nan_to_num(image).astype(np.float32), reference.good), seen, frame, transform)
        if gain is None:
            return None
        scene = Scene(gain * image, Target(image.shape, (Fraction(1), Fraction(1))), None)
        # Both images have unit noise before smoothing.
        variance = np.full(shape, (1 + gain**2) / (4 * np.pi * sigma**2), np.float32)
        prepared = PreparedFrame("", seen, variance, ~frame.good, transform)
        for _ in range(6):
            known = Registered(transform, np.zeros((2, 2)), "", "", shape)
            step = step_of(scene, prepared, known, model, 0.0)
            if step is None:
                return None
            moved = np.abs(design(corners, model) @ step.parameters).max()
            if not moved < 4 * sigma + 4:
                return None
            transform = corrected(transform, correction(step.parameters, model, centre))
            if moved < 0.02 * sigma:
                break
    assert isinstance(step, Step)
    covariance = step.covariance
    if not np.sqrt(covariance[0, 0] + covariance[1, 1]) < WORST:
        return None
    return Direct(transform, covariance, model)


def _gain(reference: Plane, seen: np.ndarray, frame: Plane, transform: Transform) -> float | None:
    """How much brighter the frame is than the reference, where both are seen; None where they don't agree at all."""
    model = warped(reference, transform, seen.shape)
    both = model.good & frame.good
    if both.sum() < 64:
        return None
    x, y = model.values[both].astype(np.float64), seen[both].astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    if not (x * y).sum() > 0:
        return None
    # The geometric mean of the two regressions: noise in either does not flatten it.
    return float(np.clip(np.sqrt((y * y).sum() / max((x * x).sum(), 1e-12)), 0.02, 50))
