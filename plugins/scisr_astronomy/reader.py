"""Reads FITS images: one Image per science HDU, lazily."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import GeometryError, SciSRWarning, UnreadableError, UnsupportedError, UsageError
from sciSR.grid import Grid
from sciSR.image import Image, LazyArray
from scisr_astronomy.fits_colour import ASKED, name_colours
from scisr_astronomy.fits_file import DEFAULT_LIMIT, FitsFile, open_fits, warn_of_damage
from scisr_astronomy.header_noise import header_noise
from scisr_astronomy.lookup_tables import lookups
from scisr_astronomy.physical_grid import PhysicalGrid
from scisr_astronomy.provenance_table import read_provenance
from scisr_astronomy.quantity import quantity_of
from scisr_astronomy.roles import Role, is_labels, is_science_shape, roles_of
from scisr_astronomy.sections import CompressedSection, MappedSection, PhysicalSection, StoredSection
from scisr_astronomy.wcs_grid import Table, WcsGrid
from scisr_astronomy.wcs_keywords import check_wcs, has_wcs, unparsable, wcs_only

_MAX_TABLE = 1 << 28  # bytes of a look-up table held in memory


@dataclass(frozen=True, eq=False)
class FitsMetadata:
    """What the writer needs of the file that an image came from.

    Attributes
    ----------
    file : FitsFile
    hdu : int
    wcs : {"keep", "none"}
    roles : dict of int to Role
        Of all HDUs.
    """

    file: FitsFile
    hdu: int
    wcs: str
    roles: dict[int, Role]


def read_fits(
    path: Path,
    *,
    hdu: Any = (),
    quantity: str | None = None,
    wcs: str = "keep",
    dq_bits: str = "all",
    labels: bool = False,
    colour: str | None = None,
    max_inflated: str | int | None = None,
    ignore_checksum: bool = False,
) -> list[Image]:
    """The science images of a FITS file; see :class:`scisr_astronomy.fits_adapter.FitsAdapter` for the options."""
    if quantity not in (None, "auto", "density", "total"):
        raise UsageError(f"quantity is {quantity!r}; use density or total", where=path)
    if wcs not in ("keep", "none"):
        raise UsageError(f"wcs is {wcs!r}; use keep or none", where=path)
    if colour not in (None, *ASKED):
        raise UsageError(f"colour is {colour!r}; use {', '.join(ASKED)}", where=path)
    asked = None if quantity == "auto" else quantity
    bits = parse_bits(dq_bits, path)
    file = open_fits(path, limit=parse_size(max_inflated, path), ignore_checksum=ignore_checksum)
    roles = roles_of(file)
    chosen = select(file, roles, hdu)
    for index in chosen:
        roles[index] = Role("science")
    warn_of_damage(file, sorted({0, *roles}))
    metadata = [FitsMetadata(file, index, wcs, roles) for index in chosen]
    return [_image(each, asked, bits, labels, colour or "auto") for each in metadata]


def parse_size(text: str | int | None, path: Path) -> int:
    """Bytes from ``"16G"``, ``"500M"`` or a plain number."""
    if text is None or text == "":
        return DEFAULT_LIMIT
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kMGT]?)B?", str(text).strip(), re.I)
    if not match:
        raise UsageError(f"max_inflated is {text!r}; write a size like 16G", where=path)
    return int(float(match[1]) * 10 ** {"": 0, "K": 3, "M": 6, "G": 9, "T": 12}[match[2].upper()])


def parse_bits(text: str | int | None, path: Path) -> int | None:
    """The DQ bits that make a pixel bad: -1 for any, 0 or None for none, else their sum."""
    if isinstance(text, int):
        return text
    words = [w for w in re.split(r"[\s,+|]+", str(text if text is not None else "none").strip().lower()) if w]
    if words == ["all"] or words == ["any"]:
        return -1
    if words == ["none"] or not words:
        return None
    try:
        bits = 0
        for word in words:
            bits |= int(word, 0)
    except ValueError:
        raise UsageError(
            f"dq_bits is {text!r}; give all, none, or numbers like 1,4,4096", where=path
        ) from None
    return bits


def select(file: FitsFile, roles: dict[int, Role], wanted: Any) -> list[int]:
    """The HDUs to upscale, in file order.

    Parameters
    ----------
    wanted : str, int, or sequence of these
        ``"SCI"`` (all of that name), ``"SCI,2"`` (that EXTVER), ``1`` (number). Empty for every science image.

    Raises
    ------
    UnsupportedError
        Nothing in the file is an image that can be upscaled, or what was asked for is none.
    UsageError
        No such HDU.
    """
    if wanted is None or (isinstance(wanted, Sequence) and len(wanted) == 0):
        chosen = [index for index, role in roles.items() if role.kind == "science"]
        if not chosen:
            raise _nothing(file)
        return chosen
    chosen = set()
    for one in [wanted] if isinstance(wanted, str | int) else list(wanted):
        found = _find(file, one)
        if not found:
            parts = ", ".join(file.part(r.index) for r in file.records)
            raise UsageError(f"has no HDU {one!r}", where=file.source, remedy=f"it holds {parts}")
        for index in found:
            if not is_science_shape(file.records[index]):
                raise UnsupportedError(why_not(file, index), where=file.where(index))
        chosen.update(found)
    return sorted(chosen)


def _find(file: FitsFile, wanted: Any) -> list[int]:
    text = str(wanted).strip()
    if re.fullmatch(r"\d+", text):
        return [int(text)] if int(text) < len(file.records) else []
    name, _, version = text.rpartition(",") if re.search(r",\s*\d+$", text) else (text, "", "")
    if name.upper() == "PRIMARY":
        return [0]
    return [
        r.index
        for r in file.records
        if r.name == name.strip().upper() and (not version or r.version == int(version))
    ]


def why_not(file: FitsFile, index: int) -> str:
    """Why an HDU is no image that can be upscaled."""
    record = file.records[index]
    shape = "x".join(str(n) for n in reversed(record.shape))
    if record.kind == "groups":
        return "random groups (radio visibilities) are no image"
    if record.kind in ("table", "other"):
        return "is a table" if record.kind == "table" else "is an extension of an unknown type"
    if not record.shape:
        return "holds a header without pixels"
    if 0 in record.shape:
        return f"has no pixels ({shape})"
    if is_science_shape(record):
        return "only goes with another image"
    if sum(n > 1 for n in record.shape) == 1:
        return f"is one-dimensional ({shape})"
    return f"is {shape}, too small to upscale"


def _nothing(file: FitsFile) -> UnsupportedError:
    reasons = [f"HDU {file.part(r.index)} {why_not(file, r.index)}" for r in file.records[:4]]
    if len(file.records) > 4:
        reasons.append(f"and {len(file.records) - 4} more")
    return UnsupportedError(f"holds no image to upscale: {', '.join(reasons)}", where=file.source)


def section_of(file: FitsFile, index: int) -> LazyArray:
    """Physical values of an image HDU."""
    record = file.records[index]
    if record.kind == "compressed":
        return CompressedSection(file.plain, record, where=file.where(index), owner=file)
    header = file.peek(index)
    stored = stored_of(file, index)
    blank = "unparsable" if "BLANK" in unparsable(header) else header.get("BLANK")
    if blank is not None and record.bitpix > 0 and (isinstance(blank, bool) or not isinstance(blank, int)):
        warnings.warn(
            f"{file.where(index)}: BLANK is {blank!r}, not an integer; ignored", SciSRWarning, stacklevel=2
        )
        blank = None
    return PhysicalSection(
        stored, _scaling(file, index, "BSCALE", 1.0), _scaling(file, index, "BZERO", 0.0), blank
    )


def stored_of(file: FitsFile, index: int) -> StoredSection:
    """Stored values of an uncompressed image HDU."""
    record = file.records[index]
    where = file.where(index)
    return StoredSection(file.plain, record.data_start, record.shape, record.bitpix, where=where, owner=file)


def _scaling(file: FitsFile, index: int, key: str, default: float) -> float:
    header = file.peek(index)
    if key in unparsable(header):
        raise UnreadableError(f"the value of {key} can't be parsed", where=file.where(index))
    value = header.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UnreadableError(f"{key} is {value!r}, not a finite number", where=file.where(index))
    if key == "BSCALE" and value == 0:
        raise UnreadableError("BSCALE is 0: all pixels would be the same", where=file.where(index))
    return float(value)


def _image(
    metadata: FitsMetadata, asked: str | None, bits: int | None, as_labels: bool, colour: str
) -> Image:
    file, index = metadata.file, metadata.hdu
    header = file.peek(index)
    where = file.where(index)
    data = section_of(file, index)
    unit = header.get("BUNIT")
    if unit is None and header.get("INHERIT") is True:
        unit = file.peek(0).get("BUNIT")
    unit = str(unit).strip() or None if unit is not None else None
    shape = file.records[index].shape
    axes, spatial = axes_of(header, shape)
    axes = name_colours(header, axes, spatial, shape, colour, where)
    whole = data.dtype.kind in "iu"
    if as_labels and not whole:
        raise UsageError("labels must be integers", where=where, remedy="leave --labels away")
    labels = whole and (as_labels or is_labels(file, index))
    return Image(
        data=data,
        axes=axes,
        spatial=spatial,
        grid=grid_of(metadata, header),
        quantity="density" if labels else quantity_of(unit, asked=asked, where=where),
        kind="labels" if labels else "intensity",
        domain="astronomy",
        unit=unit,
        uncertainty=_uncertainty(metadata),
        mask=_mask(metadata, bits),
        metadata=metadata,
        source=file.source,
        part=_part(file, index),
        provenance=read_provenance(file, index),
        noise=header_noise,
    )


def _part(file: FitsFile, index: int) -> str:
    """Empty for the one image of a simple file; else the name that selects it."""
    images = [r for r in file.records if r.kind in ("image", "compressed") and r.shape]
    return "" if len(images) == 1 and not file.records[index].name else file.part(index)


def axes_of(header: Any, shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[str, str]]:
    """Names of all axes in NumPy's order, and the two that are upscaled.

    The two are the celestial ones, where CTYPE names a pair; otherwise the first two FITS axes that are longer
    than one pixel (for a cube: the plane).
    """
    count = len(shape)
    sizes = dict(enumerate(reversed(shape), start=1))
    types = {n: str(header.get(f"CTYPE{n}", "")).strip().upper() for n in sizes}
    sky = [
        n for n, t in types.items() if re.match(r"(RA--|DEC-|.LON|.LAT|..LN|..LT|HPLN|HPLT|SOLAR-[XY])", t)
    ]
    wide = [n for n in sizes if sizes[n] > 1]
    first, second = (sky if len(sky) == 2 and set(sky) <= set(wide) else wide)[:2]
    names = {}
    for n in sizes:
        base = re.sub(r"[^a-z0-9]", "", types[n].split("-")[0].lower()) or f"n{n}"
        names[n] = base if base not in (*names.values(), "x", "y") else f"{base}{n}"
    names[first], names[second] = "x", "y"
    return tuple(names[n] for n in range(count, 0, -1)), ("y", "x")


def grid_of(metadata: FitsMetadata, header: Any) -> Grid:
    """The WCS grid of an image, checked; physical pixels where there is no WCS or it was not wanted.

    Raises
    ------
    GeometryError
        The WCS is invalid or can't be carried over exactly, naming the HDU and the remedy.
    """
    file, index = metadata.file, metadata.hdu
    shape = file.records[index].shape
    if metadata.wcs == "none" or not has_wcs(header):
        return PhysicalGrid.from_header(header, shape)
    try:
        check_wcs(header)
        grid = WcsGrid(
            wcs_only(header), shape, tables=_tables(file, header), binary_tables=_binary_tables(file, header)
        )
        grid.check()
        grid.refine(
            [2 if n > 1 else 1 for n in shape]
        )  # what can't be refined is refused now, not after hours
    except GeometryError as error:
        raise GeometryError(
            error.what, where=file.where(index), remedy="give --wcs none to upscale pixels only"
        ) from error
    return grid


def _tables(file: FitsFile, header: Any) -> tuple[Table, ...]:
    tables = {}
    for use in lookups(header):
        found = [
            r for r in file.records if r.kind == "image" and (r.name, r.version) == (use.name, use.version)
        ]
        if len(found) != 1 or len(found[0].shape) != 2 or found[0].data_size > _MAX_TABLE:
            raise GeometryError(
                f"the distortion table {use.name},{use.version} is not in the file as an image"
            )
        section = section_of(file, found[0].index)
        data = np.asarray(section[:, :])
        data = data.astype(data.dtype if data.dtype.kind == "f" else np.float32)
        tables[use.name, use.version] = Table(use.name, use.version, file.header(found[0].index), data)
    return tuple(tables.values())


def _binary_tables(file: FitsFile, header: Any) -> tuple[bytes, ...]:
    """Whole HDUs of the -TAB coordinate tables that PSi_0 names (FITS WCS paper III, section 6)."""
    wanted = set()
    for keyword in header:
        if (match := re.match(r"CTYPE(\d+)([A-Z]?)$", keyword)) and str(header[keyword])[
            4:8
        ].strip() == "-TAB":
            name = str(header.get(f"PS{match[1]}_0{match[2]}", "")).strip().upper()
            wanted.add((name, int(header.get(f"PV{match[1]}_1{match[2]}", 1))))
    raws = []
    for name, version in sorted(wanted):
        found = [r for r in file.records if r.kind == "table" and (r.name, r.version) == (name, version)]
        if len(found) != 1 or found[0].data_size > _MAX_TABLE:
            raise GeometryError(f"the coordinate table {name},{version} is not in the file")
        raws.append(file.read(found[0].start, found[0].end - found[0].start))
    return tuple(raws)


def _companions(metadata: FitsMetadata, kind: str) -> list[int]:
    """Companions of one kind with pixels of their own (not an HST constant array)."""
    records = metadata.file.records
    return [
        i
        for i, role in metadata.roles.items()
        if role.kind == kind and role.of == metadata.hdu and records[i].shape
    ]


def _uncertainty(metadata: FitsMetadata) -> LazyArray | None:
    """One standard deviation from ERR; from a variance or its inverse where there is no ERR."""
    if found := _companions(metadata, "sigma"):
        return section_of(metadata.file, found[0])
    for kind, function in (("variance", np.sqrt), ("inverse", lambda w: 1 / np.sqrt(w))):
        # Several variances (JWST's VAR_POISSON, VAR_RNOISE) are parts of a sum, so one alone is not it.
        if len(found := _companions(metadata, kind)) == 1:
            source = section_of(metadata.file, found[0])
            return MappedSection(source, function, np.result_type(source.dtype, np.float32))
    return None


def _mask(metadata: FitsMetadata, bits: int | None) -> LazyArray | None:
    found = _companions(metadata, "mask")
    if not found or not bits:
        return None
    sections = [section_of(metadata.file, index) for index in found]
    if len(sections) == 1:
        return MappedSection(sections[0], lambda dq: _bad(dq, bits), bool)
    return _AnyOf([MappedSection(s, lambda dq: _bad(dq, bits), bool) for s in sections])


def _bad(flags: np.ndarray, bits: int) -> np.ndarray:
    if bits == -1 or flags.dtype.kind not in "iu":
        return flags != 0
    return (flags.astype(np.int64) & bits) != 0


class _AnyOf:
    """The union of several masks."""

    def __init__(self, masks: list[MappedSection]) -> None:
        self.masks = masks
        self.shape = masks[0].shape
        self.dtype = np.dtype(bool)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.logical_or.reduce([mask[index] for mask in self.masks])
