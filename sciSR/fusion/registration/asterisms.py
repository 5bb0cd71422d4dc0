"""Which star is which: catalogues are matched by displacement votes and by triangles, mirrored or not.

A match counts only if chance can hardly make it: the probability that so many stars coincide at random, times the
number of hypotheses tried, must be below `FALSE_ALARM`.
Triangles as in Groth (AJ 91, 1244, 1986), Valdes et al. (PASP 107, 1119, 1995) and Beroiz et al. (astroalign, 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sciSR.fusion.transforms import Affine

FALSE_ALARM = 1e-5
"""Probability of a match by chance, for one frame, that is put up with."""
VOTING = 120
"""Brightest stars that vote for a displacement."""
TRIANGLES_OF = 40
"""Brightest stars that make triangles, each with its neighbours."""
CLOSE = 3.0
"""Pixels within which two stars coincide while a match is sought."""


@dataclass(frozen=True, eq=False)
class Match:
    """A similarity that brings two catalogues together.

    Attributes
    ----------
    transform : Affine
    pairs : ndarray of int, (n, 2)
        Indices into the first and second catalogue.
    log_chance : float
        Decimal logarithm of the probability that chance alone does this, trials counted.
    """

    transform: Affine
    pairs: np.ndarray
    log_chance: float

    @property
    def significant(self) -> bool:
        return self.log_chance < np.log10(FALSE_ALARM)


def pair_up(transform: Affine, first: np.ndarray, second: np.ndarray, tolerance: float) -> np.ndarray:
    """Mutually nearest stars within `tolerance`: indices (n, 2)."""
    from scipy.spatial import cKDTree

    if len(first) == 0 or len(second) == 0:
        return np.zeros((0, 2), dtype=int)
    moved = transform(first)
    distance, there = cKDTree(second).query(moved, distance_upper_bound=tolerance)
    _, back = cKDTree(moved).query(second)
    index = np.flatnonzero(np.isfinite(distance))
    index = index[back[there[index]] == index]
    return np.column_stack([index, there[index]])


def chance(
    transform: Affine,
    first: np.ndarray,
    second: np.ndarray,
    shape: tuple[int, int],
    tolerance: float,
    proving: int,
    spent: int = 0,
) -> float:
    """Decimal logarithm of the probability of this many pairs, or more, by chance; trials are not counted.

    Of the stars of the first catalogue that fall into the frame, `spent` can't fail to have a partner.
    """
    from scipy.special import bdtrc

    moved = transform(first)
    inside = int(((moved > -0.5) & (moved < np.asarray(shape) - 0.5)).all(axis=1).sum()) - spent
    if inside <= 0 or proving <= 0:
        return 0.0
    hit = 1 - np.exp(-len(second) * np.pi * tolerance**2 / (shape[0] * shape[1]))
    return float(np.log10(max(bdtrc(min(proving, inside) - 1, inside, hit), 1e-300)))


def match(
    first: np.ndarray,
    second: np.ndarray,
    shape: tuple[int, int],
    *,
    near: float | None = None,
) -> Match | None:
    """The similarity from one catalogue to the other.

    Parameters
    ----------
    first, second : ndarray, (n, 2), (m, 2)
        Positions, brightest first.
    shape : (int, int)
        Of the second frame.
    near : float, optional
        Only displacements up to this many pixels, rotations of 2 degrees and scales within 2 per cent: where a
        first guess was applied to `first` already.

    Returns
    -------
    Match or None
        None where nothing significant was found.
    """
    if len(first) < 2 or len(second) < 2:
        return None
    best: Match | None = None
    if near is not None:
        # One hypothesis, or nearly so: the guess is right.
        best = _grown(Affine.identity(), first, second, shape, trials=1.0, freedom=0, near=near)
    if best is None or not best.significant:
        best = _better(best, _by_displacement(first, second, shape, near))
    if (best is None or not best.significant) and len(first) >= 4 and len(second) >= 4:
        best = _better(best, _by_triangles(first, second, shape, near))
    return best if best is not None and best.significant else None


def _better(one: Match | None, other: Match | None) -> Match | None:
    if one is None or other is None:
        return one or other
    return one if one.log_chance <= other.log_chance else other


def _grown(
    start: Affine,
    first: np.ndarray,
    second: np.ndarray,
    shape: tuple[int, int],
    *,
    trials: float,
    freedom: int,
    near: float | None,
) -> Match | None:
    """Pairs under `start`, the similarity through them, more pairs, and how likely all that is by chance.

    `freedom` stars are explained by the hypothesis itself and prove nothing: one by a displacement, two by a
    similarity. `trials` counts the hypotheses that could have been made.
    """
    transform = start
    pairs = pair_up(transform, first, second, CLOSE)
    log = chance(transform, first, second, shape, CLOSE, len(pairs) - freedom, freedom)
    for tolerance in (2 * CLOSE, CLOSE, CLOSE, 0.7 * CLOSE):
        if len(pairs) >= 3:
            transform = similarity(first[pairs[:, 0]], second[pairs[:, 1]], start.mirrored)
        elif len(pairs) > 0:
            moved = start(first[pairs[:, 0]])
            transform = start.then(Affine.shift(*np.median(second[pairs[:, 1]] - moved, axis=0)))
        if not _plausible(transform, shape, near):
            return None
        pairs = pair_up(transform, first, second, tolerance)
        if len(pairs) < 2:
            return None
    # The similarity through all of them has used two stars' worth of freedom. Blends and galaxies are found to two
    # pixels, stars to a fraction of one: both are tried.
    spent = max(freedom, 2)
    logs = [log]
    for tolerance in (0.7 * CLOSE, 0.25 * CLOSE):
        near_by = len(pair_up(transform, first, second, tolerance))
        logs.append(chance(transform, first, second, shape, tolerance, near_by - spent, spent))
    return Match(transform, pairs, min(logs) + float(np.log10(3 * trials)))


def _plausible(transform: Affine, shape: tuple[int, int], near: float | None) -> bool:
    scale = np.sqrt(abs(np.linalg.det(transform.linear)))
    if not 0.4 < scale < 2.5:
        return False
    if near is None:
        return True
    middle = (np.asarray(shape) - 1) / 2
    moved = np.abs(transform(middle) - middle).max()
    turned = abs(transform.angle)
    return bool(moved <= near and turned < np.radians(2) and abs(scale - 1) < 0.02 and not transform.mirrored)


def _by_displacement(
    first: np.ndarray, second: np.ndarray, shape: tuple[int, int], near: float | None
) -> Match | None:
    """The displacement that most pairs agree on; rotation may be small."""
    from scipy.spatial import cKDTree

    a, b = first[:VOTING], second[:VOTING]
    moves = (b[None, :, :] - a[:, None, :]).reshape(-1, 2)
    if near is not None:
        moves = moves[(np.abs(moves) <= near).all(axis=1)]
    if len(moves) < 2:
        return None
    tree = cKDTree(moves)
    votes = tree.query_ball_point(moves, CLOSE / 2, return_length=True)
    trials = float(len(moves))
    best: Match | None = None
    taken = np.zeros(len(moves), dtype=bool)
    for index in np.argsort(-votes, kind="stable"):
        if taken[index]:
            continue
        close = tree.query_ball_point(moves[index], CLOSE)
        taken[close] = True
        start = Affine.shift(*np.median(moves[close], axis=0))
        best = _better(best, _grown(start, first, second, shape, trials=trials, freedom=1, near=near))
        if taken.sum() > 0.5 * len(taken) or np.unique(votes[~taken]).size == 0 or (votes[index] <= 2):
            break
        if best is not None and best.log_chance < -12:
            break
    return best


def _triangles(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 3), ordered so that the sides opposite grow, and shapes (n, 2): ratios of the sides."""
    from scipy.spatial import cKDTree

    few = points[:TRIANGLES_OF]
    sets: set[tuple[int, ...]] = set(combinations(range(min(len(few), 10)), 3))
    neighbours = cKDTree(few).query(few, k=min(6, len(few)))[1]
    for group in neighbours:
        sets.update(tuple(sorted(map(int, c))) for c in combinations(group, 3))
    corners = np.array(sorted(sets))
    p = few[corners]
    sides = np.stack(
        [np.linalg.norm(p[:, (k + 1) % 3] - p[:, (k + 2) % 3], axis=1) for k in range(3)], axis=1
    )
    order = np.argsort(sides, axis=1)
    corners = np.take_along_axis(corners, order, axis=1)
    sides = np.take_along_axis(sides, order, axis=1)
    ratios = sides[:, :2] / sides[:, 2:]
    # Small ones fix no rotation, nearly flat or isosceles ones no order of the corners.
    useful = (sides[:, 0] > 8) & (ratios.sum(axis=1) > 1.02)
    return corners[useful], ratios[useful]


def _by_triangles(
    first: np.ndarray, second: np.ndarray, shape: tuple[int, int], near: float | None
) -> Match | None:
    """Similar triangles propose similarities; those that many propose are tried on all stars."""
    from scipy.spatial import cKDTree

    corners_a, shapes_a = _triangles(first)
    corners_b, shapes_b = _triangles(second)
    if len(corners_a) == 0 or len(corners_b) == 0:
        return None
    lists = cKDTree(shapes_b).query_ball_point(shapes_a, 0.015)
    left = np.repeat(np.arange(len(lists)), [len(found) for found in lists])
    if len(left) == 0:
        return None
    right = np.concatenate([np.asarray(found, dtype=int) for found in lists])
    a, b = first[corners_a[left]], second[corners_b[right]]
    flip = _handed(a) != _handed(b)
    alpha, beta, rms = _similarities(a, b, flip)
    size = np.abs(alpha)
    good = (rms < 1.5) & (size > 0.4) & (size < 2.5)
    if near is not None:
        good &= ~flip & (np.abs(size - 1) < 0.02) & (np.abs(np.angle(alpha)) < np.radians(2))
    if not good.any():
        return None
    alpha, beta, flip = alpha[good], beta[good], flip[good]
    middle = complex(*first.mean(axis=0))
    at = alpha * np.where(flip, np.conj(middle), middle) + beta
    reach = max(shape) / 2
    space = np.column_stack(
        [at.real / 8, at.imag / 8, alpha.real * reach / 16, alpha.imag * reach / 16, 1e3 * flip]
    )
    tree = cKDTree(space)
    votes = tree.query_ball_point(space, 1.0, return_length=True)
    # Every two stars of one catalogue on every two of the other, either way round, mirrored or not.
    n, m = min(len(first), TRIANGLES_OF), min(len(second), TRIANGLES_OF)
    trials = float(n * (n - 1) * m * (m - 1))
    best: Match | None = None
    taken = np.zeros(len(space), dtype=bool)
    tried = 0
    for index in np.argsort(-votes, kind="stable"):
        if taken[index]:
            continue
        taken[tree.query_ball_point(space[index], 1.0)] = True
        start = _affine(alpha[index], beta[index], bool(flip[index]))
        best = _better(best, _grown(start, first, second, shape, trials=trials, freedom=2, near=near))
        tried += 1
        if tried >= 60 or (best is not None and best.log_chance < -12):
            break
    return best


def _handed(triangles: np.ndarray) -> np.ndarray:
    one, other = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] > 0


def _similarities(
    a: np.ndarray, b: np.ndarray, flip: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares of ``w = alpha z + beta`` (of the conjugate of z where flipped) over sets of points, and rms."""
    z, w = a[..., 0] + 1j * a[..., 1], b[..., 0] + 1j * b[..., 1]
    z = np.where(flip[:, None], np.conj(z), z)
    zm, wm = z.mean(axis=1, keepdims=True), w.mean(axis=1, keepdims=True)
    power = np.maximum((np.abs(z - zm) ** 2).sum(axis=1), 1e-12)
    alpha = (np.conj(z - zm) * (w - wm)).sum(axis=1) / power
    beta = wm[:, 0] - alpha * zm[:, 0]
    rms = np.sqrt((np.abs(w - alpha[:, None] * z - beta[:, None]) ** 2).mean(axis=1))
    return alpha, beta, rms


def similarity(first: np.ndarray, second: np.ndarray, mirrored: bool) -> Affine:
    """The similarity that brings `first` onto `second` in the least-squares sense."""
    alpha, beta, _ = _similarities(first[None], second[None], np.array([mirrored]))
    return _affine(alpha[0], beta[0], mirrored)


def _affine(alpha: complex, beta: complex, mirrored: bool) -> Affine:
    c, s = alpha.real, alpha.imag
    linear = [[c, s], [s, -c]] if mirrored else [[c, -s], [s, c]]
    return Affine(np.column_stack([linear, [beta.real, beta.imag]]))
