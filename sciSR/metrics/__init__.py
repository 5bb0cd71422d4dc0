"""Measures of quality: fidelity to a truth, photometry."""

from sciSR.metrics.fidelity import nrmse, psnr, ssim
from sciSR.metrics.photometry import aperture_sums, flux_error

__all__ = ["aperture_sums", "flux_error", "nrmse", "psnr", "ssim"]
