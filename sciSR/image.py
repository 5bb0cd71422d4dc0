"""The Image: pixels together with everything that must travel with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from sciSR.errors import UsageError
from sciSR.grid import AffineGrid, Grid, PixelGrid
from sciSR.provenance import Provenance

if TYPE_CHECKING:
    from sciSR.sequence import NoiseModel

Quantity = Literal["density", "total"]
Kind = Literal["intensity", "labels", "probability", "phase"]


@runtime_checkable
class LazyArray(Protocol):
    """Anything that yields NumPy blocks: an array, a FITS section, a nibabel proxy.

    ``array[index]`` takes a tuple with one int or step-1 slice per axis and returns ``numpy.ndarray`` in
    physical values (scaling already applied). Where integers stand behind them, it may have ``ends``, the physical
    values of the lowest and the highest that the file's form can hold.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, index: Any) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)  # holds arrays: == would have no single answer
class Image:
    """One scientific image, cube, volume or time series on a known grid.

    Attributes
    ----------
    data : LazyArray
        Physical values. Nothing reads it whole unless it must.
    axes : tuple of str
        One name per axis of `data`, in `data`'s own order, e.g. ``("z", "y", "x")`` or ``("x", "y", "z", "t")``.
        ``"rgb"`` is an axis of three entries, red, green and blue: see :mod:`sciSR.colour`.
    spatial : tuple of str
        The two axes that are upscaled, a subset of `axes`; all others are looped over, plane by plane.
    grid : Grid
        Where each pixel lies in the world; one factor per axis of `data`, in the same order.
    quantity : {"density", "total"}
        ``"density"`` (surface brightness, MR signal): a finer pixel keeps the value. ``"total"`` (counts per
        pixel): a finer pixel holds its share, the sum is kept.
    kind : {"intensity", "labels", "probability", "phase"}
        Label maps are never mixed: the nearest label, or the most probable one; they keep their dtype. A probability
        stays within [0, 1]. A phase is upscaled as the real and the imaginary part of ``exp(i phase)``. See
        :mod:`sciSR.inference.kinds` and `value_range`.
    domain : str
        Which trained models fit: ``"astronomy"``, ``"mr"``, ``"ct"``, or ``"generic"`` (classical methods only).
    unit : str or None
        As written in the file, e.g. ``"MJy/sr"``.
    uncertainty : LazyArray or None
        One standard deviation, same shape and unit as `data`.
    mask : LazyArray of bool or None
        True where a pixel is bad. NaN and infinite pixels are bad with or without it.
    metadata : Any
        The adapter's own header object; the engine passes it on unread.
    source : Path or None
        The file or folder it was read from; named in messages and the provenance.
    part : str
        Which part of the file: ``"SCI"``, ``"SCI,2"``; empty where a file holds one image.
    provenance : Provenance
        What was done so far.
    slice_thickness : float or None
        Of a volume of slices: full width at half maximum of their profile, in the grid's length unit, where the file
        says so. The distance of slices is another thing, and the grid's.
    value_range : (float, float), optional
        The ends of a probability's scale, (0, 1) or (0, 100), or of a phase's turn, (-pi, pi) or a scanner's own
        (-4096, 4096). Where the file does not say, it is decided by the values.
    noise : callable, optional
        ``noise(image)`` gives the detector's :class:`sciSR.sequence.NoiseModel` as the file tells it, or None where it
        does not or where the pixels contradict it, and what to say about it, or None; set by the adapter, asked only
        where noise matters and `uncertainty` is None.
    """

    data: LazyArray
    axes: tuple[str, ...]
    spatial: tuple[str, ...]
    grid: Grid = None  # type: ignore[assignment]  # filled in __post_init__
    quantity: Quantity = "density"
    kind: Kind = "intensity"
    domain: str = "generic"
    unit: str | None = None
    uncertainty: LazyArray | None = None
    mask: LazyArray | None = None
    metadata: Any = None
    source: Path | None = None
    part: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    slice_thickness: float | None = None
    value_range: tuple[float, float] | None = None
    noise: Callable[[Image], tuple[NoiseModel | None, str | None]] | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.data.shape)
        if len(self.axes) != len(shape) or len(set(self.axes)) != len(shape):
            raise UsageError(f"axes {self.axes} do not name the {len(shape)} axes of data with shape {shape}")
        if len(self.spatial) != 2 or len(set(self.spatial) & set(self.axes)) != 2:
            raise UsageError(f"spatial must name two of the axes {self.axes}, not {self.spatial}")
        if self.quantity not in ("density", "total"):
            raise UsageError(f"quantity must be 'density' or 'total', not {self.quantity!r}")
        if self.kind not in get_args(Kind):
            raise UsageError(f"kind must be one of {', '.join(get_args(Kind))}, not {self.kind!r}")
        if self.grid is None:
            object.__setattr__(self, "grid", PixelGrid(shape))
        if tuple(self.grid.shape) != shape:
            raise UsageError(f"the grid covers {tuple(self.grid.shape)} pixels, data has shape {shape}")
        # Spatial axes in data order: a plane read from data is (rows, columns) in that order everywhere.
        object.__setattr__(self, "spatial", tuple(a for a in self.axes if a in self.spatial))
        for name in ("uncertainty", "mask"):
            other = getattr(self, name)
            if other is not None and tuple(other.shape) != shape:
                raise UsageError(f"{name} has shape {tuple(other.shape)}, data has {shape}")

    @classmethod
    def from_array(cls, data: np.ndarray, **fields: Any) -> Image:
        """Wrap a bare array: the last two axes are spatial and named ``y, x``; others ``n0, n1, ...``."""
        data = np.asarray(data)
        if data.ndim < 2:
            raise UsageError(f"an image has at least two axes; this array has shape {data.shape}")
        axes = (*(f"n{k}" for k in range(data.ndim - 2)), "y", "x")
        return cls(data=data, **({"axes": axes, "spatial": ("y", "x")} | fields))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.data.dtype)

    @property
    def spatial_axes(self) -> tuple[int, int]:
        """Positions of the two spatial axes in `data`."""
        first, second = (self.axes.index(name) for name in self.spatial)
        return first, second

    @property
    def slice_axis(self) -> int | None:
        """Position of the axis across the slices: the one of a volume's three that is not upscaled in the plane.

        None without a grid in space (:class:`sciSR.grid.AffineGrid`), and for a 2-D image.
        """
        if not isinstance(self.grid, AffineGrid) or len(self.shape) < 3:
            return None
        across = [axis for axis in range(3) if self.axes[axis] not in self.spatial]
        return across[0] if len(across) == 1 else None

    @property
    def where(self) -> str:
        """How messages name this image: ``m51.fits[SCI]``."""
        name = "image" if self.source is None else Path(self.source).name
        return f"{name}[{self.part}]" if self.part else name

    def replace(self, **changes: Any) -> Image:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.asarray(self.data[tuple(slice(None) for _ in self.shape)])
        return array if dtype is None else array.astype(dtype)

    def describe(self) -> Mapping[str, Any]:
        """A JSON-ready summary: shape, axes, dtype, unit, quantity, grid."""
        return {
            "part": self.part,
            "shape": list(self.shape),
            "axes": list(self.axes),
            "upscaled_axes": list(self.spatial),
            "dtype": str(self.dtype),
            "unit": self.unit,
            "quantity": self.quantity,
            "kind": self.kind,
            "domain": self.domain,
            "grid": self.grid.describe(),
        }
