"""Is an image like those that a network learned from? Noise, spectrum, sharpness against the ranges of its card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sciSR.image import Image
    from sciSR.inference.choose import Choice
    from sciSR.models.spec import ModelSpec


@dataclass(frozen=True)
class Familiarity:
    """What was measured on the input, and what lies outside.

    Attributes
    ----------
    notes : tuple of str
        One line each: what lies outside the training range, with the found value and the range; empty where all is
        familiar.
    measured : mapping of str to float
    ranges : mapping of str to (float, float)
        Of the training images: from the card.
    network : str
        Whose training it was.
    """

    notes: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    network: str = ""

    @property
    def is_familiar(self) -> bool:
        return not self.notes

    def lines(self) -> list[str]:
        """The notes as messages to the user."""
        return [f"unlike what {self.network} was trained on: {note}" for note in self.notes]

    def record(self) -> dict[str, Any]:
        """JSON-ready, for the provenance."""
        shown = {k: v for k, v in self.measured.items() if not k.startswith("noise_")}
        return {
            "network": self.network,
            "notes": list(self.notes),
            "measured": {k: float(f"{v:.4g}") for k, v in shown.items()},
        }


def assess(image: Image, spec: ModelSpec) -> Familiarity:
    """Hold an image against what a network was trained on.

    A few windows of the image are measured (:mod:`sciSR.trust.features`); nothing of it changes under
    ``x -> a x + b``, a > 0. Each feature is held against its range over the training inputs, and all together against
    the nearest of these: a combination that never occurred is unfamiliar too.

    Parameters
    ----------
    image : Image
    spec : ModelSpec
        Of the network.

    Returns
    -------
    Familiarity
        Without notes where the image is familiar, where nothing is known of the network's training, or where the image
        is too small or too empty to be measured.
    """
    from sciSR.trust.ranges import known_of

    known = known_of(spec)
    if known is None:
        return Familiarity()
    measured = typical(windows(image), spec.domain)
    notes = known.notes(measured)
    return Familiarity(tuple(notes), measured, known.ranges, spec.name)


def refuse_unfamiliar(image: Image, spec: ModelSpec, familiarity: Familiarity, choice: Choice) -> None:
    """What ``--strict`` does.

    Parameters
    ----------
    image : Image
    spec : ModelSpec
        Of the network that was to be used.
    familiarity : Familiarity
    choice : Choice
        What the image's own check of the network left of it.

    Raises
    ------
    UnsupportedError
        The image is unfamiliar, or the network lost on the image's own degraded self.
    """
    from sciSR.errors import UnsupportedError

    why = list(familiarity.notes)
    if not choice.trained:
        why += list(choice.messages[-1:])
    if why:
        raise UnsupportedError(
            f"unlike what {spec.name} was trained on: {'; '.join(why)}",
            where=image.where,
            remedy="leave out --strict, or choose a classical method (--model cubic)",
        )


def typical(pieces: list[NDArray[np.float64]], domain: str) -> dict[str, float]:
    """The features' medians over some windows; without those that none shows. Turns add up, as independent ones do."""
    from sciSR.trust.features import NAMES, measure

    rows = [measure(piece, domain) for piece in pieces]
    found = {}
    for name in NAMES:
        values = sorted(row[name] for row in rows if math.isfinite(row[name]))
        if values and name == "turned_grid":
            found[name] = sum(values) / math.sqrt(len(values))
        elif values:
            found[name] = 0.5 * (values[(len(values) - 1) // 2] + values[len(values) // 2])
    return found


def windows(image: Image) -> list[NDArray[np.float64]]:
    """A few windows: four of a single plane, the middles of three planes of several; float64, NaN where bad."""
    import numpy as np

    from sciSR.inference.statistics import bad_pixels, plane_indices, read_rows
    from sciSR.trust.ranges import SIDE

    planes = plane_indices(image)
    rows, columns = (image.shape[axis] for axis in image.spatial_axes)
    if len(planes) >= 3:
        places = [(planes[round((len(planes) - 1) * share)], 0.5, 0.5) for share in (0.35, 0.5, 0.65)]
    else:
        shares = [(a, b) for a in _shares(rows, SIDE) for b in _shares(columns, SIDE)]
        places = [(planes[len(planes) // 2], a, b) for a, b in shares]
    found = []
    for plane, down, across in places:
        top, left = int(max(0, rows - SIDE) * down), int(max(0, columns - SIDE) * across)
        cut = slice(top, top + SIDE)
        values = read_rows(image, plane, cut)[:, left : left + SIDE]
        mask = None
        if image.mask is not None:
            mask = read_rows(image, plane, cut, "mask")[:, left : left + SIDE]
        bad = bad_pixels(values, mask)
        if bad.mean() < 0.5:
            found.append(np.where(bad, np.nan, values.astype(np.float64)))
    return found


def _shares(length: int, side: int) -> tuple[float, ...]:
    """Where along an axis: in the middle if there is no room for two windows."""
    return (0.3, 0.7) if length > 1.5 * side else (0.5,)
