"""Measures of quality: fidelity to a truth, detail, photometry, sources, resolution, spectra.

One page lists them all with formulas, units and pitfalls: ``docs/metrics.md``.
"""

from sciSR.metrics.census import census
from sciSR.metrics.detail import gradient_correlation, hfen
from sciSR.metrics.fidelity import nrmse, psnr, ssim
from sciSR.metrics.photometry import aperture_sums, flux_error
from sciSR.metrics.psf_photometry import empirical_psf, psf_fluxes
from sciSR.metrics.resolution import fourier_ring_correlation, frc_resolution
from sciSR.metrics.self_resolution import self_ring_correlation
from sciSR.metrics.shells import fourier_shell_correlation
from sciSR.metrics.sources import centroid_offsets, detect_sources, match_points
from sciSR.metrics.spectrum import radial_power_spectrum
from sciSR.metrics.star_flux import star_flux_error

__all__ = [
    "aperture_sums",
    "census",
    "centroid_offsets",
    "detect_sources",
    "empirical_psf",
    "flux_error",
    "fourier_ring_correlation",
    "fourier_shell_correlation",
    "frc_resolution",
    "gradient_correlation",
    "hfen",
    "match_points",
    "nrmse",
    "psf_fluxes",
    "psnr",
    "radial_power_spectrum",
    "self_ring_correlation",
    "ssim",
    "star_flux_error",
]
