"""Saturated pixels: where the detector stopped counting, and where no frame tells what was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sciSR.errors import SciSRError
from sciSR.fusion.matching.rejection import grow
from sciSR.fusion.prepared import Target
from sciSR.fusion.transforms import Transform
from sciSR.sequence import Frame

_TOP = 0.005  # pixels this close to the ceiling, relatively, are on it
_LEAST = 6  # pixels on the ceiling, side by side, that make one
_LOOKED_AT = 8  # frames


def guess_saturation(frames: Sequence[Frame]) -> float | None:
    """The level at which pixels pile up, where the headers say nothing.

    Bright stars of all magnitudes end at one level: many pixels within 0.5 % of the brightest one, side by side, and
    hardly any between that and a tenth below. Hot pixels stand alone and do not count, nor does a single bright core
    with a flat top, which has a slope around it.

    Parameters
    ----------
    frames : sequence of Frame
        Up to eight of them are read.

    Returns
    -------
    float or None
        Pixels at or above this are saturated; None where nothing piles up.
    """
    if not frames:
        return None
    found = []
    for k in sorted({round(i) for i in np.linspace(0, len(frames) - 1, min(len(frames), _LOOKED_AT))}):
        try:
            pixels = frames[k].replace(saturation=None).read()
        except SciSRError:  # whoever needs this frame's pixels will say so
            continue
        level = _pile_up(np.where(pixels.bad, np.float32(-np.inf), pixels.values))
        if level is not None:
            found.append(level)
    return min(found) if found else None


def _pile_up(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    if finite.size < 100:
        return None
    sky = float(np.median(finite))
    ceiling = float(finite.max()) - sky
    spread = float(np.median(np.abs(finite - sky)))
    if ceiling <= 50 * max(spread, 1e-30):
        return None  # a flat frame has no bright cores
    above = values - np.float32(sky)
    on = above >= (1 - _TOP) * ceiling
    # Side by side: hot pixels stand alone.
    neighbours = np.zeros(on.shape, dtype=bool)
    neighbours[1:] |= on[:-1]
    neighbours[:-1] |= on[1:]
    neighbours[:, 1:] |= on[:, :-1]
    neighbours[:, :-1] |= on[:, 1:]
    piled = int(np.count_nonzero(on & neighbours))
    below = int(np.count_nonzero((above >= 0.9 * ceiling) & ~on))
    if piled < _LEAST or piled < below:
        return None
    heights = values[on & neighbours]
    exact = heights.max()
    # Integers straight from the converter end at one value; calibrated ones are spread by the flat field.
    return float(exact if np.mean(heights == exact) > 0.5 else heights.min())


def saturated_pixels(values: np.ndarray, level: float, *, margin: int = 1) -> np.ndarray:
    """Pixels at or above the saturation level, and those their charge spilt into.

    Groups of two or more saturated pixels grow by `margin`; a bleeding trail along a column (or row) is followed
    beyond that while it stays above half the level and above its neighbours across by as much as a fifth.

    Parameters
    ----------
    values : ndarray, (rows, columns)
    level : float
    margin : int
        Pixels around a saturated group that are bad too.

    Returns
    -------
    ndarray of bool
    """
    core = values >= np.float32(level)
    if not core.any():
        return core
    out = core.copy()
    grouped = core & _has_neighbour(core)
    around = grouped
    for _ in range(margin):
        around = grow(around)
    out |= around
    sky = float(np.median(values))
    strong = (values - sky) > 0.5 * (level - sky)
    for axis in (0, 1):
        out |= _bleeding(values, around, strong, axis)
    return out


def _has_neighbour(mask: np.ndarray) -> np.ndarray:
    count = np.zeros(mask.shape, dtype=np.uint8)
    padded = np.pad(mask, 1).astype(np.uint8)
    n, m = mask.shape
    for r in (0, 1, 2):
        for c in (0, 1, 2):
            if (r, c) != (1, 1):
                count += padded[r : r + n, c : c + m]
    return count > 0


def _bleeding(values: np.ndarray, seeds: np.ndarray, strong: np.ndarray, axis: int) -> np.ndarray:
    """Pixels in line with a saturated group along `axis` that stand out across it."""
    across = np.pad(values, 2, mode="edge")
    n, m = values.shape
    if axis == 0:
        sides = across[2 : 2 + n, :m], across[2 : 2 + n, 4 : 4 + m]
    else:
        sides = across[:n, 2 : 2 + m], across[4 : 4 + n, 2 : 2 + m]
    ridge = strong & (values > 1.2 * np.maximum(*sides))
    grown = seeds.copy()
    for _ in range(64):
        before = np.count_nonzero(grown)
        step = grown.copy()
        if axis == 0:
            step[1:] |= grown[:-1]
            step[:-1] |= grown[1:]
        else:
            step[:, 1:] |= grown[:, :-1]
            step[:, :-1] |= grown[:, 1:]
        grown |= step & ridge
        if np.count_nonzero(grown) == before:
            break
    return grown


@dataclass(frozen=True, eq=False)
class SaturationCensus:
    """Which places of the result no frame measured unsaturated.

    Only the places of saturated pixels are kept from each frame, so it may run over any number of frames.

    Parameters
    ----------
    target : Target
        The grid of the result.
    """

    target: Target
    _seen: list[tuple[Transform, tuple[int, int], np.ndarray]] = field(default_factory=list)

    def add(self, transform: Transform, saturated: np.ndarray) -> None:
        """One frame: its transform and its saturated pixels, (rows, columns) bool."""
        self._seen.append((transform, saturated.shape, np.flatnonzero(saturated)))

    def never_measured(self) -> np.ndarray:
        """True where at least one frame was saturated and no frame that covers the place was not.

        Returns
        -------
        ndarray of bool, `target.shape`
        """
        out = np.zeros(self.target.shape, dtype=bool)
        for transform, shape, flat in self._seen:
            if flat.size:
                self._stamp(out, transform, shape, flat)
        places = np.argwhere(out)
        if not places.size:
            return out
        factors = np.array([float(f) for f in self.target.factors])
        points = (places + 0.5) / factors - 0.5
        measured = np.zeros(len(points), dtype=bool)
        for transform, shape, flat in self._seen:
            at = np.rint(transform(points)).astype(np.intp)
            inside = ((at >= 0) & (at < np.array(shape))).all(axis=1)
            index = np.where(inside, at[:, 0] * shape[1] + at[:, 1], -1)
            measured |= inside & ~np.isin(index, flat)
        out[tuple(places[measured].T)] = False
        return out

    def _stamp(self, out: np.ndarray, transform: Transform, shape: tuple[int, int], flat: np.ndarray) -> None:
        """Mark every fine pixel that a saturated pixel of a frame may cover."""
        fine = np.rint(self.target.fine(transform.inverse(np.stack(np.divmod(flat, shape[1]), axis=-1))))
        reach = [int(np.ceil(float(f))) for f in self.target.factors]
        for r in range(-reach[0], reach[0] + 1):
            for c in range(-reach[1], reach[1] + 1):
                at = fine.astype(np.intp) + np.array([r, c])
                inside = ((at >= 0) & (at < np.array(out.shape))).all(axis=1)
                out[tuple(at[inside].T)] = True
