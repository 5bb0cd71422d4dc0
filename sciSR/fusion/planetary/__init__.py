"""Lucky imaging: planets, the Moon and the Sun through a turbulent atmosphere.

The sharpest frames of a clip are kept, aligned as a whole, and then each by a smooth local warp.
"""

from sciSR.fusion.planetary.disc import Decision, Disc, find_disc, looks_planetary
from sciSR.fusion.planetary.lucky import MAP_SETTINGS, PlanetaryRegistration, register_planetary
from sciSR.fusion.planetary.quality import best_frames, keep_best, rank_quality, sharpness

__all__ = [
    "MAP_SETTINGS",
    "Decision",
    "Disc",
    "PlanetaryRegistration",
    "best_frames",
    "find_disc",
    "keep_best",
    "looks_planetary",
    "rank_quality",
    "register_planetary",
    "sharpness",
]
