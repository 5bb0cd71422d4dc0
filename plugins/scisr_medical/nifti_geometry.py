"""The geometry of a NIfTI header: its two transforms, the checks on them, and their refinement.

A volume refined by ``s`` along its axes gets ``A' = A L`` for each transform it has, with ``L`` the local matrix of
:func:`sciSR.grid.refinement_matrix`: the same field edge to edge, the same directions, handedness and shear.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from sciSR.errors import GeometryError, SciSRWarning, UsageError
from sciSR.grid import refinement_matrix
from scisr_medical.nifti_header import AXES, Layout, NiftiHeader

# Two sizes closer than this (relative) are equal: headers store float32, converters round.
_SAME_SIZE = 1e-3
_QUATERNION_SLACK = 3 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Geometry:
    """What a header says about space, checked and, where the file leaves one reading only, repaired.

    Attributes
    ----------
    affine : ndarray, shape (4, 4)
        Voxel index to the world the file declares: the sform if its code is above 0, else the qform, else the
        base affine of nibabel (centred, x to the left).
    sform, qform : ndarray or None
        Each transform the file has (code above 0).
    pixdim : tuple of three float
        Voxel sizes along x, y, z; repaired from the sform where a size is 0.
    qfac : float
        1 or -1.
    notes : tuple of str
        Warnings, one line each.
    """

    affine: np.ndarray
    sform: np.ndarray | None
    qform: np.ndarray | None
    pixdim: tuple[float, float, float]
    qfac: float
    notes: tuple[str, ...] = ()


def geometry_of(header: NiftiHeader, where: Path, *, note_unplaced: bool = True) -> Geometry:
    """Read and check the transforms; see :class:`Geometry`.

    Parameters
    ----------
    header : NiftiHeader
    where : Path
    note_unplaced : bool
        Say so where there is no transform at all.

    Raises
    ------
    GeometryError
        Voxel sizes of 0 or a ``qfac`` that is neither 1 nor -1 with nothing else to go by; an impossible
        quaternion; a singular sform.
    """
    notes: list[str] = []
    spatial = min(3, len(header.shape))
    sform = _sform(header, spatial, where) if int(header.fields["sform_code"]) > 0 else None
    has_qform = int(header.fields["qform_code"]) > 0
    pixdim = _pixdim(header, sform, spatial, notes, where)
    qfac = _qfac(header, sform, has_qform, notes, where)
    qform = _qform(header, pixdim, qfac, where) if has_qform else None
    if sform is not None:
        notes += _size_mismatch(sform, pixdim, spatial)
    if sform is not None and qform is not None:
        notes += _disagreement(sform, qform, header.shape, header.unit)
    if sform is None and qform is None and note_unplaced:
        notes.append(
            "has neither qform nor sform: only voxel sizes are known, and programs differ on where they put it"
        )
    affine = sform if sform is not None else qform if qform is not None else _base(header.shape, pixdim)
    return Geometry(affine, sform, qform, pixdim, qfac, tuple(notes))


def _sform(header: NiftiHeader, spatial: int, where: Path) -> np.ndarray:
    rows = [np.asarray(header.fields[f"srow_{axis}"], dtype=np.float64) for axis in "xyz"]
    affine = np.vstack([*rows, [0, 0, 0, 1]])
    if not np.isfinite(affine).all():
        raise GeometryError("the sform holds a value that is not finite", where=where)
    linear = affine[:3, :3]
    if spatial == 2 and not linear[:, 2].any():
        # A 2-D file need not say where its third axis points; any normal makes the matrix invertible.
        linear[:, 2] = np.cross(linear[:, 0], linear[:, 1])
    lengths = np.linalg.norm(linear, axis=0)
    if not lengths.all() or abs(np.linalg.det(linear / np.where(lengths == 0, 1, lengths))) < 1e-6:
        raise GeometryError(
            "the sform is singular: it maps the volume onto a plane",
            where=where,
            remedy="repair it, or set sform_code to 0 to use the qform",
        )
    return affine


def _pixdim(
    header: NiftiHeader, sform: np.ndarray | None, spatial: int, notes: list[str], where: Path
) -> tuple[float, float, float]:
    sizes = [float(d) for d in header.fields["pixdim"][1:4]]
    for axis in range(3):
        size = sizes[axis]
        if math.isfinite(size) and size > 0:
            continue
        if axis >= spatial:
            sizes[axis] = 1.0  # an axis that the data don't have
        elif sform is not None:
            sizes[axis] = float(np.linalg.norm(sform[:3, axis]))
            notes.append(f"pixdim[{axis + 1}] is {size:g}; {sizes[axis]:g} is used, from the sform")
        else:
            raise GeometryError(
                f"pixdim[{axis + 1}] (voxel size along {AXES[axis]}) is {size:g}",
                where=where,
                remedy=f"set it: nifti_tool -mod_hdr -mod_field pixdim ... -infiles {where.name}",
            )
    return sizes[0], sizes[1], sizes[2]


def _qfac(
    header: NiftiHeader, sform: np.ndarray | None, has_qform: bool, notes: list[str], where: Path
) -> float:
    qfac = float(header.fields["pixdim"][0])
    if qfac in (1.0, -1.0):
        return qfac
    if qfac == 0 or not has_qform:  # nifti1.h: 0 means 1; without a qform nothing depends on it
        return 1.0
    if sform is None:
        raise GeometryError(
            f"pixdim[0] (qfac, the handedness) is {qfac:g}, neither 1 nor -1, and there is no sform to tell",
            where=where,
            remedy="repair it with nifti_tool -mod_hdr",
        )
    repaired = 1.0 if np.linalg.det(sform[:3, :3]) > 0 else -1.0
    notes.append(f"pixdim[0] (qfac) is {qfac:g}; {repaired:g} is used, the handedness of the sform")
    return repaired


def _qform(header: NiftiHeader, pixdim: Sequence[float], qfac: float, where: Path) -> np.ndarray:
    b, c, d = (float(header.fields[f"quatern_{name}"]) for name in "bcd")
    offset = [float(header.fields[f"qoffset_{axis}"]) for axis in "xyz"]
    rest = 1.0 - (b * b + c * c + d * d)
    if not (math.isfinite(rest) and rest > -_QUATERNION_SLACK and all(map(math.isfinite, offset))):
        raise GeometryError(
            f"the qform's quaternion ({b:g}, {c:g}, {d:g}) is no rotation",
            where=where,
            remedy="repair it, or set qform_code to 0 to use the sform",
        )
    from nibabel.quaternions import quat2mat

    affine = np.eye(4)
    affine[:3, :3] = quat2mat((math.sqrt(max(rest, 0.0)), b, c, d)) @ np.diag(pixdim)
    affine[:3, 2] *= qfac
    affine[:3, 3] = offset
    return affine


def _base(shape: Sequence[int], pixdim: Sequence[float]) -> np.ndarray:
    """nibabel's affine for a file without transforms: centre of the field at 0, first axis to the left."""
    scale = np.array([-pixdim[0], pixdim[1], pixdim[2]])
    sizes = np.array([*shape[:3], 1, 1][:3], dtype=np.float64)
    affine = np.diag([*scale, 1.0])
    affine[:3, 3] = -scale * (sizes - 1) / 2
    return affine


def _size_mismatch(sform: np.ndarray, pixdim: Sequence[float], spatial: int) -> list[str]:
    """A note if the voxel sizes of pixdim and of the sform are more than one percent apart."""
    sizes = np.linalg.norm(sform[:3, :spatial], axis=0)
    if np.allclose(sizes, pixdim[:spatial], rtol=0.01):
        return []
    found, said = (" x ".join(f"{d:.4g}" for d in row) for row in (sizes, pixdim[:spatial]))
    return [f"voxel sizes are {said} by pixdim, {found} by the sform; the sform is used"]


def _disagreement(sform: np.ndarray, qform: np.ndarray, shape: Sequence[int], unit: str) -> list[str]:
    """A note if the two transforms put a corner of the volume more than a tenth of a voxel apart."""
    spatial = [*shape[:3], 1, 1][:3]
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in spatial], indexing="ij")).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    if len(shape) == 2:
        corners[2] = 0
    apart = float(np.linalg.norm(((sform - qform) @ corners)[:3], axis=0).max())
    smallest = float(np.linalg.norm(sform[:3, : min(3, len(shape))], axis=0).min())
    if apart <= 0.1 * smallest:
        return []
    length = "units" if unit == "unknown" else unit
    return [
        f"qform and sform disagree by up to {apart:.3g} {length}; each is updated by itself, the sform is used"
    ]


def warn(notes: Sequence[str], where: Path) -> None:
    """Show notes as one-line warnings that name the file."""
    for note in notes:
        warnings.warn(f"{where}: {note}", SciSRWarning, stacklevel=4)


def choose_axes(
    header: NiftiHeader, geometry: Geometry, wish: str | Sequence[str] | None, where: Path
) -> tuple[str, str]:
    """The two axes to upscale: `wish`, or the two finest by voxel size (of equal sizes, the first).

    Parameters
    ----------
    wish : str or sequence of str, optional
        ``"x,y"``, ``("y", "z")``, or with the voxel names ``"i,k"``.

    Raises
    ------
    UsageError
        `wish` does not name two different spatial axes of the data.
    """
    spatial = AXES[: min(3, len(header.shape))]
    if wish is not None:
        names = [n.strip().lower() for n in (wish.split(",") if isinstance(wish, str) else wish)]
        names = [dict(zip("ijk", "xyz", strict=True)).get(n, n) for n in names]
        if len(names) != 2 or len(set(names)) != 2 or not set(names) <= set(spatial):
            raise UsageError(
                f"axes must name two of {', '.join(spatial)} (or i, j, k), not {wish!r}",
                where=where,
                remedy="e.g. x,y",
            )
        return names[0], names[1]
    sizes = np.linalg.norm(geometry.affine[:3, :3], axis=0)
    # An axis of one voxel has nothing to interpolate between, however fine it is.
    candidates = [k for k in range(len(spatial)) if header.shape[k] > 1]
    if len(candidates) < 2:
        candidates = list(range(len(spatial)))
    while len(candidates) > 2:
        coarsest = max(sizes[k] for k in candidates)
        candidates.remove(max(k for k in candidates if sizes[k] >= coarsest * (1 - _SAME_SIZE)))
    return AXES[candidates[0]], AXES[candidates[1]]


def refined_fields(
    header: NiftiHeader,
    geometry: Geometry,
    factors: Sequence[Fraction],
    slices: Sequence[int],
    *,
    wide: bool = False,
) -> np.void:
    """A copy of the header's fields for the finer grid; only what geometry touches is changed.

    ``dim``, ``pixdim``, ``srow_*``, ``qoffset_*`` follow; codes, quaternion, units and TR stay. ``slice_*`` is
    zeroed if one of the axes `slices` is refined: the acquired slices are no longer there. `wide` gives the fields of
    NIfTI-2, whose sizes are not limited to 32767.
    """
    fields = _widened(header) if wide else header.fields.copy()
    spatial = ([*factors] + [Fraction(1)] * 3)[:3]
    local = refinement_matrix(spatial)
    for axis, factor in enumerate(spatial[: len(header.shape)]):
        if factor != 1:
            fields["dim"][axis + 1] = int(header.shape[axis] * factor)
            fields["pixdim"][axis + 1] = geometry.pixdim[axis] / float(factor)
        elif float(fields["pixdim"][axis + 1]) != geometry.pixdim[axis]:
            fields["pixdim"][axis + 1] = geometry.pixdim[axis]
    if geometry.sform is not None:
        for row, name in enumerate("xyz"):
            # The third column of a 2-D file may have been made up; only what L changes is written.
            new = (geometry.sform @ local)[row]
            keep = [axis for axis in range(3) if spatial[axis] == 1]
            new[keep] = header.fields[f"srow_{name}"][keep]
            fields[f"srow_{name}"] = new
    if geometry.qform is not None:
        fields["pixdim"][0] = geometry.qfac if float(fields["pixdim"][0]) != 0 else 0
        for value, name in zip((geometry.qform @ local)[:3, 3], "xyz", strict=True):
            fields[f"qoffset_{name}"] = value
    if any(spatial[axis] != 1 for axis in slices):
        for name in ("slice_start", "slice_end", "slice_duration", "slice_code"):
            fields[name] = 0
    return fields


def _widened(header: NiftiHeader) -> np.void:
    """The same fields in NIfTI-2's layout."""
    layout = Layout(2, header.layout.single, header.layout.order)
    wide = np.zeros((), dtype=layout.dtype)[()]
    for name in set(layout.dtype.names) & set(header.fields.dtype.names):
        if name not in ("magic", "sizeof_hdr"):
            wide[name] = header.fields[name]
    return wide
