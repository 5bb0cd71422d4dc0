"""Geometry of DICOM slices: the regular volume, checked; and the loose stack that claims no volume.

World coordinates are DICOM patient coordinates in mm: x to the patient's left, y to the back, z to the head (LPS).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.errors import GeometryError, UsageError
from sciSR.grid import compose, refined_shape
from scisr_medical.dicom_instance import Instance

IRREGULAR = "give --irregular to upscale slice by slice (no volume geometry is claimed)"
SPACING_TOLERANCE = 0.01
"""Largest deviation of a slice from its place in the regular stack, in units of the slice spacing."""
_ROUNDING = 0.006
"""mm; positions written with two decimals are off by up to this, whatever the spacing."""
_SAME_PLACE = 0.01
"""mm between positions that count as one."""


@dataclass(frozen=True, eq=False)
class SliceGrid:
    """Loose slices: each has its own plane in space, and nothing is said about what lies between them.

    Parameters
    ----------
    shape : tuple of int
        (slices, rows, columns).
    planes : ndarray, shape (slices, 3, 3)
        (row, column, 1) -> LPS mm, one matrix a slice.
    factors : tuple of Fraction
        Refinement since the file was read; the first is always 1.
    """

    shape: tuple[int, ...]
    planes: np.ndarray
    factors: tuple[Fraction, ...] = (Fraction(1), Fraction(1), Fraction(1))

    def refine(self, factors: Sequence[Fraction | int]) -> SliceGrid:
        if Fraction(factors[0]) != 1:
            raise UsageError("loose slices can't be refined across slices: nothing is known between them")
        rows, columns = (1 / Fraction(f) for f in factors[1:])
        local = np.array(
            [[rows, 0, (rows - 1) / 2], [0, columns, (columns - 1) / 2], [0, 0, 1]], dtype=np.float64
        )
        return replace(
            self,
            shape=refined_shape(self.shape, factors),
            planes=self.planes @ local,
            factors=compose(self.factors, factors),
        )

    def world(self, index: np.ndarray) -> np.ndarray:
        index = np.asarray(index, dtype=np.float64)
        which = np.clip(np.rint(index[..., 0]), 0, len(self.planes) - 1).astype(int)
        pixel = np.concatenate([index[..., 1:], np.ones((*index.shape[:-1], 1))], axis=-1)
        return np.einsum("...ij,...j->...i", self.planes[which], pixel)

    def index(self, world: np.ndarray) -> np.ndarray:
        """Index in the slice whose plane lies nearest; the first of several at one place."""
        world = np.asarray(world, dtype=np.float64)
        best, distance = np.zeros(world.shape), np.full(world.shape[:-1], np.inf)
        for k, plane in enumerate(self.planes):
            local = (world - plane[:, 2]) @ np.linalg.pinv(plane[:, :2]).T
            miss = np.linalg.norm(local @ plane[:, :2].T + plane[:, 2] - world, axis=-1)
            nearer = miss < distance - 1e-6
            best[nearer] = np.concatenate([np.full((*local.shape[:-1], 1), k), local], axis=-1)[nearer]
            distance = np.where(nearer, miss, distance)
        return best

    def describe(self) -> Mapping[str, Any]:
        spacing = np.linalg.norm(self.planes[0][:, :2], axis=0)
        return {"type": "loose slices", "shape": list(self.shape), "spacing": spacing.tolist(), "unit": "mm"}


def slice_grid(slices: Sequence[Instance]) -> SliceGrid:
    """Planes as the headers say; a slice that says nothing lies in the plane z = its number, with pixels of 1 mm."""
    nowhere = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]])
    planes = [s.plane_affine() if s.has_plane else nowhere + np.diag([0, 0, k]) for k, s in enumerate(slices)]
    return SliceGrid((len(slices), *slices[0].shape), np.array(planes))


def check_uniform(slices: Sequence[Instance], where: Any) -> None:
    """Refuse slices that can't lie in one volume; names two files that disagree.

    Raises
    ------
    GeometryError
        Missing planes; mixed orientations, matrix sizes, pixel spacings, frames of reference, kinds of value.
    """
    for each in slices:
        if not each.has_plane:
            raise GeometryError(
                f"{each.name} has no ImagePositionPatient, ImageOrientationPatient or PixelSpacing",
                where=where,
                remedy=IRREGULAR,
            )
        _check_orthonormal(each, where)
    first = slices[0]
    for other in slices[1:]:
        for what, one, two in (
            ("orientations", _rounded(first.orientation, 4), _rounded(other.orientation, 4)),
            ("matrix sizes", first.shape, other.shape),
            ("pixel spacings", _rounded(first.spacing, 5), _rounded(other.spacing, 5)),
            ("frames of reference", first.frame_of_reference[-12:], other.frame_of_reference[-12:]),
            ("rescale types", first.rescale_type or "none", other.rescale_type or "none"),
            ("photometric interpretations", first.photometric, other.photometric),
            ("modalities", first.modality, other.modality),
            ("image types", first.component, other.component),
        ):
            same = one == two or (isinstance(one, tuple) and _close(what, first, other))
            if not same:
                choice = "choose one with --image-type, or " if what == "image types" else ""
                raise GeometryError(
                    f"mixed {what}: {first.name} has {one}, {other.name} has {two}",
                    where=where,
                    remedy=choice + IRREGULAR,
                )


def _rounded(numbers: Sequence[float] | None, digits: int) -> tuple[float, ...]:
    return tuple(round(n, digits) + 0.0 for n in numbers or ())


def _close(what: str, one: Instance, two: Instance) -> bool:
    """Equal but for rounding in the header."""
    if what == "orientations":
        return bool(np.allclose(one.orientation, two.orientation, atol=1e-3, rtol=0))  # type: ignore[arg-type]
    if what == "pixel spacings":
        return bool(np.allclose(one.spacing, two.spacing, atol=0, rtol=1e-4))  # type: ignore[arg-type]
    return False


def _check_orthonormal(each: Instance, where: Any) -> None:
    lengths = np.linalg.norm(each.row), np.linalg.norm(each.column)
    angle = float(each.row @ each.column)
    if abs(lengths[0] - 1) > 2e-3 or abs(lengths[1] - 1) > 2e-3 or abs(angle) > 2e-3:
        raise GeometryError(
            f"ImageOrientationPatient of {each.name} is not orthonormal "
            f"(lengths {lengths[0]:.4f} and {lengths[1]:.4f}, cosine {angle:.4f})",
            where=where,
            remedy=IRREGULAR,
        )


def along_normal(slices: Sequence[Instance]) -> np.ndarray:
    """Distance of each slice along the first one's normal, in mm."""
    normal = slices[0].normal
    return np.array([normal @ np.array(s.position) for s in slices])


def group_by_position(slices: Sequence[Instance]) -> list[list[Instance]]:
    """Slices sorted along the normal; those at one place together, in the order of their InstanceNumber."""
    distance = along_normal(slices)
    order = sorted(range(len(slices)), key=lambda k: (distance[k], slices[k].order))
    groups: list[list[Instance]] = []
    start = -np.inf
    for k in order:
        if groups and distance[k] - start < _SAME_PLACE:
            groups[-1].append(slices[k])
        else:
            groups.append([slices[k]])
            start = distance[k]
    for group in groups:
        group.sort(key=lambda s: s.order)
    return groups


def step_vector(slices: Sequence[Instance], where: Any) -> np.ndarray:
    """The one step between neighbouring slices (LPS mm), for slices sorted along the normal, one a position.

    The mean step is taken, never SliceThickness or SpacingBetweenSlices; these only serve a single slice.

    Raises
    ------
    GeometryError
        Missing slices or uneven spacing; slices displaced sideways (gantry tilt).
    """
    if len(slices) == 1:
        only = slices[0]
        return only.normal * (only.spacing_between or only.thickness or 1.0)
    positions = np.array([s.position for s in slices])
    gaps = np.diff(along_normal(slices))
    expected = float(np.median(gaps))
    tolerance = SPACING_TOLERANCE * expected + _ROUNDING
    worst = int(np.argmax(np.abs(gaps - expected)))
    if abs(gaps[worst] - expected) > tolerance:
        missing = round(gaps[worst] / expected) - 1
        guess = f" ({missing} slice{'s' if missing > 1 else ''} missing?)" if missing >= 1 else ""
        raise GeometryError(
            f"uneven spacing: {gaps[worst]:.4g} mm between {slices[worst].name} and {slices[worst + 1].name}, "
            f"expected {expected:.4g} mm within {tolerance:.2g} mm{guess}",
            where=where,
            remedy=IRREGULAR,
        )
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    _check_no_tilt(slices, positions, step, where)
    return step


def _check_no_tilt(slices: Sequence[Instance], positions: np.ndarray, step: np.ndarray, where: Any) -> None:
    first, last, normal = slices[0], slices[-1], slices[0].normal
    spacing = float(step @ normal)
    sideways = step - spacing * normal
    tilt = np.degrees(np.arctan2(np.linalg.norm(sideways), spacing))
    if np.linalg.norm(sideways) * (len(slices) - 1) > 2e-3 * spacing * (len(slices) - 1) + 2 * _ROUNDING:
        raise GeometryError(
            f"the slices are sheared (gantry tilt {tilt:.2f} degrees): from {first.name} to {last.name} each step of "
            f"{spacing:.4g} mm moves {np.linalg.norm(sideways):.4g} mm sideways, expected 0",
            where=where,
            remedy=IRREGULAR,
        )
    off = positions - (positions[0] + np.arange(len(slices))[:, None] * step)
    worst = int(np.argmax(np.linalg.norm(off, axis=1)))
    # Many small errors of one sign stay below the tolerance of each gap, but not below this one.
    allowed = max(0.1 * spacing, 0.1 * min(first.spacing)) + _ROUNDING  # type: ignore[type-var]
    if np.linalg.norm(off[worst]) > allowed:
        raise GeometryError(
            f"{slices[worst].name} lies {np.linalg.norm(off[worst]):.4g} mm off its place on the line from "
            f"{first.name} to {last.name} (steps of {spacing:.4g} mm)",
            where=where,
            remedy=IRREGULAR,
        )


def common_thickness(slices: Sequence[Instance]) -> tuple[float | None, str]:
    """SliceThickness of a volume in mm, and what is odd about it.

    The thickness is not the spacing: slices may leave gaps (thinner than their distance) or overlap (thicker).

    Returns
    -------
    thickness : float or None
        The median where slices differ; None where no slice says it (missing, 0 or negative).
    note : str
        Empty where all slices agree, or none says anything.
    """
    known = sorted(s.thickness for s in slices if s.thickness is not None and s.thickness > 0)
    if not known:
        return None, ""
    middle = float(np.median(known))
    if known[-1] - known[0] > SPACING_TOLERANCE * middle:
        return middle, (
            f"SliceThickness differs among the slices ({known[0]:g} to {known[-1]:g} mm): "
            f"the median {middle:g} mm is taken"
        )
    if len(known) < len(slices):
        missing = f"{len(slices) - len(known)} of {len(slices)} images have no SliceThickness"
        return middle, f"{missing}: that of the others is taken, {middle:g} mm"
    return middle, ""


def volume_affine(slices: Sequence[Instance], where: Any) -> np.ndarray:
    """(slice, row, column, 1) -> LPS mm, shape (4, 4), of a regular stack sorted along its normal."""
    affine = np.eye(4)
    affine[:3, 0] = step_vector(slices, where)
    plane = slices[0].plane_affine()
    affine[:3, 1:3], affine[:3, 3] = plane[:, :2], plane[:, 2]
    return affine
