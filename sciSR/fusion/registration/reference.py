"""Which frame the others are registered to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sciSR.errors import UnsupportedError
from sciSR.fusion.registration.results import Registered
from sciSR.fusion.registration.stars import Catalogue
from sciSR.sequence import FrameSequence

FIRST_IS_FINE = 0.6
"""The first frame is the reference if its score is at least this part of the best one's."""
CENTRAL = 0.6
"""And if it overlaps the others at least this part as much as the most central frame does."""
SAMPLED = 60
"""Frames that overlaps are computed for, at most."""


def score(catalogue: Catalogue | None) -> float:
    """How well others can be registered to a frame: root of the number of stars over their width; -1 if not at all."""
    if catalogue is None or catalogue.usable == 0 or not np.isfinite(catalogue.noise):
        return -1.0
    if len(catalogue) == 0:
        return 0.0
    return float(np.sqrt(len(catalogue) * catalogue.usable) / catalogue.fwhm)


def choose_reference(
    catalogues: Sequence[Catalogue | None], wish: int | str, sequence: FrameSequence
) -> tuple[int, list[str]]:
    """The reference's index, and what to say about the choice.

    Raises
    ------
    UnsupportedError
        The frame asked for, or every frame, has no usable pixels.
    """
    scores = [score(c) for c in catalogues]
    if wish != "auto":
        index = int(wish)
        if scores[index] < 0:
            raise UnsupportedError("the reference frame has no usable pixels", where=sequence[index].name)
        return index, []
    best = int(np.argmax(scores))
    if scores[best] < 0:
        raise UnsupportedError("no frame has usable pixels", where=sequence[0].name)
    first = next(k for k, s in enumerate(scores) if s >= 0)
    if scores[first] >= FIRST_IS_FINE * scores[best]:
        return first, []
    names = sequence[best].name, sequence[first].name
    return best, [f"reference: {names[0]}, sharper or deeper than {names[1]}"]


def another(
    catalogues: Sequence[Catalogue | None], frames: Sequence[Registered | None], chosen: int
) -> int | None:
    """A frame to try as the reference instead, where most frames have nothing in common with the chosen one."""
    usable = [k for k, c in enumerate(catalogues) if score(c) >= 0]
    strangers = [k for k in usable if frames[k] is None]
    if len(usable) < 3 or 2 * len(strangers) <= len(usable):
        return None
    return max(strangers, key=lambda k: score(catalogues[k])) if chosen not in strangers else None


def more_central(frames: Sequence[Registered | None], chosen: int) -> int | None:
    """A frame that overlaps the others much more than the reference does, or None."""
    known = [k for k, f in enumerate(frames) if f is not None]
    if len(known) < 3:
        return None
    step = -(-len(known) // SAMPLED)
    sample = sorted({*known[::step], chosen})
    lattices = {k: _lattice(frames[k]) for k in sample}
    overlap = {}
    for j in sample:
        frame = frames[j]
        assert frame is not None
        inside = [_inside(frame.transform(lattices[i]), frame.shape) for i in sample if i != j]
        overlap[j] = float(np.mean(inside))
    best = max(sample, key=overlap.__getitem__)
    return best if overlap[chosen] < CENTRAL * overlap[best] else None


def _lattice(frame: Registered | None) -> np.ndarray:
    """Points all over the frame, in the reference's pixels."""
    assert frame is not None
    axes = [np.linspace(0, n - 1, 9) for n in frame.shape]
    return frame.transform.inverse(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2))


def _inside(points: np.ndarray, shape: tuple[int, int]) -> float:
    return float(((points > -0.5) & (points < np.asarray(shape) - 0.5)).all(axis=-1).mean())
