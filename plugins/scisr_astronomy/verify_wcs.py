"""Places of pixels on the sky and along every other axis, by astropy.wcs alone.

Nothing here uses the keyword arithmetic that the outputs are written with: the corners, the centre and random points
of the output are sent to the world by its own header, the same places of the input by the input's, and the two are
compared, in output pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.verify.geometry import landmarks
from sciSR.verify.result import Check, Pair
from scisr_astronomy.quiet import quiet
from scisr_astronomy.verify_headers import for_wcs, letters, opened

TOLERANCE = 1e-4
"""Output pixels."""
_EXTRA = 192


@dataclass(frozen=True)
class Places:
    """How far the points of one description lie from where they should, in output pixels.

    Attributes
    ----------
    letter : str
    worst : float
        NaN where no point has a place in the world; infinite where only one of the two headers gives it one.
    where : tuple of float
        The worst point, FITS order, first pixel 1.
    edges : tuple of str
        Where the output's field ends beside the input's.
    problem : str
        Why nothing could be compared; empty otherwise.
    """

    letter: str
    worst: float = np.nan
    where: tuple[float, ...] = ()
    edges: tuple[str, ...] = ()
    problem: str = ""

    @property
    def good(self) -> bool:
        """Whether every point lies where it should."""
        return not self.problem and not self.worst > TOLERANCE


def geometry(pair: Pair, found: Sequence[Places]) -> list[Check]:
    """Checks of all descriptions of one image, from :func:`places_of`."""
    part = pair.before.part
    checks = [_check(each, part) for each in found]
    if not found:
        checks.append(
            Check("geometry", "astropy.wcs", "skipped", "the input has no world coordinates", part=part)
        )
    edges = [edge for each in found for edge in each.edges]
    if edges:
        checks.append(Check("field of view", "edges", "failed", "; ".join(dict.fromkeys(edges)), part=part))
    elif any(each.good and np.isfinite(each.worst) for each in found):
        checks.append(Check("field of view", "edges", "passed", "the outer edges are the input's", part=part))
    return checks + _physical(pair)


def _check(places: Places, part: str) -> Check:
    name = "corners, centre and random points" + (f" (description {places.letter})" if places.letter else "")
    if places.problem:
        return Check("geometry", name, "failed", places.problem, part=part)
    if np.isnan(places.worst):
        what = "no point of the image lies on the sky of its projection"
        return Check("geometry", name, "skipped", what, part=part)
    where = ", ".join(f"{v:g}" for v in places.where)
    message = f"{places.worst:.3g} output pixels by astropy.wcs, worst at pixel ({where})"
    status = "passed" if places.good else "failed"
    return Check("geometry", name, status, message, places.worst, TOLERANCE, "output pixels", part)


def places_of(pair: Pair) -> list[Places]:
    """Each description of the input against the output's."""
    old, new = pair.before.metadata, pair.after.metadata
    with opened(old.file) as before, opened(new.file) as after, quiet():
        first, second = for_wcs(before[old.hdu].header), for_wcs(after[new.hdu].header)
        if pair.options.get("wcs") == "none":
            return []
        out = []
        for letter in letters(first):
            if letter not in letters(second):
                what = f"the world coordinates{f' {letter}' if letter else ''} are not in the output"
                out.append(Places(letter, problem=what))
                continue
            out.append(_places(pair, letter, (first, before), (second, after)))
        return out


def _places(pair: Pair, letter: str, old: tuple[Any, Any], new: tuple[Any, Any]) -> Places:
    factors = np.array([float(f) for f in reversed(pair.factors)])
    points = _points(pair)
    inside = (points + 0.5) / factors - 0.5
    try:
        before, after = _Transform(*old, letter), _Transform(*new, letter)
        wanted, found = before(inside), after(points)
        scale = _pixel(after, points, found)
        off = _apart(before, wanted, found, scale)
    except Exception as error:  # wcslib's come as a dozen types
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Places(
            letter, problem=f"astropy.wcs can't evaluate it: {lines[-1] if lines else type(error).__name__}"
        )
    lost = np.isnan(wanted).any(-1) != np.isnan(found).any(-1)
    off[lost] = np.inf
    if not np.isfinite(off).any() and not lost.any():
        return Places(letter)
    worst = int(np.nanargmax(off))
    edges = () if off[worst] <= TOLERANCE else _edges(pair, before, after, factors)
    return Places(letter, float(off[worst]), tuple(np.round(points[worst] + 1, 3)), edges)


def _points(pair: Pair) -> np.ndarray:
    """Landmarks of the output and more random points, 0-based, FITS order."""
    shape = pair.after.shape
    more = np.random.default_rng(1).uniform(0, 1, (_EXTRA, len(shape))) * shape - 0.5
    points: np.ndarray = np.vstack([landmarks(shape), more])[:, ::-1]
    return points


class _Transform:
    """Pixels (0-based, FITS order) to the world, with distortions also where there are more than two axes."""

    def __init__(self, header: Any, hdus: Any, letter: str) -> None:
        from astropy.wcs import WCS

        self.wcs = WCS(header.copy(), fobj=hdus, key=letter or " ")
        self.wcs.wcs.set()
        self.plane = None
        if self.wcs.has_distortion and self.wcs.naxis > 2:
            self.plane = WCS(header.copy(), fobj=hdus, key=letter or " ", naxis=2)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        count = self.wcs.naxis
        full = np.zeros((len(points), count))
        given = min(count, points.shape[1])
        full[:, :given] = points[:, :given]
        with np.errstate(all="ignore"):
            if self.plane is None:
                values = self.wcs.all_pix2world(full, 0) if count == 2 else self.wcs.wcs_pix2world(full, 0)
                return np.asarray(values)
            focal = full.copy()
            focal[:, :2] = self.plane.pix2foc(full[:, :2], 0)
            return np.asarray(self.wcs.wcs_pix2world(focal, 0))

    @property
    def sky(self) -> tuple[int, int] | None:
        """World axes of longitude and latitude."""
        core = self.wcs.wcs
        return (core.lng, core.lat) if core.lng >= 0 and core.lat >= 0 else None


def _differences(transform: _Transform, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """World distances per axis; on the sky the angle between the two directions, in both of its columns."""
    from astropy.coordinates import angular_separation

    off = np.abs(one - other)
    if transform.sky is not None:
        lng, lat = transform.sky
        unit = np.radians(1.0)
        angle = angular_separation(
            one[:, lng] * unit, one[:, lat] * unit, other[:, lng] * unit, other[:, lat] * unit
        )
        off[:, lng] = off[:, lat] = np.degrees(angle)
    return off


def _pixel(transform: _Transform, points: np.ndarray, world: np.ndarray) -> np.ndarray:
    """World size of an output pixel at each point, for each world axis: a step along whichever pixel axis moves it."""
    size = np.zeros_like(world)
    for axis in range(points.shape[1]):
        step = points.copy()
        step[:, axis] -= 1e-2 * np.sign(points[:, axis] - 0.1)  # toward the inside
        moved = _differences(transform, transform(step), world) / 1e-2
        size = np.fmax(size, np.where(np.isfinite(moved), moved, 0.0))
    return size


def _apart(transform: _Transform, wanted: np.ndarray, found: np.ndarray, size: np.ndarray) -> np.ndarray:
    off = _differences(transform, wanted, found)
    with np.errstate(all="ignore"):
        typical = np.array([np.median(c[c > 0]) if (c > 0).any() else 1.0 for c in size.T])
        pixels = off / np.maximum(size, 1e-3 * typical)
    pixels[off == 0] = 0.0
    worst: np.ndarray = pixels.max(axis=1)
    return worst


def _edges(pair: Pair, before: _Transform, after: _Transform, factors: np.ndarray) -> tuple[str, ...]:
    """In words how far the output's outer edges lie from the input's; empty where that can't be told."""
    shape, old = pair.after.shape[::-1], pair.before.shape[::-1]
    middle = np.array([(n - 1) / 2 for n in shape])
    out = []
    for axis in range(min(2, len(shape))):
        for end, name in ((-0.5, "near"), (shape[axis] - 0.5, "far")):
            point = middle.copy()
            point[axis] = end
            world = after(point[None])
            try:
                with np.errstate(all="ignore"):
                    back = before.wcs.all_world2pix(world, 0) if before.wcs.naxis == 2 else None
            except Exception:  # no convergence: the failed corners say enough
                return ()
            if back is None or not np.isfinite(back).all():
                return ()
            wanted = -0.5 if end < 0 else old[axis] - 0.5
            off = float(back[0, axis] - wanted)
            if abs(off) > TOLERANCE / factors[axis]:
                out.append(f"NAXIS{axis + 1}: the {name} edge lies {off:+.4g} input pixels from the input's")
    return tuple(out)


def _physical(pair: Pair) -> list[Check]:
    """IRAF's physical pixels (LTV, LTM), where either header has them: image = LTM physical + LTV."""
    old, new = pair.before.metadata, pair.after.metadata
    first, second = (_ltm(m.file.peek(m.hdu)) for m in (old, new))
    if second is None or (first is None and all(f == 1 for f in pair.factors)):
        return []
    matrix, offset = first if first is not None else (np.eye(2), np.zeros(2))
    factors = np.array([float(f) for f in reversed(pair.factors)])[:2]
    points = _points(pair)[:, :2]
    inside = (points + 0.5) / factors - 0.5
    try:
        wanted = np.linalg.solve(matrix, (inside + 1 - offset).T).T
        found = np.linalg.solve(second[0], (points + 1 - second[1]).T).T
    except np.linalg.LinAlgError:
        return []
    off = float(np.abs((wanted - found) @ second[0].T).max())
    message = f"{off:.3g} output pixels by LTV and LTM"
    status = "passed" if off <= TOLERANCE else "failed"
    return [
        Check(
            "geometry", "physical pixels", status, message, off, TOLERANCE, "output pixels", pair.before.part
        )
    ]


def _ltm(header: Any) -> tuple[np.ndarray, np.ndarray] | None:
    def number(key: str, default: float) -> float:
        value = header.get(key, default)
        good = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
        return float(value) if good else default

    keys = [*(f"LTV{n}" for n in (1, 2)), *(f"LTM{a}_{b}" for a in (1, 2) for b in (1, 2))]
    if not any(key in header for key in keys):
        return None
    matrix = np.array([[number(f"LTM{a}_{b}", float(a == b)) for b in (1, 2)] for a in (1, 2)])
    return matrix, np.array([number("LTV1", 0.0), number("LTV2", 0.0)])


def broken_letters(places: Sequence[Places]) -> set[str]:
    """Descriptions whose points lie elsewhere."""
    return {each.letter for each in places if not each.good}
