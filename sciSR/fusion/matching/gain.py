"""Gain and background that bring a frame to the level of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.matching.background import Background, Kind, check_kind, fit_background
from sciSR.fusion.matching.rejection import gradient_magnitude
from sciSR.fusion.matching.robust import bulk_std, location, mad_std, sample
from sciSR.fusion.matching.slope import binned, first_slope, joint_slope, smooth_lattice, unbinned
from sciSR.fusion.matching.stack import filled_image

_PRIOR = 0.02  # how well the ratio of exposures is trusted where the frames say little


@dataclass(frozen=True, eq=False)
class Match:
    """``frame = gain * reference + background``.

    Attributes
    ----------
    gain : float
        The frame's flux over the reference's.
    gain_error : float
        One standard deviation; infinite where the gain is the guess.
    background : Background
        Of ``frame - gain * predicted``, in the frame's unit.
    measured : bool
        False where the frames have no common signal and the gain is the guess (the ratio of exposures).
    noise_scale : float
        Robust scatter of the residuals at faint pixels over their expected noise. Above 1 where the prediction is
        noisy itself, or the variance too small.
    pixels : int
        Good pixels compared.
    """

    gain: float
    gain_error: float
    background: Background
    measured: bool
    noise_scale: float
    pixels: int

    def to_reference(
        self, values: np.ndarray, variance: np.ndarray | None = None, rows: slice | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The frame's values (and variance) at the level of the reference, background subtracted; float32."""
        matched = (values - self.background.evaluate(rows)) * np.float32(1 / self.gain)
        return matched, None if variance is None else variance * np.float32(1 / self.gain**2)

    def expected(self, predicted: np.ndarray, rows: slice | None = None) -> np.ndarray:
        """What the frame should read, in its own unit, where the reference predicts `predicted`; float32."""
        return predicted * np.float32(self.gain) + self.background.evaluate(rows)


def match_frame(
    values: np.ndarray,
    bad: np.ndarray,
    variance: np.ndarray | None,
    predicted: np.ndarray,
    predicted_bad: np.ndarray | None = None,
    kind: Kind = "auto",
    *,
    gain: float | None = 1.0,
    fit_gain: bool = True,
    model_error: float = 0.01,
    passes: int = 2,
) -> Match:
    """Gain and background of a frame against the reference (or any estimate of it) sampled at the frame's pixels.

    Both images are smoothed over the same good pixels before the gain is taken: what an interpolated, undersampled
    prediction gets wrong lies on the scale of a pixel, and smoothing leaves it out. Gain and background are
    fitted together, with noise in both images (:func:`sciSR.fusion.matching.slope.joint_slope`). The background
    that is returned is then that of the difference at faint pixels.

    Parameters
    ----------
    values : ndarray, (rows, columns), float32
        The frame, in its own unit.
    bad : ndarray of bool
    variance : ndarray, or None
        Of `values`; None for one noise everywhere, taken from the data.
    predicted : ndarray, float32
        The reference without its background, at the frame's pixels.
    predicted_bad : ndarray of bool, optional
        Where there is no prediction (outside, or spoilt by a bad pixel).
    kind : {"auto", "none", "offset", "plane", "mesh"}
        Of the background; "auto" decides by significance.
    gain : float or None
        First guess: the ratio of exposures. None where exposures are not known: then it is 1, and not believed.
    fit_gain : bool
        False to keep the guess.
    model_error : float
        Relative error granted to bright structures, so that a few stars, whose profile changes from frame to frame,
        do not decide alone.
    passes : int
        Rounds of rejecting outliers, gain and background.

    Returns
    -------
    Match
    """
    check_kind(kind)
    good = ~bad if predicted_bad is None else ~(bad | predicted_bad)
    good &= np.isfinite(predicted)
    trusted, g = gain is not None, float(gain or 1.0)
    if np.count_nonzero(good) < 64:
        return Match(g, float("inf"), Background("none", values.shape), False, float("nan"), int(good.sum()))
    predicted = np.where(good, predicted, np.float32(0))
    if variance is None:
        variance = np.full(values.shape, _flat_variance(values, good), dtype=np.float32)
    variance = np.where(good, variance, np.float32(0))
    faint, floor = _faint(predicted, good)
    terms = {"none": 0, "offset": 1}.get(kind, 3)
    base = floor if terms else 0.0  # where no background is fitted, the sky is multiplied like all else
    if fit_gain:
        lattice = smooth_lattice(values, predicted, variance, good)
        g = first_slope(lattice, floor, g)
        g = (joint_slope(lattice, terms, base, g, model_error) or (g,))[0]
    background = fit_background(values - np.float32(g) * predicted, faint, kind=kind)
    # What a bad pixel holds must not make its neighbours look steep.
    steep, steep_frame = gradient_magnitude(predicted), gradient_magnitude(filled_image(values, bad))
    noise = np.sqrt(variance)
    slope: tuple[float, float] | None = None
    for _ in range(passes):
        left = values - np.float32(g) * predicted - background.evaluate()
        scale = max(bulk_std(sample(left[faint] / noise[faint]), 0.0), 0.1)
        # A star is steep in both images; what is steep in one alone is a hot pixel or a cosmic ray.
        both = np.minimum(np.float32(abs(g)) * steep, steep_frame)
        clean = good & (np.abs(left) < np.float32(6 * scale) * noise + both)
        if fit_gain:
            lattice = smooth_lattice(values - background.evaluate(), predicted, variance, clean)
            slope = joint_slope(lattice, terms, base, g, model_error)
            g = slope[0] if slope else g
        background = fit_background(values - np.float32(g) * predicted, faint & clean, kind=kind)
    if not fit_gain:
        return Match(g, 0.0, background, False, scale, int(good.sum()))
    final, error, measured = _with_prior(slope, float(gain or 1.0), trusted)
    if final != g:
        background = fit_background(values - np.float32(final) * predicted, faint & clean, kind=kind)
    return Match(final, error, background, measured, scale, int(good.sum()))


def _flat_variance(values: np.ndarray, good: np.ndarray) -> float:
    both = good[:, 1:] & good[:, :-1]
    return max(bulk_std(sample((values[:, 1:] - values[:, :-1])[both]), 0.0) ** 2 / 2, 1e-30)


def _faint(predicted: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, float]:
    """The fainter half of the prediction, or all that is not above its sky; and that level.

    Chosen on a smoothed prediction: choosing pixels by their own value would choose those whose noise is negative.
    """
    from scipy.ndimage import uniform_filter

    inside = good.astype(np.float32)
    top, bottom = (uniform_filter(binned(a), 5) for a in (predicted * inside, inside))
    coarse = top / np.maximum(bottom, np.float32(1e-3))
    few = sample(coarse[bottom > 0.5]) if np.any(bottom > 0.5) else sample(coarse)
    middle = float(np.median(few))
    below = mad_std(few[few <= middle], middle)
    mask = good & unbinned(coarse <= middle + 2 * below, good.shape)
    return mask, location(predicted[mask])[0]


def _with_prior(slope: tuple[float, float] | None, guess: float, trusted: bool) -> tuple[float, float, bool]:
    """The measured gain, drawn to the ratio of exposures where it is uncertain and does not contradict it."""
    if slope is None or not slope[0] > 0 or not slope[1] < 0.2 * slope[0]:
        return guess, float("inf"), False
    found, error = slope
    width = _PRIOR * guess
    if not trusted or abs(found - guess) > 3 * np.hypot(error, width):
        return found, error, True
    total = 1 / error**2 + 1 / width**2
    return (found / error**2 + guess / width**2) / total, float(1 / np.sqrt(total)), True
