"""Label maps on another grid: the nearest label, or the one with the most votes among interpolated indicators.

The vote interpolates each label's indicator (1 where the label is, 0 elsewhere) and takes the label that is highest:
region by region, one label at a time against the highest so far, so that memory does not grow with their number. An
axis that becomes coarser is averaged over instead: the label with the largest share of the new voxel wins.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np

import sciSR
from sciSR.classical import METHODS, axis_weights
from sciSR.errors import SciSRWarning, UsageError
from sciSR.forward.pixel import overlap_matrix
from sciSR.image import Image
from sciSR.inference.choose import scale_text
from sciSR.inference.statistics import bad_pixels, plane_indices, read_rows
from sciSR.inference.tiles import Span, mirror, split
from sciSR.inference.upscaling import Progress, Promise, Put
from sciSR.views import NearestView, nearest_index

LabelMethod = Literal["nearest", "argmax"]
KERNELS = ("linear", "cubic")
_TILE = 128  # fine pixels: the smaller a region, the fewer labels it holds
_OWN_BONUS = 1e-6  # of the nearest label: it wins ties, and nothing but ties
_ROUNDING = 1e-9


def resample_labels(
    image: Image,
    factors: Sequence[Fraction | int],
    method: LabelMethod = "nearest",
    kernel: str = "auto",
) -> LabelPlan:
    """Decide how a label map is brought to another grid over the same field.

    Parameters
    ----------
    image : Image
        Of any kind; its values are only compared, never mixed.
    factors : sequence of Fraction
        New voxels per old one, one for each axis of the data, above or below 1; whole numbers of new voxels. Only
        the grid decides which axes can be refined.
    method : {"nearest", "argmax"}
        The label of the voxel that a new voxel's centre lies in; or the label whose interpolated indicator is highest.
    kernel : {"auto", "linear", "cubic"}
        With which ``"argmax"`` interpolates the indicators along the axes that become finer: linear by default.

    Returns
    -------
    LabelPlan

    Raises
    ------
    UsageError
        Unknown method or kernel, or factors that give no whole voxels.
    """
    if method not in ("nearest", "argmax"):
        raise UsageError(f"unknown label method {method!r}", remedy="use nearest or argmax")
    kernel = "linear" if kernel == "auto" else kernel
    if method == "argmax" and kernel not in KERNELS:
        raise UsageError(
            f"indicators of labels are not interpolated by {kernel}",
            where=image.where,
            remedy=f"use {' or '.join(KERNELS)}, or --label-method nearest",
        )
    return LabelPlan(image, tuple(Fraction(f) for f in factors), method, kernel)


@dataclass
class LabelPlan:
    """What will be done to a label map; used like an :class:`~sciSR.inference.upscaling.UpscalePlan`.

    Attributes
    ----------
    image : Image
    factors : tuple of Fraction
        One for each axis of the data.
    method : {"nearest", "argmax"}
    kernel : str
        Of the indicators' interpolation.
    messages : list of str
    """

    image: Image
    factors: tuple[Fraction, ...]
    method: str
    kernel: str
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        how = "nearest neighbour" if self.method == "nearest" else f"argmax of {self.kernel} one-hot"
        self.messages = [*self.messages, f"a label map: {how}"]

    @cached_property
    def output(self) -> Image:
        """The result without its voxels: same dtype, mask as a lazy view."""
        image, grid = self.image, self.image.grid.refine(self.factors)
        views = {
            name: None if (array := getattr(image, name)) is None else NearestView(array, self.factors)
            for name in ("mask", "uncertainty")
        }
        return image.replace(data=Promise(tuple(grid.shape), image.dtype), grid=grid, **views)

    def run(self, put: Put, progress: Progress | None = None) -> Image:
        """Hand over bands of rows; see :meth:`sciSR.inference.upscaling.UpscalePlan.run`.

        Notes
        -----
        Where no axis becomes coarser, each label of the input is in the result: one so small that it wins no voxel
        keeps the new voxel at the centre of each of its old ones.
        """
        band = self._nearest if self.method == "nearest" else self._argmax
        found: Counter[Any] = Counter()
        planes = plane_indices(self.output)
        height = self.output.shape[self.image.spatial_axes[0]]
        for number, index in enumerate(planes):
            for rows in split(height, _TILE):
                labels = band(index, rows)
                put(self._at(index, slice(rows.start, rows.stop)), labels)
                found.update(_counted(labels))
            if progress is not None:
                progress((number + 1) / len(planes))
        restored = self._keep_all(found, put)
        return self.output.replace(provenance=self.image.provenance.add(**self._step(restored)))

    def _step(self, restored: int) -> dict[str, Any]:
        first, second = self.image.spatial_axes
        others = [f for axis, f in enumerate(self.factors) if axis not in (first, second)]
        plain = all(f == 1 for f in others)
        pair = self.factors[first], self.factors[second]
        step: dict[str, Any] = {
            "software": f"sciSR {sciSR.__version__}",
            "step": "upscale",
            "scale": scale_text(pair) if plain else ",".join(f"{float(f):.6g}" for f in self.factors),
            "model": "nearest" if self.method == "nearest" else f"argmax ({self.kernel})",
            "kind": {"kind": "labels", "method": self.method},
        }
        if restored:
            step["kind"]["labels_kept_by_their_centres"] = restored
        return step

    def _at(self, index: tuple[slice | int, ...], rows: slice | int) -> tuple[slice | int, ...]:
        first, _ = self.image.spatial_axes
        return tuple(rows if axis == first else entry for axis, entry in enumerate(index))

    # -- bands ----------------------------------------------------------------------------------------------------

    def _nearest(self, index: tuple[slice | int, ...], rows: Span) -> np.ndarray:
        view = NearestView(self.image.data, self.factors)
        return np.asarray(view[self._at(index, slice(rows.start, rows.stop))])

    def _argmax(self, index: tuple[slice | int, ...], rows: Span) -> np.ndarray:
        region = _Region.of(self, index, rows)
        width = self.output.shape[self.image.spatial_axes[1]]
        out = np.empty((len(rows), width), dtype=self.image.dtype)
        for columns in split(width, _TILE):
            out[:, columns.start : columns.stop] = region.vote(columns)
        return out

    # -- no label is lost -----------------------------------------------------------------------------------------

    def _keep_all(self, found: Counter[Any], put: Put) -> int:
        """Give labels that won no voxel those at their own voxels' centres; the number of such labels."""
        present: set[Any] = set()
        for _, values in self._coarse_bands():
            present.update(np.unique(values).tolist())
        lost = {label for label in present if label == label and not found[label]}  # NaN is no label
        if not lost:
            return 0
        if min(self.factors) < 1:
            warnings.warn(
                f"{self.image.where}: {len(lost)} of {len(present)} labels are too small for the coarser grid",
                SciSRWarning,
                stacklevel=4,
            )
            return 0
        restored = 0
        while lost:
            restored += len(lost)
            lost = self._restore(lost, found, put)
        return restored

    def _restore(self, lost: set[Any], found: Counter[Any], put: Put) -> set[Any]:
        """One round; returns labels whose only voxels were overwritten. Each label has its turn at most once: the
        voxels that it gets then are never given to another."""
        losers: set[Any] = set()
        for at, label in self._voxels_of(lost):
            fine = tuple(
                int((2 * c + 1) * f.numerator // (2 * f.denominator))
                for c, f in zip(at, self.factors, strict=True)
            )
            first, second = self.image.spatial_axes
            plane = tuple(
                slice(None) if axis in (first, second) else entry for axis, entry in enumerate(fine)
            )
            band = self._nearest if self.method == "nearest" else self._argmax
            before = band(plane, Span(fine[first], fine[first] + 1))[0, fine[second]].item()
            put(
                tuple(slice(entry, entry + 1) for entry in fine),
                np.full((1,) * len(fine), label, dtype=self.image.dtype),
            )
            found[before] -= 1
            found[label] += 1
            if found[before] == 0:
                losers.add(before)
        return {label for label in losers if not found[label]}

    def _voxels_of(self, labels: set[Any]) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Positions and labels of the input's voxels that hold one of these."""
        first, second = self.image.spatial_axes
        wanted = np.array(sorted(labels), dtype=self.image.dtype)
        for (index, rows), values in self._coarse_bands():
            for row, column in np.argwhere(np.isin(values, wanted)):
                place = {first: rows.start + int(row), second: int(column)}
                at = tuple(place.get(axis, entry) for axis, entry in enumerate(index))
                yield at, values[row, column].item()  # type: ignore[misc]

    def _coarse_bands(self) -> Iterator[tuple[tuple[tuple[slice | int, ...], Span], np.ndarray]]:
        for index in plane_indices(self.image):
            for rows in split(self.image.shape[self.image.spatial_axes[0]], 4 * _TILE):
                yield (index, rows), read_rows(self.image, index, slice(rows.start, rows.stop))


def _counted(labels: np.ndarray) -> dict[Any, int]:
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


@dataclass
class _Region:
    """Full-width rows of one fine plane, with all coarse voxels that have a say in them.

    Attributes
    ----------
    plan : LabelPlan
    rows : Span
        Fine rows.
    labels, good : ndarray, shape (coarse planes, coarse rows, coarse columns)
        Good are those that vote.
    own : ndarray
        Of the plane and the rows that fine rows lie in: ``(labels, good)`` of shape (fine rows, coarse columns).
    planes : ndarray
        Weight of each coarse plane.
    down : ndarray, shape (fine rows, coarse rows)
    """

    plan: LabelPlan
    rows: Span
    labels: np.ndarray
    good: np.ndarray
    own: tuple[np.ndarray, np.ndarray]
    planes: np.ndarray
    down: np.ndarray

    @classmethod
    def of(cls, plan: LabelPlan, index: tuple[slice | int, ...], rows: Span) -> _Region:
        """Read what fine rows of one fine plane need."""
        image = plan.image
        first, second = image.spatial_axes
        start, down = _matrix(plan.kernel, plan.factors[first], rows, image.shape[first])
        spans: list[tuple[int, np.ndarray]] = []
        for axis, entry in enumerate(index):
            if axis not in (first, second):
                assert isinstance(entry, int)
                fine = Span(entry, entry + 1)
                spans.append(_matrix(plan.kernel, plan.factors[axis], fine, image.shape[axis]))
        labels, good = [], []
        weights: list[float] = []
        band = slice(start, start + down.shape[1])
        for taps in itertools.product(*(range(matrix.shape[1]) for _, matrix in spans)):
            weight = float(np.prod([m[0, tap] for tap, (_, m) in zip(taps, spans, strict=True)]))
            coarse = iter([s + tap for tap, (s, _) in zip(taps, spans, strict=True)])
            plane = tuple(
                entry if axis in (first, second) else next(coarse) for axis, entry in enumerate(index)
            )
            values, voting = _labels(image, plane, band)
            labels.append(values)
            good.append(voting)
            weights.append(weight)
        # The coarse plane and rows that the fine ones' centres lie in.
        nearest = [
            int(nearest_index(np.asarray(entry), plan.factors[axis]))
            for axis, entry in enumerate(index)
            if axis not in (first, second)
        ]
        shape = [matrix.shape[1] for _, matrix in spans]
        place = [n - s for n, (s, _) in zip(nearest, spans, strict=True)]
        number = int(np.ravel_multi_index(place, shape)) if shape else 0
        take = nearest_index(np.arange(rows.start, rows.stop), plan.factors[first]) - start
        own = labels[number][take], good[number][take]
        return cls(plan, rows, np.stack(labels), np.stack(good), own, np.array(weights), down)

    def vote(self, columns: Span) -> np.ndarray:
        """The labels of some columns."""
        plan = self.plan
        axis = plan.image.spatial_axes[1]
        factor, size = plan.factors[axis], plan.image.shape[axis]
        start, across = _matrix(plan.kernel, factor, columns, size)
        part = slice(start, start + across.shape[1])
        labels, good = self.labels[:, :, part], self.good[:, :, part]
        take = nearest_index(np.arange(columns.start, columns.stop), factor)
        own, sure = self.own[0][:, take], self.own[1][:, take]
        candidates = np.unique(labels[good])
        if len(candidates) == 1 and sure.all():
            return np.full(own.shape, candidates[0], dtype=own.dtype)
        out, best = own.copy(), np.full(own.shape, _OWN_BONUS / 2)
        for label in candidates:
            self._candidate(label, (labels == label) & good, across, own, out, best)
        return np.where(sure, out, own)  # a bad voxel has no vote and keeps its own value

    def _candidate(
        self,
        label: Any,
        where: np.ndarray,
        across: np.ndarray,
        own: np.ndarray,
        out: np.ndarray,
        best: np.ndarray,
    ) -> None:
        """Hold one label's interpolated indicator against the highest so far, where it can reach at all."""
        coarse_rows = _extent(where.any(axis=(0, 2)))
        coarse_columns = _extent(where.any(axis=(0, 1)))
        rows = _extent(self.down[:, coarse_rows].any(axis=1))
        columns = _extent(across[:, coarse_columns].any(axis=1))
        plane = np.tensordot(self.planes, where[:, coarse_rows, coarse_columns].astype(np.float64), 1)
        score = self.down[rows, coarse_rows] @ plane @ across[columns, coarse_columns].T
        score += _OWN_BONUS * (own[rows, columns] == label)
        higher = score > best[rows, columns] + _ROUNDING
        best[rows, columns][higher] = score[higher]
        out[rows, columns][higher] = label


def _labels(image: Image, plane: tuple[slice | int, ...], rows: slice) -> tuple[np.ndarray, np.ndarray]:
    values = read_rows(image, plane, rows)
    mask = None if image.mask is None else read_rows(image, plane, rows, "mask")
    return values, ~bad_pixels(values, mask)


def _extent(flags: np.ndarray) -> slice:
    """From the first to the last that is set."""
    found = np.flatnonzero(flags)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


def _matrix(kernel: str, factor: Fraction, fine: Span, size: int) -> tuple[int, np.ndarray]:
    """First coarse pixel and weights, shape (fine, coarse), of the coarse pixels inside the image; mirrored edges."""
    if factor == 1:
        return fine.start, np.eye(len(fine))
    if factor < 1:  # the roles are exchanged: a new pixel covers several old ones
        matrix, first = overlap_matrix(fine.start, fine.stop, 1 / factor)
        return first, matrix
    touched = fine.coarse(factor).grow(METHODS[kernel].radius)
    weights = axis_weights(kernel, factor, (fine.start, fine.stop), (touched.start, touched.stop))
    inside = mirror(touched, size)
    first = int(inside.min())
    matrix = np.zeros((len(fine), int(inside.max()) + 1 - first))
    np.add.at(matrix.T, inside - first, weights.T)
    used = np.flatnonzero(matrix.any(axis=0))
    return first + int(used[0]), matrix[:, used[0] : used[-1] + 1]
