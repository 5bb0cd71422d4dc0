"""Trails of satellites and aeroplanes: straight lines in what a frame has beyond its prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BINNED = 256  # pixels a side at most, for the search
_POINT = 1.5  # sigma that makes a binned pixel a point of the search
_PIECES = 16  # a line is looked at in so many pieces
_RUN = 5  # of them, one after the other, must show it: a trail may begin or end in the frame
_REACH = 24  # pixels across, at most, on each side of a trail


@dataclass(frozen=True)
class Trail:
    """A straight trail: pixels with ``row * cos(angle) + column * sin(angle)`` near `distance`.

    Attributes
    ----------
    angle : float
        Of the line's normal, radians from the row axis, 0 to pi.
    distance : float
        Of the line from pixel (0, 0), pixels.
    half_width : float
        Pixels on each side that are masked.
    span : (float, float)
        Where along the line (``column * cos(angle) - row * sin(angle)``) it is masked.
    significance : float
        Of the whole, in sigma.
    """

    angle: float
    distance: float
    half_width: float
    span: tuple[float, float]
    significance: float


def find_trails(
    residuals: np.ndarray,
    variance: np.ndarray,
    bad: np.ndarray,
    *,
    significance: float = 10.0,
    limit: int = 8,
) -> tuple[np.ndarray, tuple[Trail, ...]]:
    """Mask straight trails that cross a frame.

    A Hough transform of the binned residuals' significant pixels proposes lines; each is then fitted on the pixels
    themselves and must stand above both its sides in at least five consecutive ones of sixteen pieces of its
    length, which a chance alignment of stars, cosmic rays and noise does not. Spikes and other straight features
    of the scene are in the prediction and so not in the residuals.

    Parameters
    ----------
    residuals, variance : ndarray, (rows, columns)
        Frame minus prediction, and its variance.
    bad : ndarray of bool
        Known bad pixels. Outliers found before may stay in: a trail's own pixels are among them.
    significance : float
        Sigma, for the line as a whole.
    limit : int
        Trails a frame, at most.

    Returns
    -------
    (mask, trails) : ndarray of bool, tuple of Trail
    """
    mask = np.zeros(residuals.shape, dtype=bool)
    if min(residuals.shape) < 32:
        return mask, ()
    # One wild pixel must not make a line: it counts as 4 sigma.
    pull = np.where(bad, np.float32(0), np.clip(residuals / np.sqrt(variance), -3, 4)).astype(np.float32)
    pull -= np.where(bad, np.float32(0), np.float32(np.median(pull[~bad]) if (~bad).any() else 0))
    good = ~bad
    trails: list[Trail] = []
    for _ in range(limit):
        trail = None
        for angle, distance in _proposals(pull, good):
            trail = _examine(pull, good, angle, distance, significance)
            if trail is not None:
                break
        if trail is None:
            break
        trails.append(trail)
        here = _pixels(trail, residuals.shape)
        mask |= here
        good = good & ~here
        pull = np.where(here, np.float32(0), pull)
    return mask, tuple(trails)


def _proposals(pull: np.ndarray, good: np.ndarray, number: int = 3) -> list[tuple[float, float]]:
    """Lines with far more significant binned pixels on them than chance puts there; the best first."""
    step = -(-max(pull.shape) // _BINNED)
    n, m = (k // step for k in pull.shape)

    def binned(image: np.ndarray) -> np.ndarray:
        rows = np.add.reduceat(image[: n * step, : m * step], np.arange(0, n * step, step), axis=0)
        return np.add.reduceat(rows, np.arange(0, m * step, step), axis=1)

    count = binned(good.astype(np.float32))
    score = binned(pull) / np.sqrt(np.maximum(count, 1))
    spread = max(1.4826 * float(np.median(np.abs(score))), 1e-6)
    points = score > _POINT * spread
    share = float(np.mean(points))
    r, c = (v.astype(np.float32) for v in np.nonzero(points))
    if r.size < 10 or share == 0:
        return []
    angles = np.arange(0, np.pi, 1.0 / max(n, m) * 2, dtype=np.float32)
    rho = np.outer(np.cos(angles), r) + np.outer(np.sin(angles), c)
    offset, width = m, n + 2 * m + 2
    cell = np.rint(rho).astype(np.int32) + np.int32(offset)
    cell += (np.arange(angles.size, dtype=np.int32) * width)[:, None]
    votes = np.bincount(cell.ravel(), minlength=angles.size * width).reshape(angles.size, width)
    votes = votes + np.roll(votes, -1, axis=1)  # a line may fall between two cells
    distance = np.arange(width) - offset + 0.5
    expected = 2 * share * _chord(angles, distance, n, m)
    excess = (votes - expected) / np.sqrt(expected + 4)
    excess[expected < 2 * share * 0.25 * max(n, m)] = 0  # corners are too short to tell
    found = []
    for _ in range(number):
        best = np.unravel_index(int(np.argmax(excess)), excess.shape)
        if excess[best] < 5.5:
            break
        angle, place = float(angles[best[0]]), float(distance[best[1]])
        # A binned pixel's centre lies at (i + 0.5) * step - 0.5.
        found.append((angle, place * step + 0.5 * (step - 1) * (np.cos(angle) + np.sin(angle))))
        around = slice(max(0, best[0] - 6), best[0] + 7), slice(max(0, best[1] - 8), best[1] + 9)
        excess[around] = 0
    return found


def _chord(angles: np.ndarray, distance: np.ndarray, n: int, m: int) -> np.ndarray:
    """Length of each line inside an n by m frame; ``(angles, distances)``."""
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    # Along the line: row = d c - t s, column = d s + t c. Limits of t from either pair of borders.
    low, high = np.full((angles.size, distance.size), -np.inf), np.full((angles.size, distance.size), np.inf)
    for slope, start, size in ((-s, distance * c, n), (c, distance * s, m)):
        safe = np.where(np.abs(slope) < 1e-6, 1e-6, slope)
        a, b = (-0.5 - start) / safe, (size - 0.5 - start) / safe
        low, high = np.maximum(low, np.minimum(a, b)), np.minimum(high, np.maximum(a, b))
    return np.maximum(high - low, 0)


def _examine(
    pull: np.ndarray, good: np.ndarray, angle: float, distance: float, significance: float
) -> Trail | None:
    """Fit the proposed line, measure its profile and pieces; None unless it is a trail."""
    for reach in (6.0, 4.0, 3.0):
        fitted = _fit(pull, good, angle, distance, reach)
        if fitted is None:
            return None
        angle, distance = fitted
    across, along, value = _strip(pull, good, angle, distance, _REACH + 8)
    if value.size < 200:
        return None
    half = _half_width(across, value)
    inside, beside = np.abs(across) <= max(half - 1, 1.0), np.abs(across) > min(half + 3, _REACH)
    edges = np.linspace(along.min(), along.max() + 1e-6, _PIECES + 1)
    piece = np.clip(np.searchsorted(edges, along, side="right") - 1, 0, _PIECES - 1)
    top = _mean_of(piece[inside], value[inside])
    base = _mean_of(piece[beside], value[beside])
    seen = (top[1] > 8) & (base[1] > 8)
    if seen.sum() < _PIECES // 2:
        return None
    spread = float(np.std(value[beside]))
    rise = top[0] - base[0]
    error = spread * np.sqrt(1 / np.maximum(top[1], 1) + 1 / np.maximum(base[1], 1))
    first, last = _best_run(np.where(seen, rise / error - 2, 0.0))
    run = seen & (np.arange(_PIECES) >= first) & (np.arange(_PIECES) <= last)
    if np.count_nonzero(run) < _RUN:
        return None
    total = float(np.sum((rise / error**2)[run]) / np.sqrt(np.sum(1 / error[run] ** 2)))
    if total < significance or np.mean((rise > 2 * error)[run]) < 0.75:
        return None
    span = float(edges[max(first - 1, 0)]) - 1, float(edges[min(last + 2, _PIECES)]) + 1
    return Trail(float(angle), float(distance), half, span, total)


def _best_run(gain: np.ndarray) -> tuple[int, int]:
    """First and last of the consecutive values with the largest sum."""
    best, first, last, start, total = -np.inf, 0, -1, 0, 0.0
    for k, value in enumerate(gain):
        if total <= 0:
            start, total = k, 0.0
        total += value
        if total > best:
            best, first, last = total, start, k
    return first, last


def _strip(
    pull: np.ndarray, good: np.ndarray, angle: float, distance: float, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Good pixels near a line: distance across and place along it, and value."""
    r, c = np.arange(pull.shape[0], dtype=np.float32), np.arange(pull.shape[1], dtype=np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    across = (r * cos)[:, None] + (c * sin)[None, :] - np.float32(distance)
    near = (np.abs(across) <= reach) & good
    rows, columns = np.nonzero(near)
    return across[near], columns * cos - rows * sin, pull[near]


def _fit(
    pull: np.ndarray, good: np.ndarray, angle: float, distance: float, reach: float
) -> tuple[float, float] | None:
    """Straight line through the light near a proposed one."""
    across, along, value = _strip(pull, good, angle, distance, reach)
    weight = np.maximum(value - 1.0, 0).astype(np.float64)
    if np.count_nonzero(weight) < 20:
        return None
    middle = np.average(along, weights=weight)
    t = along - middle
    tilt, shift = np.polyfit(t, across, 1, w=np.sqrt(weight))
    # across = shift + tilt * (along - middle): turn the normal by -tilt, move by the shift at the middle.
    turned = angle - np.arctan(tilt)
    row = distance * np.cos(angle) - middle * np.sin(angle) + shift * np.cos(angle)
    column = distance * np.sin(angle) + middle * np.cos(angle) + shift * np.sin(angle)
    return float(turned), float(row * np.cos(turned) + column * np.sin(turned))


def _half_width(across: np.ndarray, value: np.ndarray) -> float:
    """Distance at which the mean profile has fallen into its noise, and one pixel."""
    place = np.clip(np.rint(np.abs(across)).astype(int), 0, _REACH + 8)
    number = np.maximum(np.bincount(place, minlength=_REACH + 9), 1)
    profile = np.bincount(place, value, minlength=_REACH + 9) / number
    base = float(np.median(profile[-10:]))
    error = float(np.std(value)) / np.sqrt(number)
    low = np.flatnonzero(profile[:_REACH] - base < np.maximum(2.5 * error[:_REACH], 0.05))
    return float((low[0] if low.size else _REACH) + 1)


def _mean_of(group: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    number = np.bincount(group, minlength=_PIECES)
    return np.bincount(group, value, minlength=_PIECES) / np.maximum(number, 1), number


def _pixels(trail: Trail, shape: tuple[int, int]) -> np.ndarray:
    """The pixels a trail covers."""
    r, c = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    cos, sin = np.cos(trail.angle), np.sin(trail.angle)
    across, along = r * cos + c * sin - trail.distance, c * cos - r * sin
    return (np.abs(across) <= trail.half_width) & (along >= trail.span[0]) & (along <= trail.span[1])
