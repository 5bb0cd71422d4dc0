"""Geometry of a derived DICOM series against its source's, slice by slice, by highdicom and SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sciSR.verify.result import Check, Pair
from scisr_medical.verify_affine import (
    TOLERANCE,
    check,
    distance_check,
    field_of_view,
    local_matrix,
    spatial_factors,
)
from scisr_medical.verify_dicom_frames import Frame, Volume, source_of

_AXES = ("z (slices)", "y (rows)", "x (columns)")
_ROUNDING = 0.006
"""mm; positions are often written with two decimals."""
_JUDGED = 64


def factors_of(pair: Pair) -> tuple[float, ...]:
    """Along slices, rows, columns."""
    return spatial_factors(pair.factors, pair.before.shape, pair.after.shape)


def geometry_checks(pair: Pair, before: Volume, after: Volume) -> list[Check]:
    """Everything that the two series say about space."""
    factors = factors_of(pair)
    checks = [_volumes(before, after)]
    if not before.first.placed:
        return [*checks, Check("geometry", "corners", "skipped", "the input's slices have no place in space")]
    missing = sum(not f.placed for _, f in after)
    if missing:
        message = f"{missing} of {after.frames.size} slices have no position, orientation or pixel spacing"
        return [*checks, Check("geometry", "corners", "failed", message)]
    checks += _planes(before, after, factors)
    if before.regular:
        checks += _stack(before, after, factors)
    checks.append(_second_judge(before, after, factors))
    return checks


def mapping(pair: Pair, before: Volume, after: Volume) -> np.ndarray:
    """Index (slice, row, column) in the input to index in the output, by the headers."""
    old, new = before.affine(), after.affine()
    if old is None or new is None or not before.regular or not after.regular:
        return np.linalg.inv(local_matrix(factors_of(pair)))
    if before.count == 1:  # nothing is known across a single slice
        new[:3, 0] = old[:3, 0]
    return np.linalg.inv(new) @ old


def _volumes(before: Volume, after: Volume) -> Check:
    old, new = (v.frames.shape[1:] for v in (before, after))
    words = f"{after.frames.shape[0]} slices" + (f" in {new[0]} volumes" if new else "")
    bad = f"{new[0] if new else 1} volumes, the input has {old[0] if old else 1}"
    return check("geometry", "kept axes", old == new, words, bad)


def expected_plane(
    at: tuple[int, ...], before: Volume, after: Volume, factors: Sequence[float]
) -> np.ndarray:
    """(row, column, 1) of an output slice to LPS mm, shape (3, 3), by the input's header.

    As long as slices are the input's, each has its own position; new ones lie on the line from the first to the last.
    """
    source = source_of(at, after, before, factors[0]) if factors[0] == 1 else before.first
    assert source.position is not None
    assert source.orientation is not None
    assert source.spacing is not None
    down, right = source.orientation[3:] * source.spacing[0], source.orientation[:3] * source.spacing[1]
    origin = source.position + down * (1 / factors[1] - 1) / 2 + right * (1 / factors[2] - 1) / 2
    if factors[0] != 1 and before.step is not None:
        origin = origin + before.step * ((at[0] + 0.5) / factors[0] - 0.5)
    return np.stack([down / factors[1], right / factors[2], origin], axis=1)


def _planes(before: Volume, after: Volume, factors: Sequence[float]) -> list[Check]:
    """Edges of the first and last slice and the middle of each, by highdicom."""
    from highdicom.spatial import ImageToReferenceTransformer

    smallest = float(min(before.first.spacing))
    worst = {"corners": (-1.0, (0.0, 0.0, 0.0)), "voxel centres": (-1.0, (0.0, 0.0, 0.0))}
    ends = {0, after.count - 1}
    for at, frame in after:
        rows, columns = frame.size
        points = {
            "voxel centres": [(0.0, 0.0), (rows - 1.0, columns - 1.0), ((rows - 1) // 2, (columns - 1) // 2)]
        }
        if at[0] in ends:
            points["corners"] = [(r, c) for r in (-0.5, rows - 0.5) for c in (-0.5, columns - 0.5)]
        judge = ImageToReferenceTransformer(
            list(frame.position), list(frame.orientation), list(frame.spacing)
        )
        plane = expected_plane(at, before, after, factors)
        for name, where in points.items():
            index = np.array(where, dtype=np.float64)
            # highdicom's image coordinates: column first, 0 at the outer edge of the first pixel.
            found = judge(index[:, ::-1] + 0.5)
            apart = np.linalg.norm(found - (index @ plane[:, :2].T + plane[:, 2]), axis=1)
            k = int(np.argmax(apart))
            if apart[k] > worst[name][0]:
                worst[name] = (float(apart[k]), (float(at[0]), *index[k]))
    return [
        distance_check(f"{name} by highdicom", apart, smallest, where)
        for name, (apart, where) in worst.items()
    ]


def _stack(before: Volume, after: Volume, factors: Sequence[float]) -> list[Check]:
    """Even steps, in order; the field of view; what the header says of the distance."""
    old, new = before.affine(), after.affine()
    assert old is not None
    assert new is not None
    checks = [_order(after)]
    if after.count > 1 and before.count > 1:
        checks += [_spacing(after), *_said_spacing(before, after, factors)]
        shapes = [(v.count, *v.first.size) for v in (before, after)]
        checks.append(field_of_view(old, new, (shapes[0], shapes[1]), factors, _AXES))
    else:
        flat = [a[:, [1, 2, 0, 3]] for a in (old, new)]
        sizes = (before.first.size, after.first.size)
        checks.append(field_of_view(flat[0], flat[1], sizes, factors[1:], _AXES[1:]))
    sides = [np.sign(np.linalg.det(a[:3, :3])) for a in (old, new)]
    checks.append(check("geometry", "handedness", sides[0] == sides[1], "as the input's", "turned around"))
    return checks


def _positions(frames: Sequence[Frame]) -> np.ndarray:
    return np.array([f.position for f in frames])


def _spacing(after: Volume) -> Check:
    """By highdicom: one spacing, no slice missing, none twice."""
    from highdicom.spatial import get_volume_positions

    column = after.column()
    step = float(np.linalg.norm(after.step)) if after.step is not None else 0.0
    found, _ = get_volume_positions(
        _positions(column).tolist(), list(after.first.orientation), atol=0.01 * step + _ROUNDING, sort=True
    )
    if found is not None:
        return Check("geometry", "slice spacing", "passed", f"{len(column)} slices, {found:.6g} mm apart")
    gaps = np.diff(_positions(column) @ after.first.normal)
    worst = int(np.argmax(np.abs(gaps - np.median(gaps))))
    message = (
        f"uneven: {gaps[worst]:.4g} mm from slice {worst} to {worst + 1}, {np.median(gaps):.4g} mm elsewhere; "
        "a slice is missing, twice there or in a wrong place"
    )
    return Check("geometry", "slice spacing", "failed", message, float(gaps[worst]), step, "mm")


def _said_spacing(before: Volume, after: Volume, factors: Sequence[float]) -> list[Check]:
    """SpacingBetweenSlices is the distance of centres (C.8.3.1.1, C.7.6.16.2.1)."""
    measured = float(np.linalg.norm(after.step)) if after.step is not None else 0.0
    said = [f.length("SpacingBetweenSlices") for _, f in after]
    wrong = [s for s in said if s is not None and abs(abs(s) - measured) > 0.01 * measured + _ROUNDING]
    name = "SpacingBetweenSlices"
    if not wrong:
        there = any(s is not None for s in said)
        words = f"says {measured:.6g} mm, as the positions do" if there else "is not there"
        return [Check("geometry", name, "passed", words)]
    message = f"says {wrong[0]:.6g} mm, the positions are {measured:.6g} mm apart"
    kept = factors[0] == 1 and before.first.length(name) == wrong[0]
    status = "warning" if kept else "failed"
    return [
        Check(
            "geometry",
            name,
            status,
            message + ("; so does the input's" if kept else ""),
            wrong[0],
            measured,
            "mm",
        )
    ]


def _order(after: Volume) -> Check:
    """InstanceNumber runs along the slices, up or down."""
    name = "order of instances"
    frames = after.column()
    if frames[0].number is not None:
        numbers = [f.number for f in frames]
    else:
        numbers = [f.header.get("InstanceNumber") for f in frames]
    if any(n is None for n in numbers):
        return Check("geometry", name, "warning", "some instances have no number")
    steps = np.diff([int(n) for n in numbers])
    if len(steps) == 0 or (steps > 0).all() or (steps < 0).all():
        return Check("geometry", name, "passed", "instances are numbered along the slices")
    return Check("geometry", name, "warning", "instances are not numbered in the order of the slices")


def _second_judge(before: Volume, after: Volume, factors: Sequence[float]) -> Check:
    """First and last pixel of some slices by SimpleITK (GDCM); of an enhanced file by highdicom's own volume."""
    if after.first.number is not None:
        return _enhanced_judge(after)
    name = "voxel centres by SimpleITK"
    try:
        import SimpleITK
    except ImportError:
        return Check("geometry", name, "skipped", "SimpleITK is not installed")
    smallest, worst, where = float(min(before.first.spacing)), -1.0, (0.0, 0.0, 0.0)
    every = [*after]
    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        for at, frame in every[:: max(1, len(every) // _JUDGED)]:
            rows, columns = frame.size
            ends = [(0.0, 0.0), (rows - 1.0, columns - 1.0)]
            found = _by_simpleitk(SimpleITK, frame, ends)
            plane = expected_plane(at, before, after, factors)
            apart = np.linalg.norm(found - (np.array(ends) @ plane[:, :2].T + plane[:, 2]), axis=1)
            k = int(np.argmax(apart))
            if apart[k] > worst:
                worst, where = float(apart[k]), (float(at[0]), *ends[k])
    except Exception:
        return Check("geometry", name, "skipped", "SimpleITK can't read it")
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)
    return distance_check(name, worst, smallest, where)


def _by_simpleitk(library: Any, frame: Frame, points: Sequence[tuple[float, float]]) -> np.ndarray:
    reader = library.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(frame.path))
    reader.ReadImageInformation()
    direction = np.array(reader.GetDirection()).reshape(3, 3)[:, :2] * np.array(reader.GetSpacing()[:2])
    return np.array([np.array(reader.GetOrigin()) + direction @ np.array([c, r]) for r, c in points])


def _enhanced_judge(after: Volume) -> Check:
    """highdicom's volume of a whole enhanced file, where it holds one volume."""
    name = "volume by highdicom"
    if after.frames.ndim > 1 or len({f.path for _, f in after}) > 1 or after.count < 2:
        return Check("geometry", name, "skipped", "the file holds more, or less, than one volume")
    try:
        from highdicom import imread

        found = imread(after.first.path, lazy_frame_retrieval=True).get_volume_geometry()
    except Exception as error:
        return Check("geometry", name, "skipped", f"highdicom can't read it ({type(error).__name__})")
    if found is None:
        return Check("geometry", name, "failed", "highdicom finds no regular volume in the file")
    ours = after.affine()
    assert ours is not None
    shape = (after.count, *after.first.size)
    ends = np.array([(0, 0, 0), [n - 1 for n in shape]], dtype=np.float64)
    both = [ends @ a[:3, :3].T + a[:3, 3] for a in (ours, np.asarray(found.affine))]
    # Its slices may run the other way: the two ends are then another's, in each other's plane.
    apart = np.linalg.norm(both[0].mean(axis=0) - both[1].mean(axis=0))
    fine = tuple(found.spatial_shape) == shape
    if not fine:
        return Check(
            "geometry", name, "failed", f"{tuple(found.spatial_shape)} voxels, the frames are {shape}"
        )
    return distance_check(
        name, float(apart), float(min(after.first.spacing)) / max(TOLERANCE, 1e-9) * TOLERANCE, ends[1]
    )
