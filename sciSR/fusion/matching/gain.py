"""Gain and background that bring a frame to the level of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.matching.background import Background, Kind, check_kind, fit_background
from sciSR.fusion.matching.rejection import gradient_magnitude
from sciSR.fusion.matching.robust import location, mad_std, sample

_BIN = 3  # both images are summed over 3 x 3 pixels and smoothed by (1, 2, 1) / 4 before they are compared
_KERNEL = np.repeat([1.0, 2.0, 1.0], _BIN) / (4 * _BIN)
_QUIET = float(np.sum(_KERNEL**2) ** 2)  # variance of smoothed white noise
_CORRELATED = 1 / (_QUIET * _BIN**2)  # how many points of the comparison share one noise value
_JACK = 4  # jackknife over this many tiles a side
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


@dataclass(frozen=True, eq=False)
class _Smooth:
    """Both images, smoothed over the same good pixels, and the frame's noise on that scale."""

    frame: np.ndarray
    predicted: np.ndarray
    variance: np.ndarray
    kept: np.ndarray  # which points of the comparison have enough good pixels
    tile: np.ndarray


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
    prediction gets wrong lies on the scale of a pixel, and smoothing leaves it out. Noise in the prediction would
    make the slope of an ordinary regression too small; its share, known from the scatter at faint pixels, is
    subtracted from the prediction's second moment (Fuller, Measurement Error Models, 1987, 1.2), and pixels are
    chosen by the sum of both images whose noise is not correlated with that of their difference. Outliers lose
    their say by Tukey's biweight. The background is that of the difference at faint pixels.

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
    background = fit_background(values - np.float32(g) * predicted, faint, kind=kind)
    if fit_gain:
        smooth = _smooth(values, predicted, variance, good)
        g = _first_gain(smooth, background, floor, g)
    steep, steep_frame = gradient_magnitude(predicted), gradient_magnitude(values)
    noise = np.sqrt(variance)
    slope = None
    for _ in range(passes):
        left = values - np.float32(g) * predicted - background.evaluate()
        scale = max(mad_std(sample(left[faint] / noise[faint]), 0.0), 0.1)
        # A star is steep in both images; what is steep in one alone is a hot pixel or a cosmic ray.
        both = np.minimum(np.float32(abs(g)) * steep, steep_frame)
        clean = good & (np.abs(left) < np.float32(6 * scale) * noise + both)
        if fit_gain:
            smooth = _smooth(values, predicted, variance, clean)
            slope = _refine_gain(smooth, background, floor, g, model_error)
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
    return max(mad_std(sample((values[:, 1:] - values[:, :-1])[both])) ** 2 / 2, 1e-30)


def _faint(predicted: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, float]:
    """The fainter half of the prediction, or all that is not above its sky; and that level.

    Chosen on a smoothed prediction: choosing pixels by their own value would choose those whose noise is negative.
    """
    from scipy.ndimage import uniform_filter

    inside = good.astype(np.float32)
    top, bottom = (uniform_filter(_binned(a), 5) for a in (predicted * inside, inside))
    coarse = top / np.maximum(bottom, np.float32(1e-3))
    few = sample(coarse[bottom > 0.5]) if np.any(bottom > 0.5) else sample(coarse)
    middle = float(np.median(few))
    below = mad_std(few[few <= middle], middle)
    low = np.repeat(np.repeat(coarse <= middle + 2 * below, _BIN, axis=0), _BIN, axis=1)
    rest = [(0, max(0, n - m)) for n, m in zip(good.shape, low.shape, strict=True)]
    mask = good & np.pad(low, rest, mode="edge")[: good.shape[0], : good.shape[1]]
    return mask, location(predicted[mask])[0]


def _binned(image: np.ndarray) -> np.ndarray:
    """Sums over squares of `_BIN` pixels; the rest at the far edges is left out."""
    n, m = (k // _BIN * _BIN for k in image.shape)
    rows = sum(image[k:n:_BIN, :m] for k in range(_BIN))
    return sum(rows[:, k::_BIN] for k in range(_BIN))


def _smooth(values: np.ndarray, predicted: np.ndarray, variance: np.ndarray, good: np.ndarray) -> _Smooth:
    def smoothed(image: np.ndarray) -> np.ndarray:
        image = np.pad(_binned(image), 1) * np.float32(1 / (16 * _BIN**2))
        image = image[:-2] + 2 * image[1:-1] + image[2:]
        return image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]

    inside = good.astype(np.float32)
    weight = smoothed(inside)
    level = np.float32(np.median(sample(values[good])))  # keeps float32 sums exact under a large pedestal
    kept = weight > 0.5
    share = weight[kept]
    frame = smoothed(np.where(good, values - level, np.float32(0)))[kept] / share + level
    expected = smoothed(predicted * inside)[kept] / share
    noise = _QUIET * smoothed(variance * inside)[kept] / share**2
    tile = (np.arange(n) * _JACK // n for n in weight.shape)
    rows, columns = np.meshgrid(*tile, indexing="ij")
    return _Smooth(frame, expected, noise, kept, (rows * _JACK + columns)[kept])


def _first_gain(smooth: _Smooth, background: Background, floor: float, guess: float) -> float:
    """Weighted median of the ratios of the two images where both are well above the noise."""
    rise = smooth.predicted - floor
    above = smooth.frame - _on_lattice(background, smooth) - guess * floor
    noise = np.sqrt(smooth.variance)
    bright = (above + guess * rise > 20 * noise) & (rise > 0)
    if np.count_nonzero(bright) < 8:
        return guess
    ratio, weight = above[bright] / rise[bright], rise[bright] / noise[bright]
    order = np.argsort(ratio)
    half = np.searchsorted(np.cumsum(weight[order]), 0.5 * weight.sum())
    found = float(ratio[order][half])
    return found if found > 0 else guess


def _on_lattice(background: Background, smooth: _Smooth) -> np.ndarray:
    centre = background.evaluate()[_BIN // 2 :: _BIN, _BIN // 2 :: _BIN]
    return centre[: smooth.kept.shape[0], : smooth.kept.shape[1]][smooth.kept].astype(np.float64)


def _refine_gain(
    smooth: _Smooth, background: Background, floor: float, g: float, model_error: float
) -> tuple[float, float] | None:
    """Errors-in-variables slope and its error; None where there is no signal."""
    rise = smooth.predicted.astype(np.float64) - floor
    above = smooth.frame.astype(np.float64) - _on_lattice(background, smooth) - g * floor
    quiet = np.abs(rise) * g < 2 * np.sqrt(smooth.variance)
    left = above - g * rise
    # The frame's own noise is known; what the faint points scatter beyond it is the prediction's.
    total = mad_std(sample((left / np.sqrt(smooth.variance))[quiet])) ** 2 if quiet.any() else 1.0
    share = max(total - 1.0, 0.0)
    error2 = smooth.variance * max(total, 1.0) + (model_error * g * rise) ** 2
    chosen = share * above + g * rise > 3 * (1 + share) * np.sqrt(error2)
    if np.count_nonzero(chosen) < 8:
        return None
    rise, above, error2 = rise[chosen], above[chosen], error2[chosen]
    noise2, tile = share * smooth.variance[chosen] / g**2, smooth.tile[chosen]
    scale = 1.0
    for _ in range(8):
        left = above - g * rise
        scale = max(mad_std(left / np.sqrt(error2), 0.0), 0.3)
        u = left / (6 * scale * np.sqrt(error2))
        weight = np.square(np.maximum(1 - u * u, 0)) / error2
        # Per tile, so that the jackknife comes for free. The prediction's noise adds to `left` what it adds to
        # `rise`, times -g: its share of both sums is known and taken out.
        top = np.bincount(tile, weight * (left * rise + g * noise2), _JACK**2)
        bottom = np.bincount(tile, weight * (rise**2 - noise2), _JACK**2)
        if bottom.sum() <= 0:
            return None
        step = top.sum() / bottom.sum()
        g += step
        if abs(step) < 1e-6 * abs(g):
            break
    formal = scale * np.sqrt(_CORRELATED / np.sum(weight * rise**2))
    return float(g), float(max(formal, _jackknife(top, bottom)))


def _jackknife(top: np.ndarray, bottom: np.ndarray) -> float:
    """Error of ``top.sum() / bottom.sum()`` from leaving out each tile in turn."""
    used = bottom > 0
    n = int(used.sum())
    if n < 4:
        return 0.0
    rest = bottom.sum() - bottom[used]
    if np.any(rest <= 0):
        return float("inf")
    without = (top.sum() - top[used]) / rest
    return float(np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2)))


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
