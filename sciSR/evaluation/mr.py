"""MR protocol: whole slices through the scanner's model, all intensities relative to the truth's bright end.

24 central slices of a volume (all, if there are fewer), those that the engine would have upscaled; intensities over the
truth's 99.9 % quantile, nothing clipped; the mask is truth > 0.05, closed and filled, minus a frame of ``2 scale``
pixels. PSNR and NRMSE over the mask of all slices, SSIM averaged over the mask of each and over the slices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from sciSR.evaluation.methods import Method, Sample, spline, timed
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.metrics import nrmse, psnr, ssim
from sciSR.metrics.foreground import foreground as body


def back_projection(
    coarse: NDArray[np.float64], scale: int, iterations: int = 10, fwhm: float | None = None
) -> NDArray[np.float64]:
    """Iterated back projection (Irani and Peleg 1991) with the true point spread function, the residual enlarged by a
    cubic spline.

    Parameters
    ----------
    coarse : ndarray, float64 ``[N, h, w]``
    scale, iterations : int
    fwhm : float, optional
        Of the Gaussian, in fine pixels; `scale` by default.

    Returns
    -------
    ndarray, float64 ``[N, scale h, scale w]``
    """
    operator = GaussianDecimation(scale, fwhm)
    x = spline(coarse, scale, 3)
    for _ in range(iterations):
        x = x + spline(coarse - operator.apply(torch.from_numpy(x)).numpy(), scale, 3)
    return x


def oracles(forward: str) -> list[Method]:
    """Inverses that know the point spread function; with truncated k-space the Fourier method is that already."""
    if forward != "gaussian":
        return []

    def projected(sample: Sample, scale: int) -> NDArray[np.float64]:
        return back_projection(sample.coarse, scale)

    def tikhonov(sample: Sample, scale: int) -> NDArray[np.float64]:
        return GaussianDecimation(scale).pinv(torch.from_numpy(sample.coarse), damping=0.01).numpy()

    return [
        Method("IBP (known PSF)", "oracle", timed(projected)),
        Method("Tikhonov (known PSF)", "oracle", timed(tikhonov)),
    ]


def foreground(fine: NDArray[np.float64], scale: int) -> NDArray[np.bool_]:
    """The pixels that are scored, of slices ``[N, H, W]`` over the bright end of the volume."""
    mask = np.stack([body(plane) for plane in fine])
    rim = 2 * scale
    mask[:, :rim], mask[:, -rim:], mask[:, :, :rim], mask[:, :, -rim:] = False, False, False, False
    return mask


def scorer(truth: NDArray[np.float64], scale: int) -> Callable[[NDArray[np.float64]], dict[str, float]]:
    """What scores results against a truth: PSNR, SSIM, NRMSE and the error of the mean intensity (``bias``, per cent).

    Parameters
    ----------
    truth : ndarray, float64 ``[N, H, W]``
        Slices; NaN where bad.
    scale : int

    Returns
    -------
    callable
        ``score(image) -> {measure: value}``, `image` as the truth.
    """
    good = np.isfinite(truth)
    peak = float(np.quantile(truth[good], 0.999)) or 1.0
    a = np.where(good, truth / peak, 0.0)
    mask = foreground(a, scale) & good

    def score(image: NDArray[np.float64]) -> dict[str, float]:
        b = image / peak
        counted = mask & np.isfinite(b)
        b = np.where(np.isfinite(b), b, 0.0)
        similar = [ssim(t, r, 1.0, m) for t, r, m in zip(a, b, counted, strict=True) if m.any()]
        return {
            "psnr": psnr(a, b, 1.0, counted),
            "ssim": float(np.mean(similar)) if similar else float("nan"),
            "nrmse": nrmse(a, b, counted),
            "bias": 100 * (float(b[counted].mean() / a[counted].mean()) - 1) if similar else float("nan"),
        }

    return score
