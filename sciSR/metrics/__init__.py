"""Measures of quality: fidelity to a truth, photometry, resolution."""

from sciSR.metrics.fidelity import nrmse, psnr, ssim
from sciSR.metrics.photometry import aperture_sums, flux_error
from sciSR.metrics.resolution import fourier_ring_correlation, frc_resolution

__all__ = [
    "aperture_sums",
    "flux_error",
    "fourier_ring_correlation",
    "frc_resolution",
    "nrmse",
    "psnr",
    "ssim",
]
