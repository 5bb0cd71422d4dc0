"""Zarr groups as NGFF wants them: arrays with checked chunks, levels, attributes."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import UsageError
from sciSR.views import full_index
from scisr_zarr.grid import NgffGrid
from scisr_zarr.ngff import OWN, Axis, Multiscale, multiscales_json
from scisr_zarr.pyramid import coarsen, level_grids
from scisr_zarr.reader import chunk_files, zarr_module

_PIECE = 32 << 20


def store(array: Any, index: tuple[slice | int, ...], block: np.ndarray, where: Path) -> set[Path]:
    """Write a block into an array; the chunks that it touches, as paths below the array's folder."""
    index = full_index(index, len(array.shape))
    bounds = []
    for entry, size in zip(index, array.shape, strict=True):
        start, stop, step = (entry if isinstance(entry, slice) else slice(entry, entry + 1)).indices(size)
        if step != 1:
            raise UsageError("blocks are put with slices of step 1", where=where)
        bounds.append(slice(start, stop))
    lengths = [b.stop - b.start for b in bounds]
    block = np.asarray(block)
    if block.size != math.prod(lengths):
        raise UsageError(f"a block of shape {block.shape} does not fit index {index}", where=where)
    array[tuple(bounds)] = block.reshape(lengths)
    return set(chunk_files(array, bounds))


def make_array(
    folder: Path,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: np.dtype,
    axes: Sequence[Axis],
    version: str,
) -> Any:
    """An empty array; its chunks carry a checksum, so that damage is found when they are read."""
    zarr = zarr_module()
    if version == "0.4":
        from numcodecs import Zstd

        how: dict[str, Any] = {"zarr_format": 2, "compressors": Zstd(level=1, checksum=True)}
        how["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    else:
        from zarr.codecs import ZstdCodec

        how = {"zarr_format": 3, "compressors": ZstdCodec(level=1, checksum=True)}
        how["dimension_names"] = [axis.name for axis in axes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr.create_array(
            store=str(folder),
            shape=tuple(shape),
            chunks=tuple(chunks),
            dtype=dtype.newbyteorder("<") if dtype.itemsize > 1 else dtype,
            fill_value=0,
            overwrite=True,
            **how,
        )


def group_attributes(folder: Path, version: str, ome: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Make a folder a zarr group with these attributes."""
    content = {**others, **ome} if version == "0.4" else {**others, "ome": {"version": "0.5", **ome}}
    json.dumps(content, allow_nan=False)
    zarr_module().open_group(
        str(folder), mode="a", zarr_format=2 if version == "0.4" else 3
    ).attrs.put(content)  # fmt: skip


class Groups:
    """Writes multiscale groups of one version, axes, grid and chunks.

    Parameters
    ----------
    version : str
    axes : sequence of Axis
    grid : NgffGrid
        Of level 0.
    chunks : tuple of int
    """

    def __init__(self, version: str, axes: Sequence[Axis], grid: NgffGrid, chunks: tuple[int, ...]) -> None:
        self.version, self.axes, self.chunks = version, tuple(axes), chunks
        space = [number for number, axis in enumerate(axes) if axis.type == "space"][-2:]
        self.spatial = space[0], space[1]
        self.grids = level_grids(grid, self.spatial)

    def levels(self, folder: Path, finest: Any, *, labels: bool) -> None:
        """The coarser levels, beside a full level 0."""
        for number, grid in enumerate(self.grids[1:], start=1):
            chunks = [min(c, n) for c, n in zip(self.chunks, grid.shape, strict=True)]
            dtype = np.dtype(finest.dtype)
            coarse = make_array(folder / str(number), grid.shape, chunks, dtype, self.axes, self.version)
            coarsen(finest, coarse, self.spatial, labels=labels)
            finest = coarse

    def attributes(
        self, folder: Path, like: Multiscale | None, own: Mapping[str, Any], *, labels: bool, name: str
    ) -> None:
        """The group's metadata: what the input said besides, this grid, and our record."""
        ome: dict[str, Any] = {}
        others: dict[str, Any] = {OWN: dict(own)}
        if like is not None:
            ome = {
                key: value
                for key, value in like.ome.items()
                if key not in ("multiscales", "version", "labels")
            }
            if like.version == "0.5":
                others = {k: v for k, v in like.attributes.items() if k != "ome"} | others
            elif self.version == "0.5":
                known = ("omero", "image-label")
                others = {key: value for key, value in ome.items() if key not in known} | others
                ome = {key: value for key, value in ome.items() if key in known}
            else:
                ome.pop(OWN, None)
        if labels and "image-label" not in ome:
            ome["image-label"] = {"version": "0.4"} if self.version == "0.4" else {}
        method = "nearest" if labels else "mean"
        ome["multiscales"] = multiscales_json(self.version, self.axes, self.grids, name, method)
        group_attributes(folder, self.version, ome, others)

    def write(
        self,
        folder: Path,
        data: Any,
        dtype: np.dtype,
        name: str,
        *,
        labels: bool = False,
        like: Multiscale | None = None,
        own: Mapping[str, Any] | None = None,
    ) -> None:
        """A whole group from an array that is read piece by piece."""
        shape = self.grids[0].shape
        array = make_array(folder / "0", shape, self.chunks, dtype, self.axes, self.version)
        width = math.prod(c if a not in self.spatial else shape[a] for a, c in enumerate(self.chunks))
        rows = self.chunks[self.spatial[0]]
        many = max(1, _PIECE // max(1, 8 * rows * width // max(1, shape[self.spatial[0]]))) * rows
        steps = [n if a == self.spatial[1] else many if a == self.spatial[0] else c
                 for a, (c, n) in enumerate(zip(self.chunks, shape, strict=True))]  # fmt: skip
        for place in np.ndindex(*(-(-n // s) for n, s in zip(shape, steps, strict=True))):
            index = tuple(
                slice(p * s, min((p + 1) * s, n)) for p, s, n in zip(place, steps, shape, strict=True)
            )
            array[index] = np.asarray(data[index]).astype(dtype, copy=False)
        self.levels(folder, array, labels=labels)
        self.attributes(folder, like, own or {"of": "image"}, labels=labels, name=name)
