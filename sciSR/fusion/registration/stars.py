"""Stars of one frame: detection, centroids, widths; hot pixels and cosmic rays are told from stars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.fusion.registration.models import robust_sigma

SHARP = 0.12
"""A star's brighter neighbour, along either axis, holds at least this part of its peak (FWHM 1 px and more)."""

BRIGHTEST = 400
"""Stars whose centroids are fitted: more would cost time and add little."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What registration keeps of a frame.

    Attributes
    ----------
    points : ndarray, (n, 2), float64
        Centroids (row, column), brightest first.
    errors : ndarray, (n,)
        One standard deviation per axis, pixels.
    flux : ndarray, (n,)
    shape : (int, int)
    fwhm : float
        Median of the stars, with the pixel's own width; NaN without stars.
    background, noise : float
        Median level; one standard deviation of a sky pixel.
    sharp : int
        Pixels taken for hot ones or cosmic rays.
    usable : float
        Part of the pixels that are not bad.
    """

    points: np.ndarray
    errors: np.ndarray
    flux: np.ndarray
    shape: tuple[int, int]
    fwhm: float
    background: float
    noise: float
    sharp: int
    usable: float

    def __len__(self) -> int:
        return len(self.points)


def pixel_noise(values: np.ndarray, bad: np.ndarray) -> float:
    """One standard deviation of a pixel, from the differences of neighbours along rows: structure cancels."""
    rows = slice(None, None, max(1, values.shape[0] // 512))
    difference = np.diff(values[rows], axis=1)
    good = ~(bad[rows, 1:] | bad[rows, :-1])
    return robust_sigma(difference[good]) / np.sqrt(2) if good.any() else float("nan")


def sharp_pixels(signal: np.ndarray, bad: np.ndarray, noise: float) -> np.ndarray:
    """Pixels too sharp for light that came through the optics: hot pixels, most of a cosmic ray's track.

    A star spreads along rows *and* columns; a hot pixel along neither, a straight track along one.

    Parameters
    ----------
    signal : ndarray, (rows, columns)
        Without its background.
    bad : ndarray of bool
        Where the neighbours are bad, nothing is said.
    noise : float
        One standard deviation.
    """
    quiet = np.where(bad, np.float32(np.inf), signal)
    padded = np.pad(quiet, 1, constant_values=np.inf)
    across = np.minimum(
        np.maximum(padded[:-2, 1:-1], padded[2:, 1:-1]), np.maximum(padded[1:-1, :-2], padded[1:-1, 2:])
    )
    # The larger of two noisy neighbours is 0.56 sigma high; two more sigma keep faint stars.
    return ~bad & (signal > 8 * noise) & (across < SHARP * signal - 1.5 * noise)


def find_stars(values: np.ndarray, bad: np.ndarray, *, gain: float | None = None) -> Catalogue:
    """Detect stars and measure their centroids.

    Parameters
    ----------
    values : ndarray, (rows, columns), float32
        Any unit, any pedestal.
    bad : ndarray of bool
    gain : float, optional
        Electrons per unit, for the photon noise of the stars.

    Returns
    -------
    Catalogue
    """
    noise = pixel_noise(values, bad)
    usable = float((~bad).mean()) if bad.size else 0.0
    level = float(np.median(values[~bad])) if usable > 0 else float("nan")
    empty = Catalogue(
        np.zeros((0, 2)), np.zeros(0), np.zeros(0), values.shape, float("nan"), level, noise, 0, usable
    )
    if not np.isfinite(noise) or noise <= 0 or min(values.shape) < 16:
        return empty
    # In units of the noise: nothing below depends on the frame's own.
    signal, middle = _without_background((values - level) / np.float64(noise), bad)
    level += middle * noise
    sharp = sharp_pixels(signal, bad, 1.0)
    masked = bad | sharp
    found = _detect(signal, masked)
    empty = Catalogue(
        empty.points,
        empty.errors,
        empty.flux,
        values.shape,
        float("nan"),
        level,
        noise,
        int(sharp.sum()),
        usable,
    )
    if len(found) == 0:
        return empty
    guess = np.column_stack([found["y"], found["x"]])
    peaks = np.column_stack([found["ypeak"], found["xpeak"]])
    clean = ~_near(bad, peaks) & np.isfinite(guess).all(axis=1) & (found["peak"] > 0)
    order = np.argsort(-found["flux"], kind="stable")
    order = order[clean[order]][:BRIGHTEST]
    if len(order) == 0:
        return empty
    from sciSR.fusion.registration.centroid import measure

    size = 2.0 * np.sqrt(np.log(2) * (np.square(found["a"]) + np.square(found["b"])))[order]
    stars = measure(
        signal, masked, guess[order], np.maximum(size, 1.2), None if gain is None else gain * noise
    )
    keep = stars.good
    return Catalogue(
        points=stars.points[keep],
        errors=stars.errors[keep],
        flux=stars.flux[keep] * noise,
        shape=values.shape,
        fwhm=stars.fwhm if keep.any() else float("nan"),
        background=level,
        noise=noise,
        sharp=int(sharp.sum()),
        usable=usable,
    )


def _without_background(values: np.ndarray, bad: np.ndarray) -> tuple[np.ndarray, float]:
    """The frame less its smooth background (a mesh of 32 pixels), and the background's median."""
    import sep

    clean = np.ascontiguousarray(np.where(bad, 0, values), dtype=np.float32)
    mesh = int(min(32, *values.shape))
    background = sep.Background(clean, mask=bad, bw=mesh, bh=mesh, fw=3, fh=3)
    return clean - background.back(dtype=np.float32), float(background.globalback)


def _detect(signal: np.ndarray, masked: np.ndarray) -> Any:
    """sep's objects in a frame of unit noise; the threshold rises where there are too many."""
    import sep

    sep.set_extract_pixstack(max(300_000, signal.size // 4))
    threshold = 2.5
    for _ in range(6):
        try:
            return sep.extract(signal, threshold, err=1.0, mask=masked, minarea=4, deblend_cont=0.005)
        except Exception:  # sep's buffers are full: more objects than anyone needs
            threshold *= 3
    return np.zeros(0, dtype=[("x", "f8"), ("y", "f8")])


def _near(bad: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """True where a bad pixel touches the peak (saturated cores, known bad columns), or the border does."""
    rows, columns = bad.shape
    out = np.zeros(len(peaks), dtype=bool)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            r, c = peaks[:, 0] + dr, peaks[:, 1] + dc
            inside = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
            out |= ~inside
            out[inside] |= bad[r[inside], c[inside]]
    return out
