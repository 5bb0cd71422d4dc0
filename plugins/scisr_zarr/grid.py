"""The Grid of an OME-Zarr image: a scale and a translation along each axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.errors import GeometryError
from sciSR.grid import compose, refined_shape


@dataclass(frozen=True)
class NgffGrid:
    """World = scale * index + translation along each axis: NGFF's ``coordinateTransformations``.

    NGFF places the centre of the first pixel at the translation, so a refinement by ``s`` moves it by
    ``scale * (1/s - 1) / 2``.

    Parameters
    ----------
    shape : tuple of int
    scale : tuple of float
        World units per pixel, one per axis.
    translation : tuple of float
        Place of the first pixel's centre.
    units : tuple of str or None
        As NGFF writes them: ``"micrometer"``, ``"second"``.
    factors : tuple of Fraction
        Refinement since the file was read.
    """

    shape: tuple[int, ...]
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    units: tuple[str | None, ...]
    factors: tuple[Fraction, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if not self.factors:
            object.__setattr__(self, "factors", (Fraction(1),) * len(self.shape))
        if not all(np.isfinite([*self.scale, *self.translation])) or 0 in self.scale:
            raise GeometryError(f"scales {self.scale} and translations {self.translation} place no pixels")

    def refine(self, factors: Sequence[Fraction | int]) -> NgffGrid:
        """The finer grid over the same field."""
        inverse = [1 / Fraction(f) for f in factors]
        return replace(
            self,
            shape=refined_shape(self.shape, factors),
            scale=tuple(s * float(i) for s, i in zip(self.scale, inverse, strict=True)),
            translation=tuple(
                t + s * float((i - 1) / 2)
                for t, s, i in zip(self.translation, self.scale, inverse, strict=True)
            ),
            factors=compose(self.factors, factors),
        )

    def world(self, index: np.ndarray) -> np.ndarray:
        """World coordinates, one per axis, in its own unit."""
        return np.asarray(index, dtype=np.float64) * self.scale + self.translation

    def index(self, world: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`world`."""
        return (np.asarray(world, dtype=np.float64) - self.translation) / self.scale

    def describe(self) -> Mapping[str, Any]:
        """JSON-ready."""
        return {
            "type": "scale and translation",
            "shape": list(self.shape),
            "scale": list(self.scale),
            "translation": list(self.translation),
            "units": list(self.units),
        }
