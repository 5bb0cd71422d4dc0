"""Flux error as in STAR: a Benchmark for Astronomical Star Fields Super-Resolution (Wu et al. 2025, arXiv:2507.16385).

Their abstract names the measure; its definition is taken from the evaluation in their published code (repository
GuoCheng12/STAR, ``libs/tester.py``, commit 5630e9d): sources are detected in the truth with sep, 1.5 times the
background's local noise above a background of sep's default mesh; their fluxes are summed within ellipses of 2.5 times
the detections' axes, in the truth and in the image, each above its own background; the error is the mean of the
absolute differences over the sources, and the mean of that over the images. It has the image's unit and is led by the
brightest source: it compares methods on one image, not images. The relative error beside it has no unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 1.5
AXES = 2.5
MESH = 64


@dataclass(frozen=True)
class FluxError:
    """Of one image.

    Attributes
    ----------
    absolute : float
        Mean over the sources of ``|flux - true flux|``, in the image's unit: STAR's measure. NaN without sources.
    relative : float
        The same over the mean of the true fluxes' absolute values; not part of STAR.
    above_truth : float
        `absolute` with the truth's background under both, so that how the background of each image comes out has no
        part in it; not part of STAR.
    n : int
        Sources.
    """

    absolute: float
    relative: float
    above_truth: float
    n: int


def star_flux_error(truth: NDArray, image: NDArray, mask: NDArray | None = None) -> FluxError:
    """The benchmark's flux error of one plane.

    Parameters
    ----------
    truth, image : ndarray, (rows, columns)
        On one grid, in one unit. Pixels that are not finite in either count in neither.
    mask : ndarray of bool, optional
        True where pixels count.

    Returns
    -------
    FluxError
    """
    import sep

    bad = ~(np.isfinite(truth) & np.isfinite(image))
    if mask is not None:
        bad |= ~np.asarray(mask, bool)
    nothing = FluxError(math.nan, math.nan, math.nan, 0)
    if bad.all() or min(truth.shape) < 8:
        return nothing
    level = float(np.median(truth[~bad]))
    flat, noise = _flat(truth, level, bad)
    if not noise.max() > 0:
        return nothing
    found = _detect(flat, noise, bad)
    if found is None or not len(found):
        return nothing
    where = [np.ascontiguousarray(found[key], np.float64) for key in ("x", "y", "a", "b", "theta")]
    difference = np.where(bad, 0.0, np.asarray(image, np.float64) - truth)
    planes = (flat, _flat(image, level, bad)[0], np.ascontiguousarray(flat + difference))
    fluxes = np.stack([sep.sum_ellipse(each, *where, AXES, mask=bad)[0] for each in planes])
    true, own, same = fluxes[:, np.isfinite(fluxes).all(axis=0)]
    if not true.size:
        return nothing
    absolute, size = float(np.abs(own - true).mean()), float(np.abs(true).mean())
    relative = absolute / size if size > 0 else math.nan
    return FluxError(absolute, relative, float(np.abs(same - true).mean()), int(true.size))


def _flat(image: NDArray, level: float, bad: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The image above its background, and the background's noise."""
    import sep

    clean = np.ascontiguousarray(np.where(bad, 0.0, np.asarray(image, np.float64) - level))
    side = min(MESH, *clean.shape)
    background = sep.Background(clean, mask=bad, bw=side, bh=side)
    return clean - background.back(), np.asarray(background.rms(), np.float64)


def _detect(flat: NDArray, noise: NDArray, bad: NDArray) -> Any:
    import sep

    sep.set_extract_pixstack(max(300_000, flat.size))
    positive = np.maximum(noise, 1e-9 * float(np.abs(noise).max()))
    for factor in (1, 2, 4, 8):
        try:
            return sep.extract(flat, factor * THRESHOLD, err=positive, mask=bad)
        except Exception:  # sep raises a bare Exception when its buffers are full
            continue
    return None
