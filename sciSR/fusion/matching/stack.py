"""A coarse, robust picture of the scene before there is a model: the median of the aligned frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sciSR.fusion.matching.rejection import FIRST, Thresholds, find_outliers, grow
from sciSR.fusion.matching.robust import ring_median
from sciSR.fusion.prepared import PreparedFrame, PreparedFrames
from sciSR.fusion.transforms import Affine, Transform, frame_positions

_MEMORY = 128 * 2**20  # bytes of aligned frames held at a time
_FRAMES = (
    25  # in the median, at most: its noise is a quarter of a frame's then, and more frames change little
)


@dataclass(frozen=True, eq=False)
class Stack:
    """The median of the frames on the reference's native grid.

    Attributes
    ----------
    values : ndarray, (rows, columns), float32
        At the level of the reference, without background. Zero where `bad`.
    bad : ndarray of bool
        Where no frame had a good pixel.
    variance : ndarray, float32
        Of `values`: pi/2 of a mean's.
    number : ndarray of uint8
        Frames that went into each pixel.
    """

    values: np.ndarray
    bad: np.ndarray
    variance: np.ndarray
    number: np.ndarray

    def predict(self, transform: Transform, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The stack at a frame's pixels (cubic splines), and where it says nothing there.

        Parameters
        ----------
        transform : Transform
            Reference to frame pixels.
        shape : (int, int)
            The frame's.

        Returns
        -------
        predicted : ndarray, `shape`, float32
        bad : ndarray of bool
        """
        where = frame_positions(transform, slice(0, shape[0]), shape[1])
        return sample_image(self.values, self.bad, where)


def sample_image(values: np.ndarray, bad: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An image at places between its pixels, by cubic splines.

    Bad pixels are replaced by the median of their neighbours before, lest a spline carry them around, and the places
    whose four nearest pixels include one are bad.

    Parameters
    ----------
    values : ndarray, (rows, columns)
    bad : ndarray of bool
    where : ndarray, (..., 2)
        Row and column.

    Returns
    -------
    (values, bad) : ndarray, (...)
        Float32 and bool; outside the image values are 0 and bad.
    """
    from scipy.ndimage import map_coordinates, spline_filter

    filled = filled_image(values, bad)
    points = np.moveaxis(where, -1, 0)
    coefficients = spline_filter(filled, 3, output=np.float32, mode="mirror")
    out = map_coordinates(coefficients, points, order=3, prefilter=False, mode="mirror", output=np.float32)
    limits = np.array(values.shape)[:, None, None] - 1 if where.ndim == 3 else np.array(values.shape) - 1
    outside = ((points < -0.01) | (points > limits + 0.01)).any(axis=0)
    if bad.any():
        corner = [
            np.clip(np.floor(p).astype(np.intp), 0, n - 1) for p, n in zip(points, bad.shape, strict=True)
        ]
        near = bad.copy()
        near[:-1] |= bad[1:]
        right = near.copy()
        near[:, :-1] |= right[:, 1:]
        outside = outside | near[corner[0], corner[1]]
    return np.where(outside, np.float32(0), out), outside


def filled_image(values: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Bad pixels replaced by the median of their eight neighbours, or the image's where these are bad too."""
    if not bad.any():
        return np.asarray(values, dtype=np.float32)
    middle = np.float32(np.median(values[~bad])) if (~bad).any() else np.float32(0)
    filled = np.where(bad, middle, values).astype(np.float32)
    for _ in range(2):  # the second round reaches the inside of small clusters
        filled = np.where(bad, ring_median(filled), filled)
    return filled


def median_stack(frames: PreparedFrames, shape: tuple[int, int], *, limit: int = _FRAMES) -> Stack:
    """Median of the frames, each resampled to the reference's grid by cubic splines.

    At most `limit` frames, evenly spread, go in; where the aligned frames would take more than 128 MB the grid goes
    by bands of rows.

    Parameters
    ----------
    frames : PreparedFrames
    shape : (int, int)
        The reference's.
    limit : int
    """
    n = len(frames)
    chosen = set(np.linspace(0, n - 1, min(n, limit)).round().astype(int).tolist())
    out = Stack(
        np.zeros(shape, np.float32),
        np.ones(shape, bool),
        np.ones(shape, np.float32),
        np.zeros(shape, np.uint8),
    )
    band = max(32, _MEMORY // (8 * max(len(chosen), 1) * shape[1]))
    for first in range(0, shape[0], band):
        rows = slice(first, min(first + band, shape[0]))
        held: list[np.ndarray] = []
        weight = np.zeros((rows.stop - rows.start, shape[1]), dtype=np.float32)
        for k, frame in enumerate(frames):
            if k in chosen:
                values, bad, variance = _aligned(frame, rows, shape[1])
                held.append(np.where(bad, np.float32(np.inf), values))
                weight += np.where(bad, np.float32(0), 1 / variance)
        values, number = _median(held)
        empty = number == 0
        out.values[rows], out.bad[rows], out.number[rows] = np.where(empty, 0, values), empty, number
        out.variance[rows] = np.where(weight > 0, np.float32(np.pi / 2) / np.maximum(weight, 1e-30), 1)
    return out


def _aligned(frame: PreparedFrame, rows: slice, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame at some rows of the reference: values, bad, and a variance (nearest pixel)."""
    where = frame_positions(_backwards(frame.transform), rows, columns)
    # Only the part of the frame these rows touch, with room for the spline.
    low = np.floor(where[..., 0].min()) - 16, np.ceil(where[..., 0].max()) + 17
    top, bottom = (int(np.clip(v, 0, frame.values.shape[0])) for v in low)
    if bottom - top < 4:
        nothing = np.ones(where.shape[:2], dtype=bool)
        return np.zeros(where.shape[:2], np.float32), nothing, np.ones(where.shape[:2], np.float32)
    part = slice(top, bottom)
    local = where - np.array([top, 0.0])
    values, bad = sample_image(frame.values[part], frame.bad[part], local)
    near = [
        np.clip(np.rint(local[..., k]).astype(np.intp), 0, n - 1)
        for k, n in enumerate(frame.values[part].shape)
    ]
    return values, bad, frame.variance[part][near[0], near[1]]


@dataclass(frozen=True, eq=False)
class _Swapped:
    """A transform the other way round."""

    transform: Transform

    def inverse(self, points: np.ndarray) -> np.ndarray:
        return self.transform(points)


def _backwards(transform: Transform) -> Transform:
    if isinstance(transform, Affine):
        return transform.inverted()
    return _Swapped(transform)  # type: ignore[return-value]  # frame_positions asks for the inverse alone


def _median(held: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Median of the finite values of each pixel, and their number; of two values the smaller.

    Of two, one of which may be hit by a cosmic ray, the smaller is the better guess.
    """
    ordered = np.sort(np.stack(held, axis=-1), axis=-1)
    number = np.count_nonzero(np.isfinite(ordered), axis=-1)
    last = np.maximum(number - 1, 0)
    upper = np.where(number == 2, 0, (last + 1) // 2)
    pair = [np.take_along_axis(ordered, k[..., None], axis=-1)[..., 0] for k in (last // 2, upper)]
    middle = np.where(number > 0, 0.5 * (pair[0] + pair[1]), np.float32(0))
    return middle.astype(np.float32), number.astype(np.uint8)


def first_pass_outliers(
    frames: PreparedFrames, stack: Stack, *, thresholds: Thresholds = FIRST
) -> Iterator[np.ndarray]:
    """Outliers of each frame against the stack, before there is a model.

    Parameters
    ----------
    frames : PreparedFrames
    stack : Stack
        Of these frames (:func:`median_stack`).
    thresholds : Thresholds

    Yields
    ------
    ndarray of bool
        One a frame, in order. A pixel that only this frame saw is not judged.
    """
    for frame in frames:
        predicted, nothing = stack.predict(frame.transform, frame.values.shape)
        yield find_outliers(frame.values, frame.variance, frame.bad | nothing, predicted, **vars(thresholds))


def seen_once(stack: Stack) -> np.ndarray:
    """Where the stack rests on a single frame, one pixel of margin included: nothing can be judged there."""
    return grow(stack.number <= 1)
