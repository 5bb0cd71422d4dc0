"""How an image is laid out on a screen: which axis of the data runs right, down and through the slices.

A display has three axes, Z (slices), Y (down) and X (right), and looks the same for input, result and error. Sky images
have their first row at the bottom, pictures at the top. Volumes lie as radiologists look at them: X to the patient's
left, Y to the back, Z to the feet, so that all three planes follow without further turning.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.colour import rgb_axis
from sciSR.grid import AffineGrid
from sciSR.image import Image

_NAMES = {2: "axial", 1: "coronal", 0: "sagittal"}
_SIDES = {0: ("R", "L"), 1: ("A", "P"), 2: ("S", "I")}
"""Where display axes X, Y, Z of a volume begin and end on the body."""


@dataclass(frozen=True)
class Layout:
    """Where the axes of an image's data go on the screen.

    Attributes
    ----------
    axes : (int or None, int, int)
        Positions in the data of Z, Y, X; Z is None for a single plane.
    flips : (bool, bool, bool)
        Whether an axis runs backwards.
    fixed : tuple of (int, int)
        Further axes and the position at which they are held.
    colour : int or None
        Position of the axis of red, green and blue.
    is_volume : bool
        All three axes are space: three planes can be shown.
    slices : str
        What Z is called: ``"slice"`` or the axis's name.
    main : int
        Of a volume: which display axis (0 X, 1 Y, 2 Z) is the one across the acquired slices.
    pixel : tuple of float
        Size of an input pixel along Z, Y, X, relative; 1 where unknown.
    """

    axes: tuple[int | None, int, int]
    flips: tuple[bool, bool, bool] = (False, False, False)
    fixed: tuple[tuple[int, int], ...] = ()
    colour: int | None = None
    is_volume: bool = False
    slices: str = "slice"
    main: int = 2
    pixel: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def of(cls, image: Image, volume: int = 0) -> Layout:
        """Of an image; of one with several volumes (time, channels), number `volume` along each further axis."""
        colour = rgb_axis(image)
        if isinstance(image.grid, AffineGrid) and len(image.shape) >= 3 and colour is None:
            return cls._of_volume(image, image.grid, volume)
        row, column = image.spatial_axes
        others = [a for a in range(len(image.shape)) if a not in (row, column, colour)]
        through = max(others, key=lambda a: image.shape[a]) if others else None
        if through is not None and image.shape[through] == 1:
            through = None
        fixed = tuple((a, min(volume, image.shape[a] - 1)) for a in others if a != through)
        upwards = image.domain == "astronomy" and image.grid.describe().get("type") == "wcs"
        sizes = _spacing(image, row, column)
        name = "slice" if through is None else image.axes[through]
        return cls((through, row, column), (False, upwards, False), fixed, colour, slices=name, pixel=sizes)

    @classmethod
    def _of_volume(cls, image: Image, grid: AffineGrid, volume: int) -> Layout:
        linear = grid.toward("RAS+").affine[:3, :3]
        sizes = np.linalg.norm(linear, axis=0)
        unit = linear / np.where(sizes > 0, sizes, 1)
        order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(unit[k, p[k]]) for k in range(3)))
        # Display X runs to the left, Y to the back, Z to the feet: against each axis of RAS+.
        flips = [bool(unit[k, order[k]] > 0) for k in range(3)]
        through = image.slice_axis
        main = 2 if through is None else order.index(through)
        fixed = tuple((a, min(volume, image.shape[a] - 1)) for a in range(3, len(image.shape)))
        factors = [float(f) for f in grid.factors]
        own = tuple(float(sizes[a] * factors[a]) for a in (order[2], order[1], order[0]))
        return cls(
            (order[2], order[1], order[0]),
            (flips[2], flips[1], flips[0]),
            fixed,
            is_volume=True,
            main=main,
            pixel=own,  # type: ignore[arg-type]
        )

    def shape(self, image: Image) -> tuple[int, int, int]:
        """Of Z, Y, X."""
        return tuple(1 if a is None else image.shape[a] for a in self.axes)  # type: ignore[return-value]

    def factors(self, factors: Sequence[Any]) -> tuple[float, float, float]:
        """Of Z, Y, X, from one per axis of the data."""
        return tuple(1.0 if a is None else float(factors[a]) for a in self.axes)  # type: ignore[return-value]

    def place(self, index: Sequence[float], shape: Sequence[int]) -> tuple[float, float, float]:
        """Z, Y, X of a position in the data (pixel centres at whole numbers) of an image of this `shape`."""
        out = []
        for axis, flip in zip(self.axes, self.flips, strict=True):
            at = 0.0 if axis is None else float(index[axis])
            out.append(shape[axis] - 1 - at if flip and axis is not None else at)
        return tuple(out)  # type: ignore[return-value]

    def plane_names(self) -> list[tuple[str, tuple[str, str], tuple[str, str]]]:
        """For slices along X, Y, Z: the plane's name, and the body's sides across and down."""
        across = {2: (0, 1), 1: (0, 2), 0: (1, 2)}
        return [(_NAMES[k], _SIDES[across[k][0]], _SIDES[across[k][1]]) for k in (0, 1, 2)]


def _spacing(image: Image, row: int, column: int) -> tuple[float, float, float]:
    """Relative pixel sizes along Z, Y, X of the input's pixels."""
    if not isinstance(image.grid, AffineGrid):
        return (1.0, 1.0, 1.0)
    sizes, factors = image.grid.spacing, image.grid.factors
    y, x = (float(sizes[a] * float(factors[a])) if a < 3 else 1.0 for a in (row, column))
    return (1.0, y or 1.0, x or 1.0)


class Screen:
    """An image's pixels in display order, read on demand: ``[z, y, x]`` or ``[z, y, x, rgb]``, NaN where bad.

    Parameters
    ----------
    image : Image
    layout : Layout
    source : LazyArray, optional
        Read instead of ``image.data``: its uncertainty.
    """

    def __init__(self, image: Image, layout: Layout, source: Any = None) -> None:
        self.image, self.layout = image, layout
        self.source = image.data if source is None else source
        self.shape = layout.shape(image)
        self.channels = 1 if layout.colour is None else 3

    def read(self, z: slice, y: slice, x: slice) -> NDArray[np.float32]:
        """Values of a box; float32."""
        layout, shape = self.layout, self.image.shape
        index: list[Any] = [slice(None)] * len(shape)
        for axis, at in layout.fixed:
            index[axis] = at
        for axis, wanted, size, flip in zip(layout.axes, (z, y, x), self.shape, layout.flips, strict=True):
            if axis is None:
                continue
            start, stop, _ = wanted.indices(size)
            index[axis] = slice(size - stop, size - start) if flip else slice(start, stop)
        values = self._values(tuple(index))
        kept = [a for a in range(len(shape)) if not isinstance(index[a], int)]
        order = [a for a in (*layout.axes, layout.colour) if a is not None]
        values = np.transpose(values, [kept.index(a) for a in order])
        if layout.axes[0] is None:
            values = values[None]
        turn = tuple(slice(None, None, -1) if flip else slice(None) for flip in layout.flips)
        return values[turn]

    def _values(self, index: tuple[Any, ...]) -> NDArray[np.float32]:
        block = np.asarray(self.source[index])
        if np.iscomplexobj(block):
            block = np.abs(block)
        values = block.astype(np.float32)
        if self.image.mask is not None:
            bad = np.asarray(self.image.mask[index]).astype(bool)
            values = np.where(bad, np.float32("nan"), values)
        return np.where(np.isfinite(values), values, np.float32("nan"))

    def plane(self, z: int) -> NDArray[np.float32]:
        """One whole slice ``[y, x]`` (or ``[y, x, rgb]``)."""
        return self.read(slice(z, z + 1), slice(None), slice(None))[0]


def reduced_plane(screen: Screen, z: int, limit: int) -> tuple[NDArray[np.float32], int]:
    """A slice with block means so that no side is longer than `limit`, a band of rows at a time; and the block's side.

    Blocks at the far edges may be cut short: the picture is a bit wider than the field.
    """
    _, rows, columns = screen.shape
    step = max(1, -(-max(rows, columns) // limit))
    bands = []
    deep = max(step, (1 << 22) // max(columns * screen.channels, 1) // step * step)
    for start in range(0, rows, deep):
        band = screen.read(slice(z, z + 1), slice(start, min(start + deep, rows)), slice(None))[0]
        bands.append(block_mean(band, step, step))
    return np.concatenate(bands), step


def block_mean(values: NDArray, down: int, across: int) -> NDArray[np.float32]:
    """Means of finite values over blocks of the first two axes, NaN where a block has none."""
    if down == across == 1:
        return np.asarray(values, np.float32)
    rows, columns = (-(-n // s) for n, s in zip(values.shape[:2], (down, across), strict=True))
    padded = np.full((rows * down, columns * across, *values.shape[2:]), np.nan, np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    blocks = padded.reshape(rows, down, columns, across, *values.shape[2:])
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    total = np.where(good, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    out = np.full(total.shape, np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out.astype(np.float32)
