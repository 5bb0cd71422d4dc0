"""How well a fused image agrees with the simulated truth.

Images are in electrons per native pixel area (a flat sky has the same level at every scale). The sky offset is
matched by the median of image - truth; the gain is left alone. A border of 14 native pixels, where frames are
missing, is cut off.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from fusion_scene import Sky

BORDER = 14  # native pixels
APERTURE = 2.5  # radius, native pixels
ISOLATION = 12.0  # to the next catalogued star as bright as a hundredth, native pixels
PHOTOMETRY, ASTROMETRY = 1e3, 2e3  # electrons: the faintest stars measured, fluxes and sizes, and places
WINDOW = 1.3  # sigma of the Gaussian window of centroids, native pixels


@dataclass(frozen=True)
class Truth:
    """What the image should be, on the grid on which the method writes it.

    Attributes
    ----------
    image : ndarray, float32
        Without background.
    stars : ndarray, (n, 3)
        Fine row, fine column, electrons.
    scale : int
    variance : float
        Of a native pixel of blank sky in one frame: sky + read noise squared, electrons.
    frames : int
        Fused.
    """

    image: np.ndarray
    stars: np.ndarray
    scale: int
    variance: float
    frames: int

    @classmethod
    def of(
        cls, sky: Sky, scale: int, variance: float, frames: int, offset: tuple[float, float] = (0.0, 0.0)
    ) -> Truth:
        """The sky on the grid ``X = s x + (s - 1) / 2 + offset`` (fine rows, columns; 0 for who follows ours)."""
        middle = (scale - 1) / 2 + np.asarray(offset)
        matrix = np.column_stack([scale * np.eye(2), middle])
        image = sky.pixels(matrix, tuple(scale * n for n in sky.native)).astype(np.float32)
        stars = sky.stars.copy()
        stars[:, :2] = stars[:, :2] * scale + middle
        return cls(image, stars, scale, variance, frames)


@dataclass(frozen=True)
class Score:
    """One row of the benchmark's table.

    Attributes
    ----------
    psnr : float
        dB, linear: peak is the 99.95th percentile of the truth above its median; both are clipped there.
    psnr_asinh : float
        dB of ``asinh((x - median) / (2 sigma))``, sigma the sky noise of one frame; peak is the truth's range.
    ssim : float
        Of the asinh images.
    bias, scatter : float
        Per cent: median and 1.4826 median absolute deviation of the flux in the aperture, relative to the truth's
        flux there, over isolated stars.
    centroid : float
        Native pixels: rms, per axis, of windowed centroids against the truth's, the same stars.
    size : float
        Native pixels: median half-light diameter within the aperture.
    size_truth : float
    bad : float
        Pixels per 10^4 off by more than five of the sigmas that one frame's pixel has there (sky, read noise,
        Poisson noise of the truth). Blurred star cores count.
    specks : float
        Pixels per 10^4 of the sky away from stars that are off by more than five sigmas of the mean of all frames'
        pixels there: what outlier rejection left behind. (Plain noise gives a few where a method leaves more of it
        than that mean has.)
    within : float
        Per cent of pixels within one standard deviation of the truth, where the method states one; else NaN.
    stars : int
        Measured.
    missing : int
        Pixels without value.
    """

    psnr: float
    psnr_asinh: float
    ssim: float
    bias: float
    scatter: float
    centroid: float
    size: float
    size_truth: float
    bad: float
    specks: float
    within: float
    stars: int
    missing: int


def score(image: np.ndarray, truth: Truth, std: np.ndarray | None = None) -> Score:
    """Compare with the truth.

    Parameters
    ----------
    image : ndarray, (rows, columns)
        In electrons per native pixel area; NaN where nothing is known (counted, then taken as sky).
    truth : Truth
    std : ndarray, optional
        The method's own standard deviation.
    """
    cut = truth.scale * BORDER
    inner = (slice(cut, -cut),) * 2
    x, t = np.asarray(image, dtype=np.float64)[inner], truth.image[inner].astype(np.float64)
    missing = ~np.isfinite(x)
    x = np.where(missing, np.nanmedian(x), x)
    x = x - np.median(x - t)
    level, sigma = np.median(t), np.sqrt(truth.variance)
    peak = np.percentile(t, 99.95) - level
    linear = [np.minimum(a - level, peak) for a in (x, t)]
    curved = [np.arcsinh((a - level) / (2 * sigma)) for a in (x, t)]
    span = np.ptp(curved[1])
    allowed = 5 * np.sqrt(truth.variance + np.maximum(t, 0))
    within = np.nan
    if std is not None:
        within = 100 * np.mean((np.abs(x - t) < np.asarray(std)[inner])[~missing])
    photometry = star_errors(x, t, truth, cut)
    return Score(
        psnr=_psnr(*linear, peak),
        psnr_asinh=_psnr(*curved, span),
        ssim=_ssim(*curved, span),
        bad=1e4 * float(np.mean(np.abs(x - t) > allowed)),
        specks=_specks(x - t, t - level, truth),
        within=float(within),
        missing=int(missing.sum()),
        **photometry,
    )


def _specks(error: np.ndarray, light: np.ndarray, truth: Truth) -> float:
    """See :attr:`Score.specks`; away from stars: nothing brighter than 20 sigma within 2.5 native pixels."""
    from scipy.ndimage import maximum_filter

    reach = 2 * int(np.ceil(APERTURE * truth.scale)) + 1
    sky = maximum_filter(light, reach) < 20 * np.sqrt(truth.variance)
    if not sky.any():
        return float("nan")
    sigma = np.sqrt((truth.variance + np.maximum(light, 0)) / truth.frames)
    return 1e4 * float(np.mean((np.abs(error) > 5 * sigma)[sky]))


def _psnr(x: np.ndarray, truth: np.ndarray, peak: float) -> float:
    return float(20 * np.log10(peak) - 10 * np.log10(np.mean((x - truth) ** 2)))


def _ssim(x: np.ndarray, truth: np.ndarray, span: float) -> float:
    from skimage.metrics import structural_similarity

    return float(structural_similarity(x, truth, data_range=span))


def isolated(stars: np.ndarray, shape: tuple[int, int], scale: int) -> np.ndarray:
    """Stars bright enough, far enough from others and from the cut border; fine positions in the cut image."""
    pixels = stars[:, :2]
    apart = np.linalg.norm(pixels[:, None] - pixels[None], axis=-1) / scale
    rival = (apart < ISOLATION) & (apart > 0) & (stars[None, :, 2] > 0.01 * stars[:, None, 2])
    room = 4 * APERTURE * scale
    inside = np.all((pixels > room) & (pixels < np.array(shape) - room), axis=1)
    return stars[(stars[:, 2] > PHOTOMETRY) & ~rival.any(axis=1) & inside]


def star_errors(x: np.ndarray, truth: np.ndarray, about: Truth, cut: int) -> dict[str, float]:
    """Flux, place and size of isolated stars in both images, cut by `cut` fine pixels."""
    stars = about.stars - np.array([cut, cut, 0])
    stars = isolated(stars, x.shape, about.scale) if len(stars) else stars
    if not len(stars):
        nothing = dict.fromkeys(("bias", "scatter", "centroid", "size", "size_truth"), float("nan"))
        return {**nothing, "stars": 0}
    level = np.median(truth)
    flux, place, size = _measured(x - level, stars, about.scale)
    flux0, place0, size0 = _measured(truth - level, stars, about.scale)
    ratio = 100 * (flux / flux0 - 1)
    middle = float(np.median(ratio))
    off = (place - place0)[stars[:, 2] > ASTROMETRY] / about.scale
    return {
        "bias": middle,
        "scatter": float(1.4826 * np.median(np.abs(ratio - middle))),
        "centroid": float(np.sqrt(np.mean(off**2))),
        "size": float(np.median(size)),
        "size_truth": float(np.median(size0)),
        "stars": len(stars),
    }


def _measured(image: np.ndarray, stars: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flux in the aperture, windowed centroid (fine row, column), half-light diameter (native pixels)."""
    import sep

    image = np.ascontiguousarray(image)
    rows, columns = np.ascontiguousarray(stars[:, 0]), np.ascontiguousarray(stars[:, 1])
    radius = APERTURE * scale
    flux, _, _ = sep.sum_circle(image, columns, rows, radius, subpix=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, y, _ = sep.winpos(image, columns, rows, np.full(len(rows), WINDOW * scale))
    half, _ = sep.flux_radius(image, columns, rows, np.full(len(rows), radius), 0.5, normflux=flux, subpix=10)
    return flux, np.column_stack([y, x]), 2 * half / scale
