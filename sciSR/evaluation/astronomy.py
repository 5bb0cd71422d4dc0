"""Sky protocol: simulated scenes with noiseless truth, and real images whose input is their own block mean.

PSNR is that of ``asinh((x - sky) / 2 sigma)``, sigma being the noise of the input's sky and the peak the truth's range,
so that faint structure counts beside bright stars; a rim of 8 pixels, and what lies near bad pixels, is left out. All
methods have the engine's consistency step (block means equal the input); "... alone" are without it, as other tools.
A noisy truth bounds the PSNR of real images; simulated ones have none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciSR.api import read_all
from sciSR.errors import UnreadableError
from sciSR.evaluation.methods import Method, Sample
from sciSR.evaluation.mr import Scores, cut
from sciSR.image import Image
from sciSR.inference.selfcheck import sky_level_and_noise
from sciSR.metrics import flux_error, nrmse, psnr, ssim
from sciSR.training.scenes import Scene, simulate

RIM = 8
LARGEST = 2048
"""Fine pixels a side; of larger real images the middle is taken."""

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


def scenes(scale: int) -> dict[str, Scene]:
    """The simulated test fields: sixteen random ones, three of the reference."""
    found = {f"seed {seed}": simulate(seed, scale=scale) for seed in TEST_SEEDS}
    fixed = {
        f"reference {seed}": simulate(seed, scale=scale, fixed=dict(REFERENCE)) for seed in REFERENCE_SEEDS
    }
    return found | fixed


def stretched(image: NDArray[np.float64], sky: float, sigma: float) -> NDArray[np.float64]:
    """``asinh((x - sky) / 2 sigma)``."""
    return np.arcsinh((image - sky) / (2 * sigma))


def score(
    truth: NDArray[np.float64],
    image: NDArray[np.float64],
    sky: float,
    sigma: float,
    good: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """PSNR of the stretched and of the linear image, SSIM and NRMSE of the stretched one.

    Parameters
    ----------
    truth, image : ndarray ``[H, W]``
    sky, sigma : float
        Level and noise of the input's sky.
    good : ndarray of bool, optional
        True where pixels count; all but the rim if not given.
    """
    mask = np.ones(truth.shape, bool) if good is None else good.copy()
    mask[:RIM], mask[-RIM:], mask[:, :RIM], mask[:, -RIM:] = False, False, False, False
    a, b = (np.where(mask, stretched(v, sky, sigma), 0.0) for v in (truth, image))
    inside = a[mask]
    peak = float(inside.max() - inside.min())
    linear = float(truth[mask].max() - truth[mask].min())
    return {
        "psnr": psnr(a, b, peak, mask),
        "ssim": ssim(a, b, peak, mask),
        "nrmse": nrmse(a, b, mask),
        "psnr_linear": psnr(truth, image, linear, mask),
    }


def measure_scene(scene: Scene, scale: int, methods: Sequence[Method]) -> Scores:
    """Every method on a simulated field, with bias and scatter (per cent) of the bright stars' fluxes."""
    sigma = math.sqrt(scene.sky + scene.read_noise**2)
    bright = scene.stars[scene.stars[:, 2] > 60 * sigma * max(1.0, scene.fwhm)]
    bright = bright[np.argsort(-bright[:, 2])][:200]
    radius = scale * max(1.5, scene.fwhm)
    sample, scores = Sample(scene.observed[None], "astronomy"), {}
    for method in methods:
        stack, seconds = method.timed(sample, scale)
        image = stack[0]
        bias, scatter = flux_error(scene.truth, image, bright[:, :2], radius, scene.sky)
        scores[method.name] = score(scene.truth, image, scene.sky, sigma) | {
            "bias": bias,
            "scatter": scatter,
            "s_per_mpix": seconds,
        }
    return scores


def first_plane(image: Image, largest: int = LARGEST) -> NDArray[np.float64]:
    """The middle of the first plane, at most `largest` pixels a side, float64 ``[H, W]``, NaN where bad."""
    index: list[slice | int] = [0] * len(image.shape)
    for axis in image.spatial_axes:
        size = image.shape[axis]
        start = max(0, (size - largest) // 2)
        index[axis] = slice(start, start + min(size, largest))
    plane = np.asarray(image.data[tuple(index)], np.float64)
    bad = ~np.isfinite(plane)
    if image.mask is not None:
        bad |= np.asarray(image.mask[tuple(index)], bool)
    return np.where(bad, np.nan, plane)


def measure_plane(plane: NDArray[np.float64], scale: int, methods: Sequence[Method]) -> Scores:
    """Every method at recovering a real image ``[H, W]`` (NaN where bad) from its block mean."""
    truth = cut(plane, scale)
    height, width = truth.shape
    observed = truth.reshape(height // scale, scale, width // scale, scale).mean((1, 3))
    bad = ~np.isfinite(observed)
    sky, sigma = sky_level_and_noise(observed)
    near = ndimage.binary_dilation(bad, iterations=7) if bad.any() else bad
    good = ~np.repeat(np.repeat(near, scale, 0), scale, 1)
    sample, scores = Sample(observed[None], "astronomy"), {}
    for method in methods:
        stack, seconds = method.timed(sample, scale)
        scores[method.name] = score(truth, stack[0], sky, sigma, good) | {"s_per_mpix": seconds}
    return scores


def measure_file(path: Path, scale: int, methods: Sequence[Method]) -> Scores:
    """The same on a file's first image with intensities, first plane."""
    options = {"ignore_checksum": True} if path.suffix in (".fits", ".fit", ".fz") else {}
    images = [image for image in read_all(path, **options) if image.kind == "intensity"]
    if not images:
        raise UnreadableError("no intensities in it, only labels", where=path)
    return measure_plane(first_plane(images[0]), scale, methods)
