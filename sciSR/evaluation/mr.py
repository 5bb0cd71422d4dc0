"""MR protocol: whole slices through the scanner's model, all intensities relative to the truth's bright end.

24 central slices of a volume (all, if there are fewer), those that the engine would have upscaled; intensities over the
truth's 99.9 % quantile, nothing clipped; the mask is truth > 0.05, closed and filled, minus a frame of ``2 scale``
pixels. PSNR and NRMSE over the mask of all slices, SSIM averaged over the mask of each and over the slices.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from sciSR.evaluation.methods import Method, Sample, timed
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.metrics import nrmse, psnr, ssim


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
    mask = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(plane > 0.05)) for plane in fine])
    rim = 2 * scale
    mask[:, :rim], mask[:, -rim:], mask[:, :, :rim], mask[:, :, -rim:] = False, False, False, False
    return mask


def score(truth: NDArray[np.float64], image: NDArray[np.float64], scale: int) -> dict[str, float]:
    """PSNR, SSIM, NRMSE and the error of the mean intensity (``bias``, per cent).

    Parameters
    ----------
    truth, image : ndarray, float64 ``[N, H, W]``
        Slices; NaN where bad.
    scale : int
    """
    good = np.isfinite(truth) & np.isfinite(image)
    peak = float(np.quantile(truth[good], 0.999)) or 1.0
    a, b = (np.where(good, values / peak, 0.0) for values in (truth, image))
    mask = foreground(a, scale) & good
    similar = [ssim(t, r, 1.0, m) for t, r, m in zip(a, b, mask, strict=True) if m.any()]
    return {
        "psnr": psnr(a, b, 1.0, mask),
        "ssim": float(np.mean(similar)) if similar else float("nan"),
        "nrmse": nrmse(a, b, mask),
        "bias": 100 * (float(b[mask].mean() / a[mask].mean()) - 1) if mask.any() else float("nan"),
    }
