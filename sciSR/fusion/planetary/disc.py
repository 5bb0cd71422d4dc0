"""Where the planet is in a frame, and whether a sequence shows one at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sciSR.sequence import Frame

VIDEO_SUFFIXES = {".ser", ".avi", ".mp4", ".mov", ".mkv", ".m4v", ".webm"}


@dataclass(frozen=True, eq=False)
class Disc:
    """The bright object of one frame.

    Attributes
    ----------
    kind : {"disc", "surface", "none"}
        ``"surface"`` where it fills the frame, ``"none"`` where nothing stands out from the noise.
    mask : ndarray of bool
        The object, every pixel of it.
    centre : (float, float)
        Row, column of the mask's centre of mass.
    sky : float
        Level of the dark part.
    zero : float
        What counts as no light: the sky of a disc, 0 for a surface, which shows none.
    level : float
        Mean of the object above `zero`.
    noise : float
        One standard deviation of a pixel's noise on the object.
    """

    kind: str
    mask: np.ndarray
    centre: tuple[float, float]
    sky: float
    zero: float
    level: float
    noise: float


class Decision(NamedTuple):
    """Yes or no, and why; true or false as a whole."""

    planetary: bool
    reason: str

    def __bool__(self) -> bool:
        return self.planetary


def find_disc(values: np.ndarray, bad: np.ndarray | None = None) -> Disc:
    """Find the bright extended object of a frame.

    Parameters
    ----------
    values : ndarray, (rows, columns)
    bad : ndarray of bool, optional

    Returns
    -------
    Disc
        The largest connected piece above a quarter of the way from the sky to the brightest part.
    """
    from scipy.ndimage import binary_fill_holes

    smooth = _smooth(filled(values, bad))
    noise = noise_of(values, bad)  # of the sky where there is much of it
    low, high = float(np.percentile(smooth, 2)), float(smooth.max())
    everything = np.ones(smooth.shape, dtype=bool)
    # The extremes of smoothed noise alone are 1.5 sigma apart.
    if not high - low > 2.5 * noise or high <= low:
        middle = ((smooth.shape[0] - 1) / 2, (smooth.shape[1] - 1) / 2)
        return Disc("none", everything, middle, low, low, 0.0, noise)
    mask = smooth > low + 0.25 * (high - low)
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    kind = "surface" if border.mean() > 0.35 else "disc"
    mask = everything if kind == "surface" else binary_fill_holes(_largest(mask))
    good = mask if bad is None or not (mask & ~bad).any() else mask & ~bad
    noise = noise_of(values, ~mask if bad is None else ~mask | bad)
    sky = low if kind == "surface" else _sky(smooth, mask, low)
    zero = sky if kind == "disc" else 0.0
    level = float(np.mean(np.asarray(values)[good], dtype=np.float64)) - zero
    rows, columns = np.nonzero(mask)
    return Disc(kind, mask, (float(rows.mean()), float(columns.mean())), sky, zero, level, noise)


def looks_planetary(sequence: Sequence[Frame]) -> Decision:
    """Whether frames show a planet, the Moon or the Sun, to be aligned by their surface and not by stars.

    Three frames are looked at. A disc is one compact object with a flat brightness and an edge, and hardly a
    star beside it; a surface that fills the frame is taken for one in a video only, since a nebula does so too.

    Returns
    -------
    Decision
        Unpacks to (planetary, reason); its truth is `planetary`.
    """
    if not len(sequence):
        return Decision(False, "no frames")
    video = all(_is_video(sequence[k]) for k in {0, len(sequence) - 1})
    picks = sorted({0, len(sequence) // 2, len(sequence) - 1})
    votes = [_one_looks_planetary(sequence[k], video) for k in picks]
    said_yes = [vote for vote in votes if vote]
    if 2 * len(said_yes) > len(votes):
        return said_yes[0]
    return next(vote for vote in votes if not vote)


def _one_looks_planetary(frame: Frame, video: bool) -> Decision:
    pixels = frame.read()
    disc = find_disc(pixels.values, pixels.bad)
    if disc.kind == "none":
        return Decision(False, "nothing stands out from the noise")
    if disc.kind == "surface":
        return Decision(video, "a bright surface fills the frame" + (" of a video" if video else ""))
    area = int(disc.mask.sum())
    width = 2 * np.sqrt(area / np.pi)
    if area < 150:
        return Decision(False, f"the brightest object is {width:.0f} px wide: no disc")
    smooth = _smooth(filled(pixels.values, pixels.bad))
    flatness = _flatness(smooth, disc)
    if flatness < (0.5 if video else 0.6):
        return Decision(False, "the brightest object has a peak and fading wings, not a disc's edge")
    stars = _point_sources(smooth, disc)
    if stars > 12:
        return Decision(False, f"{stars} point sources beside the brightest object")
    return Decision(
        True, f"a disc {width:.0f} px wide and {stars} point sources" + (", in a video" if video else "")
    )


def _is_video(frame: Frame) -> bool:
    source = frame.image.source
    return source is not None and Path(source).suffix.lower() in VIDEO_SUFFIXES


def _flatness(smooth: np.ndarray, disc: Disc) -> float:
    """Area above half the range over that above a quarter: 0.8 for a limb-darkened disc, 0.5 for a Gaussian."""
    from scipy.ndimage import binary_fill_holes

    # The plateau, not the brightest spot: a bright oval must not make the disc a peak.
    top = np.percentile(smooth[disc.mask], 95)
    wide, narrow = (
        binary_fill_holes(disc.mask & (smooth > disc.sky + share * (top - disc.sky))).sum()
        for share in (0.25, 0.5)
    )
    return float(narrow / max(int(wide), 1))


def _point_sources(smooth: np.ndarray, disc: Disc) -> int:
    from scipy.ndimage import binary_dilation, label, uniform_filter

    apart = ~binary_dilation(disc.mask, iterations=12)
    if apart.sum() < 100:
        return 0
    # Light scattered around the planet is smooth: only what stands out from its own surroundings counts.
    local = smooth - uniform_filter(smooth, 31)
    spread = 1.4826 * float(np.median(np.abs(local[apart] - np.median(local[apart]))))
    spots, _ = label((local > 8 * max(spread, disc.noise / 5)) & apart)
    sizes = np.bincount(spots.ravel())[1:]
    return int(np.sum((sizes >= 4) & (sizes < 400)))


def noise_of(values: np.ndarray, bad: np.ndarray | None = None) -> float:
    """One sigma of the pixel noise from second differences along both axes (Immerkaer's mask, with a median)."""
    v = np.asarray(values, dtype=np.float32)
    if min(v.shape) < 3:
        return 0.0
    rows = v[:-2] - 2 * v[1:-1] + v[2:]
    mask = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    if bad is not None and bad.any():
        from scipy.ndimage import binary_dilation

        mask = mask[~binary_dilation(bad, np.ones((3, 3)))[1:-1, 1:-1]]
    return float(1.4826 * np.median(np.abs(mask)) / 6) if mask.size else 0.0


def filled(values: np.ndarray, bad: np.ndarray | None) -> np.ndarray:
    """float32 values with each bad pixel replaced from good neighbours (the overall median where there is none)."""
    values = np.asarray(values, dtype=np.float32)
    if bad is None or not bad.any():
        return values
    from scipy.ndimage import uniform_filter

    good = (~bad).astype(np.float32)
    share = uniform_filter(good, 5)
    near = uniform_filter(np.where(bad, np.float32(0), values), 5)
    fallback = np.float32(np.median(values[~bad])) if good.any() else np.float32(0)
    local = np.where(share > 0.03, near / np.maximum(share, 0.03), fallback)
    return np.where(bad, local, values).astype(np.float32)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Hot pixels and noise away; structure of a few pixels stays."""
    from scipy.ndimage import uniform_filter

    return uniform_filter(median3(values), 5)


def median3(values: np.ndarray) -> np.ndarray:
    """Medians of three along rows, then columns: takes out hot pixels at a fifth of the cost of a 3x3 median."""
    for axis in (0, 1):
        padded = np.pad(values, [(1, 1) if k == axis else (0, 0) for k in (0, 1)], mode="edge")
        n = values.shape[axis]
        a, b, c = (padded[(slice(None),) * axis + (slice(s, s + n),)] for s in (0, 1, 2))
        values = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return values


def _sky(smooth: np.ndarray, mask: np.ndarray, low: float) -> float:
    """Median well off the disc; the darkest part of the frame where the disc leaves no room."""
    from scipy.ndimage import binary_dilation

    apart = ~binary_dilation(mask, iterations=8)
    return float(np.median(smooth[apart])) if apart.sum() > 50 else low


def _largest(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import label

    pieces, count = label(mask)
    if count <= 1:
        return mask
    return pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
