"""Geometry of a NIfTI output against its input's, transform by transform, by nibabel; SimpleITK as a second judge."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sciSR.verify.result import Check, Pair
from scisr_medical.verify_affine import (
    TOLERANCE,
    apply,
    check,
    compare_affines,
    corners_and_centres,
    distance_check,
    field_of_view,
    local_matrix,
    spatial_factors,
)
from scisr_medical.verify_nifti_files import Volume

_SIZES = 1e-4
_KNOWN_SIZES = 0.01


def geometry_checks(pair: Pair, before: Volume, after: Volume) -> list[Check]:
    """Everything that the two headers say about space."""
    factors = spatial_factors(pair.factors, before.shape, after.shape)
    return [
        *_kept_axes(before.shape, after.shape, pair.before.axes),
        *_transforms(before, after, factors),
        *_agreement(before, after),
        _sizes(before, after),
        _handedness(before, after),
        field_of_view(before.affine, after.affine, (before.shape, after.shape), factors, pair.before.axes),
        _second_judge(before, after, factors),
    ]


def mapping(before: Volume, after: Volume) -> np.ndarray:
    """Index in the input to index in the output, by the transforms that nibabel prefers."""
    return np.linalg.inv(after.affine) @ before.affine


def _kept_axes(before: Sequence[int], after: Sequence[int], names: Sequence[str]) -> list[Check]:
    """Volumes, echoes and components are all still there."""
    if len(before) <= 3 and len(after) <= 3:
        return []
    old, new = (list(shape[3:]) + [1] * (4 - max(len(shape) - 3, 0)) for shape in (before, after))
    fine = old == new
    sizes = " x ".join(str(n) for n in after[3:]) or "1"
    expected = " x ".join(str(n) for n in before[3:]) or "1"
    axes = ", ".join(names[3:]) or "t"
    bad = f"{axes}: {sizes} in the output, {expected} in the input"
    return [check("geometry", "kept axes", fine, f"{axes}: {sizes}, all there", bad)]


def _transforms(before: Volume, after: Volume, factors: Sequence[float]) -> list[Check]:
    """sform and qform, each by itself; then what readers that choose one will find."""
    checks = []
    for name in ("sform", "qform") if before.is_nifti and after.is_nifti else ():
        old, new = before.transform(name), after.transform(name)
        codes = before.code(name), after.code(name)
        if codes[0] > 0 and codes[1] <= 0:
            message = f"is lost: its code was {codes[0]}, it is {codes[1]}"
            checks.append(Check("geometry", f"{name} there", "failed", f"the {name} {message}"))
            continue
        if codes[0] != codes[1] and codes[0] > 0:
            message = f"{name}_code was {codes[0]} and is {codes[1]}: another space"
            checks.append(Check("geometry", f"{name}_code", "failed", message, codes[1], codes[0]))
        if codes[1] <= 0:
            continue
        if new is None:
            checks.append(Check("geometry", f"corners by {name}", "failed", f"the {name} is no transform"))
        elif old is None and codes[0] > 0:
            message = f"the input's {name} has an illegal qfac or voxel size; the output's is held against its affine"
            checks.append(Check("geometry", f"{name} of the input", "warning", message))
            checks += compare_affines(name, before.affine, new, after.shape, factors)
        else:
            checks += compare_affines(name, before.affine if old is None else old, new, after.shape, factors)
    return checks + compare_affines("nibabel's affine", before.affine, after.affine, after.shape, factors)


def _apart(volume: Volume) -> float | None:
    """Voxels by which the two transforms differ at a corner at most; None without two of them."""
    one, two = volume.transform("sform"), volume.transform("qform")
    if one is None or two is None:
        return None
    outer, _ = corners_and_centres(volume.shape)
    voxel = np.linalg.norm(one[:3, : min(3, len(volume.shape))], axis=0).min()
    return float(np.linalg.norm(apply(one, outer) - apply(two, outer), axis=1).max() / voxel)


def _agreement(before: Volume, after: Volume) -> list[Check]:
    old, new = _apart(before), _apart(after)
    if new is None:
        return []
    voxel = (
        np.linalg.norm(before.affine[:3, :3], axis=0).min()
        / np.linalg.norm(after.affine[:3, :3], axis=0).min()
    )
    grown = new / voxel - (old or 0.0)  # both in voxels of the input
    if grown > TOLERANCE + 1e-3 * (old or 0.0):
        message = f"they lie {new:.3g} voxels apart, in the input {old or 0:.3g} of its voxels"
        return [
            Check("geometry", "sform and qform agree", "failed", message, round(new, 4), TOLERANCE, "voxels")
        ]
    if old is not None and old > 0.1:
        message = f"they lie {new:.3g} voxels apart, as they do in the input"
        return [Check("geometry", "sform and qform agree", "warning", message, round(new, 4), unit="voxels")]
    return [
        Check(
            "geometry",
            "sform and qform agree",
            "passed",
            f"within {new:.3g} voxels",
            round(new, 4),
            unit="voxels",
        )
    ]


def _sizes(before: Volume, after: Volume) -> Check:
    """pixdim against the columns of the affine."""
    if not after.is_nifti:
        return Check("geometry", "voxel sizes", "skipped", "told by the affine alone in this format")
    count = min(3, len(after.shape))
    said = np.asarray(after.raw["pixdim"][1 : count + 1], np.float64) * after.unit
    found = np.linalg.norm(after.affine[:3, :count], axis=0)
    off = np.abs(said - found) / found
    worst = int(np.argmax(np.where(np.isfinite(off), off, np.inf)))
    text = f"pixdim[{worst + 1}] is {said[worst]:.6g} mm, the affine says {found[worst]:.6g} mm"
    if off[worst] <= _SIZES:
        sizes = " x ".join(f"{v:.6g}" for v in said)
        return Check("geometry", "voxel sizes", "passed", f"pixdim and the affine say {sizes} mm")
    old = before.raw["pixdim"][worst + 1] * before.unit if before.is_nifti else np.nan
    was = abs(float(old) / np.linalg.norm(before.affine[:3, worst]) - 1)
    if (
        np.isfinite(was)
        and abs(was - off[worst]) <= _SIZES + 0.01 * was
        and was <= max(_KNOWN_SIZES, off[worst] * 1.01)
    ):
        return Check(
            "geometry", "voxel sizes", "warning", f"{text}, as apart as in the input", float(off[worst])
        )
    return Check("geometry", "voxel sizes", "failed", text, float(said[worst]), float(found[worst]), "mm")


def _handedness(before: Volume, after: Volume) -> Check:
    old, new = (np.sign(np.linalg.det(v.affine[:3, :3])) for v in (before, after))
    words = {1.0: "right", -1.0: "left"}
    bad = f"{words.get(float(new), 'no')}-handed, the input is {words.get(float(old), 'no')}-handed"
    return check(
        "geometry", "handedness", bool(old == new), f"{words.get(float(new))}-handed, as the input", bad
    )


def _second_judge(before: Volume, after: Volume, factors: Sequence[float]) -> Check:
    """Centres of voxels by SimpleITK (ITK's own NIfTI reader, in LPS)."""
    name = "voxel centres by SimpleITK"
    try:
        import SimpleITK
    except ImportError:
        return Check("geometry", name, "skipped", "SimpleITK is not installed")
    if after.is_nifti and max(after.code("sform"), after.code("qform")) <= 0:
        message = "there is no transform: each reader puts such a volume elsewhere"
        return Check("geometry", name, "skipped", message)
    try:
        old = _by_simpleitk(SimpleITK, before.path)
    except Exception:
        return Check("geometry", name, "skipped", "SimpleITK can't read the input")
    try:
        new = _by_simpleitk(SimpleITK, after.path)
    except Exception:
        return Check("geometry", name, "failed", "SimpleITK can't read the output, though it reads the input")
    count = min(3, len(before.shape))
    if not np.isfinite(old).all() or not np.linalg.norm(old[:3, :count], axis=0).all():
        return Check("geometry", name, "skipped", "SimpleITK finds no geometry in the input")
    if not before.is_nifti:
        sizes = [np.linalg.norm(m[:3, :count], axis=0) for m in (old, before.affine)]
        if not np.allclose(*sizes, rtol=1e-3):
            return Check("geometry", name, "skipped", "SimpleITK reads this format's geometry otherwise")
    _, inner = corners_and_centres(after.shape)
    apart = np.linalg.norm(apply(new, inner) - apply(old @ local_matrix(factors), inner), axis=1)
    worst = int(np.argmax(apart))
    voxel = float(np.linalg.norm(old[:3, :count], axis=0).min())
    return distance_check(name, float(apart[worst]), voxel, inner[worst])


def _by_simpleitk(library: object, path: Path) -> np.ndarray:
    """Index to LPS mm."""
    reader = library.ImageFileReader()  # type: ignore[attr-defined]
    reader.SetFileName(str(path))
    with _quiet(library):
        reader.ReadImageInformation()
    count = min(3, reader.GetDimension())
    full = reader.GetDimension()
    directions = np.array(reader.GetDirection()).reshape(full, full)[:count, :count]
    affine = np.eye(4)
    affine[:count, :count] = directions * np.array(reader.GetSpacing()[:count])
    affine[:count, 3] = reader.GetOrigin()[:count]
    return affine


@contextlib.contextmanager
def _quiet(library: object):  # type: ignore[no-untyped-def]
    """Without ITK's warnings on the standard error stream."""
    process = library.ProcessObject  # type: ignore[attr-defined]
    shown = process.GetGlobalWarningDisplay()
    process.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        process.SetGlobalWarningDisplay(shown)
