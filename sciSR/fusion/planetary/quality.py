"""How sharp each frame is, and which frames to keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sciSR.errors import UsageError
from sciSR.fusion.planetary.disc import Disc, filled, find_disc
from sciSR.sequence import Frame, FrameSequence

_SMOOTHING = (
    1.2  # sigma, pixels: passes what seeing spoils first, stops the checkerboard and the pixels' noise
)


def sharpness(values: np.ndarray, bad: np.ndarray | None = None, disc: Disc | None = None) -> float:
    """Sharpness of one frame: Laplacian energy of the object over its level squared; noise adds nothing on average.

    The frame is split like a chessboard into two halves, each is smoothed, and the Laplacian of one is multiplied by
    that of the other: their noise is independent, so its expectation is zero whatever its level and its dependence
    on the signal. The result does not change with the unit or with a pedestal (for a disc, whose sky is the zero).

    Parameters
    ----------
    values : ndarray, (rows, columns)
    bad : ndarray of bool, optional
    disc : Disc, optional
        As from :func:`find_disc`; found if not given.

    Returns
    -------
    float
        0 where there is no object.
    """
    from scipy.ndimage import binary_dilation, find_objects

    disc = disc or find_disc(values, bad)
    if disc.kind == "none" or disc.level <= 0:
        return 0.0
    region = binary_dilation(disc.mask, iterations=3)
    box = find_objects(region.astype(np.uint8))[0]
    v = filled(values, bad)[box] - np.float32(disc.sky)
    region = region[box]
    if bad is not None and bad.any():
        region = region & ~binary_dilation(bad[box], iterations=3)
    white = (np.add.outer(np.arange(v.shape[0]), np.arange(v.shape[1])) % 2).astype(np.float32)
    one, two = (_half_laplacian(v, board) for board in (white, 1 - white))
    total = float(np.sum((one * two)[region], dtype=np.float64)) / max(int(disc.mask.sum()), 1)
    return max(total, 0.0) / disc.level**2


def _half_laplacian(values: np.ndarray, board: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter, laplace

    share = gaussian_filter(board, _SMOOTHING, mode="nearest")
    return laplace(gaussian_filter(values * board, _SMOOTHING, mode="nearest") / share, mode="nearest")


def rank_quality(sequence: Sequence[Frame]) -> np.ndarray:
    """Sharpness of each frame, relative to the sharpest.

    Frames are read one at a time.

    Returns
    -------
    ndarray, (n,), float64
        0 to 1, higher is sharper, in the sequence's order. 0 for a frame in which no object was found, or whose
        object is much fainter or smaller than in the others (clouds, out of the field).
    """
    raw, levels, areas = [], [], []
    for frame in sequence:
        pixels = frame.read()
        disc = find_disc(pixels.values, pixels.bad)
        raw.append(sharpness(pixels.values, pixels.bad, disc))
        levels.append(disc.level if disc.kind != "none" else 0.0)
        areas.append(int(disc.mask.sum()))
    quality, level, area = np.array(raw), np.array(levels), np.array(areas)
    if not len(quality) or not quality.max() > 0:
        return np.zeros(len(quality))
    seen = level > 0
    usual = seen & (level > 0.3 * np.median(level[seen])) & (area > 0.6 * np.median(area[seen]))
    quality = np.where(usual, quality, 0.0)
    return quality / quality.max() if quality.max() > 0 else quality


def how_many(total: int, keep: float | int | str) -> int:
    """Number of frames that `keep` asks for: a count (int), a fraction (float up to 1), or ``"30%"``.

    Raises
    ------
    UsageError
        Not positive, above the whole, or not a number.
    """
    remedy = "give a fraction (0.3), a percentage (30%) or a number of frames (150)"
    try:
        if isinstance(keep, str):
            text = keep.strip()
            if text.endswith("%"):
                number: float | int = float(text[:-1]) / 100
            else:
                number = float(text) if "." in text else int(text)
        else:
            number = keep.item() if isinstance(keep, np.generic) else keep
    except ValueError:
        raise UsageError(f"keep-best {keep!r} is not a number", remedy=remedy) from None
    if isinstance(number, bool) or not number > 0:
        raise UsageError(f"keep-best {keep!r} keeps no frame", remedy=remedy)
    if isinstance(number, float):
        if number > 1:
            raise UsageError(f"keep-best {keep!r} is more than all frames", remedy=remedy)
        return max(1, int(np.ceil(number * total - 1e-9)))
    return min(int(number), total)


def best_frames(quality: np.ndarray, keep: float | int | str) -> np.ndarray:
    """Indices of the frames to keep, sharpest first; frames of quality 0 are never kept (unless all are)."""
    order = np.argsort(-np.asarray(quality), kind="stable")[: how_many(len(quality), keep)]
    good = order[quality[order] > 0]
    return good if len(good) else order


def keep_best(
    sequence: FrameSequence, keep: float | int | str, *, quality: np.ndarray | None = None
) -> FrameSequence:
    """The sharpest frames, in their original order; the others are named in `left_out`.

    Parameters
    ----------
    sequence : FrameSequence
    keep : float, int or str
        Fraction (0.3), number of frames (150), or percentage (``"30%"``).
    quality : ndarray, optional
        As from :func:`rank_quality`; measured if not given.
    """
    quality = rank_quality(sequence) if quality is None else np.asarray(quality)
    kept = set(best_frames(quality, keep).tolist())
    dropped = [
        (frame, f"sharpness {quality[k]:.3f} of the best: not among the {len(kept)} kept")
        for k, frame in enumerate(sequence)
        if k not in kept
    ]
    return sequence.without(dropped)
