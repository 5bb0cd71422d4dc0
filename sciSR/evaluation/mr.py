"""MR protocol: whole slices through the scanner's model, all intensities relative to the truth's bright end.

24 central slices of a volume (all, if there are fewer), those that the adapter would have upscaled; intensities over
the truth's 99.9 % quantile, nothing clipped; the mask is truth > 0.05, closed and filled, minus a frame of ``2 scale``
pixels. PSNR and NRMSE over the mask of all slices, SSIM averaged over the mask of each and over the slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from sciSR.api import read_all
from sciSR.errors import UnreadableError, UsageError
from sciSR.evaluation.methods import Method, Sample
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.image import Image
from sciSR.metrics import nrmse, psnr, ssim

SLICES = 24
Scores = dict[str, dict[str, float]]
"""Method -> measure -> value, of one file."""


def degrade(fine: NDArray[np.float64], forward: str, scale: int) -> NDArray[np.float64]:
    """What the scanner would have stored of sharp slices ``[N, s h, s w]``: ``[N, h, w]``.

    Parameters
    ----------
    fine : ndarray, float64
    forward : {"kspace", "gaussian"}
        Central crop of the spectrum, then the magnitude; or a Gaussian profile of one coarse pixel's width sampled at
        the coarse pixels' centres.
    scale : int
    """
    x = torch.from_numpy(np.ascontiguousarray(fine))
    if forward == "kspace":
        return KSpaceCrop(scale).apply(x).abs().numpy()
    if forward == "gaussian":
        return GaussianDecimation(scale).apply(x).numpy()
    raise UsageError(f"MR forward model {forward!r} is unknown", remedy="use kspace or gaussian")


def slices(image: Image) -> NDArray[np.float64]:
    """All planes along the image's spatial axes, float64 ``[N, H, W]``."""
    first, second = image.spatial_axes
    values = np.moveaxis(np.asarray(image, np.float64), (first, second), (-2, -1))
    return values.reshape(-1, *values.shape[-2:])


def cut(planes: NDArray, scale: int) -> NDArray:
    """The last two axes cut to multiples of the scale."""
    height, width = (n // scale * scale for n in planes.shape[-2:])
    return planes[..., :height, :width]


def back_projection(
    coarse: NDArray[np.float64], scale: int, iterations: int = 10, fwhm: float | None = None
) -> NDArray[np.float64]:
    """Iterated back projection (Irani and Peleg 1991) with the true point spread function, cubic interpolation of the
    residual; ``[N, h, w] -> [N, s h, s w]``."""
    operator = GaussianDecimation(scale, fwhm)

    def enlarged(planes: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndimage.zoom(planes, (1, scale, scale), order=3, mode="reflect", grid_mode=True)

    x = enlarged(coarse)
    for _ in range(iterations):
        x = x + enlarged(coarse - operator.apply(torch.from_numpy(x)).numpy())
    return x


def oracles(forward: str) -> list[Method]:
    """Inverses that know the point spread function; with truncated k-space the Fourier method is that already."""
    if forward != "gaussian":
        return []

    def tikhonov(sample: Sample, scale: int) -> NDArray[np.float64]:
        return GaussianDecimation(scale).pinv(torch.from_numpy(sample.coarse), damping=0.01).numpy()

    return [
        Method("IBP (known PSF)", "oracle", lambda sample, scale: back_projection(sample.coarse, scale)),
        Method("Tikhonov (known PSF)", "oracle", tikhonov),
    ]


def foreground(fine: NDArray[np.float64], scale: int) -> NDArray[np.bool_]:
    """The mask that is scored, for slices over the bright end of the volume."""
    mask = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(plane > 0.05)) for plane in fine])
    rim = 2 * scale
    mask[:, :rim], mask[:, -rim:], mask[:, :, :rim], mask[:, :, -rim:] = False, False, False, False
    return mask


def score(fine: NDArray[np.float64], image: NDArray[np.float64], scale: int) -> dict[str, float]:
    """PSNR, SSIM, NRMSE and the error of the mean intensity (per cent) of slices ``[N, s h, s w]``."""
    peak = float(np.quantile(fine, 0.999))
    truth, result = fine / peak, image / peak
    mask = foreground(truth, scale)
    similar = [ssim(t, r, 1.0, m) for t, r, m in zip(truth, result, mask, strict=True) if m.any()]
    return {
        "psnr": psnr(truth, result, 1.0, mask),
        "ssim": float(np.mean(similar)),
        "nrmse": nrmse(truth, result, mask),
        "bias": 100 * float(result[mask].mean() / truth[mask].mean() - 1),
    }


def measure(
    volume: NDArray[np.float64], forward: str, scale: int, methods: Sequence[Method], count: int = SLICES
) -> Scores:
    """Every method on one volume ``[N, H, W]``; the normaliser is fitted to the whole of it."""
    fine = np.ascontiguousarray(cut(volume, scale))
    coarse = degrade(fine, forward, scale)
    first = max(0, (len(fine) - count) // 2)
    part = slice(first, first + count)
    sample = Sample(coarse[part], "mr", coarse.ravel())
    scores = {}
    for method in methods:
        image, seconds = method.timed(sample, scale)
        scores[method.name] = score(fine[part], image, scale) | {"s_per_mpix": seconds}
    return scores


def measure_file(path: Path, forward: str, scale: int, methods: Sequence[Method]) -> Scores:
    """The same on a file that an adapter reads."""
    images = [image for image in read_all(path) if image.kind == "intensity"]
    if not images:
        raise UnreadableError("no intensities in it, only labels", where=path)
    return measure(slices(images[0]), forward, scale, methods)
