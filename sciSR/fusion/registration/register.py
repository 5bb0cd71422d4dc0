"""Registration of a sequence: the reference, a first guess for each frame, the fit, and what could not be done."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from sciSR.errors import SciSRError, UsageError
from sciSR.fusion.registration import models
from sciSR.fusion.registration.place import Anchor, Unregistered, place
from sciSR.fusion.registration.reference import another, choose_reference, more_central
from sciSR.fusion.registration.results import Registered, Registration
from sciSR.fusion.registration.stars import Catalogue, find_stars
from sciSR.fusion.transforms import MODELS, Affine
from sciSR.sequence import Frame, FrameSequence

Model = Literal["auto", "shift", "euclidean", "similarity", "affine", "wcs"]
Method = Literal["auto", "wcs", "stars", "phase"]


def register(
    sequence: FrameSequence,
    *,
    reference: int | Literal["auto"] = "auto",
    model: Model = "auto",
    method: Method = "auto",
) -> Registration:
    """Find the transform from one frame, the reference, to each of the others.

    One frame is in memory at a time (two where images are correlated); of each a list of stars is kept.

    Parameters
    ----------
    sequence : FrameSequence
    reference : int or "auto"
        Index of the reference frame. ``"auto"`` takes the first frame, unless another's score (root of the number of
        stars over their FWHM) is far better, most frames have nothing in common with it, or it overlaps them far
        less than another does.
    model : str
        What may differ between frames. ``"auto"``: the simplest that the stars' positions allow (BIC); where world
        coordinates are the first guess, they and such a correction. ``"wcs"``: the world coordinates as they are.
    method : str
        Where the first guess comes from. ``"auto"``: world coordinates where both frames have them, confirmed or
        corrected by stars; else stars; else phase correlation. ``"wcs"`` trusts the world coordinates where
        nothing in the image contradicts them, even if nothing confirms them.

    Returns
    -------
    Registration
        Frames that could not be registered are None there, with the reason in `left_out`.

    Raises
    ------
    UsageError
        Unknown model or method, no frames, a reference out of range.
    """
    _check(sequence, reference, model, method)
    catalogues: list[Catalogue | None] = []
    left_out: dict[int, str] = {}
    for k, frame in enumerate(sequence):
        try:
            catalogues.append(_catalogue(frame))
        except SciSRError as error:
            catalogues.append(None)
            left_out[k] = str(error)
    chosen, notes = choose_reference(catalogues, reference, sequence)
    frames, reasons = _against(chosen, sequence, catalogues, model, method)
    if reference == "auto":
        chosen, frames, reasons = _reconsidered(
            chosen, frames, reasons, sequence, catalogues, model, method, notes
        )
    return Registration(
        chosen,
        tuple(frames),
        tuple(sorted((left_out | reasons).items())),
        tuple(notes),
        tuple(f.name for f in sequence),
    )


_Places = tuple[list[Registered | None], dict[int, str]]


def _against(
    chosen: int, sequence: FrameSequence, catalogues: Sequence[Catalogue | None], model: str, method: str
) -> _Places:
    """All frames registered to the chosen one; and why some could not be."""
    start = catalogues[chosen]
    assert start is not None
    anchor = Anchor(sequence[chosen], start)
    frames: list[Registered | None] = []
    reasons: dict[int, str] = {}
    for k, (frame, seen) in enumerate(zip(sequence, catalogues, strict=True)):
        if k == chosen:
            frames.append(_identity(frame, start))
            continue
        try:
            frames.append(None if seen is None else place(anchor, frame, seen, model, method))
        except Unregistered as error:
            frames.append(None)
            reasons[k] = error.what
    if model == "auto":
        _alike(frames, anchor, sequence, catalogues, method)
    return frames, reasons


def _alike(
    frames: list[Registered | None],
    anchor: Anchor,
    sequence: FrameSequence,
    catalogues: Sequence[Catalogue | None],
    method: str,
) -> None:
    """Where a third of the frames are turned, the others are so too, only by too little to be significant: they get
    a rotation as well, since one that is left out stays in all that follows."""
    moved = [k for k, f in enumerate(frames) if f is not None and f.how != "reference"]
    straight = [k for k in moved if (f := frames[k]) and f.correction == "shift" and f.model != "wcs"]
    if 3 * (len(moved) - len(straight)) < len(moved):
        return
    for k in straight:
        seen, known = catalogues[k], frames[k]
        if seen is None or known is None or 0 < known.n_stars < models.FEWEST["euclidean"]:
            continue
        with contextlib.suppress(Unregistered):
            frames[k] = place(anchor, sequence[k], seen, "euclidean", method)


def _reconsidered(
    chosen: int,
    frames: list[Registered | None],
    reasons: dict[int, str],
    sequence: FrameSequence,
    catalogues: Sequence[Catalogue | None],
    model: str,
    method: str,
    notes: list[str],
) -> tuple[int, list[Registered | None], dict[int, str]]:
    """Another reference, where the first choice proves a stranger to most frames or lies at their edge."""
    other = another(catalogues, frames, chosen)
    why = "most frames show another field than {}"
    fewest = sum(f is not None for f in frames) + (other is not None)
    if other is None:
        other = more_central(frames, chosen)
        why = "it overlaps the other frames more than {} does"
    if other is None:
        return chosen, frames, reasons
    again, again_reasons = _against(other, sequence, catalogues, model, method)
    if sum(f is not None for f in again) < fewest:
        return chosen, frames, reasons
    notes.append(f"reference: {sequence[other].name}; {why.format(sequence[chosen].name)}")
    return other, again, again_reasons


def _check(sequence: FrameSequence, reference: int | str, model: str, method: str) -> None:
    if len(sequence) == 0:
        raise UsageError("there is no frame to register")
    if model not in ("auto", "wcs", *MODELS):
        raise UsageError(f"unknown registration model {model!r}; use one of auto, wcs, {', '.join(MODELS)}")
    if method not in ("auto", "wcs", "stars", "phase"):
        raise UsageError(f"unknown registration method {method!r}; use one of auto, wcs, stars, phase")
    if reference != "auto" and not (isinstance(reference, int) and 0 <= reference < len(sequence)):
        raise UsageError(f"the reference must be a frame from 0 to {len(sequence) - 1}, not {reference!r}")


def _catalogue(frame: Frame) -> Catalogue:
    pixels = frame.read()
    gain = frame.noise.gain if frame.noise is not None else None
    return find_stars(pixels.values, pixels.bad, gain=gain)


def _identity(frame: Frame, seen: Catalogue) -> Registered:
    return Registered(
        Affine.identity(),
        np.zeros((2, 2)),
        "identity",
        "reference",
        frame.shape,
        rms_px=0.0,
        n_stars=len(seen),
        fwhm_px=seen.fwhm,
        background=seen.background,
        noise=seen.noise,
        name=frame.name,
    )
