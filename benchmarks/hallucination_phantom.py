"""A digital head with lesions: ellipses of tissue, small discs of several contrasts, known to the pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OVER = 4
"""Samples for each pixel and axis, so that borders are as sharp as pixels allow."""
CONTRASTS = (-0.3, -0.15, -0.08, 0.08, 0.15, 0.3)
APART = 16.0
"""Least distance between lesions, pixels."""


@dataclass(frozen=True)
class Lesion:
    """A disc: centre and radius in pixels, contrast in the head's unit (white matter is 0.7)."""

    y: float
    x: float
    radius: float
    contrast: float


@dataclass(frozen=True)
class Head:
    """A phantom, float64 ``[side, side]``, at least 0, and its lesions."""

    truth: NDArray[np.float64]
    lesions: tuple[Lesion, ...]


def head(seed: int, side: int = 256, lesions: int = 30, radii: tuple[float, float] = (1.5, 4.0)) -> Head:
    """A random head; everything follows from the arguments.

    Parameters
    ----------
    seed : int
    side : int
        Pixels.
    lesions : int
        As many as find room.
    radii : (float, float)
        Smallest and largest, pixels.
    """
    g = np.random.default_rng(seed)
    centre, unit = (side - 1) / 2, side / 256
    image = 0.3 * _ellipse(side, centre, centre, 110 * unit, 92 * unit, 0.0)  # skin
    image += 0.4 * _ellipse(side, centre, centre, 100 * unit, 82 * unit, 0.0)  # white matter
    for turn in range(int(g.integers(14, 20))):  # grey matter in folds
        angle = 2 * math.pi * turn / 16 + g.uniform(-0.1, 0.1)
        y, x = centre + 88 * unit * math.sin(angle), centre + 70 * unit * math.cos(angle)
        image -= g.uniform(0.05, 0.15) * _ellipse(
            side, y, x, 14 * unit, 5 * unit, angle + g.uniform(-0.5, 0.5)
        )
    for sign in (-1, 1):  # ventricles
        image -= 0.3 * _ellipse(
            side, centre - 8 * unit, centre + sign * 20 * unit, 28 * unit, 9 * unit, 0.25 * sign
        )
    found: list[Lesion] = []
    for _ in range(50 * lesions):
        if len(found) == lesions:
            break
        y, x = centre + unit * g.uniform(-75, 75), centre + unit * g.uniform(-60, 60)
        inside = math.hypot((y - centre) / (82 * unit), (x - centre) / (64 * unit)) < 1
        if inside and all(math.hypot(y - each.y, x - each.x) > APART for each in found):
            found.append(Lesion(y, x, g.uniform(*radii), float(g.choice(CONTRASTS))))
    for each in found:
        image += each.contrast * _ellipse(side, each.y, each.x, each.radius, each.radius, 0.0)
    return Head(np.maximum(image, 0.0), tuple(found))


def _ellipse(side: int, y: float, x: float, a: float, b: float, angle: float) -> NDArray[np.float64]:
    """Share of each pixel that lies in an ellipse with half axes a (along y at angle 0) and b."""
    axis = (np.arange(side * OVER) + 0.5) / OVER - 0.5
    down, across = axis[:, None] - y, axis[None] - x
    u = down * math.cos(angle) + across * math.sin(angle)
    v = across * math.cos(angle) - down * math.sin(angle)
    inside = ((u / a) ** 2 + (v / b) ** 2 <= 1).astype(np.float64)
    return inside.reshape(side, OVER, side, OVER).mean((1, 3))
