"""Bringing frames to one level, and finding the pixels that must not be used.

Heavy libraries are imported inside the functions that need them.
"""

from sciSR.fusion.matching.background import Background, estimate_background, fit_background, sky_level
from sciSR.fusion.matching.gain import Match, match_frame
from sciSR.fusion.matching.noise import (
    NoiseFit,
    NoiseScale,
    calibrate_noise,
    fit_noise,
    frame_variance,
    sky_noise,
    weighting_variance,
)
from sciSR.fusion.matching.persistent import PersistentResiduals
from sciSR.fusion.matching.rejection import FIRST, MODEL, Thresholds, find_outliers, gradient_magnitude
from sciSR.fusion.matching.saturation import SaturationCensus, guess_saturation, saturated_pixels
from sciSR.fusion.matching.stack import Stack, first_pass_outliers, median_stack, sample_image
from sciSR.fusion.matching.static import StaticPixels, rough_offsets, static_bad_pixels
from sciSR.fusion.matching.trails import Trail, find_trails

__all__ = [
    "FIRST",
    "MODEL",
    "Background",
    "Match",
    "NoiseFit",
    "NoiseScale",
    "PersistentResiduals",
    "SaturationCensus",
    "Stack",
    "StaticPixels",
    "Thresholds",
    "Trail",
    "calibrate_noise",
    "estimate_background",
    "find_outliers",
    "find_trails",
    "first_pass_outliers",
    "fit_background",
    "fit_noise",
    "frame_variance",
    "gradient_magnitude",
    "guess_saturation",
    "match_frame",
    "median_stack",
    "rough_offsets",
    "sample_image",
    "saturated_pixels",
    "sky_level",
    "sky_noise",
    "static_bad_pixels",
    "weighting_variance",
]
