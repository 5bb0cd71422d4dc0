"""A sharp image that becomes an exam: some of its planes, degraded, and the truth that they are compared with."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sciSR.colour import LUMA, mixture, rgb_axis
from sciSR.errors import UnsupportedError
from sciSR.evaluation.methods import Sample
from sciSR.forward.noise import gaussian, rician
from sciSR.image import Image
from sciSR.inference.statistics import plane_indices
from sciSR.training.degradation import Degradation

PLANES = 24
LARGEST = 2048
"""Pixels a side; of larger planes the middle is taken."""

MOST_PIXELS = 8 << 20
"""In all planes that are scored."""

STATISTICS_PIXELS = 16 << 20
"""In the planes that the normaliser is fitted to, spread evenly over the image."""


@dataclass(frozen=True)
class Subject:
    """A sharp image.

    Parameters
    ----------
    name : str
    domain : str
        "mr", "astronomy", "ct" or "generic": how it is scored.
    planes : ndarray, float64 ``[N, H, W]``
        What is scored; NaN where bad.
    around : ndarray, float64 ``[M, H, W]``, optional
        Planes spread over the whole image, if `planes` is not all of it.
    """

    name: str
    domain: str
    planes: NDArray[np.float64]
    around: NDArray[np.float64] | None = None

    def degraded(
        self, forward: str, scale: int, snr: float | None = None
    ) -> tuple[NDArray[np.float64], Sample]:
        """The truth, cut to a multiple of the scale, ``[N, s h, s w]``, and what the methods are given.

        Parameters
        ----------
        forward, scale
            See `degrade`.
        snr : float, optional
            Signal to noise of what they are given: noise is added, always the same for the same image.

        Raises
        ------
        UnsupportedError
            The planes are too small, all bad, or of one value.
        """
        truth = cut(self.planes, scale, self.name)
        values = truth[np.isfinite(truth)]
        if values.size == 0 or values.min() == values.max():
            what = "no finite pixel" if values.size == 0 else f"no value but {values[0]:g}"
            raise UnsupportedError(f"its planes hold {what}: nothing to be evaluated", where=self.name)
        coarse = degrade(truth, forward, scale)
        around = None if self.around is None else degrade(cut(self.around, scale), forward, scale)
        if snr is not None:
            sigma = bright(coarse if around is None else around, self.domain) / snr
            generator = np.random.default_rng(zlib.crc32(f"{self.name} {forward} x{scale}".encode()))
            coarse = noisy(coarse, sigma, self.domain, generator)
            around = None if around is None else noisy(around, sigma, self.domain, generator)
        statistics = None if around is None else around[np.isfinite(around)]
        return truth, Sample(coarse, self.domain, forward, statistics)


def bright(planes: NDArray[np.float64], domain: str) -> float:
    """The signal that a signal to noise is about: the 99.5 % quantile; but for MR above the median."""
    values = planes[np.isfinite(planes)]
    if values.size == 0:
        return 0.0
    return float(np.quantile(values, 0.995)) - (0.0 if domain == "mr" else float(np.median(values)))


def noisy(
    planes: NDArray[np.float64], sigma: float, domain: str, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Rician noise on MR magnitudes, Gaussian noise on all else; bad pixels stay bad."""
    if domain == "mr" and np.nanmin(planes) >= 0:
        return rician(planes, sigma, generator)
    return gaussian(planes, sigma, generator)


def subject_of(image: Image, planes: int = PLANES, name: str | None = None) -> Subject:
    """The central planes of an image, along the axes that the engine would upscale.

    Parameters
    ----------
    image : Image
        Read lazily: only what is needed. Of a colour image the luminance is taken.
    planes : int
        At most so many, and no more than `MOST_PIXELS` hold.
    name : str, optional
        In tables; that of its file by default.

    Raises
    ------
    UnsupportedError
        A label map, or pixels that are no real numbers.
    """
    if image.kind == "labels" or image.dtype.kind not in "fiub":
        what = "labels have no sharpness" if image.kind == "labels" else f"pixels of type {image.dtype}"
        raise UnsupportedError(f"{what}: nothing to be evaluated", where=image.where)
    domain = image.domain
    colours = rgb_axis(image)
    if colours is not None:
        image = mixture(image, colours, LUMA)
    indices = plane_indices(image)
    window = _window(image)
    pixels = (window[0].stop - window[0].start) * (window[1].stop - window[1].start)
    count = max(1, min(planes, MOST_PIXELS // pixels))
    first = max(0, (len(indices) - count) // 2)
    chosen = _read(image, indices[first : first + count], window)
    if len(indices) <= count:
        return Subject(name or image.where, domain, chosen)
    stride = -(-len(indices) * pixels // STATISTICS_PIXELS)
    return Subject(name or image.where, domain, chosen, _read(image, indices[::stride], window))


def _window(image: Image) -> tuple[slice, slice]:
    """The middle of a plane."""
    found = []
    for axis in image.spatial_axes:
        size = image.shape[axis]
        start = max(0, (size - LARGEST) // 2)
        found.append(slice(start, start + min(size, LARGEST)))
    return found[0], found[1]


def _read(
    image: Image, indices: list[tuple[slice | int, ...]], window: tuple[slice, slice]
) -> NDArray[np.float64]:
    first, second = image.spatial_axes
    stack = []
    for index in indices:
        where = list(index)
        where[first], where[second] = window
        plane = np.asarray(image.data[tuple(where)], np.float64)
        bad = ~np.isfinite(plane)
        if image.mask is not None:
            bad |= np.asarray(image.mask[tuple(where)], bool)
        stack.append(np.where(bad, np.nan, plane))
    return np.stack(stack)


def cut(planes: NDArray, scale: int, name: str | None = None) -> NDArray:
    """The last two axes cut to multiples of the scale; `name` is for the message if they are too small."""
    height, width = (n // scale * scale for n in planes.shape[-2:])
    if min(height, width) < 4 * scale:
        raise UnsupportedError(
            f"planes of {planes.shape[-2]}x{planes.shape[-1]} pixels are too small", where=name
        )
    return np.ascontiguousarray(planes[..., :height, :width])


def degrade(fine: NDArray[np.float64], forward: str, scale: int) -> NDArray[np.float64]:
    """Sharp planes ``[N, s h, s w]`` as they would have been observed, ``[N, h, w]``, without noise.

    Parameters
    ----------
    fine : ndarray, float64
        NaN where bad; a coarse pixel that holds a bad one is bad.
    forward : {"kspace", "gaussian", "detector", "bicubic"}
        Central crop of the spectrum, then the magnitude; a Gaussian of one coarse pixel's width sampled at the coarse
        pixels' centres; block means; MATLAB's ``imresize``.
    scale : int
    """
    model = Degradation(forward, scale, fwhm=1.0 if forward == "gaussian" else 0.0)
    bad = ~np.isfinite(fine)
    if not bad.any():
        return model.apply(torch.from_numpy(np.ascontiguousarray(fine))).numpy()
    level = float(np.median(fine[~bad])) if not bad.all() else 0.0
    coarse = model.apply(torch.from_numpy(np.where(bad, level, fine))).numpy()
    n, height, width = fine.shape
    blocks = bad.reshape(n, height // scale, scale, width // scale, scale).any((2, 4))
    return np.where(blocks, np.nan, coarse)
