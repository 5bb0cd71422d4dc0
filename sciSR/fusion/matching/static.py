"""Pixels that are bad in every frame: hot, warm and dead, found because the sky moves and they don't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sciSR.fusion.matching.noise import calibrate_noise, frame_variance
from sciSR.fusion.matching.robust import ring_median
from sciSR.fusion.transforms import Transform
from sciSR.sequence import Frame, FramePixels

TAIL = 0.15  # of the frames may disagree: a star passes over a hot pixel, or a cosmic ray hits a good one
MOVED = 1.5  # pixels a star must move by before its core no longer covers the same pixel
_POSITIONS = 4  # distinct dithers needed at least
_FRAMES = 48  # looked at, at most
_CODE = 32  # residuals are kept as 1/32 sigma in int16: up to 1000 sigma
_MEMORY = 96 * 2**20  # bytes for the sorted lists


@dataclass(frozen=True, eq=False)
class StaticPixels:
    """What :func:`static_bad_pixels` found.

    Attributes
    ----------
    mask : ndarray of bool, (rows, columns)
    hot, dead : int
        Pixels too bright and too dark.
    frames, positions : int
        Frames looked at, and distinct dither positions among them.
    note : str
        Why nothing was looked for; empty otherwise.
    """

    mask: np.ndarray
    hot: int = 0
    dead: int = 0
    frames: int = 0
    positions: int = 0
    note: str = ""


def static_bad_pixels(
    frames: Sequence[Frame],
    transforms: Sequence[Transform | None] | np.ndarray | None = None,
    *,
    known: np.ndarray | None = None,
    threshold: float | None = None,
) -> StaticPixels:
    """Hot, warm and dead pixels of the detector, from frames between which the sky has moved.

    A pixel is hot where it stands above the median of its eight neighbours in all but 15 % of the frames, dead where
    it lies below it in as many. Stars move away from a pixel, a detector's defects stay. Where the sky hardly moved
    (fewer than four positions 1.5 pixels apart) a star would be taken for a defect: then nothing is looked for.

    Only the few lowest and highest residuals of each pixel are kept (16 bits each), frames are read one at a time,
    and large detectors go by bands of rows.

    Parameters
    ----------
    frames : sequence of Frame
        Of one detector and shape; at most 48 of them, spread over the dithers, are looked at.
    transforms : sequence of Transform or None, or ndarray (n, 2), optional
        Reference to frame pixels, or the shifts alone (row, column). A frame with None is left aside. Without
        them shifts are measured by correlation (:func:`rough_offsets`).
    known : ndarray of bool, optional
        Defects known already; added to the answer.
    threshold : float, optional
        In sigma, on the 15th (85th) percentile of the residuals; by default such that noise alone gives 0.01 false
        pixels in a whole frame, and at least 2 (up to 4 where there are few dithers).

    Returns
    -------
    StaticPixels
    """
    shape = frames[0].shape if len(frames) else (0, 0)
    start = np.zeros(shape, dtype=bool) if known is None else known.copy()
    if len(frames) < _POSITIONS:
        note = f"{_counted(len(frames), 'frame')}: too few to tell stars from hot pixels"
        return StaticPixels(start, note=note)
    if transforms is None:
        transforms = rough_offsets(frames)
    chosen, places = spread_frames(transforms, shape)
    if places < _POSITIONS:
        note = f"the sky was at {_counted(places, 'position')} only: hot pixels can't be told from stars"
        return StaticPixels(start, frames=len(chosen), positions=places, note=note)
    some = [frames[k] for k in chosen]
    depth = int(TAIL * (len(some) - 1) + 0.5) + 1
    limit = _threshold(len(some), shape, places) if threshold is None else threshold
    band = max(32, _MEMORY // (4 * depth * shape[1] + 1))
    hot, dead = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for first in range(0, shape[0], band):
        rows = slice(first, min(first + band, shape[0]))
        hot[rows], dead[rows] = _judge(some, rows, depth, limit)
    if along_a_line(transforms, shape):
        hot &= ~_chains(hot)
    return StaticPixels(start | hot | dead, int(hot.sum()), int(dead.sum()), len(some), places)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _judge(frames: list[Frame], rows: slice, depth: int, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Hot and dead pixels among some rows."""
    low: list[np.ndarray] = []
    high: list[np.ndarray] = []
    seen: np.ndarray | None = None
    for frame in frames:
        code, good = _residual_codes(frame, rows)
        seen = good.astype(np.uint8) if seen is None else seen + good
        _insert(low, np.where(good, code, np.int16(32767)), depth, np.minimum, np.maximum)
        _insert(high, np.where(good, code, np.int16(-32768)), depth, np.maximum, np.minimum)
    assert seen is not None
    # The percentile's place among the frames in which this pixel was good.
    place = np.minimum((TAIL * np.maximum(seen.astype(np.float32) - 1, 0) + 0.5).astype(np.intp), depth - 1)[
        None
    ]
    enough = seen >= max(_POSITIONS, len(frames) // 2)
    bound = np.int16(round(limit * _CODE))
    hot = (np.take_along_axis(np.stack(low), place, axis=0)[0] > bound) & enough
    dead = (np.take_along_axis(np.stack(high), place, axis=0)[0] < -bound) & enough
    return hot, dead


def _insert(ordered: list[np.ndarray], new: np.ndarray, depth: int, first, second) -> None:  # type: ignore[no-untyped-def]
    """Put `new` into the per-pixel sorted lists, the outermost of which is dropped beyond `depth`."""
    for k, held in enumerate(ordered):
        ordered[k], new = first(held, new), second(held, new)
    if len(ordered) < depth:
        ordered.append(new)


def _residual_codes(frame: Frame, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Pixel minus the median of its neighbours, in 1/32 of its noise; and where it is good."""
    halo = 2
    first, last = max(0, rows.start - halo), min(frame.shape[0], rows.stop + halo)
    pixels = frame.read(slice(first, last))
    around = ring_median(pixels.values)
    left = pixels.values - around
    if frame.noise is None and pixels.variance is None:
        # The scatter about the neighbours, structure included: of rings and filaments as well as of photons.
        variance = calibrate_noise(left, np.ones_like(left), around, pixels.bad).factor(around)
    else:
        # The median of eight neighbours has a variance of its own, about a fifth of theirs.
        variance = 1.2 * frame_variance(frame, FramePixels(around, pixels.bad, pixels.variance), around)
    code = np.clip(left / np.sqrt(variance) * _CODE, -32000, 32000).astype(np.int16)
    inside = slice(rows.start - first, rows.stop - first)
    return code[inside], ~pixels.bad[inside]


def _threshold(n: int, shape: tuple[int, int], places: int) -> float:
    """Sigma at which noise alone passes the percentile rule in 0.01 pixels of the whole frame.

    At least 2; up to 4 where few dithers leave it to chance whether another star comes where one has left.
    """
    from scipy.stats import binom, norm

    need = n - int(TAIL * (n - 1) + 0.5)
    t = np.arange(4.0 if places < 7 else 2.0 if places > 7 else 3.0, 8, 0.05)
    chance = 2 * binom.sf(need - 1, n, norm.sf(t)) * max(shape[0] * shape[1], 1)
    return float(t[np.argmax(chance < 0.01)])


def _places(transforms: Sequence[Transform | None] | np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where the centre and the corners of the reference lie in each frame: (n, 5, 2), NaN where unknown."""
    h, w = shape[0] - 1, shape[1] - 1
    points = np.array([[h / 2, w / 2], [0, 0], [0, w], [h, 0], [h, w]])
    if isinstance(transforms, np.ndarray):
        return points + np.asarray(transforms, dtype=np.float64)[:, None, :]
    nowhere = np.full_like(points, np.nan)
    return np.stack([nowhere if t is None else t(points) for t in transforms])


def spread_frames(
    transforms: Sequence[Transform | None] | np.ndarray, shape: tuple[int, int], limit: int = _FRAMES
) -> tuple[list[int], int]:
    """Frames spread evenly over the dither positions, and the number of distinct positions.

    Positions are distinct where every one of the centre and the corners moved by 1.5 pixels. Each gives as many
    frames as the others: many frames at one place would outvote the rest.
    """
    where = _places(transforms, shape)
    centres: list[int] = []
    members: list[list[int]] = []
    for k in range(len(where)):
        if not np.all(np.isfinite(where[k])):
            continue
        gaps = [float(np.min(np.hypot(*(where[k] - where[c]).T))) for c in centres]
        near = int(np.argmin(gaps)) if gaps else -1
        if near >= 0 and gaps[near] < MOVED:
            members[near].append(k)
        else:
            centres.append(k)
            members.append([k])
    if len(members) > limit:
        members = [members[i] for i in np.linspace(0, len(members) - 1, limit).astype(int)]
    share = min(max(1, limit // max(len(members), 1)), int(np.median([len(m) for m in members] or [1])))
    chosen = [m[i] for m in members for i in np.linspace(0, len(m) - 1, min(share, len(m))).astype(int)]
    return sorted(set(chosen)), len(members)


def along_a_line(transforms: Sequence[Transform | None] | np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether all dithers lie along one line, to 1.5 pixels."""
    centre = _places(transforms, shape)[:, 0]
    centre = centre[np.isfinite(centre).all(axis=1)]
    if len(centre) < 2:
        return True
    _, _, axes = np.linalg.svd(centre - centre.mean(axis=0), full_matrices=False)
    across = (centre - centre.mean(axis=0)) @ axes[-1]
    return bool(np.ptp(across) < MOVED)


def _chains(mask: np.ndarray) -> np.ndarray:
    """Connected groups of more than four pixels: a spike along the drift looks just like this."""
    from scipy.ndimage import label

    labels, _ = label(mask, structure=np.ones((3, 3)))
    return np.bincount(labels.ravel())[labels] > 4 if mask.any() else mask


def rough_offsets(frames: Sequence[Frame]) -> np.ndarray:
    """Shifts of each frame against the first, to a pixel, by correlation; ``(n, 2)`` (row, column), NaN unknown.

    Each pixel is replaced by the median of its neighbours first, which has no hot pixels in it: otherwise these,
    which do not move, would be what correlates.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    out = np.full((len(frames), 2), np.nan)
    reference = None
    for k, frame in enumerate(frames):
        step = max(1, max(frame.shape) // 1024)
        image = _features(frame.read())[::step, ::step]
        size = tuple(next_fast_len(n, real=True) for n in image.shape)
        spectrum = rfft2(image, s=size)
        if reference is None:
            reference = np.conj(spectrum)
        found = irfft2(spectrum * reference, s=size)
        peak = np.array(np.unravel_index(np.argmax(found), found.shape))
        # A peak that is no higher than the rest says nothing.
        if found.max() > 6 * np.std(found):
            out[k] = np.where(peak > np.array(size) // 2, peak - np.array(size), peak) * step
    return out


def _features(pixels: FramePixels) -> np.ndarray:
    """Stars and structure, compressed and tapered towards the borders; no hot pixels."""
    from scipy.ndimage import gaussian_filter, uniform_filter

    values = ring_median(np.where(pixels.bad, np.float32(np.median(pixels.values)), pixels.values))
    values = gaussian_filter(values, 1.0) - uniform_filter(values, 25)
    scale = np.float32(max(np.median(np.abs(values)), 1e-30))
    values = np.clip(values, -3 * scale, 30 * scale)
    taper = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 0.5 for n in values.shape]
    return (values * taper[0][:, None] * taper[1][None, :]).astype(np.float32)
