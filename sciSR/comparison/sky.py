"""Scores of sky planes: fluxes, places and numbers of sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.comparison.result import Measure, Score, mean_score
from sciSR.errors import UnsupportedError
from sciSR.metrics.census import Census, census
from sciSR.metrics.fidelity import asinh_stretch, psnr
from sciSR.metrics.photometry import aperture_sums, relative_error
from sciSR.metrics.pixel_scale import PixelScale
from sciSR.metrics.psf_photometry import empirical_psf, psf_fluxes
from sciSR.metrics.sources import Sources, centroid_offsets, detect_sources
from sciSR.metrics.star_flux import star_flux_error
from sciSR.metrics.windowing import finite_or_none

DETECT, CONFIRM = 5.0, 3.0
FEWEST = 5
MOST = 200
LEAST_RADIUS = 2.0
MATCH = 1.5


def measures(unit: str | None, scale: PixelScale) -> tuple[Measure, ...]:
    """Columns of a sky image; lengths in arcseconds where the grid tells."""
    length = scale.unit if scale.known else "pixel"
    mad = "1.4826 x MAD of the same"
    return (
        Measure(
            "psnr_asinh", "asinh PSNR", "dB", "high", 2, 0.005, "of asinh((x - sky) / 2 sigma), truth's sky"
        ),
        Measure(
            "aperture_bias",
            "aperture bias",
            "%",
            "zero",
            2,
            0.005,
            "median relative error of aperture fluxes",
        ),
        Measure("aperture_scatter", "aperture scatter", "%", "low", 2, 0.005, mad),
        Measure("psf_bias", "PSF bias", "%", "zero", 2, 0.005, "of fluxes fitted with each image's own PSF"),
        Measure("psf_scatter", "PSF scatter", "%", "low", 2, 0.005, mad),
        Measure(
            "centroid_bias", "centroid bias", length, "low", about="length of the centroids' median offset"
        ),
        Measure(
            "centroid_scatter", "centroid scatter", length, "low", about="1.4826 x MAD, mean of both axes"
        ),
        Measure(
            "completeness", "completeness", "%", "high", 1, 0.05, "part of the truth's sources that is found"
        ),
        Measure("purity", "purity", "%", "high", 1, 0.05, "part of the found sources that the truth has"),
        Measure(
            "star_flux_error", "STAR flux error", unit or "", "low", about="arXiv:2507.16385, mean |error|"
        ),
    )


@dataclass(eq=False)
class SkyScores:
    """Scores of all images over the planes seen so far.

    Parameters
    ----------
    n_images : int
    scale : PixelScale
        Of the plane's two axes.
    """

    n_images: int
    scale: PixelScale
    rows: list[list[dict[str, float]]] = field(default_factory=list)
    told: list[list[dict[str, Any]]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def add(self, truth: NDArray[np.float64], images: Sequence[NDArray[np.float64]]) -> None:
        """One plane ``[H, W]``, NaN where nothing counts."""
        if min(truth.shape) < 16 or np.isfinite(truth).sum() < 256:
            return
        plane = _Truth.of(truth)
        if not self.settings:
            self.settings = plane.settings()
        found = [plane.score(image, self.scale) for image in images]
        self.rows.append([scores for scores, _ in found])
        self.told.append([details for _, details in found])

    def scores(self, image: int) -> dict[str, Score]:
        """Means over the planes, and their spread."""
        keys = [each.key for each in measures(None, self.scale)]
        return {key: mean_score([row[image][key] for row in self.rows] or [math.nan]) for key in keys}

    def details(self, image: int) -> dict[str, Any]:
        """Of the central plane: offsets in pixels, counts, bins of brightness."""
        return dict(self.told[len(self.told) // 2][image]) if self.told else {}


@dataclass(frozen=True, eq=False)
class _Truth:
    """A plane of the truth, with what all images are measured against."""

    values: NDArray[np.float64]
    flat: NDArray[np.float64]
    bright: Sources
    faint: Sources
    radius: float
    half: int
    psf: NDArray[np.float64] | None

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> _Truth:
        bright = detect_sources(values, threshold=DETECT)
        faint = detect_sources(values, threshold=CONFIRM, noise=bright.noise)
        flat = values - bright.background
        fwhm = bright.fwhm if len(bright) else LEAST_RADIUS
        half = int(np.clip(math.ceil(2.5 * fwhm), 4, 25))
        return cls(
            values, flat, bright, faint, max(LEAST_RADIUS, fwhm), half, _psf(flat, _stars(bright), half)
        )

    def settings(self) -> dict[str, Any]:
        return {
            "sources": {
                "n_truth": len(self.bright),
                "threshold_sigma": DETECT,
                "confirmed_at_sigma": CONFIRM,
                "noise": finite_or_none(self.bright.noise),
                "fwhm_px": finite_or_none(self.bright.fwhm),
                "aperture_radius_px": self.radius,
                "match_radius_px": self.match_radius,
                "photometry_of": min(len(self.bright), MOST),
            }
        }

    @property
    def match_radius(self) -> float:
        fwhm = self.bright.fwhm
        return max(MATCH, fwhm / 2) if math.isfinite(fwhm) else MATCH

    def score(self, image: NDArray[np.float64], scale: PixelScale) -> tuple[dict[str, float], dict[str, Any]]:
        flat = image - self.bright.background
        aperture = self._aperture(flat)
        fitted = self._fitted(flat)
        offsets = centroid_offsets(self.flat, flat, self.bright.points[:MOST], self._fwhm)
        counts = self._census(image)
        fluxes = star_flux_error(self.values, image)
        enough = offsets.n >= FEWEST
        size = scale.mean
        scores = {
            "psnr_asinh": self._asinh(image),
            "aperture_bias": aperture[0],
            "aperture_scatter": aperture[1],
            "psf_bias": fitted[0],
            "psf_scatter": fitted[1],
            "centroid_bias": offsets.size * size if enough else math.nan,
            "centroid_scatter": offsets.scatter * size if enough else math.nan,
            "completeness": 100 * counts.completeness,
            "purity": 100 * counts.purity,
            "star_flux_error": fluxes.absolute,
        }
        details = {
            "centroids": {
                "bias_px": [finite_or_none(v) for v in offsets.bias],
                "scatter_px": finite_or_none(offsets.scatter),
                "pixel_size": list(scale.sizes),
                "length_unit": scale.unit,
                "n": offsets.n,
            },
            "sources": counts.as_dict(),
            "star_flux_error": {
                "relative": finite_or_none(fluxes.relative),
                "above_truth_background": finite_or_none(fluxes.above_truth),
                "n": fluxes.n,
            },
        }
        return scores, details

    @property
    def _fwhm(self) -> float:
        return self.bright.fwhm if len(self.bright) else LEAST_RADIUS

    def _asinh(self, image: NDArray[np.float64]) -> float:
        noise = self.bright.noise
        if not noise > 0:
            return math.nan
        sky = float(np.nanmedian(self.bright.background))
        a, b = (asinh_stretch(v, sky, noise) for v in (self.values, image))
        peak = float(np.nanmax(a) - np.nanmin(a))
        return psnr(a, b, peak) if peak > 0 else math.nan

    def _aperture(self, flat: NDArray[np.float64]) -> tuple[float, float]:
        points = self.bright.points[:MOST]
        true, measured = (aperture_sums(each, points, self.radius) for each in (self.flat, flat))
        return _enough(true, measured)

    def _fitted(self, flat: NDArray[np.float64]) -> tuple[float, float]:
        stars = _stars(self.bright)
        psf = None if self.psf is None else _psf(flat, stars, self.half)
        if psf is None or self.psf is None:
            return math.nan, math.nan
        reach = max(LEAST_RADIUS, 1.5 * self._fwhm)
        true = psf_fluxes(self.flat, stars, self.psf, radius=reach)
        return _enough(true, psf_fluxes(flat, stars, psf, radius=reach))

    def _census(self, image: NDArray[np.float64]) -> Census:
        noise = self.bright.noise
        found, faint = (detect_sources(image, threshold=t, noise=noise) for t in (DETECT, CONFIRM))
        return census(
            self.bright,
            found,
            self.match_radius,
            all_truth=self.faint.points,
            all_found=faint.points,
        )


def _stars(sources: Sources) -> NDArray[np.float64]:
    return sources.points[sources.alike][:MOST]


def _psf(flat: NDArray[np.float64], stars: NDArray, half: int) -> NDArray[np.float64] | None:
    try:
        return empirical_psf(flat, stars, half)
    except UnsupportedError:
        return None


def _enough(true: NDArray, measured: NDArray) -> tuple[float, float]:
    good = np.isfinite(true) & np.isfinite(measured) & (true > 0)
    return relative_error(true, measured) if good.sum() >= FEWEST else (math.nan, math.nan)
