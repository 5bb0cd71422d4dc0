"""Where an image lies in napari's world, as ``scale`` and ``translate`` or as an ``affine``.

Volumes: napari's world is the patient's, in the grid's own length unit, axes reversed: (Z, Y, X) of LPS+, X to the
patient's left, Y to the back, Z to the head, as DICOM and ITK have it; volumes of one body lie on each other whatever
their files' own axes. The data's axes are put in that order, the nearest to each. Further axes (time) come before.

All others: napari knows no curved coordinates, so the world is the pixel indices of the grid as it was read. A grid
refined since then lies edge to edge on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.colour import rgb_axis
from sciSR.errors import SciSRError
from sciSR.grid import AffineGrid, PixelGrid, refinement_matrix
from sciSR.image import Image

_TOLERANCE = 0.01  # pixels
_NOTHING = 1e-7  # of a turn: what rounding leaves of none


@dataclass(frozen=True, eq=False)
class Placement:
    """The order of a layer's axes, and the matrix from its indices to the world.

    Attributes
    ----------
    order : tuple of (int or None)
        Axes of the image's data in the layer's order; None for an axis of one entry that the data lack. Without that of
        colours.
    matrix : ndarray ``(n + 1, n + 1)``
        Layer index to world, homogeneous.
    labels : tuple of str
        Names of the layer's axes.
    units : tuple of str
        Of the world's axes.
    """

    order: tuple[int | None, ...]
    matrix: np.ndarray
    labels: tuple[str, ...]
    units: tuple[str, ...]

    @classmethod
    def of(cls, image: Image) -> Placement:
        if isinstance(image.grid, AffineGrid):
            return cls._of_volume(image, image.grid)
        colour = rgb_axis(image)
        plane = list(image.spatial_axes)
        order = [a for a in range(len(image.shape)) if a not in plane and a != colour] + plane
        inverse = refinement_matrix([image.grid.factors[a] for a in order])
        names = tuple(image.axes[a] for a in order)
        return cls(tuple(order), inverse, names, ("pixel",) * len(order))

    @classmethod
    def _of_volume(cls, image: Image, grid: AffineGrid) -> Placement:
        affine = grid.toward("LPS+").affine
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        unit = affine[:3, :3] / np.where(sizes > 0, sizes, 1)
        # X, Y, Z of the world each get the axis that runs most along them.
        best = max(itertools.permutations(range(3)), key=lambda p: sum(abs(unit[k, p[k]]) for k in range(3)))
        colour = rgb_axis(image)
        further = [a for a in range(3, len(image.shape)) if a != colour]
        space = [best[2], best[1], best[0]]
        count = len(further) + 3
        matrix = np.eye(count + 1)
        rows = [*range(len(further), count)]  # of the world's Z, Y, X
        for row, world in zip(rows, (2, 1, 0), strict=True):
            matrix[row, rows] = affine[world, space]
            matrix[row, count] = affine[world, 3]
        order: list[int | None] = [*further, *(a if a < len(image.shape) else None for a in space)]
        names = tuple("slice" if a is None else image.axes[a] for a in order)
        length = (
            grid.unit if grid.unit in ("m", "mm", "um") else "mm"
        )  # files that name none mean millimetres
        units = ("pixel",) * len(further) + (length,) * 3
        return cls(tuple(order), matrix, names, units)

    def metadata(self) -> dict[str, Any]:
        """Keywords of a layer."""
        return {**transform_of(self.matrix), "axis_labels": self.labels, "units": self.units}

    def refined(self, factors: Sequence[Any]) -> np.ndarray:
        """Matrix of refinement in the layer's order, from one factor per axis of the data."""
        return refinement_matrix([1 if a is None else factors[a] for a in self.order])


def relative(first: Image, second: Image) -> np.ndarray | None:
    """From layer indices of `second` to the world in which `first` was placed, by what both grids say of the sky.

    None where both are placed in one world already (volumes), have no world (plain pixels), or no matrix does it to
    a hundredth of a pixel: another projection or field.
    """
    plain = [isinstance(image.grid, (AffineGrid, PixelGrid)) for image in (first, second)]
    if any(plain) or first.axes != second.axes:
        return None
    one, two = Placement.of(first), Placement.of(second)
    order = [a for a in two.order if a is not None]
    ends = [(0.0, (n - 1) / 2, n - 1.0) for n in second.shape]
    index = np.array(list(itertools.product(*ends)))
    with np.errstate(all="ignore"):
        try:
            at = np.asarray(first.grid.index(second.grid.world(index)), np.float64)
        except SciSRError:
            return None
    if not np.isfinite(at).all():
        return None
    ones = np.ones((len(index), 1))
    matrix, *_ = np.linalg.lstsq(np.hstack([index[:, order], ones]), at[:, order], rcond=None)
    # Along an axis of one pixel (a plane of a cube) nothing can be fitted: it stays as it is.
    if np.abs(np.hstack([index[:, order], ones]) @ matrix - at[:, order]).max() > _TOLERANCE:
        return None
    full = np.eye(len(order) + 1)
    full[:-1] = matrix.T
    for row, axis in enumerate(order):
        if second.shape[axis] == 1:
            full[:, row] = 0
            full[row] = 0
            full[row, row] = 1
    full[np.abs(full) < _NOTHING] = 0
    return one.matrix @ full


def transform_of(matrix: np.ndarray) -> dict[str, Any]:
    """A homogeneous matrix as ``scale`` and ``translate`` where these say it all, else as ``affine``."""
    linear = matrix[:-1, :-1]
    scale = np.diag(linear)
    if np.array_equal(linear, np.diag(scale)) and (scale > 0).all():
        return {"scale": tuple(map(float, scale)), "translate": tuple(map(float, matrix[:-1, -1]))}
    return {"affine": matrix}


def matrix_of(layer: Any) -> np.ndarray:
    """From a layer's indices to the world: its affine after translation, rotation, shear and scale.

    Parameters
    ----------
    layer : napari layer
        With ``scale``, ``translate``, ``rotate`` (a matrix), ``shear`` (a matrix, or its upper triangle by rows) and
        ``affine`` (a matrix, or an object with ``affine_matrix``).
    """
    count = len(layer.scale)
    shear = np.asarray(layer.shear, np.float64)
    if shear.ndim == 1:
        upper = np.eye(count)
        upper[np.triu_indices(count, 1)] = shear
        shear = upper
    own = np.eye(count + 1)
    own[:-1, :-1] = np.asarray(layer.rotate, np.float64) @ shear @ np.diag(layer.scale)
    own[:-1, -1] = layer.translate
    affine = getattr(layer.affine, "affine_matrix", layer.affine)
    return np.asarray(affine, np.float64) @ own
