"""NGFF metadata: what an image's JSON says, checked, and the JSON of what is written.

Formulas and keys: Open Microscopy Environment, Next-generation file formats, versions 0.4 and 0.5,
https://ngff.openmicroscopy.org.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.errors import GeometryError, UnreadableError, UnsupportedError
from scisr_zarr.grid import NgffGrid

VERSIONS = ("0.4", "0.5")
OWN = "sciSR"
"""Key of the group's attributes that holds our record."""
_LARGEST_JSON = 64 << 20


@dataclass(frozen=True)
class Axis:
    """Name, type (space, time, channel, or none) and unit."""

    name: str
    type: str | None = None
    unit: str | None = None

    def as_dict(self) -> dict[str, str]:
        """As NGFF writes it."""
        parts = {"name": self.name, "type": self.type, "unit": self.unit}
        return {key: value for key, value in parts.items() if value}


@dataclass(frozen=True)
class Multiscale:
    """One multiscale image of a group.

    Attributes
    ----------
    version : {"0.4", "0.5"}
    attributes : mapping
        All of the group's.
    axes : tuple of Axis
    path : str
        Of level 0 within the group.
    scale, translation : tuple of float
    name : str
    """

    version: str
    attributes: Mapping[str, Any]
    axes: tuple[Axis, ...]
    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    name: str

    @property
    def ome(self) -> Mapping[str, Any]:
        """Where NGFF's own keys stand."""
        return self.attributes if self.version == "0.4" else self.attributes["ome"]

    @property
    def own(self) -> Mapping[str, Any]:
        """Our own record."""
        found = self.attributes.get(OWN)
        return found if isinstance(found, Mapping) else {}

    @property
    def is_label(self) -> bool:
        return "image-label" in self.ome

    def grid(self, shape: Sequence[int]) -> NgffGrid:
        """Where the pixels of level 0 lie."""
        return NgffGrid(tuple(shape), self.scale, self.translation, tuple(axis.unit for axis in self.axes))


def attributes_of(folder: Path) -> Mapping[str, Any] | None:
    """The attributes of a zarr group in a folder, of format 2 or 3; None where there is none.

    Raises
    ------
    UnreadableError
        They are no JSON object.
    """
    for name, part in (("zarr.json", "attributes"), (".zattrs", None)):
        path = Path(folder) / name
        if not path.is_file():
            continue
        try:
            if path.stat().st_size > _LARGEST_JSON:
                raise UnreadableError(f"{name} has {path.stat().st_size:,} bytes", where=folder)
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise UnreadableError(f"{name} is no JSON: {error}", where=folder) from error
        if part is not None and isinstance(found, Mapping):
            found = found.get(part) or {}
        if not isinstance(found, Mapping):
            raise UnreadableError(f"{name} holds no attributes", where=folder)
        return found
    return None


def is_ngff(folder: Path) -> bool:
    """Whether a folder's attributes are those of an OME-Zarr image, plate or collection. Never raises."""
    try:
        found = attributes_of(folder) if Path(folder).is_dir() else None
    except (UnreadableError, OSError):
        return False
    if found is None:
        return False
    ome = found.get("ome")
    keys = {"multiscales", "plate", "well", "bioformats2raw.layout"}
    return bool(keys & set(found)) or (isinstance(ome, Mapping) and bool(keys & set(ome)))


def multiscale_of(folder: Path) -> Multiscale:
    """What a group's attributes say of its image.

    Raises
    ------
    UnreadableError
        It is no OME-Zarr group, or keys are missing or of the wrong kind.
    UnsupportedError
        A plate, several images in one group, another version.
    GeometryError
        Transformations that are no scale and translation.
    """
    found = attributes_of(folder)
    if found is None:
        raise UnreadableError("holds no zarr group", where=folder)
    nested = isinstance(found.get("ome"), Mapping)
    ome: Mapping[str, Any] = found["ome"] if nested else found
    for key in ("plate", "well", "bioformats2raw.layout"):
        if key in ome or key in found:
            what = "a collection of images" if key.startswith("bio") else f"a {key}"
            raise UnsupportedError(
                f"holds {what}", where=folder, remedy=f"give one of its images, such as {Path(folder).name}/0"
            )
    scales = ome.get("multiscales")
    if not isinstance(scales, list) or not scales or not isinstance(scales[0], Mapping):
        raise UnreadableError("its attributes name no multiscale image", where=folder)
    if len(scales) > 1:
        raise UnsupportedError(f"holds {len(scales)} multiscale images in one group", where=folder)
    version = str(ome.get("version") if nested else scales[0].get("version", "0.4"))
    if version not in VERSIONS or nested != (version == "0.5"):
        raise UnsupportedError(
            f"is NGFF {version}", where=folder, remedy="convert it to 0.4 or 0.5, for example with ngff-zarr"
        )
    axes = _axes(scales[0].get("axes"), folder)
    path, scale, translation = _level_0(scales[0], len(axes), folder)
    name = scales[0].get("name")
    return Multiscale(version, found, axes, path, scale, translation, name if isinstance(name, str) else "")


def _axes(given: Any, folder: Path) -> tuple[Axis, ...]:
    if not isinstance(given, list) or not all(
        isinstance(a, Mapping) and isinstance(a.get("name"), str) and a["name"] for a in given
    ):
        raise UnreadableError("its axes have no names", where=folder)
    axes = tuple(
        Axis(a["name"], *(a[k] if isinstance(a.get(k), str) else None for k in ("type", "unit")))
        for a in given
    )
    if len({axis.name for axis in axes}) != len(axes):
        raise UnreadableError(f"two axes are called the same: {[a.name for a in axes]}", where=folder)
    if sum(axis.type == "space" for axis in axes) not in (2, 3):
        raise UnsupportedError(
            f"has axes {[a.name for a in axes]}, and two or three in space are needed", where=folder
        )
    return axes


def _level_0(
    multiscale: Mapping[str, Any], ndim: int, folder: Path
) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Path, scale and translation of the finest level, the group's common transformations applied last."""
    datasets = multiscale.get("datasets")
    if not isinstance(datasets, list) or not datasets or not isinstance(datasets[0], Mapping):
        raise UnreadableError("its multiscale image has no datasets", where=folder)
    path = datasets[0].get("path")
    if (
        not isinstance(path, str)
        or not path
        or path.startswith("/")
        or ".." in path.replace("\\", "/").split("/")
    ):
        raise UnreadableError(f"the path {path!r} of its level 0 leads elsewhere", where=folder)
    scale, translation = [1.0] * ndim, [0.0] * ndim
    for given in (datasets[0], multiscale):
        steps = given.get("coordinateTransformations") or []
        for step in steps if isinstance(steps, list) else [steps]:
            by, to = _transformation(step, ndim, folder)
            scale = [s * b for s, b in zip(scale, by, strict=True)]
            translation = [t * b + o for t, b, o in zip(translation, by, to, strict=True)]
    return path, tuple(scale), tuple(translation)


def _transformation(step: Any, ndim: int, folder: Path) -> tuple[Sequence[float], Sequence[float]]:
    kind = step.get("type") if isinstance(step, Mapping) else None
    if kind == "identity":
        return [1.0] * ndim, [0.0] * ndim
    values = step.get(kind) if kind in ("scale", "translation") else None
    if not isinstance(values, list) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    ):
        raise GeometryError(f"the transformation {kind!r} of its level 0 is no list of numbers", where=folder)
    if len(values) != ndim:
        raise GeometryError(f"its {kind} has {len(values)} numbers for {ndim} axes", where=folder)
    return (values, [0.0] * ndim) if kind == "scale" else ([1.0] * ndim, values)


def multiscales_json(
    version: str, axes: Sequence[Axis], grids: Sequence[NgffGrid], name: str, method: str
) -> list[dict[str, Any]]:
    """The ``multiscales`` of levels that are called 0, 1, 2, ..."""
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": list(grid.scale)},
                {"type": "translation", "translation": list(grid.translation)},
            ],
        }
        for level, grid in enumerate(grids)
    ]
    out: dict[str, Any] = {"version": version} if version == "0.4" else {}
    out |= {"name": name} if name else {}
    return [out | {"axes": [axis.as_dict() for axis in axes], "datasets": datasets, "type": method}]
