"""Bringing frames to one level, and finding the pixels that must not be used.

Heavy libraries are imported inside the functions that need them.
"""

from sciSR.fusion.matching.background import Background, estimate_background, fit_background, sky_level
from sciSR.fusion.matching.gain import Match, match_frame
from sciSR.fusion.matching.rejection import FIRST, MODEL, Thresholds, find_outliers, gradient_magnitude

__all__ = [
    "FIRST",
    "MODEL",
    "Background",
    "Match",
    "Thresholds",
    "estimate_background",
    "find_outliers",
    "fit_background",
    "gradient_magnitude",
    "match_frame",
    "sky_level",
]
