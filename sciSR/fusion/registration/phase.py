"""Frames without stars: a windowed, masked, whitened cross-correlation with a test of significance.

Each frame's spectrum is divided by its own power, and weighted by how much of that is scene and not noise (Knapp &
Carter, IEEE Trans. Acoust. Speech Signal Process. 24, 320, 1976). Two frames that have nothing in common then give
a surface of uncorrelated normal values, whatever they show, and a peak can be judged against it. Plain phase
correlation would let the noise of the finest detail vote; plain correlation, the clouds of the coarsest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.registration.likeness import EVIDENCE, fade, likeness, white, windowed
from sciSR.fusion.registration.models import robust_sigma
from sciSR.fusion.registration.planes import Plane, binned, warped
from sciSR.fusion.transforms import Affine, Transform

SIGNIFICANT = 7.5
"""A peak must stand out of the correlation's own scatter by this many standard deviations."""
UNIQUE = 1.3
"""And be this many times as high as the next one elsewhere."""
LEAST_OVERLAP = 0.15
"""Displacements that leave less of the smaller frame are not considered."""
COARSE = (128, 512)
"""Frames are binned to about these sizes for the search; small ones forgive a rotation, large ones find detail."""
PATTERN = 0.3
"""A peak at no displacement whose neighbours hold less than this of it is the detector's own pattern."""


@dataclass(frozen=True, eq=False)
class Peak:
    """The best displacement of a correlation.

    Attributes
    ----------
    shift : ndarray, (2,)
        ``frame = reference + shift``, in the pixels that were correlated, to a fraction of one.
    height : float
        In standard deviations of the correlation surface.
    ratio : float
        To the next highest peak elsewhere.
    width : float
        Mean of the four neighbours over the peak.
    """

    shift: np.ndarray
    height: float
    ratio: float
    width: float

    @property
    def significant(self) -> bool:
        return self.height > SIGNIFICANT and self.ratio > UNIQUE


def correlate(reference: Plane, frame: Plane, reach: float | None = None) -> Peak | None:
    """The displacement at which the masked normalised cross-correlation is highest.

    Parameters
    ----------
    reference, frame : Plane
        Any shapes.
    reach : float, optional
        The largest displacement considered, per axis.

    Returns
    -------
    Peak or None
        None where the frames hold nothing.
    """
    surface, lags, usable = _surface(reference, frame, reach)
    if usable.sum() < 50:
        return None
    middle = float(np.median(surface[usable]))
    spread = robust_sigma(surface[usable])
    if not spread > 0:
        return None
    score = np.where(usable, (surface - middle) / spread, -np.inf)
    r, c = np.unravel_index(int(np.argmax(score)), score.shape)
    height = float(score[r, c])
    width, shift = _top(score, int(r), int(c))
    # The peak's own skirt is not another peak: the neighbourhood that falls with it is left out.
    far = max(4, round(0.03 * max(frame.values.shape)))
    others = score.copy()
    others[max(0, r - far) : r + far + 1, max(0, c - far) : c + far + 1] = -np.inf
    second = float(others.max())
    ratio = height / max(second, 1e-6) if np.isfinite(second) else np.inf
    return Peak(np.array([lags[0][r], lags[1][c]]) + shift, height, ratio, width)


def _surface(
    reference: Plane, frame: Plane, reach: float | None
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Whitened correlation, the displacements along both axes, and which of them are considered."""
    from scipy.fft import irfft2, next_fast_len, rfft2

    shapes = frame.values.shape, reference.values.shape
    full = [a + b - 1 for a, b in zip(*shapes, strict=True)]
    size = [next_fast_len(n, real=True) for n in full]
    radius = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None, :])
    one, one_weight = white(rfft2(windowed(frame), size), radius, min(shapes[0]))
    other, other_weight = white(rfft2(windowed(reference), size), radius, min(shapes[1]))
    surface = irfft2(one * np.conj(other) * one_weight * other_weight, size)
    faded = [rfft2(np.square(fade(i.values.shape)) * i.good, size) for i in (frame, reference)]
    overlap = irfft2(faded[0] * np.conj(faded[1]), size)
    lags = [np.arange(k) for k in size]
    lags = [np.where(lag >= a, lag - k, lag) for lag, a, k in zip(lags, shapes[0], size, strict=True)]
    order = [np.argsort(lag) for lag in lags]
    lags = [lag[o] for lag, o in zip(lags, order, strict=True)]
    surface, overlap = surface[np.ix_(*order)], overlap[np.ix_(*order)]
    usable = overlap >= max(LEAST_OVERLAP * overlap.max(), 32)
    # Where there is noise alone, the sum over fewer pixels scatters less.
    surface = surface / np.sqrt(np.maximum(overlap, 1))
    if reach is not None:
        usable &= (np.abs(lags[0]) <= reach)[:, None] & (np.abs(lags[1]) <= reach)[None, :]
    return surface, (lags[0], lags[1]), usable


def _top(score: np.ndarray, r: int, c: int) -> tuple[float, np.ndarray]:
    """The neighbours' mean over the peak, and the vertex of the parabolas through it."""
    if not (0 < r < score.shape[0] - 1 and 0 < c < score.shape[1] - 1):
        return 1.0, np.zeros(2)
    peak = score[r, c]
    pairs = [(score[r - 1, c], score[r + 1, c]), (score[r, c - 1], score[r, c + 1])]
    if not np.isfinite(pairs).all():
        return 1.0, np.zeros(2)
    shift = [0.5 * (a - b) / min(a - 2 * peak + b, -1e-9) for a, b in pairs]
    return float(np.mean(pairs) / peak), np.clip(shift, -0.5, 0.5)


def find_shift(
    reference: Plane, frame: Plane, guess: Transform | None = None, reach: float | None = None
) -> tuple[Affine | None, str]:
    """The displacement of the frame after `guess`, coarsely and then exactly to a pixel or so.

    Returns
    -------
    Affine or None
        A shift of the frame's pixels to apply after `guess`.
    str
        Why not, where there is none.
    """
    start = reference if guess is None else warped(reference, guess, frame.values.shape)
    if start.good.sum() < 64 or frame.good.sum() < 64:
        return None, "no overlap with the reference"
    size = max(*start.values.shape, *frame.values.shape)
    factors = sorted({max(1, round(size / coarse)) for coarse in COARSE}, reverse=True)
    best: Peak | None = None
    few = False
    for factor in factors:
        if min(*start.values.shape, *frame.values.shape) // factor < 24:
            continue
        within = None if reach is None else max(reach / factor, 2.0)
        coarse = binned(start, factor), binned(frame, factor)
        peak = correlate(*coarse, within)
        if peak is None:
            continue
        if peak.significant and not _only_pattern(start, frame, peak, factor):
            if likeness(*coarse, Affine.shift(*peak.shift)).evidence < EVIDENCE / 2:
                few = True
                continue
            return Affine.shift(*(factor * peak.shift)), ""
        best = peak if best is None or peak.height > best.height else best
    if few:
        return None, "the best correlation rests on too few details: it may be chance"
    if best is None:
        return None, "nothing to correlate"
    if best.significant:
        return None, "the frames share only the detector's own pattern"
    return None, (
        f"no significant correlation (peak {best.height:.1f} sigma, {best.ratio:.2f} times the next; "
        f"{SIGNIFICANT:g} and {UNIQUE:g} are needed)"
    )


def _only_pattern(reference: Plane, frame: Plane, peak: Peak, factor: int) -> bool:
    """True where the correlation at no displacement is one pixel wide: light through optics is wider."""
    if np.abs(peak.shift * factor).max() > factor:
        return False
    fine, lags, usable = _surface(reference, frame, 3.0)
    score = np.where(usable, fine, 0)
    r, c = int(np.flatnonzero(lags[0] == 0)[0]), int(np.flatnonzero(lags[1] == 0)[0])
    width, _ = _top(score, r, c)
    return bool(score[r, c] >= score.max() and width < PATTERN)
