"""Planes of image files, read lazily: what patches are cut from, whatever the format."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRWarning, UnsupportedError
from sciSR.image import Image

ISOTROPIC = 1.2
"""Ratio of the largest to the smallest voxel size below which a volume is sliced along all three axes."""

OPEN_FILES = 8
"""Files that one process keeps open (a gzip file's content may be held in memory, up to 64 MB)."""


class PlaneGroup:
    """Parallel planes of one image, alike in size and orientation.

    Parameters
    ----------
    image : Image
    spatial : pair of int
        The axes of the data that are the planes' rows and columns, ascending.

    Attributes
    ----------
    shape : pair of int
        Rows and columns.
    count : int
        Number of planes.
    """

    def __init__(self, image: Image, spatial: tuple[int, int]) -> None:
        self.image, self.spatial = image, spatial
        self.shape = (image.shape[spatial[0]], image.shape[spatial[1]])
        self._others = tuple(n for axis, n in enumerate(image.shape) if axis not in spatial)
        self.count = math.prod(self._others)

    def read(
        self, number: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> NDArray[np.float64]:
        """A piece of plane `number`, ``[rows, columns]``; NaN where a pixel is bad. Only this piece is read."""
        others = iter(np.unravel_index(number, self._others) if self._others else ())
        index = tuple(
            rows if axis == self.spatial[0] else columns if axis == self.spatial[1] else int(next(others))
            for axis in range(len(self.image.shape))
        )
        values = np.asarray(self.image.data[index]).astype(np.float64)
        values[~np.isfinite(values)] = np.nan
        if self.image.mask is not None:
            values[np.asarray(self.image.mask[index], bool)] = np.nan
        return values

    def spread(self, pixels: int, most: int, whole: bool) -> list[NDArray[np.float64]]:
        """A bounded sample: planes, or tiles of large planes, spread evenly over the image.

        Parameters
        ----------
        pixels : int
            About how many in all.
        most : int
            Number of pieces.
        whole : bool
            Take whole planes however large they are.
        """
        rows, columns = self.shape
        area = rows * columns
        if whole or area <= pixels:
            pieces = max(1, min(most, self.count, pixels // area))
            return [self.read(int((k + 0.5) * self.count / pieces)) for k in range(pieces)]
        across = 4
        side = max(64, math.isqrt(pixels // across**2))
        tiles = []
        for k in range(across**2):
            place = [
                int((n - min(side, n)) * share / (across - 1))
                for n, share in zip(self.shape, divmod(k, across), strict=True)
            ]
            cut = [slice(at, at + min(side, n)) for at, n in zip(place, self.shape, strict=True)]
            tiles.append(self.read(int((k + 0.5) * self.count / across**2), *cut))
        return tiles


class OpenPlanes:
    """An open file: its groups of planes, and what was learnt of them.

    Attributes
    ----------
    groups : list of PlaneGroup
    known : dict
        Statistics by key, kept as long as the file is.
    """

    def __init__(self, groups: list[PlaneGroup]) -> None:
        self.groups = groups
        self.known: dict[Any, Any] = {}

    def pick(self, generator: np.random.Generator, least: float = 0.0) -> tuple[int, int] | None:
        """A group and a plane of it, every plane equally likely whose sides have `least` pixels; None without any."""
        counts = [group.count if min(group.shape) >= least else 0 for group in self.groups]
        last = np.cumsum(counts)
        share = generator.random()
        if not last[-1]:
            return None
        number = int(share * last[-1])
        group = int(np.searchsorted(last, number, side="right"))
        return group, number - int(last[group] - counts[group])

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """The value of a key, made at the first call."""
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]


def open_planes(path: Path, domain: str) -> OpenPlanes:
    """Open a file, or a folder that holds one DICOM series; headers are read, pixels stay where they are.

    Volumes are sliced across their coarsest axis, nearly isotropic ones across all three.

    Raises
    ------
    SciSRError
        Unreadable, or nothing in it is an intensity image.
    """
    from sciSR.training.luminance import SUFFIXES, read_luminance

    if domain == "natural" and path.suffix.lower() in SUFFIXES:
        images = [Image.from_array(read_luminance(path), source=path)]
    else:
        from sciSR.api import read_all

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SciSRWarning)  # of units and geometry, which patches have none of
            images = read_all(path)
    images = [image for image in images if image.kind == "intensity" and image.dtype.kind in "fiub"]
    if not images:
        raise UnsupportedError("holds no intensity image", where=path, remedy="exclude it (data.exclude)")
    return OpenPlanes([PlaneGroup(image, axes) for image in images for axes in _slicings(image, domain)])


def _slicings(image: Image, domain: str) -> list[tuple[int, int]]:
    if domain != "mr" or not {"x", "y", "z"} <= set(image.axes):
        return [image.spatial_axes]
    axes = sorted(image.axes.index(name) for name in ("x", "y", "z"))
    sizes = spacing(image, axes)
    if min(image.shape[axis] for axis in axes) < 2 or sizes.max() >= ISOTROPIC * sizes.min():
        return [image.spatial_axes]
    return [(axes[0], axes[1]), (axes[0], axes[2]), (axes[1], axes[2])]


def spacing(image: Image, axes: list[int]) -> NDArray[np.float64]:
    """Distance between neighbouring pixels in the image's middle along some axes, in world units."""
    middle = (np.asarray(image.shape, np.float64) - 1) / 2
    step = np.eye(len(image.shape))[axes] / 2
    return np.linalg.norm(image.grid.world(middle + step) - image.grid.world(middle - step), axis=-1)


class FileCache:
    """The files that were used last, open.

    Parameters
    ----------
    domain : str
    limit : int
    """

    def __init__(self, domain: str, limit: int = OPEN_FILES) -> None:
        self.domain, self.limit = domain, limit
        self._open: OrderedDict[Path, OpenPlanes] = OrderedDict()

    def get(self, path: Path) -> OpenPlanes:
        """The open file; the one that was not used for longest is closed."""
        if path not in self._open:
            while len(self._open) >= self.limit:
                self._open.popitem(last=False)
            self._open[path] = open_planes(path, self.domain)
        self._open.move_to_end(path)
        return self._open[path]

    def close(self) -> None:
        """Close all."""
        self._open.clear()

    def __len__(self) -> int:
        return len(self._open)

    def __getstate__(self) -> dict[str, Any]:
        return {"domain": self.domain, "limit": self.limit, "_open": OrderedDict()}
