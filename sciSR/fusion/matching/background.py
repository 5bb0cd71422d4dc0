"""Backgrounds: a level, a plane, or a smooth mesh, fitted so that neither stars nor wild pixels move it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sciSR.errors import UsageError
from sciSR.fusion.matching.robust import bulk_std, location, mad_std, sample
from sciSR.sequence import FramePixels

Kind = Literal["auto", "none", "offset", "plane", "mesh"]
KINDS = ("auto", "none", "offset", "plane", "mesh")

_TILES = 16  # along the longer axis, for deciding between a level and a plane
_MESH_TILES = 8  # along the longer axis: a mesh follows nothing smaller than a quarter of the frame
_SMALLEST_TILE = 12  # pixels


@dataclass(frozen=True, eq=False)
class Background:
    """A smooth level over a frame, in the unit of the pixels it was measured on.

    Attributes
    ----------
    kind : {"none", "offset", "plane", "mesh"}
    shape : (int, int)
        The frame's.
    level : float
        Mean over the frame.
    error : float
        One standard deviation of `level`.
    noise : float
        One standard deviation of a single pixel around the background, from the bulk of the pixels used.
    slope : (float, float)
        Change from edge to edge along rows and columns (plane only).
    nodes : ndarray, (n, m), or None
        Levels at the centres of n by m equal tiles (mesh only).
    """

    kind: str
    shape: tuple[int, int]
    level: float = 0.0
    error: float = 0.0
    noise: float = 0.0
    slope: tuple[float, float] = (0.0, 0.0)
    nodes: np.ndarray | None = None

    def evaluate(self, rows: slice | None = None) -> np.ndarray:
        """Level at each pixel of some rows (all by default), ``(n_rows, columns)``, float32."""
        start, stop, _ = (rows or slice(None)).indices(self.shape[0])
        r, c = np.arange(start, stop), np.arange(self.shape[1])
        if self.kind == "mesh":
            return self._mesh(r, c)
        if self.kind != "plane":
            return np.full((r.size, c.size), self.level, dtype=np.float32)
        y, x = ((i + 0.5) / n - 0.5 for i, n in zip((r, c), self.shape, strict=True))
        plane = self.level + self.slope[0] * y[:, None] + self.slope[1] * x[None, :]
        return plane.astype(np.float32)

    def _mesh(self, r: np.ndarray, c: np.ndarray) -> np.ndarray:
        from scipy.interpolate import RectBivariateSpline

        # One node beyond each edge, on the straight continuation: the outer half tile is not held constant.
        nodes = np.pad(self.nodes, 1, mode="reflect", reflect_type="odd")
        at = []
        for k, n in zip(self.nodes.shape, self.shape, strict=True):
            inside = _centres(k, n)
            at.append(np.concatenate([inside[:1] - n // k, inside, inside[-1:] + n // k]))
        degree = [min(3, len(a) - 1) for a in at]
        return RectBivariateSpline(*at, nodes, kx=degree[0], ky=degree[1])(r, c).astype(np.float32)

    def scaled(self, factor: float) -> Background:
        """In another unit: every level times `factor`."""
        return replace(
            self,
            level=self.level * factor,
            error=self.error * abs(factor),
            noise=self.noise * abs(factor),
            slope=(self.slope[0] * factor, self.slope[1] * factor),
            nodes=None if self.nodes is None else self.nodes * factor,
        )


def check_kind(kind: str) -> None:
    """Raise UsageError unless `kind` is one of `KINDS`."""
    if kind not in KINDS:
        raise UsageError(f"background must be one of {', '.join(KINDS)}, not {kind!r}")


def sky_level(values: np.ndarray, steps: int = 20) -> tuple[float, float, float]:
    """The sky's level below stars and nebulosity, its error, and the sky's noise.

    The pixels above 3 sigma are cut again and again, sigma being measured on the faint side of the centre alone,
    where no source can reach; the centre of what is left is Pearson's ``2.5 median - 1.5 mean`` as in SExtractor
    (Bertin & Arnouts, A&AS 117, 393, 1996), or the median where the two are too far apart for that.

    Parameters
    ----------
    values : ndarray
        Good pixels, any shape; at most 40,000 of them are looked at to find the limits.

    Returns
    -------
    (level, error, noise) : float
    """
    few = np.sort(sample(values).astype(np.float64))
    if few.size == 0:
        return 0.0, float("inf"), 0.0
    kept = few
    for _ in range(steps):
        centre = kept[kept.size // 2]
        below = centre - kept[: kept.size // 2 + 1]
        noise = bulk_std(below, 0.0)
        limits = np.searchsorted(few, (centre - 4 * noise, centre + 3 * noise), side="left")
        inside = few[limits[0] : max(limits[1], limits[0] + 1)]
        if noise == 0 or inside.size == kept.size:
            break
        kept = inside
    every = values[(values > centre - 4 * noise) & (values < centre + 3 * noise)] if noise > 0 else kept
    median, mean = float(np.median(every)), float(np.mean(every, dtype=np.float64))
    spread = float(np.std(every, dtype=np.float64))
    level = 2.5 * median - 1.5 * mean if abs(mean - median) < 0.3 * spread else median
    return level, 1.25 * spread / float(np.sqrt(max(every.size, 1))), max(noise, 0.0)


def estimate_background(
    pixels: FramePixels, *, kind: Kind = "auto", mask: np.ndarray | None = None
) -> Background:
    """The background of a single frame.

    A single frame can't tell a gradient of the sky from a nebula, so ``"auto"`` takes a level and no more:
    gradients are found by comparing frames (:func:`sciSR.fusion.matching.match_frame`). ``"plane"`` and ``"mesh"``
    are for those who know their field.

    Parameters
    ----------
    pixels : FramePixels
    kind : {"auto", "none", "offset", "plane", "mesh"}
    mask : ndarray of bool, optional
        Pixels to leave out, such as known sources.

    Returns
    -------
    Background
        Of kind "none" where no pixel is good.
    """
    check_kind(kind)
    good = ~pixels.bad if mask is None else ~(pixels.bad | mask)
    shape = pixels.values.shape
    if not good.any():
        return Background("none", shape)
    level, error, noise = sky_level(pixels.values[good])
    if kind == "none":
        return Background("none", shape, 0.0, 0.0, noise)
    if kind in ("auto", "offset") or noise == 0:
        return Background("offset", shape, level, error, noise)
    # Sources stand above the sky by more than its noise; their pixels have no say in the tiles.
    faint = good & (pixels.values < level + 3 * noise)
    return fit_background(pixels.values, faint, kind=kind)


def fit_background(values: np.ndarray, good: np.ndarray, *, kind: Kind = "auto") -> Background:
    """Background of an image without sources: the difference of a frame and its prediction.

    ``"auto"`` takes a plane only where its slope is significant (8 sigma) and matters (0.05 of a pixel's noise from
    edge to edge), a mesh only where what is left after the plane agrees between neighbouring tiles besides.

    Parameters
    ----------
    values : ndarray, (rows, columns)
    good : ndarray of bool
        Pixels to use.
    kind : {"auto", "none", "offset", "plane", "mesh"}
    """
    check_kind(kind)
    shape = values.shape
    if not good.any():
        return Background("none", shape)
    level, error, noise = location(values[good])
    offset = Background("offset", shape, level, error, noise)
    if kind == "none":
        return Background("none", shape, 0.0, 0.0, noise)
    if kind == "offset" or noise == 0:
        return offset
    tiles = _tiles(values, good, _TILES)
    plane = _plane(tiles, offset)
    if plane is None or (kind == "auto" and not _slope_matters(plane, tiles, noise)):
        plane = None
    if kind == "plane":
        return plane or offset
    base = plane or offset
    coarse = _tiles(values, good, _MESH_TILES)
    if coarse[0].size < 9 or (kind == "auto" and not _mesh_matters(coarse, base)):
        return base
    return _mesh(coarse, base)


def _tiles(values: np.ndarray, good: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels and their errors in equal tiles, about square; errors are infinite in tiles with few pixels."""
    size = max(max(values.shape) / number, _SMALLEST_TILE)
    n, m = (max(1, round(k / size)) for k in values.shape)
    h, w = values.shape[0] // n, values.shape[1] // m  # the few pixels that are left over have no say

    def tiled(image: np.ndarray) -> np.ndarray:
        return image[: n * h, : m * w].reshape(n, h, m, w)

    boxes, inside = tiled(values), tiled(good)
    some = np.where(inside, boxes, np.float32(np.nan)).transpose(0, 2, 1, 3).reshape(n, m, h * w)
    some = np.sort(some[..., :: _odd_step(h * w, 500)], axis=-1)  # NaN goes to the end
    number_of = np.count_nonzero(~np.isnan(some), axis=-1)
    centre = _middle(some, number_of)
    spread = 1.4826 * _middle(np.sort(np.abs(some - centre[..., None]), axis=-1), number_of)
    inside = inside & (np.abs(boxes - centre[:, None, :, None]) <= 3.5 * spread[:, None, :, None])
    count = inside.sum(axis=(1, 3))
    enough = (count >= max(0.2 * h * w, 8)) & (number_of > 0)
    above = np.where(inside, boxes - centre[:, None, :, None], np.float32(0)).sum(
        axis=(1, 3), dtype=np.float64
    )
    levels = np.where(enough, centre + above / np.maximum(count, 1), 0.0)
    errors = np.maximum(spread, 1e-30) / np.sqrt(np.maximum(count, 1))
    return levels, np.where(enough, errors, np.inf)


def _odd_step(length: int, wanted: int) -> int:
    return max(1, length // wanted) | 1


def _middle(ordered: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Median along the last axis of sorted values of which the first `number` count; 0 of none; float64."""
    last = np.maximum(number - 1, 0)
    pair = [np.take_along_axis(ordered, k[..., None], axis=-1)[..., 0] for k in (last // 2, (last + 1) // 2)]
    return np.where(number > 0, 0.5 * (pair[0].astype(np.float64) + pair[1]), 0.0)


def _centres(tiles: int, pixels: int) -> np.ndarray:
    """Pixel indices of the centres of equal tiles, and so many pixels left over at the far edge."""
    return (np.arange(tiles) + 0.5) * (pixels // tiles) - 0.5


def _design(tiles: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Columns 1, row, column at the tiles' centres, the latter running from -0.5 to 0.5 from edge to edge."""
    y, x = ((_centres(k, n) + 0.5) / n - 0.5 for k, n in zip(tiles, shape, strict=True))
    y, x = np.meshgrid(y, x, indexing="ij")
    return np.stack([np.ones(y.size), y.ravel(), x.ravel()], axis=1)


def _plane(tiles: tuple[np.ndarray, np.ndarray], offset: Background) -> Background | None:
    """Weighted least squares on tile levels, tiles that stand out by 4 sigma left out; None if undetermined."""
    levels, errors = tiles[0].ravel(), tiles[1].ravel()
    design = _design(tiles[0].shape, offset.shape)
    if min(tiles[0].shape) < 2:
        return None
    used = np.isfinite(errors)
    answer = None
    for _ in range(4):
        if used.sum() < 6:
            break
        root = 1 / errors[used]
        answer, *_ = np.linalg.lstsq(design[used] * root[:, None], levels[used] * root, rcond=None)
        left = np.abs(levels - design @ answer)
        scale = max(mad_std((levels - design @ answer)[used] / errors[used], 0.0), 1.0)
        again = np.isfinite(errors) & (left < 4 * scale * errors)
        if np.array_equal(again, used):
            break
        used = again
    if answer is None:
        return None
    return replace(offset, kind="plane", level=float(answer[0]), slope=(float(answer[1]), float(answer[2])))


def _slope_matters(plane: Background, tiles: tuple[np.ndarray, np.ndarray], noise: float) -> bool:
    used = np.isfinite(tiles[1])
    design = _design(tiles[0].shape, plane.shape)[used.ravel()]
    errors = tiles[1][used]
    left = tiles[0][used] - design @ np.array([plane.level, *plane.slope])
    # Where tiles scatter more than their noise says (structure, correlated noise) a slope is less certain.
    errors = errors * max(mad_std(left / errors, 0.0), 1.0)
    covariance = np.linalg.inv((design / errors[:, None] ** 2).T @ design)[1:, 1:]
    slope = np.array(plane.slope)
    return bool(slope @ np.linalg.solve(covariance, slope) > 64 and np.hypot(*slope) > 0.05 * noise)


def _residual_tiles(tiles: tuple[np.ndarray, np.ndarray], base: Background) -> tuple[np.ndarray, np.ndarray]:
    used = np.isfinite(tiles[1])
    smooth = (_design(tiles[0].shape, base.shape) @ np.array([base.level, *base.slope])).reshape(
        tiles[0].shape
    )
    return np.where(used, tiles[0] - smooth, 0.0), used


def _mesh_matters(tiles: tuple[np.ndarray, np.ndarray], base: Background) -> bool:
    """Whether tiles depart from the plane by more than their errors, and neighbours agree on it."""
    left, used = _residual_tiles(tiles, base)
    if used.sum() < 9:
        return False
    excess = np.mean(left[used] ** 2) - np.mean(tiles[1][used] ** 2)
    if excess <= 0 or np.sqrt(excess) < 0.05 * base.noise or np.mean((left[used] / tiles[1][used]) ** 2) < 9:
        return False
    pairs = [
        (left[1:], left[:-1], used[1:] & used[:-1]),
        (left[:, 1:], left[:, :-1], used[:, 1:] & used[:, :-1]),
    ]
    product = sum(float(np.sum((a * b)[both])) for a, b, both in pairs)
    number = sum(int(both.sum()) for _, _, both in pairs)
    return number > 0 and product / number > 0.4 * np.mean(left[used] ** 2)


def _mesh(tiles: tuple[np.ndarray, np.ndarray], base: Background) -> Background:
    """Tile levels above the plane, a tile far from its neighbours replaced by their median, empty ones filled."""
    from scipy.ndimage import gaussian_filter, generic_filter

    left, used = _residual_tiles(tiles, base)
    weight = used.astype(np.float64)
    filled = gaussian_filter(left * weight, 1.0) / np.maximum(gaussian_filter(weight, 1.0), 1e-6)
    left = np.where(used, left, filled)
    # Inside only: at the border the median of the neighbours lies on one side, and a slope looks like an error.
    middle = generic_filter(left, np.median, size=3, mode="nearest")
    spread = max(mad_std(left - middle, 0.0), float(np.median(tiles[1][used])))
    wild = np.zeros(left.shape, dtype=bool)
    wild[1:-1, 1:-1] = (np.abs(left - middle) > 6 * spread)[1:-1, 1:-1]
    left = np.where(wild, middle, left)
    smooth = (_design(left.shape, base.shape) @ np.array([base.level, *base.slope])).reshape(left.shape)
    nodes = left + smooth
    return replace(base, kind="mesh", slope=(0.0, 0.0), level=float(nodes.mean()), nodes=nodes)
