"""A frame registered to the reference's own pixels, without stars: correlation first, then least squares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sciSR.fusion.prepared import PreparedFrame, Target
from sciSR.fusion.registration.likeness import ALIKE, EVIDENCE, likeness
from sciSR.fusion.registration.models import corrected, correction, design, frame_centre
from sciSR.fusion.registration.phase import find_shift
from sciSR.fusion.registration.planes import Plane, blurred, warped
from sciSR.fusion.registration.polar import turned
from sciSR.fusion.registration.results import Registered
from sciSR.fusion.registration.scene import Scene
from sciSR.fusion.registration.step import Step, step_of
from sciSR.fusion.transforms import Affine, Transform

SMOOTHINGS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Gaussian widths (pixels) of both images, of which the fit takes the first whose slopes are mostly scene; it begins
four times as wide. Below 1 the noise of an interpolated reference depends on the fraction of a pixel, and draws the
fit towards halves."""
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
    """The fit; where the model is to be found, the simplest that the images do not contradict."""
    if model != "auto":
        if model == "euclidean" and guess is None and isinstance(begin, Affine):
            begin = _unscaled(begin, frame)
        return _least_squares(reference, frame, begin, model)
    found = None
    if guess is None and isinstance(begin, Affine) and abs(_scale(begin) - 1) > 1e-6:
        # The spectra tell a scale to some per cent only.
        found = _least_squares(reference, frame, begin, "similarity")
        if found is None or not isinstance(found.transform, Affine):
            return None
        if abs(_scale(found.transform) - 1) > 4 * float(np.sqrt(found.covariance[3, 3])):
            return found
        begin = _unscaled(found.transform, frame)
    found = _least_squares(reference, frame, begin, "euclidean") or found
    if found is None or found.model != "euclidean" or not _plain(begin, guess):
        return found
    # A rotation that is there but not significant would still move the corners: only a small one is given up.
    if abs(_rotation(found, begin)) > 1.5 * float(np.sqrt(found.covariance[2, 2])):
        return found
    return _least_squares(reference, frame, begin, "shift") or found


def _scale(transform: Affine) -> float:
    return float(np.sqrt(abs(np.linalg.det(transform.linear))))


def _unscaled(transform: Affine, frame: Plane) -> Affine:
    """The same without its scale; the frame's centre stays where it is."""
    middle = transform.inverse(frame_centre(frame.values.shape))
    linear = transform.linear / _scale(transform)
    return Affine(np.column_stack([linear, transform(middle) - linear @ middle]))


def _rotation(found: Direct, begin: Transform) -> float:
    """What the fit has turned, radians."""
    ends = np.array([[0.0, 0.0], [100.0, 0.0]])
    (a, b), (c, d) = begin(ends), found.transform(ends)
    return float(np.arctan2(*(d - c)[::-1]) - np.arctan2(*(b - a)[::-1]))


def _plain(begin: Transform, guess: Transform | None) -> bool:
    """True where no rotation but the guess's own is in the start: a shift is then the simpler model."""
    return guess is not None or (isinstance(begin, Affine) and np.allclose(begin.linear, np.eye(2)))


def _least_squares(reference: Plane, frame: Plane, begin: Transform, model: str) -> Direct | None:
    """Gauss-Newton from wide to narrow smoothing."""
    transform, step = begin, None
    shape = frame.values.shape
    centre = frame_centre(shape)
    corners = np.array([[0, 0], [0, shape[1]], [shape[0], 0], shape], dtype=float) - centre
    last = _smoothing(reference, frame)
    for sigma in (4 * last, 2 * last, last):
        gain = _gain(_soft(reference, sigma), _soft(frame, sigma), transform)
        if gain is None:
            return None
        image = np.where(reference.good, _soft(reference, sigma, whole=True).values, np.nan)
        seen = _soft(frame, sigma, whole=True).values
        scene = Scene(gain * image, Target(image.shape, (Fraction(1), Fraction(1))), None)
        # Both images have unit noise before smoothing.
        variance = np.full(shape, (1 + gain**2) / (4 * np.pi * sigma**2), np.float32)
        prepared = PreparedFrame("", seen, variance, ~frame.good, transform)
        for _ in range(8):
            known = Registered(transform, np.zeros((2, 2)), "", "", shape)
            step = step_of(scene, prepared, known, model, 0.0, background=2)
            if step is None:
                return None
            moved = np.abs(design(corners, model) @ step.parameters).max()
            if not moved < 4 * sigma + 4:
                return None
            transform = corrected(transform, correction(step.parameters, model, centre))
            if moved < 0.004 * sigma:
                break
    assert isinstance(step, Step)
    covariance = step.covariance
    if not np.sqrt(covariance[0, 0] + covariance[1, 1]) < WORST:
        return None
    return Direct(transform, covariance, model)


def _smoothing(reference: Plane, frame: Plane) -> float:
    """The least smoothing at which the slopes of both images are scene rather than noise."""
    for sigma in SMOOTHINGS:
        # White noise of one, blurred: its variance, and the mean square of both slopes together.
        noise = 1 / (4 * np.pi * sigma**2) / sigma**2
        slopes = []
        for image in (reference, frame):
            soft = blurred(image.values, image.good, sigma)
            slopes.append(np.mean(sum(np.square(d) for d in np.gradient(soft))[image.good]))
        if min(slopes) > 2 * noise:
            return sigma
    return SMOOTHINGS[-1]


def _soft(image: Plane, sigma: float, *, whole: bool = False) -> Plane:
    values = image.whole if whole and image.whole is not None else image.values
    soft = np.where(image.good, blurred(values, image.good, sigma), 0)
    return Plane(soft.astype(np.float32), image.good)


def _gain(reference: Plane, frame: Plane, transform: Transform) -> float | None:
    """How much brighter the frame is than the reference, where both are seen; None where they don't agree at all."""
    model = warped(reference, transform, frame.values.shape)
    both = model.good & frame.good
    if both.sum() < 64:
        return None
    x, y = model.values[both].astype(np.float64), frame.values[both].astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    if not (x * y).sum() > 0:
        return None
    # The geometric mean of the two regressions: noise in either does not flatten it.
    return float(np.clip(np.sqrt((y * y).sum() / max((x * x).sum(), 1e-12)), 0.02, 50))
