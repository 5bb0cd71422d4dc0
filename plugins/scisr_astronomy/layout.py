"""What an output file will hold, HDU by HDU: decided before the first pixel is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sciSR.errors import GeometryError, UsageError
from sciSR.image import Image, LazyArray
from sciSR.provenance import Provenance
from scisr_astronomy import lookup_tables
from scisr_astronomy.carry import StoredForm, add_history, carry, refine_header, tidy_structure
from scisr_astronomy.coarse import coarsen, is_coarser
from scisr_astronomy.detector_keywords import finer, pixel_keywords, refine_detector
from scisr_astronomy.error_hdu import prepare, renewed_header, replaced
from scisr_astronomy.header_bytes import header_blocks
from scisr_astronomy.physical_grid import add_physical
from scisr_astronomy.preflight import BLOCK
from scisr_astronomy.provenance_table import NAME as PROVENANCE_NAME
from scisr_astronomy.provenance_table import read_provenance
from scisr_astronomy.reader import FitsMetadata
from scisr_astronomy.roles import COMPANIONS
from scisr_astronomy.wcs_grid import WcsGrid

_SPARE_CARDS = 12  # for the HISTORY lines that are known only when all is done


@dataclass(eq=False)
class Unit:
    """One HDU of the output.

    Attributes
    ----------
    copy_of : int or None
        Input HDU that is copied byte by byte.
    header : Header or None
    data : LazyArray or None
        Values that are known now and written at once.
    part : int or None
        Number of the image whose pixels will be put.
    form : StoredForm or None
        How values are stored; None for stored values as they are.
    shape : tuple of int
    name : str
    provenance : Provenance
        What is known of an image that is copied.
    error_of : (int, str) or None
        Number of the image whose standard deviation will stand here, and in which form: see `error_hdu`.
    summed, total : int
        Bytes of data put so far whose sum is known, and that sum: see :func:`scisr_astronomy.checksum.add_to_sum`.
    """

    copy_of: int | None = None
    header: Any = None
    data: LazyArray | None = None
    part: int | None = None
    form: StoredForm | None = None
    shape: tuple[int, ...] = ()
    name: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    error_of: tuple[int, str] | None = None
    start: int = 0
    blocks: int = 0
    summed: int = 0
    total: int = 0

    @property
    def itemsize(self) -> int:
        return 0 if self.header is None else abs(int(self.header["BITPIX"])) // 8

    @property
    def data_size(self) -> int:
        return math.prod(self.shape) * self.itemsize if self.shape else 0

    @property
    def data_start(self) -> int:
        return self.start + self.blocks * BLOCK


def plan_units(images: Sequence[Image], uncertainty: bool = False) -> list[Unit]:
    """The HDUs of the output, in order, without places in the file.

    Parameters
    ----------
    images : sequence of Image
    uncertainty : bool
        Make room for the standard deviation of each image that will have one.

    Raises
    ------
    UsageError
        The images do not come from one FITS file, or their shapes do not follow from it.
    """
    if not images:
        raise UsageError("there is no image to write")
    metadata = [image.metadata for image in images]
    ours = [isinstance(m, FitsMetadata) for m in metadata]
    if not any(ours):
        return _new_units(images, uncertainty)
    if not all(ours) or len({id(m.file) for m in metadata}) != 1:
        raise UsageError("the images do not all come from one FITS file", remedy="write them one by one")
    return _like_file(images, uncertainty)


def place(units: Sequence[Unit], records: Sequence[Any]) -> int:
    """Give each unit its place; returns the file's size in bytes."""
    at = 0
    for unit in units:
        unit.start = at
        if unit.copy_of is not None:
            record = records[unit.copy_of]
            at += record.end - record.start
            continue
        unit.blocks = header_blocks(unit.header, spare=_SPARE_CARDS if unit.part is not None else 0)
        at = unit.data_start + -(-unit.data_size // BLOCK) * BLOCK
    return at


def _like_file(images: Sequence[Image], uncertainty: bool) -> list[Unit]:
    file = images[0].metadata.file
    roles = images[0].metadata.roles
    parts = {image.metadata.hdu: number for number, image in enumerate(images)}
    if len(parts) != len(images):
        raise UsageError("the same HDU is given twice", where=file.source)
    tables = _scaled_tables(images)
    errors = _error_units(images) if uncertainty else {}
    ambiguous = _of_shared_version(errors)
    units = []
    for record in file.records:
        index, role = record.index, roles[record.index]
        if record.name == PROVENANCE_NAME or role.kind == "drop":
            continue
        if index in parts:
            unit = _science(images[parts[index]], parts[index])
        elif index in errors:
            unit = errors.pop(index)
        elif role.kind in COMPANIONS and role.of in parts:
            unit = _companion(images[parts[role.of]], index, role.kind)
        elif (record.name, record.version) in tables:
            unit = tables[record.name, record.version]
        elif index == 0 and not record.shape:
            unit = _primary(images)
        else:
            unit = Unit(copy_of=index, provenance=read_provenance(file, index))
        unit.name = file.part(index)
        units.append(unit)
        if index in parts and -1 - parts[index] in ambiguous:
            units.append(errors.pop(-1 - parts[index]))  # whose it is, its place tells
    return [*units, *errors.values()]


def _of_shared_version(errors: Mapping[int, Unit]) -> set[int]:
    """New extensions that nothing but their place would tell apart: images of other names, but of one EXTVER."""
    new = {key: unit.header["EXTVER"] for key, unit in errors.items() if key < 0}
    return {key for key, version in new.items() if list(new.values()).count(version) > 1}


def _error_units(images: Sequence[Image]) -> dict[int, Unit]:
    """By the number of the HDU that they replace; negative for new ones, which come last."""
    units: dict[int, Unit] = {}
    for part, image in enumerate(images):
        if image.uncertainty is None:
            continue
        metadata, form = image.metadata, StoredForm.of(np.float32)
        there = replaced(image)
        for index, kind in there.items():
            header = renewed_header(image, index, kind)
            units[index] = Unit(header=header, form=form, shape=image.shape, error_of=(part, kind))
        if not there:
            version = metadata.file.records[metadata.hdu].version
            # An HST "constant array" has no pixels that could get new values.
            constant = [i for i, r in metadata.roles.items() if (r.kind, r.of) == ("sigma", metadata.hdu)]
            units[constant[0] if constant else -1 - part] = _error_unit(image, part, version)
    return units


def _error_unit(image: Image, part: int, version: int) -> Unit:
    """A new extension."""
    header = _new_header(image.shape, np.dtype(np.float32), "ERR", version, image, primary=False)
    prepare(header, "sigma")
    form = StoredForm.of(np.float32)
    return Unit(header=header, form=form, shape=image.shape, name="ERR", error_of=(part, "sigma"))


def _science(image: Image, part: int) -> Unit:
    metadata = image.metadata
    file, index = metadata.file, metadata.hdu
    factors = image.grid.factors
    expected = tuple(int(n * f) for n, f in zip(file.records[index].shape, factors, strict=True))
    if expected != image.shape:
        raise UsageError(f"has shape {image.shape}, its grid says {expected}", where=image.where)
    total = image.quantity == "total" and any(f != 1 for f in factors)
    header, notes = refine_header(file.header(index), factors, total=total, keep_wcs=metadata.wcs == "keep")
    form = StoredForm.of(image.dtype)
    form.describe(header)
    tidy_structure(header, index == 0)
    if "DATE" in header:
        from datetime import UTC, datetime

        header["DATE"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    dropped = [file.part(i) for i, role in metadata.roles.items() if role.kind == "drop"]
    if dropped:
        notes.append(f"HDU {', '.join(dropped)} dropped: its WCS object is true of the input's pixels only")
    if total:
        what = "summed over the coarser ones" if is_coarser(factors) else "shared out among the finer ones"
        notes.append(f"values are totals of a pixel and were {what}")
    add_history(header, notes)
    return Unit(header=header, part=part, form=form, shape=image.shape)


def _companion(image: Image, index: int, kind: str) -> Unit:
    metadata = image.metadata
    total, keep = image.quantity == "total", metadata.wcs == "keep"
    try:
        if is_coarser(image.grid.factors):
            carried = coarsen(image, index, kind)
        else:
            carried = carry(metadata.file, index, kind, image.grid.factors, total=total, keep_wcs=keep)
    except GeometryError as error:
        raise GeometryError(
            error.what, where=metadata.file.where(index), remedy="give --wcs none to upscale pixels only"
        ) from error
    shape = () if carried.data is None else tuple(carried.data.shape)
    return Unit(header=carried.header, data=carried.data, form=carried.form, shape=shape)


def _scaled_tables(images: Sequence[Image]) -> dict[tuple[str, int], Unit]:
    """Distortion tables of the refined grids; one that another image still needs as it is can't be shared."""
    file = images[0].metadata.file
    if not any(isinstance(image.grid, WcsGrid) and image.grid.tables for image in images):
        return {}
    refined = {image.metadata.hdu: image for image in images if isinstance(image.grid, WcsGrid)}
    users: dict[tuple[str, int], set[Any]] = {}
    for record in file.records:
        if record.kind not in ("image", "compressed") or record.name in lookup_tables.TABLE_NAMES.values():
            continue
        if record.index not in refined and images[0].metadata.wcs == "none":
            continue
        role = images[0].metadata.roles[record.index]
        owner = refined.get(role.of if role.kind in COMPANIONS else record.index)
        for use in lookup_tables.lookups(file.header(record.index)):
            users.setdefault((use.name, use.version), set()).add(owner.grid.factors if owner else None)
    units = {}
    for image in refined.values():
        for table in image.grid.tables:
            if len(users.get((table.name, table.version), {0})) > 1:
                raise UsageError(
                    f"the distortion table {table.name},{table.version} is shared by images of different scales",
                    where=image.where,
                    remedy="upscale all of them, or give --wcs none",
                )
            header = table.header.copy()
            form = StoredForm.of(table.data.dtype)
            form.describe(header)
            add_history(
                header, [f"corrections and their grid scaled to the {finer(image.grid.factors)} pixels"]
            )
            units[table.name, table.version] = Unit(
                header=header, data=table.data, form=form, shape=tuple(table.data.shape)
            )
    return units


def _primary(images: Sequence[Image]) -> Unit:
    """A primary HDU without pixels: copied, unless it speaks of the size of the images' pixels."""
    file = images[0].metadata.file
    header = file.header(0)
    factors = {tuple(image.grid.factors[-2:]) for image in images}
    science = [i for i, role in images[0].metadata.roles.items() if role.kind == "science"]
    speaks = pixel_keywords(header)
    if not (speaks and len(science) == len(images)) and "NEXTEND" not in header:
        return Unit(copy_of=0)
    if speaks and len(factors) == 1 and len(science) == len(images):
        total = all(image.quantity == "total" for image in images)
        header, notes = refine_detector(header, list(reversed(factors.pop())), total=total)
        add_history(header, notes)
    return Unit(header=header)


def _new_units(images: Sequence[Image], uncertainty: bool) -> list[Unit]:
    """HDUs for images that came from no file: a primary image, or an empty primary and one extension each."""
    from astropy.io import fits

    units = []
    alone = len(images) == 1
    if not alone:
        empty = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
        units.append(Unit(header=empty, name="PRIMARY"))
    for number, image in enumerate(images):
        units.append(_new_image(image, number, alone))
        if uncertainty and image.uncertainty is not None:
            units.append(_error_unit(image, number, number + 1))
        for name, data in (("ERR", None if uncertainty else image.uncertainty), ("DQ", image.mask)):
            if data is not None:
                header = _new_header(data.shape, data.dtype, f"{name}", number + 1, image, primary=False)
                units.append(
                    Unit(
                        header=header,
                        data=data,
                        form=StoredForm.of(data.dtype),
                        shape=tuple(data.shape),
                        name=name,
                    )
                )
    return units


def _new_image(image: Image, number: int, alone: bool) -> Unit:
    header = _new_header(image.shape, image.dtype, image.part, number + 1, image, primary=alone)
    return Unit(
        header=header, part=number, form=StoredForm.of(image.dtype), shape=image.shape, name=image.part
    )


def _new_header(shape: Any, dtype: Any, name: str, version: int, image: Image, *, primary: bool) -> Any:
    from astropy.io import fits

    form = StoredForm.of(dtype)
    cards = [("SIMPLE", True)] if primary else [("XTENSION", "IMAGE")]
    cards += [("BITPIX", form.bitpix), ("NAXIS", len(shape))]
    cards += [(f"NAXIS{n}", size) for n, size in enumerate(reversed(tuple(shape)), start=1)]
    cards += [("EXTEND", True)] if primary else [("PCOUNT", 0), ("GCOUNT", 1)]
    header = fits.Header(cards)
    form.describe(header)
    if not primary:
        header["EXTNAME"], header["EXTVER"] = (name or "SCI").split(",")[0], version
    if image.unit and name != "DQ":
        header["BUNIT"] = image.unit
    if isinstance(image.grid, WcsGrid):
        for card in image.grid.header.cards:
            if not card.keyword.startswith("NAXIS"):
                header.append(card, end=True)
    else:
        add_physical(header, list(reversed(image.grid.factors)))
    return header
