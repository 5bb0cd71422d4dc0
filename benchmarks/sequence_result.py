"""What is measured of a fused real sequence, and the table of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Result:
    """What is known of one fused sequence.

    Attributes
    ----------
    stars : int
    flux_ratio : float
        Median of fused over the frames' weighted mean, less 1.
    flux_z : float
        Robust scatter of (fused - mean) / its error; the error is the mean's, from sky noise and, where the frames
        disagree by more than that, from how much they do.
    flux_pull : float
        Median of the same.
    flux_beyond : float
        Share of stars with more than 3 errors.
    flux_trend : float
        Fused over mean, less 1: the median of the brightest fifth less that of the faintest.
    offset_px, scatter_px : float
        Fused positions minus the frames' mean: median (the larger axis) and robust scatter, native pixels.
    frames_px : float
        Error of the frames' mean position, from how much they disagree.
    world_px : float
        Fused positions by its WCS minus those of the reference frame by its own: median distance, native pixels.
    resolution : dict
        Period of the finest wave shared by halves (threshold 1/7), native pixels: map, drizzle, single frames.
        2 times the fine pixel is the least there can be.
    width : dict
        Full width at half maximum, native pixels.
    noise : dict
        Sky noise of a native pixel, in units of that of the frames' weighted mean, and of means of 5 x 5.
    error_ratio : float
        The map's scatter of empty fine pixels over its own ERR.
    ring, ring_drizzle : float
        Deepest dip of the mean profiles of bright stars, per cent of their peaks: the median over stars.
    checkerboard : dict
        Power at the fine Nyquist frequency over that below it.
    """

    name: str
    frames: int = 0
    used: int = 0
    seconds: float = math.nan
    mb: float = math.nan
    stars: int = 0
    flux_ratio: float = math.nan
    flux_z: float = math.nan
    flux_pull: float = math.nan
    flux_beyond: float = math.nan
    flux_trend: float = math.nan
    drizzle_ratio: float = math.nan
    drizzle_z: float = math.nan
    offset_px: float = math.nan
    scatter_px: float = math.nan
    frames_px: float = math.nan
    world_px: float = math.nan
    resolution: dict[str, float | None] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    width: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    error_ratio: float = math.nan
    ring: float = math.nan
    ring_drizzle: float = math.nan
    checkerboard: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Column = tuple[str, Callable[[Result], Any], int]
"""Heading, what stands below it, and its digits behind the point."""

STARS: tuple[Column, ...] = (
    ("used", lambda r: f"{r.used}/{r.frames}", 0),
    ("s", lambda r: r.seconds, 1),
    ("MB", lambda r: r.mb, 0),
    ("stars", lambda r: r.stars, 0),
    ("flux %", lambda r: 100 * r.flux_ratio, 2),
    ("pull", lambda r: r.flux_pull, 2),
    ("z", lambda r: r.flux_z, 2),
    ("> 3", lambda r: r.flux_beyond, 2),
    ("trend %", lambda r: 100 * r.flux_trend, 2),
    ("drz %", lambda r: 100 * r.drizzle_ratio, 2),
    ("drz z", lambda r: r.drizzle_z, 2),
    ("off px", lambda r: r.offset_px, 4),
    ("scatter", lambda r: r.scatter_px, 4),
    ("frames", lambda r: r.frames_px, 4),
    ("wcs px", lambda r: r.world_px, 4),
)
IMAGES: tuple[Column, ...] = (
    ("FRC frame", lambda r: _period(r, "frame"), 2),
    ("drz", lambda r: _period(r, "drizzle"), 2),
    ("map", lambda r: _period(r, "map"), 2),
    ("FWHM frame", lambda r: r.width.get("frame"), 2),
    ("best", lambda r: r.width.get("best frame"), 2),
    ("drz", lambda r: r.width.get("drizzle"), 2),
    ("map", lambda r: r.width.get("map"), 2),
    ("noise drz", lambda r: r.noise.get("drizzle"), 2),
    ("map", lambda r: r.noise.get("map"), 2),
    ("5x5 drz", lambda r: r.noise.get("drizzle 5x5"), 2),
    ("map", lambda r: r.noise.get("map 5x5"), 2),
    ("/ERR", lambda r: r.error_ratio, 2),
    ("ring % drz", lambda r: r.ring_drizzle, 2),
    ("map", lambda r: r.ring, 2),
    ("grid drz", lambda r: r.checkerboard.get("drizzle"), 2),
    ("map", lambda r: r.checkerboard.get("map"), 2),
)


def table(results: Sequence[Result]) -> str:
    """One line a sequence, in two blocks: its stars, and its images."""
    blocks = []
    for columns in (STARS, IMAGES):
        lines = ["sequence".ljust(17) + "".join(_right(name, name) for name, _, _ in columns)]
        lines += [
            r.name.ljust(17) + "".join(_right(name, _text(get(r), digits)) for name, get, digits in columns)
            for r in results
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _right(heading: str, text: str) -> str:
    return "  " + text.rjust(max(len(heading), 6))


def _text(value: Any, digits: int) -> str:
    if isinstance(value, str):
        return value
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _period(result: Result, label: str) -> str:
    """Native pixels; ``<`` where the curve reaches the grid's end, ``~`` where it ends because it rises again."""
    mark = {"end": "<", "turn": "~"}.get(result.ends.get(label, ""), "")
    return _text(result.resolution.get(label), 2) + mark
