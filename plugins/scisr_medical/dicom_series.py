"""From files to series to images: found, chosen, sorted, checked; refused with the two files that disagree."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import (
    GeometryError,
    SciSRWarning,
    UnreadableError,
)
from sciSR.files import is_special
from scisr_medical.dicom_choose import choose_echo, choose_image_type, echo_times
from scisr_medical.dicom_enhanced_choose import (
    check_files,
    check_one_kind,
    choose_stack,
    dimension_key,
    explain,
    file_key,
    note_stacks,
)
from scisr_medical.dicom_grid import (
    IRREGULAR,
    along_normal,
    check_uniform,
    common_thickness,
    group_by_position,
    slice_grid,
    volume_affine,
)
from scisr_medical.dicom_instance import Instance, read_instances
from scisr_medical.dicom_io import looks_like_dicom

DICOM_NAMES = (".dcm", ".dcm.gz", ".ima", ".dicom")


@dataclass(frozen=True, eq=False)
class Found:
    """What lies in a folder."""

    where: Path
    series: dict[str, list[Instance]]
    refused: list[Instance]
    notes: list[str] = field(default_factory=list)

    @property
    def series_numbers(self) -> frozenset[int]:
        everything = [*self.refused, *(i for each in self.series.values() for i in each)]
        return frozenset(i.series_number for i in everything if i.series_number is not None)


@dataclass(frozen=True, eq=False)
class Stack:
    """The source instances of one Image; what the adapter puts into ``Image.metadata``.

    Attributes
    ----------
    slices : ndarray of Instance, shape (slices,) or (slices, volumes)
        In the order of the image's first (and last) axis.
    regular : bool
        A volume with one step between slices; otherwise loose slices.
    grid : Grid
    axes : tuple of str
    split_by : str
        What tells the volumes of a 4-D series apart.
    thickness : float or None
        Of the slices of a regular volume, mm, where the files say it.
    used_numbers : frozenset of int
        Series numbers seen in the study, not to be used again.
    notes : tuple of str
    """

    slices: np.ndarray
    regular: bool
    grid: Any
    axes: tuple[str, ...]
    split_by: str = ""
    thickness: float | None = None
    used_numbers: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Instance:
        return self.slices.flat[0]

    @property
    def enhanced(self) -> bool:
        """Whether the slices are frames of enhanced multi-frame files."""
        return self.first.frame is not None


def walk_files(path: Path) -> Iterator[Path]:
    """All files below a folder, one by one: hidden ones left out, links to folders not followed, in name order.

    Pipes, sockets and devices are left out too: opening one may wait forever.
    """
    if path.is_file():
        yield path
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        files = (Path(folder) / name for name in sorted(names) if not name.startswith("."))
        yield from (file for file in files if not is_special(file))


def list_files(path: Path) -> list[Path]:
    """All of :func:`walk_files`, of a path that must exist."""
    if not path.exists():
        raise UnreadableError("no such file or folder", where=path)
    return list(walk_files(path))


def find_series(files: Iterable[Path], where: Path) -> Found:
    """Read all headers and group the images by SeriesInstanceUID.

    Files that are not DICOM are left out with a note, but one that is named like DICOM, or begins like it, and
    can't be read is an error: it may be the slice that would be missing.
    """
    series: dict[str, list[Instance]] = {}
    refused, strangers = [], []
    files = list(files)
    for file in files:
        if len(files) > 1 and file.name.upper() == "DICOMDIR":
            strangers.append(file.name)
        elif looks_like_dicom(file) or len(files) == 1 or file.name.lower().endswith(DICOM_NAMES):
            for instance in read_instances(file):
                if instance.refusal is None:
                    series.setdefault(instance.series_uid, []).append(instance)
                else:
                    refused.append(instance)
        else:
            strangers.append(file.name)
    notes = []
    if strangers:
        names = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        notes.append(f"ignored {len(strangers)} file(s) that are not DICOM images: {names}")
    if refused:
        kinds = "; ".join(
            f"{n} x {kind}" + ("" if number is None else f", series {number}")
            for (kind, number), n in Counter((i.refusal, i.series_number) for i in refused).items()
        )
        notes.append(f"left out {len(refused)} DICOM object(s): {kinds}")
    return Found(where, series, refused, notes)


def build_stacks(
    found: Found,
    instances: list[Instance],
    *,
    echo: str | None = None,
    image_type: str | None = None,
    stack: str | None = None,
    irregular: bool = False,
) -> list[Stack]:
    """The images of one series: one regular volume (3-D or 4-D), or with `irregular` loose slices by matrix size.

    Raises
    ------
    GeometryError
        Not a regular volume: names two files, the found and the expected spacing, and the option that overrides.
    """
    if image_type is not None:
        instances = choose_image_type(instances, image_type, found.where)
    if echo is not None:
        instances = choose_echo(instances, echo, found.where)
    if stack is not None:
        instances = choose_stack(instances, stack, found.where)
    check_one_kind(instances, found.where)
    if irregular:
        stacks = _loose(instances)
    else:
        check_files(instances, found.where)
        try:
            grid, slices, split_by = _volume(instances, found.where)
        except GeometryError as error:
            raise explain(error, instances, found.where) from None
        found.notes.extend(note_stacks(instances))
        axes = ("z", "y", "x") if slices.ndim == 1 else ("z", "y", "x", "t")
        thickness, odd = common_thickness(list(slices.flat))
        found.notes.extend([odd] if odd else [])
        stacks = [Stack(slices, True, grid, axes, split_by, thickness)]
    if any(i.component == "phase" for i in instances):
        found.notes.append(
            "phase images: upscaled as real and imaginary part of exp(i phase), by classical methods"
        )
    if split_by := stacks[0].split_by:
        found.notes.append(f"{stacks[0].slices.shape[1]} volumes, told apart by {split_by}")
    if any("DIFFUSION" in i.image_type and i.diffusion is None for i in instances):
        found.notes.append(
            "diffusion images without DiffusionBValue: their b-values stand in private elements, which are not copied "
            "unless asked for, e.g. --keep-private 0019,0043 (Siemens, GE) or 2001,2005 (Philips)"
        )
    for note in found.notes:
        warnings.warn(f"{found.where.name}: {note}", SciSRWarning, stacklevel=4)
    numbers, notes = found.series_numbers, tuple(found.notes)
    return [replace(s, used_numbers=numbers, notes=notes) for s in stacks]


def _loose(instances: list[Instance]) -> list[Stack]:
    by_shape: dict[tuple[int, int], list[Instance]] = {}
    for each in sorted(instances, key=lambda i: i.order):
        by_shape.setdefault(each.shape, []).append(each)
    return [Stack(_objects(s), False, slice_grid(s), ("n", "y", "x")) for s in by_shape.values()]


def _objects(instances: Sequence[Any]) -> np.ndarray:
    """A 1-D or 2-D array of instances (NumPy would look inside a nested list of anything else)."""
    nested = bool(instances) and isinstance(instances[0], list)
    out = np.empty((len(instances), len(instances[0])) if nested else len(instances), dtype=object)
    for k, each in enumerate(instances):
        out[k] = each
    return out


def _volume(instances: list[Instance], where: Path) -> tuple[Any, np.ndarray, str]:
    from sciSR.grid import AffineGrid

    check_uniform(instances, where)
    groups = group_by_position(instances)
    echoes = echo_times(instances)
    if len(echoes) > 1:
        one, two = (next(i for i in instances if i.echo_time == t) for t in echoes[:2])
        raise GeometryError(
            f"holds {len(echoes)} echoes: {one.name} has TE {one.echo_time:g} ms, {two.name} has {two.echo_time:g} ms; "
            f"expected one image a position, found {max(len(g) for g in groups)}",
            where=where,
            remedy=f"choose one with --echo 1 to {len(echoes)}, or {IRREGULAR}",
        )
    split_by = "" if max(len(g) for g in groups) == 1 else _split(groups, where)
    shape = (len(groups), *instances[0].shape)
    if not split_by:
        slices = [g[0] for g in groups]
        return AffineGrid(shape, volume_affine(slices, where), world_axes="LPS+"), _objects(slices), ""
    affine = volume_affine([g[0] for g in groups], where)
    grid = AffineGrid((*shape, len(groups[0])), affine, world_axes="LPS+")
    return grid, _objects(groups), split_by


def _split(groups: list[list[Instance]], where: Path) -> str:
    """Sort each position's images into volumes and say what tells them apart; refuse plain duplicates.

    A time or diffusion series is a regular volume at every time; what must not be taken for one is a slice that
    was exported twice. So a *standard* attribute has to tell the volumes apart, the same way at every position.
    """
    counts = {len(g) for g in groups}
    if len(counts) == 1:
        for what, key, everywhere in (*dimension_key(groups), *_VOLUME_KEYS, *file_key(groups)):
            keys = [[key(i) for i in g] for g in groups]
            if any(k is None for ks in keys for k in ks) or any(len(set(ks)) != len(ks) for ks in keys):
                continue
            if everywhere and any(set(ks) != set(keys[0]) for ks in keys):
                continue
            for group in groups:
                group.sort(key=key)
            return what
    crowded = max(groups, key=len)
    one, two = crowded[:2]
    spacing = np.diff([along_normal([g[0] for g in groups])])
    expected = f"{np.median(spacing):.4g} mm" if spacing.size else "one image a position"
    raise GeometryError(
        f"duplicated slices: {one.name} and {two.name} lie 0 mm apart ({len(crowded)} images at one position, "
        f"{min(counts)} at others), expected {expected}, and no standard attribute tells them apart",
        where=where,
        remedy=IRREGULAR,
    )


def _acquisition(instance: Instance) -> Any:
    # In CT the acquisition number counts rotations, and repeated positions are monitoring or overlap.
    return instance.acquisition if instance.modality == "MR" else None


_VOLUME_KEYS = (
    ("TemporalPositionIdentifier", lambda i: i.temporal, True),
    ("DiffusionBValue and DiffusionGradientOrientation", lambda i: i.diffusion, True),
    ("AcquisitionNumber", _acquisition, True),
    ("TriggerTime", lambda i: i.trigger, False),
)
