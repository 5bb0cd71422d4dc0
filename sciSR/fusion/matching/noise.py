"""The variance of a frame's pixels: from its file, its noise model, or its own residuals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sciSR.fusion.matching.background import sky_level
from sciSR.fusion.matching.robust import bulk_std, mad_std, sample
from sciSR.sequence import Frame, FramePixels

_BINS = 48  # of level, for fitting variance against level


@dataclass(frozen=True)
class NoiseFit:
    """``variance = sky + slope * max(level - floor, 0)``, measured.

    Attributes
    ----------
    sky : float
        Variance of a pixel at the level `floor`.
    slope : float
        Variance per unit of level above it: one over the gain in electrons per unit, for photons.
    model_error : float
        Scatter of the residuals in proportion to the level, from an imperfect prediction: not noise of the frame.
    floor : float
        The sky's level.
    """

    sky: float
    slope: float = 0.0
    model_error: float = 0.0
    floor: float = 0.0

    def variance(self, level: np.ndarray | float) -> np.ndarray:
        """Of pixels with these expected values; float32."""
        above = np.maximum(np.asarray(level, dtype=np.float32) - np.float32(self.floor), 0)
        return np.float32(self.sky) + np.float32(self.slope) * above


@dataclass(frozen=True, eq=False)
class NoiseScale:
    """How much larger the residuals' variance is than expected.

    Attributes
    ----------
    overall : float
        Ratio of variances over all good pixels.
    levels, factors : ndarray, (n,)
        Ratio by expected level, smooth between; empty where there were too few pixels to tell levels apart.
    """

    overall: float
    levels: np.ndarray
    factors: np.ndarray

    def factor(self, level: np.ndarray | None = None) -> np.ndarray | float:
        """Ratio of variances at these levels, or overall."""
        if level is None or self.levels.size < 2:
            return self.overall
        return np.interp(level, self.levels, self.factors).astype(np.float32)


def frame_variance(
    frame: Frame,
    pixels: FramePixels,
    expected: np.ndarray | None = None,
    *,
    fit: NoiseFit | None = None,
) -> np.ndarray:
    """Variance of each pixel from what is *expected* there.

    A noisy pixel's own value is no measure of its noise: pixels that happen to be low would get a higher weight,
    and every flux would come out too low (by about one electron a pixel: 0.7 % of a sky of 150, several per cent of
    a faint star).

    Parameters
    ----------
    frame : Frame
        Its noise model is used where the file tells no variance.
    pixels : FramePixels
    expected : ndarray, optional
        The frame's expected values, in its own unit, background included (:meth:`Match.expected`). Without it the
        values are smoothed first, which serves for a first pass.
    fit : NoiseFit, optional
        Measured before (:func:`fit_noise`), used where neither file nor model tells.

    Returns
    -------
    ndarray, (rows, columns), float32
        Positive everywhere; meaningless where `pixels.bad`.
    """
    level = _smoothed(pixels) if expected is None else np.asarray(expected, dtype=np.float32)
    if pixels.variance is not None:
        out = _without_own_noise(pixels, level)
    elif frame.noise is not None:
        out = frame.noise.variance(level)
    else:
        out = (fit or sky_noise(pixels)).variance(level)
    smallest = np.float32(
        max(1e-6 * float(np.median(sample(out[~pixels.bad]))) if (~pixels.bad).any() else 1, 1e-30)
    )
    return np.where(np.isfinite(out), np.maximum(out, smallest), smallest).astype(np.float32)


def weighting_variance(variance: np.ndarray, bad: np.ndarray, width: float = 3.0) -> np.ndarray:
    """A variance for weights: the geometric mean over some pixels around each.

    Photon noise makes the core of a bright star a hundred times more uncertain than its wings. Weighted so, a solver
    fits the wings and pays with the core for whatever its model or its prior gets wrong: fluxes came out 8 % low on
    the simulation (with weights smooth over a star's width, 0.05 %). All pixels of a star share one weight here;
    how frames and places compare is kept. For tests of single pixels and for errors take the variance itself.

    Parameters
    ----------
    variance : ndarray, (rows, columns), float32
        Positive where not `bad`.
    bad : ndarray of bool
    width : float
        Standard deviation of the Gaussian mean, pixels: more than twice the stars'.

    Returns
    -------
    ndarray, float32
        Positive everywhere.
    """
    from scipy.ndimage import gaussian_filter

    good = ~bad & (variance > 0) & np.isfinite(variance)
    if not good.any():
        return np.ones_like(variance, dtype=np.float32)
    log = np.log(np.where(good, variance, np.float32(1)))
    middle = np.float32(np.median(sample(log[good])))  # what smoothing falls back on inside wide holes
    share = gaussian_filter(good.astype(np.float32), width, truncate=3.0)
    mean = gaussian_filter(np.where(good, log - middle, np.float32(0)), width, truncate=3.0)
    return np.exp(mean / np.maximum(share, np.float32(1e-2)) + middle)


def sky_noise(pixels: FramePixels) -> NoiseFit:
    """The sky's variance, from differences between neighbours, and its level; one noise everywhere.

    Differences along both axes, the smaller of the two: readout patterns run along one. Neighbours share smooth
    structure, which drops out. A frame that was resampled before has correlated neighbours and looks less noisy
    than it is.
    """
    good = ~pixels.bad
    if not good.any():
        return NoiseFit(1.0)
    level, _, spread = sky_level(pixels.values[good])
    faint = good & (pixels.values < level + 3 * spread) if spread > 0 else good
    found = []
    for axis in (0, 1):
        a, b = (slice(1, None), slice(None)), (slice(None, -1), slice(None))
        if axis == 1:
            a, b = a[::-1], b[::-1]
        step = (pixels.values[a] - pixels.values[b])[faint[a] & faint[b]]
        if step.size:
            found.append(bulk_std(sample(step), 0.0) ** 2 / 2)
    positive = [v for v in found if v > 0]
    return NoiseFit(min(positive, default=max(spread**2, 1e-30)), floor=level)


def fit_noise(
    residuals: np.ndarray,
    level: np.ndarray,
    bad: np.ndarray,
    *,
    prediction_variance: np.ndarray | float = 0.0,
) -> NoiseFit:
    """Noise against level, from a frame's residuals to its prediction.

    The residuals' robust variance in bins of equal counts of expected level is fitted by ``a + b x + c x^2`` with
    none of the three negative: a is the sky's variance, b the photons', and c what the prediction gets wrong in
    proportion to the light, which must not be taken for noise.

    Parameters
    ----------
    residuals, level : ndarray, (rows, columns)
        Frame minus expectation, and the expectation, in the frame's unit.
    bad : ndarray of bool
    prediction_variance : ndarray or float
        Of the expectation itself; subtracted.

    Returns
    -------
    NoiseFit
    """
    from scipy.optimize import nnls

    good = ~bad
    if np.count_nonzero(good) < 200:
        scatter = mad_std(residuals[good]) ** 2 if good.any() else 1.0
        return NoiseFit(max(scatter, 1e-30))
    x, variance, error = _binned_variance(residuals[good], level[good])
    own = prediction_variance if np.isscalar(prediction_variance) else np.median(prediction_variance[good])
    floor = float(x[0])
    rise = x - floor
    scale = max(float(rise[-1]), 1e-30)
    design = np.stack([np.ones_like(x), rise / scale, (rise / scale) ** 2], axis=1)
    relative, fitted, huber = error / variance, variance, np.ones_like(variance)
    for _ in range(10):
        # A bin's error from the fit, not from its own variance: bins that happen to be low would count for more.
        root = np.sqrt(huber) / np.maximum(relative * fitted, 1e-30)
        answer, _ = nnls(design * root[:, None], np.maximum(variance - float(own), 0) * root)
        fitted = np.maximum(design @ answer + float(own), 1e-3 * float(np.median(variance)))
        # Bright bins, whose errors are not in proportion to the light, must not decide on the sky.
        huber = 1 / np.maximum(np.abs(variance / fitted - 1) / (2 * relative), 1)
    sky = float(answer[0]) if answer[0] > 0 else float(variance[0])
    return NoiseFit(max(sky, 1e-30), float(answer[1] / scale), float(np.sqrt(answer[2]) / scale), floor)


def calibrate_noise(
    residuals: np.ndarray, variance: np.ndarray, level: np.ndarray | None, bad: np.ndarray
) -> NoiseScale:
    """Robust variance of the residuals over the expected one, overall and by level.

    Parameters
    ----------
    residuals, variance : ndarray, (rows, columns)
        Frame minus prediction, and the variance expected of it.
    level : ndarray or None
        Expected values; None for an overall factor only.
    bad : ndarray of bool
    """
    good = ~bad & (variance > 0)
    if not good.any():
        return NoiseScale(1.0, np.empty(0), np.empty(0))
    pull = residuals[good] / np.sqrt(variance[good])
    overall = max(mad_std(sample(pull, 200_000)) ** 2, 1e-6)
    if level is None or pull.size < 5000:
        return NoiseScale(overall, np.empty(0), np.empty(0))
    x, factors, _ = _binned_variance(pull, level[good], smallest=400)
    rising = np.concatenate([[True], np.diff(x) > 0])
    return NoiseScale(overall, x[rising], np.maximum(factors[rising], 1e-6))


def _binned_variance(
    values: np.ndarray, level: np.ndarray, smallest: int = 60
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean level, robust variance and its error in bins of level: half the pixels in the first, and so on."""
    if values.size > 200_000:
        order = np.argsort(level, kind="stable")
        # Every bright pixel counts, of the many faint ones a share.
        bright = order[-50_000:]
        order = np.concatenate([order[:-50_000][:: max(1, (values.size - 50_000) // 150_000)], bright])
    else:
        order = np.argsort(level, kind="stable")
    # Bins shrink by a constant factor towards the bright end, down to `smallest` pixels.
    shares = 0.85 ** np.arange(_BINS)
    edges = np.unique((order.size * (1 - shares)).astype(int))
    edges = np.append(edges[order.size - edges >= smallest], order.size)
    x, v, e = [], [], []
    for first, last in pairwise(edges):
        inside = order[first:last]
        if inside.size < 30:
            continue
        spread = bulk_std(values[inside]) ** 2
        x.append(float(np.mean(level[inside], dtype=np.float64)))
        v.append(spread)
        e.append(max(spread, 1e-30) * np.sqrt(2 / inside.size))
    return np.array(x), np.array(v), np.array(e)


def _smoothed(pixels: FramePixels) -> np.ndarray:
    """A first guess of the expectation: a small blur, bad pixels filled by their surroundings."""
    from scipy.ndimage import gaussian_filter

    good = (~pixels.bad).astype(np.float32)
    top = gaussian_filter(pixels.values * good, 1.0)
    bottom = gaussian_filter(good, 1.0)
    middle = np.float32(np.median(sample(pixels.values[~pixels.bad]))) if good.any() else np.float32(0)
    return np.where(bottom > 0.05, top / np.maximum(bottom, np.float32(0.05)), middle)


def _without_own_noise(pixels: FramePixels, level: np.ndarray) -> np.ndarray:
    """The file's variance moved from the pixel's value to its expected value, where it follows the values.

    Pipelines compute photon noise from the pixel itself. At faint pixels the slope of variance against value tells
    how much, and ``variance + slope * (expected - value)`` takes it out again.
    """
    good = ~pixels.bad
    given = np.asarray(pixels.variance, dtype=np.float32)
    # Outliers too keep theirs: they may be taken back, and a made-up variance would give them any weight.
    variance = np.where(np.isfinite(given) & (given > 0), given, np.float32(1))
    if np.count_nonzero(good) < 200:
        return variance
    stop = max(1, np.count_nonzero(good) // 100_000)
    x, y = (pixels.values - level)[good][::stop], variance[good][::stop]
    spread = mad_std(x)
    if spread == 0:
        return variance
    inside = np.abs(x) < 4 * spread
    x, y = x[inside].astype(np.float64), y[inside].astype(np.float64)
    x, y = x - x.mean(), y - np.median(y)
    near = np.abs(y) < 6 * max(mad_std(y), 1e-30)
    x, y = x[near], y[near]
    if x.size < 100:
        return variance
    slope = float(x @ y / (x @ x))
    left = y - slope * x
    if slope <= 0 or slope**2 * (x @ x) < 0.1 * float(left @ left):
        return variance  # hardly correlated: the file's variance is smooth already
    moved = variance + np.float32(slope) * (level - pixels.values)
    return np.maximum(moved, np.float32(0.25) * variance)
