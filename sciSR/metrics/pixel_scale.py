"""How large a pixel is: arcseconds in the sky, millimetres in a body, else pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sciSR.image import Image
from sciSR.planes import PlaneGrid

_SKY = ("RA", "DEC", "LON", "LAT")
_DEGREES = 3600.0


@dataclass(frozen=True)
class PixelScale:
    """Size of a pixel along each of some axes.

    Attributes
    ----------
    sizes : tuple of float
    unit : str
        ``"arcsec"``, a unit of length as the grid has it (``"mm"``, also where a volume does not tell its own, as all
        readers of NIfTI take it), or ``"pixel"`` where the grid knows none.
    """

    sizes: tuple[float, ...]
    unit: str

    @property
    def mean(self) -> float:
        """Geometric mean of the sizes."""
        return math.prod(self.sizes) ** (1 / len(self.sizes))

    @property
    def known(self) -> bool:
        return self.unit != "pixel"


def pixel_scale(image: Image, axes: Sequence[int] | None = None) -> PixelScale:
    """Size of an image's pixels, as its grid says.

    Parameters
    ----------
    image : Image
    axes : sequence of int, optional
        Positions in `image.data`; the two spatial ones by default.

    Returns
    -------
    PixelScale
        In pixels (all 1) unless all of `axes` have a size in one unit.
    """
    chosen = list(image.spatial_axes if axes is None else axes)
    grid, kept = image.grid, list(range(len(image.shape)))
    while isinstance(grid, PlaneGrid):
        own = [axis for axis in range(len(grid.source.shape)) if axis not in grid.fixed]
        kept = [own[axis] for axis in kept]
        grid = grid.source
    told = grid.describe()
    found = [_size(told, kept[axis], len(grid.shape)) for axis in chosen]
    units = {unit for _, unit in found}
    if len(units) == 1 and units != {"pixel"} and all(size > 0 for size, _ in found):
        return PixelScale(tuple(size for size, _ in found), units.pop())
    return PixelScale((1.0,) * len(chosen), "pixel")


def _size(told: Mapping[str, Any], axis: int, ndim: int) -> tuple[float, str]:
    if told.get("type") == "affine" and axis < 3:
        unit = str(told.get("unit", "mm"))
        return float(told["spacing"][axis]), "mm" if unit == "unknown" else unit
    if told.get("type") == "wcs":
        number = ndim - 1 - axis  # FITS counts its axes the other way
        sizes, kinds = told.get("pixel_scale") or [], told.get("ctype") or []
        if number < min(len(sizes), len(kinds)) and sizes[number] is not None:
            kind = str(kinds[number]).upper()
            if any(kind[:4].rstrip("-").endswith(word) for word in _SKY):
                return float(sizes[number]) * _DEGREES, "arcsec"
    return 1.0, "pixel"
