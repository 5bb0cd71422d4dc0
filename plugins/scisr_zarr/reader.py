"""Reads the image of an OME-Zarr group lazily: chunks are decoded when their pixels are asked for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import ResourceError, SciSRError, UnreadableError, UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.provenance import Provenance
from sciSR.views import full_index
from scisr_zarr.ngff import Multiscale, multiscale_of

UNCERTAINTY, MASK = "uncertainty", "bad_pixels"
"""Where a group keeps the standard deviation (an image) and the bad pixels (a label image)."""
_LARGEST_CHUNK = 8 << 30


def zarr_module() -> Any:
    """zarr, of version 3.

    Raises
    ------
    UsageError
        It is not installed.
    """
    try:
        import zarr
    except ImportError:
        raise UsageError(
            "OME-Zarr needs the zarr package", remedy="install it: pip install 'sciSR[zarr]'"
        ) from None
    if int(zarr.__version__.split(".")[0]) < 3:
        raise UsageError(
            f"OME-Zarr needs zarr 3, and {zarr.__version__} is installed",
            remedy="update it: pip install 'sciSR[zarr]'",
        )
    return zarr


@dataclass(frozen=True)
class ZarrMetadata:
    """What a group says besides its pixels; travels with the image to the writer.

    Attributes
    ----------
    folder : Path
    multiscale : Multiscale
    labels : tuple of str
        Names of its label images.
    """

    folder: Path
    multiscale: Multiscale
    labels: tuple[str, ...] = ()


class ZarrArray:
    """One array of a store: only the chunks that an index touches are read."""

    def __init__(self, folder: Path, path: str, where: str, dtype: Any = None) -> None:
        self.where = where
        with reading(where):
            self._array = zarr_module().open_array(str(folder / path), mode="r")
        self._folder = folder / path
        codecs = self._array.compressors
        self._checked_here = bool(codecs) and "blosc" in type(codecs[-1]).__name__.lower()
        self.shape = tuple(int(n) for n in self._array.shape)
        self._stored = np.dtype(self._array.dtype)
        if self._stored.kind not in "biuf":
            raise UnsupportedError(f"pixels of type {self._stored} can't be upscaled", where=where)
        self.dtype = np.dtype(dtype) if dtype is not None else self._stored.newbyteorder("=")
        size = math.prod(self._array.chunks) * self._stored.itemsize
        if size > _LARGEST_CHUNK:
            raise ResourceError(
                f"each of its chunks takes {size / 1e9:,.1f} GB",
                where=where,
                remedy="store it in smaller chunks",
            )

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        index = full_index(index, self.ndim)
        with reading(self.where):
            if self._checked_here:
                self._check_blosc(index)
            return np.asarray(self._array[index]).astype(self.dtype, copy=False)

    def _check_blosc(self, index: tuple[Any, ...]) -> None:
        """The library reads on behind the end of a chunk that is shorter than its header says."""
        bounds = [e if isinstance(e, slice) else slice(range(n)[e], range(n)[e] + 1)
                  for e, n in zip(index, self.shape, strict=True)]  # fmt: skip
        bounds = [slice(*b.indices(n)[:2]) for b, n in zip(bounds, self.shape, strict=True)]
        for name in chunk_files(self._array, bounds):
            path = self._folder / name
            if not path.is_file():
                continue
            with open(path, "rb") as stream:
                head = stream.read(16)
            if len(head) < 16 or int.from_bytes(head[12:16], "little") != path.stat().st_size:
                raise UnreadableError(
                    f"chunk {name} is damaged: its size is not what it says", where=self.where
                )


def chunk_files(array: Any, bounds: Sequence[slice]) -> Iterator[Path]:
    """The chunks under some pixels, as paths below the array's folder."""
    grid = array.shards or array.chunks
    first = [b.start // c for b, c in zip(bounds, grid, strict=True)]
    counts = [max(0, -(-b.stop // c) - f) for b, c, f in zip(bounds, grid, first, strict=True)]
    for place in np.ndindex(*counts):
        yield Path(array.metadata.encode_chunk_key(tuple(f + p for f, p in zip(first, place, strict=True))))


@contextlib.contextmanager
def reading(where: Path | str) -> Iterator[None]:
    """Whatever zarr and its codecs raise becomes one line that names the file."""
    try:
        yield
    except SciSRError:
        raise
    except MemoryError as error:
        raise ResourceError("out of memory", where=where) from error
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=where) from error
    except Exception as error:
        raise UnreadableError(
            f"can't be read as zarr: {type(error).__name__}: {str(error)[:200]}", where=where
        ) from error


def read_image(folder: Path, *, domain: str | None = None, labels: bool = False) -> list[Image]:
    """The image of a group.

    Parameters
    ----------
    folder : Path
    domain : str, optional
        What it shows; by default what our own record says, or ``"generic"``.
    labels : bool
        Integers are labels. Label images say so themselves.

    Raises
    ------
    SciSRError
    """
    folder = Path(folder)
    zarr_module()
    found = multiscale_of(folder)
    array = ZarrArray(folder, found.path, str(folder))
    if array.ndim != len(found.axes):
        raise UnreadableError(
            f"level 0 has {array.ndim} axes and the metadata {len(found.axes)}", where=folder
        )
    if 0 in array.shape:
        raise UnsupportedError(f"holds no pixels: its shape is {array.shape}", where=folder)
    is_label = labels or found.is_label
    if is_label and array.dtype.kind == "f":
        raise UnsupportedError(f"labels of type {array.dtype} are no labels", where=folder)
    own = found.own
    names = _labels(folder)
    space = [axis.name for axis in found.axes if axis.type == "space"][-2:]
    return [
        Image(
            data=array,
            axes=tuple(axis.name for axis in found.axes),
            spatial=(space[0], space[1]),
            grid=found.grid(array.shape),
            quantity="total" if own.get("quantity") == "total" else "density",
            kind="labels" if is_label else "intensity",
            domain=domain or str(own.get("domain") or "generic"),
            unit=own["unit"] if isinstance(own.get("unit"), str) else None,
            uncertainty=_companion(folder / UNCERTAINTY, array.shape, None),
            mask=_companion(folder / "labels" / MASK, array.shape, bool) if MASK in names else None,
            metadata=ZarrMetadata(folder, found, tuple(n for n in names if n != MASK)),
            source=folder,
            provenance=_provenance(own),
        )
    ]


def _companion(folder: Path, shape: tuple[int, ...], dtype: Any) -> ZarrArray | None:
    """An image of the same pixels that this software put beside another one."""
    if not folder.is_dir():
        return None
    found = multiscale_of(folder)
    if not found.own:
        return None
    array = ZarrArray(folder, found.path, f"{folder.parent}[{folder.name}]", dtype)
    return array if array.shape == shape else None


def _labels(folder: Path) -> tuple[str, ...]:
    """Names of the label images of a group that are really there."""
    from scisr_zarr.ngff import attributes_of

    attributes = attributes_of(folder / "labels") or {}
    ome = attributes.get("ome")
    names = (ome if isinstance(ome, Mapping) else attributes).get("labels")
    if not isinstance(names, list):
        return ()
    return tuple(
        name
        for name in names
        if isinstance(name, str) and name and "/" not in name and name not in (".", "..")
        if (folder / "labels" / name).is_dir()
    )


def _provenance(own: Mapping[str, Any]) -> Provenance:
    steps = own.get("provenance")
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
        return Provenance()
    return Provenance(tuple(steps))
