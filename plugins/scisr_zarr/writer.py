"""Writes OME-Zarr by chunks and atomically: a hidden folder beside the target, renamed when all is there."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sciSR.errors import GeometryError, SciSRError, SciSRWarning, UsageError
from sciSR.files import atomic_output, translate_os_errors
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.views import NearestView
from scisr_zarr.grid import NgffGrid
from scisr_zarr.groups import Groups, group_attributes, make_array, store
from scisr_zarr.ngff import VERSIONS, Axis, Multiscale
from scisr_zarr.reader import MASK, UNCERTAINTY, ZarrMetadata, read_image, zarr_module

_CHUNK = 1024
_LEAST = 64
_TYPES = {"t": "time", "c": "channel", "rgb": "channel", "z": "space", "y": "space", "x": "space"}


class OmeZarrWriter:
    """See :class:`sciSR.adapter.Writer`.

    Parameters
    ----------
    path : Path
    images : sequence of Image
        One.
    overwrite : bool
    uncertainty : bool
        Write what :meth:`commit`'s image has, too.
    ngff : {"0.4", "0.5"}, optional
        By default the version that was read, or 0.5.
    align : pair of int, optional
        Chunks divide these rows and columns.
    """

    def __init__(
        self,
        path: Path,
        images: Sequence[Image],
        *,
        overwrite: bool,
        uncertainty: bool = False,
        ngff: str | None = None,
        align: tuple[int, int] | None = None,
    ) -> None:
        zarr_module()
        self.path = Path(path)
        self.uncertainty_files: tuple[Path, ...] = ()
        if len(images) != 1:
            raise UsageError(
                f"{len(images)} images, and OME-Zarr holds one", where=path, remedy="choose one: --hdu"
            )
        (self._image,) = images
        metadata = self._image.metadata
        self._metadata = metadata if isinstance(metadata, ZarrMetadata) else None
        self._version = ngff or (self._metadata.multiscale.version if self._metadata else VERSIONS[-1])
        self._axes = _axes(self._image, self._metadata)
        self._grid = _grid(self._image)
        self._chunks = _chunks(self._image, align)
        self._missing = math.prod(self._image.shape)
        self._stack = contextlib.ExitStack()
        try:
            self._folder = self._open(overwrite)
            with translate_os_errors(self.path):
                self._array = self._level_0()
        except BaseException:
            self._stack.close()
            raise

    def _open(self, overwrite: bool) -> Path:
        folder = atomic_output(self.path, overwrite=overwrite, folder=True)
        return self._stack.enter_context(_Undone(folder))

    def _level_0(self) -> Any:
        dtype = np.dtype(self._image.dtype)
        shape = self._image.shape
        return make_array(self._folder / "0", shape, self._chunks, dtype, self._axes, self._version)

    def put(self, part: int, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Store a block; see :class:`sciSR.adapter.Writer`."""
        if part != 0:
            raise UsageError("OME-Zarr holds one image", where=self.path)
        store(self._array, index, block, self.path)
        self._missing -= np.asarray(block).size

    def commit(self, images: Sequence[Image]) -> Path:
        """Coarser levels, uncertainty, bad pixels, labels and metadata; fsync and rename."""
        if self._missing > 0:
            raise UsageError("only part of the image was written", where=self.path)
        (image,) = images
        provenance = json.loads(image.provenance.to_json())  # before anything else, since it may be no JSON
        with translate_os_errors(self.path):
            self._finish(image, provenance)
        self._stack.close()
        if image.uncertainty is not None:
            self.uncertainty_files = (self.path / UNCERTAINTY,)
        return self.path

    def _finish(self, image: Image, provenance: list[Any]) -> None:
        own: dict[str, Any] = {"provenance": provenance, "quantity": image.quantity, "domain": image.domain}
        if image.unit:
            own["unit"] = image.unit
        if hasattr(image.grid, "header"):
            own["fits_wcs"] = image.grid.header.tostring(sep="\n", padding=False)
        groups = Groups(self._version, self._axes, self._grid, self._chunks)
        found = None if self._metadata is None else self._metadata.multiscale
        labels = image.kind == "labels"
        groups.levels(self._folder, self._array, labels=labels)
        groups.attributes(self._folder, found, own, labels=labels, name=_name(image, found))
        if image.uncertainty is not None:
            groups.write(self._folder / UNCERTAINTY, image.uncertainty, np.dtype(np.float32), UNCERTAINTY)
        names = []
        if image.mask is not None:
            groups.write(self._folder / "labels" / MASK, image.mask, np.dtype(np.uint8), MASK, labels=True)
            names.append(MASK)
        names += self._carry_labels(image)
        if names:
            group_attributes(self._folder / "labels", self._version, {"labels": names}, {})

    def _carry_labels(self, image: Image) -> list[str]:
        """The input's label images on the finer pixels; names of those that could follow."""
        if self._metadata is None:
            return []
        factors = dict(zip(image.axes, image.grid.factors, strict=True))
        names = []
        for name in self._metadata.labels:
            folder = self._metadata.folder / "labels" / name
            try:
                [label] = read_image(folder, labels=True)
                by = [factors.get(axis, Fraction(1)) for axis in label.axes]
                grid = label.grid.refine(by)
            except SciSRError as error:
                warnings.warn(f"labels {name} are left out: {error}", SciSRWarning, stacklevel=2)
                continue
            found = label.metadata.multiscale
            fine = label.replace(data=NearestView(label.data, by), grid=grid, uncertainty=None, mask=None)
            groups = Groups(self._version, found.axes, grid, _chunks(fine, None))
            own = {"quantity": "density", "domain": label.domain}
            target = self._folder / "labels" / name
            groups.write(target, fine.data, fine.dtype, found.name or name, labels=True, like=found, own=own)
            names.append(name)
        return names

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abort()

    def _abort(self) -> None:
        """Throw the hidden folder away; nothing to do after commit."""
        self._stack.pop_all().__exit__(_Aborted, _Aborted(), None)


class _Aborted(Exception):
    """Left before commit."""


class _Undone(contextlib.AbstractContextManager[Path]):
    """A context manager that keeps the abort to itself."""

    def __init__(self, inner: contextlib.AbstractContextManager[Path]) -> None:
        self._inner = inner

    def __enter__(self) -> Path:
        return self._inner.__enter__()

    def __exit__(self, *error: Any) -> bool:
        with contextlib.suppress(_Aborted):
            self._inner.__exit__(*error)
        return error[0] is _Aborted


def _axes(image: Image, metadata: ZarrMetadata | None) -> tuple[Axis, ...]:
    """The input's own axes; of another format's image those that NGFF has names for.

    Raises
    ------
    GeometryError
        Axes that NGFF can't hold, or not in this order.
    """
    if metadata is not None:
        return metadata.multiscale.axes
    axes = tuple(Axis("c" if name == "rgb" else name, _TYPES.get(name)) for name in image.axes)
    order = {"time": 0, "channel": 1, None: 1, "space": 2}
    places = [order[axis.type] for axis in axes]
    names = [axis.name for axis in axes if axis.type == "space"]
    sane = places == sorted(places) and len(names) in (2, 3) and len({a.name for a in axes}) == len(axes)
    if (
        not sane
        or sum(axis.type not in ("space", "time") for axis in axes) > 1
        or names[-2:] != list(image.spatial)
    ):
        raise GeometryError(
            f"axes {', '.join(image.axes)} have no place in OME-Zarr, which has t, c, z, y, x",
            where=image.where,
            remedy="write it in its own format",
        )
    return axes


def _grid(image: Image) -> NgffGrid:
    """Where the pixels lie, as NGFF says it.

    Raises
    ------
    GeometryError
        A grid with an orientation in space, which NGFF 0.4 and 0.5 can't hold.
    """
    grid = image.grid
    if isinstance(grid, NgffGrid):
        return grid
    if isinstance(grid, AffineGrid):
        raise GeometryError(
            "a volume's orientation has no place in OME-Zarr 0.4 and 0.5",
            where=image.where,
            remedy="write it as NIfTI",
        )
    if hasattr(grid, "header"):
        warnings.warn(
            f"{image.where}: OME-Zarr has no coordinates on the sky: places are input pixels, and the WCS is kept "
            f"as text",
            SciSRWarning,
            stacklevel=2,
        )
    inverse = [1 / Fraction(f) for f in grid.factors]
    scale = tuple(float(i) for i in inverse)
    return NgffGrid(
        tuple(grid.shape),
        scale,
        tuple(float((i - 1) / 2) for i in inverse),
        (None,) * len(scale),
        tuple(grid.factors),
    )


def _chunks(image: Image, align: tuple[int, int] | None) -> tuple[int, ...]:
    """One plane deep; along the spatial axes a divisor of `align`, by default of a tile's finer pixels."""
    chunks = [1] * len(image.shape)
    for number, axis in enumerate(image.spatial_axes):
        unit = int(512 * image.grid.factors[axis]) if align is None else align[number]
        size = max(d for d in range(1, min(unit, _CHUNK) + 1) if unit % d == 0)
        if size < _LEAST:
            size = _CHUNK if align is None else unit
        chunks[axis] = max(1, min(size, image.shape[axis]))
    return tuple(chunks)


def _name(image: Image, found: Multiscale | None) -> str:
    """The input's own name; of another format's file what it is called."""
    if found is not None:
        return found.name
    return "" if image.source is None else Path(image.source).name.split(".")[0]
