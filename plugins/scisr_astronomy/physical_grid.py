"""The grid of an image without world coordinates: IRAF's physical pixels, LTV and LTM.

``image = LTM * physical + LTV`` (1-based). Without these keywords physical pixels are the image's own. A refined
image gets them, so that it still tells which pixel of the original each of its pixels lies in; ds9 and IRAF show them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.grid import compose, refined_shape


@dataclass(frozen=True)
class PhysicalGrid:
    """Physical (0-based) pixel coordinates of each pixel, in NumPy's axis order.

    Parameters
    ----------
    shape : tuple of int
    scale, offset : tuple of float
        ``image index = scale * physical + offset``, 0-based, one per axis.
    factors : tuple of Fraction
        Refinement since the file was read.
    """

    shape: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    factors: tuple[Fraction, ...] = ()

    def __post_init__(self) -> None:
        if not self.factors:
            object.__setattr__(self, "factors", (Fraction(1),) * len(self.shape))

    @classmethod
    def from_header(cls, header: Any, shape: tuple[int, ...]) -> PhysicalGrid:
        """From LTVn and LTMn_n; a transformation that mixes axes, or that is no number, counts as none."""
        scale, offset = [], []
        mixed = any(_number(header.get(f"LTM{a}_{b}"), 0.0) for a, b in ((1, 2), (2, 1)))
        for n in range(len(shape), 0, -1):
            step = 1.0 if mixed else _number(header.get(f"LTM{n}_{n}"), 1.0)
            shift = 0.0 if mixed else _number(header.get(f"LTV{n}"), 0.0)
            step = step or 1.0
            scale.append(step)
            offset.append(step + shift - 1)  # from 1-based to 0-based on both sides
        return cls(shape, tuple(scale), tuple(offset))

    def refine(self, factors: Sequence[Fraction | int]) -> PhysicalGrid:
        steps = [float(f) for f in factors]
        return PhysicalGrid(
            refined_shape(self.shape, factors),
            tuple(a * s for a, s in zip(self.scale, steps, strict=True)),
            tuple((b + 0.5) * s - 0.5 for b, s in zip(self.offset, steps, strict=True)),
            compose(self.factors, factors),
        )

    def world(self, index: np.ndarray) -> np.ndarray:
        return (np.asarray(index, dtype=np.float64) - np.array(self.offset)) / np.array(self.scale)

    def index(self, world: np.ndarray) -> np.ndarray:
        return np.asarray(world, dtype=np.float64) * np.array(self.scale) + np.array(self.offset)

    def describe(self) -> Mapping[str, Any]:
        return {"type": "pixel", "shape": list(self.shape), "physical_pixel": [1 / s for s in self.scale]}


def add_physical(header: Any, factors: Sequence[Fraction]) -> bool:
    """Write LTV and LTM for a refined image that has none yet; `factors` in FITS order.

    Returns
    -------
    bool
        Whether anything was written.
    """
    if any(key in header for n in range(1, len(factors) + 1) for key in (f"LTV{n}", f"LTM{n}_{n}")):
        return False
    wanted = [(n, factor) for n, factor in enumerate(factors, start=1) if factor != 1]
    for n, factor in wanted:
        header[f"LTV{n}"] = (float((1 - Fraction(factor)) / 2), "image = LTM*physical + LTV")
        header[f"LTM{n}_{n}"] = (float(factor), "physical: the pixels of the original")
    return bool(wanted)


def _number(value: Any, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return default
    return float(value)
