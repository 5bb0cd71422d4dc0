"""Register files: read the frames, find where each lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.errors import UnreadableError, UsageError
from sciSR.sequence import FrameSequence

if TYPE_CHECKING:
    from sciSR.fusion.registration import Registration


def register_files(
    paths: Sequence[Path | str],
    *,
    reference: int | str = "auto",
    register: str = "auto",
    model: str = "auto",
    strict: bool = False,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Where each frame of some files lies.

    Parameters
    ----------
    paths : sequence of path
        Files, patterns or folders; see :func:`sciSR.read_sequence`.
    reference : int or str
        ``"auto"``, an index from 0, or a frame's name.
    register : str
        Where the first guess comes from; see :func:`sciSR.fusion.registration.register`.
    model : str
    strict : bool
        A frame that can't be read or registered is an error.
    options : mapping, optional
        The format's own options for reading.

    Returns
    -------
    dict
        JSON-ready: as :meth:`sciSR.fusion.registration.Registration.as_dict`, ``unread`` and ``warnings``.

    Raises
    ------
    SciSRError
    """
    from sciSR.api import read_sequence
    from sciSR.workflow.run import overheard

    said: list[str] = []
    with overheard(said):
        sequence = read_sequence(paths, strict=strict, **(options or {}))
    found = dict(register_sequence(sequence, reference=reference, register=register, model=model).as_dict())
    if strict and found["left_out"]:
        first = found["left_out"][0]
        raise UnreadableError(
            f"can't be registered: {first['reason']}", where=first["name"], remedy="leave --strict away"
        )
    found["unread"] = [{"name": each.name, "reason": each.reason} for each in sequence.left_out]
    found["notes"] = list(dict.fromkeys([*sequence.notes, *found["notes"]]))
    found["warnings"] = said
    return found


def register_sequence(
    sequence: FrameSequence,
    *,
    reference: int | str = "auto",
    register: str = "auto",
    model: str = "auto",
    keep_best: float | str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Registration:
    """Where each frame of a sequence lies; :func:`register_files` has the parameters.

    Parameters
    ----------
    keep_best : float or str, optional
        Of frames of a planet: only so many of them, the sharpest, are placed.
    progress : callable, optional
        Called with the fraction done, of frames of a planet.
    """
    chosen = reference_index(sequence, reference)
    if register == "planetary" or (register == "auto" and _planetary(sequence)):
        from sciSR.fusion.planetary import register_planetary

        keep = 1.0 if keep_best is None else keep_best
        return register_planetary(sequence, reference=chosen, keep=keep, progress=progress)
    from sciSR.fusion.registration import register as run

    return run(sequence, reference=chosen, model=model, method=register)  # type: ignore[arg-type]


def _planetary(sequence: FrameSequence) -> bool:
    """Whether the frames show a planet, the Moon or the Sun: there are no stars to register by."""
    if len(sequence) < 2:
        return False
    from sciSR.errors import SciSRError
    from sciSR.fusion.planetary import looks_planetary

    try:
        return bool(looks_planetary(sequence))
    except SciSRError:
        return False


def reference_index(sequence: FrameSequence, reference: int | str) -> Any:
    """``"auto"``, or the index of the frame meant.

    Raises
    ------
    UsageError
        No such frame, or several.
    """
    if isinstance(reference, int) or reference == "auto":
        return reference
    exact = [k for k, frame in enumerate(sequence) if frame.name == reference]
    found = exact or [k for k, frame in enumerate(sequence) if frame.name.startswith(f"{reference}[")]
    if len(found) != 1:
        listed = ", ".join(frame.name for frame in list(sequence)[:4])
        raise UsageError(
            f"{'no frame is' if not found else 'several frames are'} called {reference!r}",
            remedy=f"the frames are {listed}{', ...' if len(sequence) > 4 else ''}",
        )
    return found[0]
