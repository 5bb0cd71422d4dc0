"""Sky protocol: simulated scenes with noiseless truth, and real images whose input is their own block mean.

PSNR is that of ``asinh((x - sky) / 2 sigma)``, sigma being the noise of the input's sky and the peak the truth's range,
so that faint structure counts beside bright stars; a rim of 8 pixels, and what lies near bad pixels, is left out. All
methods keep the flux of each original pixel (the engine's consistency step). A noisy truth bounds the PSNR of real
images; simulated ones have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciSR.evaluation.methods import Sample
from sciSR.inference.selfcheck import sky_level_and_noise
from sciSR.metrics import flux_error, nrmse, psnr, ssim
from sciSR.metrics.fidelity import asinh_stretch
from sciSR.training.scenes import Scene, simulate

Scorer = Callable[[NDArray[np.float64]], dict[str, float]]

RIM = 8
NEAR = 7
"""Coarse pixels around a bad one that are not scored."""

TEST_SEEDS = tuple(range(9_000_001, 9_000_017))
REFERENCE_SEEDS = (9_100_001, 9_100_002, 9_100_003)
REFERENCE = {
    "sky": 150,
    "read_noise": 5,
    "frames": 1,
    "fwhm": 1.3,
    "stars": 450,
    "galaxies": 70,
    "nebula": 20,
    "faint": 25,
    "bright": 1e4,
}
"""A field of many undersampled stars in one short exposure."""

FEWEST_STARS = 5
MOST_STARS = 200


def scenes(scale: int) -> dict[str, Scene]:
    """The simulated test fields: sixteen random ones, three of the reference."""
    found = {f"seed {seed}": simulate(seed, scale=scale) for seed in TEST_SEEDS}
    fixed = {
        f"reference {seed}": simulate(seed, scale=scale, fixed=dict(REFERENCE)) for seed in REFERENCE_SEEDS
    }
    return found | fixed


def fidelity(
    truth: NDArray[np.float64],
    image: NDArray[np.float64],
    sky: float,
    sigma: float,
    good: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """PSNR of the stretched and of the linear image, SSIM and NRMSE of the stretched one.

    Parameters
    ----------
    truth, image : ndarray, float64 ``[H, W]``
    sky, sigma : float
        Level and noise of the input's sky.
    good : ndarray of bool, optional
        True where pixels count; all but the rim if not given.
    """
    mask = np.ones(truth.shape, bool) if good is None else good.copy()
    mask[:RIM], mask[-RIM:], mask[:, :RIM], mask[:, -RIM:] = False, False, False, False
    if not mask.any() or not sigma > 0:
        return dict.fromkeys(("psnr", "ssim", "nrmse", "psnr_linear"), math.nan)
    a, b = (np.where(mask, asinh_stretch(v, sky, sigma), 0.0) for v in (truth, image))
    peak = float(np.ptp(a[mask])) or 1.0
    linear_peak = float(np.ptp(truth[mask])) or 1.0
    return {
        "psnr": psnr(a, b, peak, mask),
        "ssim": ssim(a, b, peak, mask),
        "nrmse": nrmse(a, b, mask),
        "psnr_linear": psnr(truth, image, linear_peak, mask),
    }


def scene_scorer(scene: Scene, scale: int) -> Scorer:
    """What scores results ``[1, s H, s W]`` on a simulated field, with bias and scatter (per cent) of the bright stars'
    fluxes."""
    sigma = math.sqrt(scene.sky + scene.read_noise**2)
    found = scene.stars[scene.stars[:, 2] > 60 * sigma * max(1.0, scene.fwhm)]
    found = found[np.argsort(-found[:, 2])][:MOST_STARS]
    radius = scale * max(1.5, scene.fwhm)

    def score(image: NDArray[np.float64]) -> dict[str, float]:
        bias, scatter = flux_error(scene.truth, image[0], found[:, :2], radius, scene.sky)
        return fidelity(scene.truth, image[0], scene.sky, sigma) | {"bias": bias, "scatter": scatter}

    return score


def scorer(truth: NDArray[np.float64], sample: Sample, scale: int) -> Scorer:
    """What scores results on real planes ``[N, s h, s w]``: the mean over the planes of `fidelity` and of the
    photometry of the bright sources that the truth shows."""
    planes = [_Plane.of(fine, coarse, scale) for fine, coarse in zip(truth, sample.coarse, strict=True)]

    def score(image: NDArray[np.float64]) -> dict[str, float]:
        rows = [plane.score(result) for plane, result in zip(planes, image, strict=True)]
        return {key: _mean([row[key] for row in rows]) for key in rows[0]}

    return score


@dataclass(frozen=True)
class _Plane:
    """A truth with all that scores of it have in common."""

    truth: NDArray[np.float64]
    sky: float
    sigma: float
    good: NDArray[np.bool_]
    sources: Sources

    @classmethod
    def of(cls, truth: NDArray[np.float64], coarse: NDArray[np.float64], scale: int) -> _Plane:
        bad = ~np.isfinite(coarse)
        sky, sigma = sky_level_and_noise(coarse)
        near = ndimage.binary_dilation(bad, iterations=NEAR) if bad.any() else bad
        good = ~np.repeat(np.repeat(near, scale, 0), scale, 1)
        return cls(truth, sky, sigma, good, find_sources(truth, good, scale))

    def score(self, image: NDArray[np.float64]) -> dict[str, float]:
        row = fidelity(self.truth, image, self.sky, self.sigma, self.good)
        return row | photometry(self.truth, image, self.sky, self.sources)


@dataclass(frozen=True)
class Sources:
    """Where fluxes are compared: places (y, x) and the radius of the apertures, fine pixels."""

    points: NDArray[np.float64]
    radius: float


def find_sources(truth: NDArray[np.float64], good: NDArray[np.bool_], scale: int) -> Sources:
    """The bright sources on good pixels of a truth ``[H, W]`` (NaN where bad).

    The aperture's radius is the sources' full width at half maximum, and 1.5 input pixels at least.
    """
    from sciSR.fusion.registration.stars import find_stars

    bad = ~np.isfinite(truth)
    found = find_stars(np.where(bad, 0.0, truth).astype(np.float32), bad)
    places = np.round(found.points).astype(int)
    inside = good[tuple(np.clip(places.T, 0, np.array(truth.shape)[:, None] - 1))]
    return Sources(found.points[inside][:MOST_STARS], max(1.5 * scale, found.fwhm))


def photometry(
    truth: NDArray[np.float64], image: NDArray[np.float64], sky: float, sources: Sources
) -> dict[str, float]:
    """Bias and scatter (per cent) of the sources' fluxes; NaN of fewer than five."""
    if len(sources.points) < FEWEST_STARS:
        return {"bias": math.nan, "scatter": math.nan}
    bias, scatter = flux_error(truth, image, sources.points, sources.radius, sky)
    return {"bias": bias, "scatter": scatter}


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
