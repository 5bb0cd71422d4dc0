"""Which frames are used, and where they lie: by stars and world coordinates, or by a planet's surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sciSR.errors import SciSRError, UnsupportedError, UsageError
from sciSR.fusion.registration import Registration, register
from sciSR.sequence import FrameSequence

if TYPE_CHECKING:
    from sciSR.fusion.fuse import Settings
    from sciSR.fusion.planetary import PlanetaryRegistration


@dataclass(frozen=True, eq=False)
class Placed:
    """The frames' places.

    Attributes
    ----------
    registration : Registration
    planetary : bool
        Local warps: outliers are not looked for, transforms not refined.
    sharpness : ndarray or None
        0 to 1 by frame, where frames were ranked.
    multiplier : callable or None
        Of the variance of a frame's pixels, by index.
    dropped : frozenset of int
        Frames that were not kept, by choice.
    """

    registration: Registration
    planetary: bool = False
    sharpness: np.ndarray | None = None
    multiplier: Callable[[int], Any] | None = None
    notes: list[str] = field(default_factory=list)
    dropped: frozenset[int] = frozenset()

    @property
    def refinable(self) -> bool:
        """Whether the transforms are of the kinds that a refinement corrects."""
        return not self.planetary

    def quality(self, index: int) -> float:
        return float("nan") if self.sharpness is None else float(self.sharpness[index])


def place(sequence: FrameSequence, asked: Settings, tell: Callable[[float], None]) -> Placed:
    """Register a sequence as asked for.

    Raises
    ------
    SciSRError
        Nothing can be registered, or a setting makes no sense.
    """
    if asked.registration is not None:
        return _as_found(sequence, asked, asked.registration)
    planetary, why = _planetary(sequence, asked.register)
    reference = _index(sequence, asked.reference)
    if planetary:
        return _by_surface(sequence, asked, reference, why, tell)
    method = "auto" if asked.register in ("auto", "planetary") else asked.register
    found = register(sequence, reference=reference, model=asked.model, method=method)  # type: ignore[arg-type]
    tell(1.0)
    return _placed(found, sequence, asked)


def _placed(found: Registration, sequence: FrameSequence, asked: Settings) -> Placed:
    _check_any(found, sequence)
    if asked.keep_best is not None:
        return _sharpest(found, asked.keep_best)
    return Placed(found, notes=list(found.notes))


def _as_found(sequence: FrameSequence, asked: Settings, found: Registration) -> Placed:
    """With a registration that was made before.

    Raises
    ------
    UsageError
        It is of other frames; or frames of a planet were ranked then, and are to be ranked otherwise now.
    """
    from sciSR.fusion.planetary import PlanetaryRegistration

    if len(found.frames) != len(sequence) or found.names != tuple(frame.name for frame in sequence):
        raise UsageError("the registration is one of other frames", remedy="register these, or leave it out")
    if not isinstance(found, PlanetaryRegistration):
        return _placed(found, sequence, asked)
    if asked.keep_best is not None:
        raise UsageError(
            "a planet's frames are ranked when they are registered",
            remedy="give keep_best there, or leave the registration out",
        )
    return _surface(found, [])


def _check_any(found: Registration, sequence: FrameSequence) -> None:
    """One frame of many is no fusion: to pass it off as one would be a silent failure."""
    if len(sequence) < 2 or any(f is not None and f.how != "reference" for f in found.frames):
        return
    k, reason = found.left_out[0]
    others = len(sequence) - 1
    raise UnsupportedError(
        f"none of the other {others} frames can be registered to it (the first, {sequence[k].name}: {reason})"
        if others > 1
        else f"the other frame, {sequence[k].name}, can't be registered to it: {reason}",
        where=sequence[found.reference].name,
        remedy="look whether they show the same field, or choose another --reference or --register",
    )


def _planetary(sequence: FrameSequence, wish: str) -> tuple[bool, str]:
    if wish == "planetary":
        return True, ""
    if wish != "auto" or len(sequence) < 2:
        return False, ""
    from sciSR.fusion.planetary import looks_planetary

    try:
        decision = looks_planetary(sequence)
    except SciSRError:
        return False, ""
    return bool(decision), str(decision.reason)


def _index(sequence: FrameSequence, reference: str | int) -> Any:
    """``"auto"``, or the number of a frame that may be given by name.

    Raises
    ------
    UsageError
    """
    if reference == "auto":
        return "auto"
    if isinstance(reference, str):
        hits = [k for k, f in enumerate(sequence) if reference in (f.name, f.name.split("[")[0])]
        if len(hits) != 1:
            what = "no frame is" if not hits else f"{len(hits)} frames are"
            raise UsageError(
                f"{what} called {reference!r}", remedy="give a frame's name or its number from 0"
            )
        return hits[0]
    if not isinstance(reference, int | np.integer) or not 0 <= reference < len(sequence):
        raise UsageError(
            f"there is no frame {reference!r}", remedy=f"frames are numbered 0 to {len(sequence) - 1}"
        )
    return int(reference)


def _by_surface(
    sequence: FrameSequence, asked: Settings, reference: Any, why: str, tell: Callable[[float], None]
) -> Placed:
    from sciSR.fusion.planetary import register_planetary

    keep = 1.0 if asked.keep_best is None else asked.keep_best
    found = register_planetary(sequence, reference=reference, keep=keep, progress=tell)
    return _surface(found, [f"registered by its surface: {why}"] if why else [])


def _surface(found: PlanetaryRegistration, said: list[str]) -> Placed:
    notes = [*found.notes, *said]
    quality = found.quality if len(found.quality) else None
    return Placed(
        found, True, quality, found.variance_multiplier if found.weights is not None else None, notes
    )


def _sharpest(found: Registration, share: float | str) -> Placed:
    """Only the frames with the narrowest stars."""
    from sciSR.fusion.planetary.quality import how_many

    widths = np.array([np.nan if f is None else f.fwhm_px for f in found.frames])
    known = np.flatnonzero(np.isfinite(widths))
    if not known.size:
        raise UnsupportedError("no stars to judge the frames' sharpness by", remedy="leave --keep-best out")
    number = how_many(sum(f is not None for f in found.frames), share)
    best = set(known[np.argsort(widths[known], kind="stable")][:number].tolist()) | {found.reference}
    reason = "less sharp than those kept"
    left = [(k, reason) for k, f in enumerate(found.frames) if f is not None and k not in best]
    kept = Registration(
        found.reference,
        tuple(f if k in best else None for k, f in enumerate(found.frames)),
        tuple(sorted([*found.left_out, *left])),
        found.notes,
        found.names,
    )
    sharpness = np.nan_to_num(np.nanmin(widths) / widths, nan=0.0)
    return Placed(kept, sharpness=sharpness, notes=[*found.notes], dropped=frozenset(k for k, _ in left))
