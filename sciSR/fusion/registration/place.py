"""One frame's place: world coordinates, stars, correlation, in that order, and what to say if all fail."""

from __future__ import annotations

import functools

import numpy as np

from sciSR.errors import GeometryError, SciSRError
from sciSR.fusion.registration import models
from sciSR.fusion.registration.asterisms import match, pair_up
from sciSR.fusion.registration.direct import register_images
from sciSR.fusion.registration.models import frame_centre
from sciSR.fusion.registration.planes import Plane, plane
from sciSR.fusion.registration.results import Registered
from sciSR.fusion.registration.stars import Catalogue
from sciSR.fusion.registration.wcs import warp
from sciSR.fusion.transforms import Affine, Transform
from sciSR.sequence import Frame

WCS_REACH = 60.0
"""Pixels by which world coordinates may be wrong and still be a first guess."""


class Unregistered(SciSRError):
    """A frame that could not be registered; becomes a reason in :attr:`Registration.left_out`."""


class Anchor:
    """The reference: its stars, and its pixels for those frames that stars do not register."""

    def __init__(self, frame: Frame, stars: Catalogue) -> None:
        self.frame, self.stars = frame, stars

    @functools.cached_property
    def plane(self) -> Plane:
        return _plane(self.frame)


def _plane(frame: Frame) -> Plane:
    pixels = frame.read()
    return plane(pixels.values, pixels.bad)


def place(anchor: Anchor, frame: Frame, seen: Catalogue, model: str, method: str) -> Registered:
    """Register one frame, or raise Unregistered with the reason."""
    if seen.usable == 0:
        raise Unregistered("every pixel is bad")
    if not seen.noise > 0:
        raise Unregistered("the frame is constant: there is nothing to register")
    reasons: list[str] = []
    guess = _world_guess(anchor.frame, frame) if method in ("auto", "wcs") else None
    if guess is None and "wcs" in (method, model):
        raise Unregistered("no world coordinates in common with the reference")
    if guess is not None and not _overlaps(guess, anchor.frame.shape, frame.shape):
        if method == "wcs":
            raise Unregistered("no overlap with the reference, by the world coordinates")
        reasons.append("no overlap by the world coordinates")
        guess = None
    if guess is not None and method in ("auto", "wcs"):
        found = _from_world(guess, anchor.stars, frame, seen, model)
        found = found or _from_images(anchor, frame, seen, model, guess, reasons)
        if found is not None:
            return found
        if method == "wcs":
            return _trusted(guess, frame, seen)
        reasons.append("nothing in the image confirms the world coordinates (--register wcs trusts them)")
    if method in ("auto", "stars"):
        found = _from_stars(anchor.stars, frame, seen, model)
        if found is not None:
            return found
        reasons.append(f"no star pattern in common ({len(anchor.stars)} and {len(seen)} stars)")
    if method in ("auto", "phase"):
        found = _from_images(anchor, frame, seen, model, None, reasons)
        if found is not None:
            return found
    raise Unregistered("; ".join(reasons))


def _from_images(
    anchor: Anchor, frame: Frame, seen: Catalogue, model: str, guess: Transform | None, reasons: list[str]
) -> Registered | None:
    """By correlation, after the world coordinates where there are any."""
    found, why = register_images(
        anchor.plane,
        _plane(frame),
        guess=guess,
        reach=None if guess is None else WCS_REACH,
        model="auto" if model == "wcs" else model,
    )
    if found is None:
        if guess is None:
            reasons.append(why)
        return None
    how = "phase" if guess is None else "wcs"
    note = "" if guess is None else _offset(guess, found.transform, frame.shape, "a correlation")
    result = Registered(
        found.transform,
        found.covariance,
        found.model if guess is None else f"wcs+{found.model}",
        how,
        frame.shape,
        fwhm_px=seen.fwhm,
        background=seen.background,
        noise=seen.noise,
        name=frame.name,
        note=note,
    )
    # A few stars, too few to find the place by, may still measure it better.
    allowed = models.ORDER if model in ("auto", "wcs") else (model,)
    fitted = _fitted(found.transform, anchor.stars, frame, seen, allowed, base=guess)
    if fitted is None or fitted[1] < 3:
        return result
    fit, n = fitted
    by_stars = _result(fit, n, frame, seen, how, fit.model if guess is None else f"wcs+{fit.model}", note)
    return by_stars if by_stars.error_px < result.error_px else result


def _offset(guess: Transform, transform: Transform, shape: tuple[int, int], by: str) -> str:
    """What to say where the world coordinates are wrong by more than two pixels."""
    middle = frame_centre(shape)
    off = float(np.hypot(*(transform(guess.inverse(middle)) - middle)))
    return f"the world coordinates are off by {off:.1f} px; corrected by {by}" if off > 2 else ""


def _world_guess(reference: Frame, frame: Frame) -> Transform | None:
    try:
        return warp(reference.image.grid, frame.image.grid)
    except GeometryError:
        return None


def _overlaps(transform: Transform, reference: tuple[int, int], frame: tuple[int, int]) -> bool:
    """True where some of the reference's pixels fall into the frame."""
    nodes = np.stack(
        np.meshgrid(
            np.linspace(0, reference[0] - 1, 33), np.linspace(0, reference[1] - 1, 33), indexing="ij"
        ),
        axis=-1,
    )
    there = transform(nodes)
    return bool(((there > -0.5) & (there < np.asarray(frame) - 0.5)).all(axis=-1).any())


def _from_world(
    guess: Transform, start: Catalogue, frame: Frame, seen: Catalogue, model: str
) -> Registered | None:
    """World coordinates, confirmed and corrected by stars."""
    moved = guess(start.points) if len(start) else start.points
    found = match(moved, seen.points, frame.shape, near=WCS_REACH)
    if found is None:
        return None
    base = models.corrected(guess, found.transform)
    allowed = models.ORDER if model in ("auto", "wcs") else (model,)
    fitted = _fitted(base, start, frame, seen, allowed, base=guess)
    if fitted is None:
        return None
    fit, n = fitted
    note = _offset(guess, fit.transform, frame.shape, f"{n} stars")
    return _result(fit, n, frame, seen, "wcs", f"wcs+{fit.model}", note)


def _trusted(guess: Transform, frame: Frame, seen: Catalogue) -> Registered:
    """World coordinates that nothing confirms: how wrong they are is not known."""
    return Registered(
        guess,
        np.full((2, 2), np.nan),
        "wcs",
        "wcs",
        frame.shape,
        fwhm_px=seen.fwhm,
        background=seen.background,
        noise=seen.noise,
        name=frame.name,
        note="world coordinates that no star confirms",
    )


def _from_stars(start: Catalogue, frame: Frame, seen: Catalogue, model: str) -> Registered | None:
    found = match(start.points, seen.points, frame.shape)
    if found is None:
        return None
    allowed = models.ORDER if model in ("auto", "wcs") else (model,)
    fitted = _fitted(found.transform, start, frame, seen, allowed)
    if fitted is None:
        return None
    fit, n = fitted
    return _result(fit, n, frame, seen, "stars", fit.model, "")


def _fitted(
    near: Transform,
    start: Catalogue,
    frame: Frame,
    seen: Catalogue,
    allowed: tuple[str, ...],
    base: Transform | None = None,
) -> tuple[models.Fit, int] | None:
    """The chosen model through all pairs of stars near the transform `near`.

    `base` is what a model leaves untouched: the world coordinates, or nothing (then a shift has no rotation at all).
    """
    middle = frame_centre(frame.shape)
    pairs = pair_up(near, start.points, seen.points, 2.0)
    for _ in range(3):
        if len(pairs) == 0:
            return None
        first, second = start.points[pairs[:, 0]], seen.points[pairs[:, 1]]
        errors = np.hypot(start.errors[pairs[:, 0]], seen.errors[pairs[:, 1]])
        fit = _choose(near, base, first, second, errors, middle, allowed)
        spread = max(fit.rms, 0.02)
        near = fit.transform
        again = pair_up(near, start.points, seen.points, float(np.clip(6 * spread, 0.3, 3.0)))
        if len(again) == len(pairs) and (again == pairs).all():
            break
        pairs = again
    n = int((fit.weights > 0.1).sum())
    return (fit, n) if n >= 2 else None


def _choose(
    near: Transform,
    base: Transform | None,
    first: np.ndarray,
    second: np.ndarray,
    errors: np.ndarray,
    middle: np.ndarray,
    allowed: tuple[str, ...],
) -> models.Fit:
    """Each model starts where it can: from the world coordinates, or a shift from no rotation, and so on."""
    pivot = first.mean(axis=0)
    starts = {m: base if base is not None else _start(near, pivot, m) for m in allowed}
    return models.choose(starts, first, second, errors, middle)


def _start(near: Transform, pivot: np.ndarray, model: str) -> Transform:
    """`near`, with what the model may not change put back: no scale, or no rotation but by right angles."""
    assert isinstance(near, Affine)
    if model in ("similarity", "affine"):
        return near
    flip = np.diag([1.0, -1.0]) if near.mirrored else np.eye(2)
    angle = Affine(np.column_stack([near.linear @ flip, [0, 0]])).angle
    if model == "shift":
        angle = np.round(angle / (np.pi / 2)) * (np.pi / 2)
        linear = np.round(Affine.about((0, 0), angle).linear) @ flip
    else:
        linear = Affine.about((0, 0), angle).linear @ flip
    return Affine(np.column_stack([linear, near(pivot) - linear @ pivot]))


def _result(
    fit: models.Fit, n: int, frame: Frame, seen: Catalogue, how: str, model: str, note: str
) -> Registered:
    return Registered(
        fit.transform,
        fit.covariance,
        model,
        how,
        frame.shape,
        rms_px=fit.rms,
        n_stars=n,
        fwhm_px=seen.fwhm,
        background=seen.background,
        noise=seen.noise,
        name=frame.name,
        note=note,
    )
