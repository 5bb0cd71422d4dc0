"""Planes of cubes as images of their own: lazy views of data and grid with some axes held fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.grid import Grid
from sciSR.image import Image, LazyArray
from sciSR.views import full_index


class PlaneView:
    """A lazy array with some axes of `source` held at one position; nothing is read until indexed.

    Parameters
    ----------
    source : LazyArray
    fixed : mapping of int to int
        Position on each axis that is dropped.
    """

    def __init__(self, source: LazyArray, fixed: Mapping[int, int]) -> None:
        self.source = source
        self.fixed = dict(fixed)
        self.shape = tuple(n for axis, n in enumerate(source.shape) if axis not in self.fixed)
        self.dtype = np.dtype(source.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        given = iter(full_index(index, self.ndim))
        whole = tuple(
            self.fixed[axis] if axis in self.fixed else next(given) for axis in range(len(self.source.shape))
        )
        return np.asarray(self.source[whole])


@dataclass(frozen=True, eq=False)
class PlaneGrid:
    """The grid of one plane of `source`: see :class:`sciSR.grid.Grid`.

    World coordinates keep those of the dropped axes (a cube's time), so that a world position of one plane lies at
    the same pixel of another.
    """

    source: Grid
    fixed: Mapping[int, int]

    @property
    def _kept(self) -> list[int]:
        return [axis for axis in range(len(self.source.shape)) if axis not in self.fixed]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.source.shape[axis] for axis in self._kept)

    @property
    def factors(self) -> tuple[Fraction, ...]:
        return tuple(self.source.factors[axis] for axis in self._kept)

    def refine(self, factors: Sequence[Fraction | int]) -> PlaneGrid:
        given = iter(factors)
        ndim = len(self.source.shape)
        whole = [Fraction(1) if axis in self.fixed else Fraction(next(given)) for axis in range(ndim)]
        return PlaneGrid(self.source.refine(whole), self.fixed)

    def world(self, index: np.ndarray) -> np.ndarray:
        index = np.asarray(index, dtype=np.float64)
        whole = np.empty((*index.shape[:-1], len(self.source.shape)))
        whole[..., self._kept] = index
        for axis, position in self.fixed.items():
            whole[..., axis] = position
        return self.source.world(whole)

    def index(self, world: np.ndarray) -> np.ndarray:
        return self.source.index(world)[..., self._kept]

    def describe(self) -> Mapping[str, Any]:
        return {**self.source.describe(), "shape": list(self.shape)}


def plane_of(image: Image, fixed: Mapping[int, int]) -> Image:
    """The plane of an image with the axes of `fixed` held at one position."""

    def view(array: LazyArray | None) -> PlaneView | None:
        return None if array is None else PlaneView(array, fixed)

    return image.replace(
        data=view(image.data),
        axes=tuple(name for axis, name in enumerate(image.axes) if axis not in fixed),
        grid=PlaneGrid(image.grid, dict(fixed)),
        uncertainty=view(image.uncertainty),
        mask=view(image.mask),
    )
