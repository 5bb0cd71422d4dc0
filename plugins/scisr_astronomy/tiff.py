"""TIFF and BigTIFF (Aldus 6.0): tifffile reads the tags, pixels are decoded by strips and tiles as they are needed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import UnreadableError, UnsupportedError
from sciSR.files import check_regular_file
from scisr_astronomy.picture import Attachments, Page, Picture, check_size
from scisr_astronomy.tiff_segments import CODECS, Layout, SegmentedPixels

RECORD_TAG = 65024
"""Private (65000 and above are anyone's): our record as JSON."""

_MAX_PAGES = 10_000
_GREY_WHITE, _GREY, _RGB, _PALETTE = 0, 1, 2, 3
_PHOTOMETRIC = {
    4: "a mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
    32803: "a mosaic of colour filters",
}
_COMPRESSIONS = {
    2: "CCITT",
    3: "CCITT",
    4: "CCITT",
    6: "JPEG",
    7: "JPEG",
    34712: "JPEG 2000",
    50000: "Zstandard",
}
_KINDS = {1: "u", 2: "i", 3: "f"}
KEPT = (269, 270, 271, 272, 274, 282, 283, 285, 296, 305, 306, 315, 316, 700, 33432, 33723, 34377, 34675)
"""Tags that mean the same for finer pixels; resolutions are multiplied."""
_STRUCTURE = frozenset(
    (
        *(
            254,
            255,
            256,
            257,
            258,
            259,
            262,
            263,
            266,
            273,
            277,
            278,
            279,
            280,
            281,
            284,
            288,
            289,
            292,
            293,
            297,
            317,
        ),
        *(
            318,
            319,
            320,
            322,
            323,
            324,
            325,
            330,
            332,
            336,
            338,
            339,
            340,
            341,
            347,
            529,
            530,
            531,
            532,
            RECORD_TAG,
        ),
    )
)


@dataclass(frozen=True, eq=False)
class TiffTags:
    """What is carried over to a TIFF result.

    Attributes
    ----------
    tags : tuple of (code, dtype, count, value)
        As tifffile names them; see `KEPT`.
    compressed : bool
    big : bool
    order : {"<", ">"}
    """

    tags: tuple[tuple[int, int, int, Any], ...]
    compressed: bool
    big: bool
    order: str


def open_tiff(path: Path, limit: int) -> Picture:
    """Check a TIFF file and describe its pages; pixels stay on disk.

    Raises
    ------
    SciSRError
    """
    import tifffile

    size = check_regular_file(path)
    logging.getLogger("tifffile").setLevel(
        logging.CRITICAL
    )  # it would print about what is refused here in one line
    try:
        file = tifffile.TiffFile(path)
    except Exception as error:
        raise UnreadableError(f"is no readable TIFF file: {error}"[:300], where=path) from error
    with file:
        try:
            found = [page for page in file.pages if not int(getattr(page, "subfiletype", 0) or 0) & 1]
        except Exception as error:
            raise UnreadableError(f"its directories are damaged: {error}"[:300], where=path) from error
        if not found:
            raise UnreadableError("holds no picture", where=path)
        if len(found) > _MAX_PAGES:
            raise UnsupportedError(f"holds {len(found)} pages, more than {_MAX_PAGES}", where=path)
        several = len(found) > 1
        pages = tuple(
            _page(path, file, page.aspage(), size, limit, str(number) if several else "")
            for number, page in enumerate(found)
        )
    return Picture(path, "tiff", pages)


def _page(path: Path, file: Any, page: Any, size: int, limit: int, name: str) -> Page:
    where = f"{path.name}[{name}]" if name else path.name
    _refuse(page, where)
    layout = _layout(page, file.byteorder, where)
    _check_segments(page, layout, size, where)
    check_size(path, layout.segment[0], layout.segment[1], layout.samples, layout.dtype.itemsize, limit)
    pixels: Any = SegmentedPixels(path, layout, tuple(page.dataoffsets), tuple(page.databytecounts), where)
    alpha, spare = _alpha(page)
    colour = page.photometric in (_RGB, _PALETTE)
    channels = 3 if page.photometric == _RGB else 1
    if page.photometric == _PALETTE:
        pixels = _Palette(pixels, _colours(page, where))
    elif alpha or spare:
        pixels = _Picked(pixels, channels + bool(alpha))
    dtype = pixels.dtype
    full = int(np.iinfo(dtype).max) if dtype.kind in "ui" else None
    if page.photometric == _GREY_WHITE:
        if full is None:
            raise UnsupportedError(
                "holds floating point with white as zero", where=where, remedy="invert it first"
            )
        pixels = _Inverted(pixels, full, alpha=bool(alpha))
    tags, dropped = _tags(page)
    alarms = [f"of its channels, {spare} that are neither colour nor opacity are dropped"] if spare else []
    if dropped:
        alarms.append(f"tags {', '.join(dict.fromkeys(dropped))} are not carried over")
    return Page(
        layout.rows,
        layout.columns,
        colour,
        alpha,
        dtype,
        pixels,
        full,
        name,
        _attachments(page),
        _text(page, RECORD_TAG),
        TiffTags(tags, page.compression != 1, file.is_bigtiff, "<" if file.byteorder == "<" else ">"),
        tuple(_notes(page)),
        tuple(alarms),
    )


def _refuse(page: Any, where: str) -> None:
    """What is read by no one here, by name."""
    if page.photometric not in (_GREY_WHITE, _GREY, _RGB, _PALETTE):
        what = _PHOTOMETRIC.get(int(page.photometric or 0), f"photometric interpretation {page.photometric}")
        raise UnsupportedError(f"holds {what}, not grey or RGB", where=where, remedy="convert it first")
    if page.compression not in CODECS:
        what = _COMPRESSIONS.get(int(page.compression), f"number {int(page.compression)}")
        raise UnsupportedError(
            f"its compression ({what}) is not read", where=where, remedy="save it with Deflate, LZW, or none"
        )
    if int(getattr(page, "imagedepth", 1) or 1) != 1 or int(page.fillorder) != 1:
        raise UnsupportedError("is a volume, or stores bits in reverse", where=where, remedy="save it anew")
    description = str(getattr(page, "description", "") or "")
    if (
        page.is_imagej
        and "images=" in description
        and not description.partition("images=")[2].startswith("1\n")
    ):
        count = description.partition("images=")[2].split("\n")[0]
        if count.isdigit() and int(count) > len(page.parent.pages):
            what = f"is an ImageJ stack of {count} images behind one directory"
            raise UnsupportedError(what, where=where, remedy="save its images apart")


def _layout(page: Any, byteorder: str, where: str) -> Layout:
    bits = page.bitspersample
    kind = _KINDS.get(int(page.sampleformat or 1))
    if (
        kind is None
        or not isinstance(bits, int)
        or bits not in ((16, 32, 64) if kind == "f" else (8, 16, 32))
    ):
        raise UnsupportedError(
            f"its samples of {bits} bits (format {page.sampleformat}) are not read",
            where=where,
            remedy="convert it to 8 or 16 bits, or to floating point",
        )
    samples = int(page.samplesperpixel)
    if samples < (3 if page.photometric == _RGB else 1):
        raise UnreadableError(f"is damaged: {samples} channels of RGB", where=where)
    rows, columns = int(page.imagelength), int(page.imagewidth)
    if rows < 1 or columns < 1:
        raise UnreadableError(f"has no pixels ({columns}x{rows})", where=where)
    if page.is_tiled:
        segment = int(page.tilelength), int(page.tilewidth)
    else:
        segment = min(rows, int(page.rowsperstrip or rows)), columns
    if min(segment) < 1:
        raise UnreadableError("is damaged: its strips or tiles are empty", where=where)
    return Layout(
        rows,
        columns,
        samples,
        np.dtype(f"{byteorder}{kind}{bits // 8}"),
        segment,
        separate=int(page.planarconfig or 1) == 2 and samples > 1,
        compression=int(page.compression),
        predictor=int(page.predictor or 1),
        padded=bool(page.is_tiled),
    )


def _check_segments(page: Any, layout: Layout, size: int, where: str) -> None:
    """Declared places against the file's length."""
    if len(page.dataoffsets) < layout.count or len(page.databytecounts) < layout.count:
        raise UnreadableError(
            f"is damaged: {len(page.dataoffsets)} strips or tiles are listed, {layout.count} are needed",
            where=where,
        )
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=False):
        if not (isinstance(offset, int) and isinstance(length, int) and min(offset, length) >= 0):
            raise UnreadableError("is damaged: the places of its strips or tiles are no numbers", where=where)
        if offset + length > size:
            raise UnreadableError(f"is cut off: pixels at byte {offset} lie beyond its end", where=where)


def _alpha(page: Any) -> tuple[str, int]:
    """How opacity is told, and how many channels are neither colour nor opacity."""
    if page.photometric == _PALETTE:
        return "", 0
    extra = int(page.samplesperpixel) - (3 if page.photometric == _RGB else 1)
    kinds = [int(e) for e in (page.extrasamples or ())]
    if extra < 1:
        return "", 0
    first = {1: "premultiplied", 2: "straight"}.get(kinds[0] if kinds else 0, "")
    return first, extra - bool(first)


def _colours(page: Any, where: str) -> np.ndarray:
    """The palette, uint16 ``[entries, 3]``."""
    table = page.colormap
    if (
        page.bitspersample != 8
        or page.sampleformat not in (None, 1)
        or table is None
        or table.shape != (3, 256)
    ):
        raise UnreadableError("is damaged: its palette does not fit its pixels", where=where)
    return np.ascontiguousarray(table.T.astype(np.uint16))


class _Palette:
    """Indices resolved to 16-bit colours."""

    def __init__(self, source: SegmentedPixels, colours: np.ndarray) -> None:
        self.source, self.colours = source, colours
        self.shape, self.dtype = (*source.shape[:2], 3), np.dtype(np.uint16)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, columns, channel = index
        return self.colours[self.source[rows, columns, 0]][..., channel]


class _Picked:
    """The first channels of several."""

    def __init__(self, source: SegmentedPixels, count: int) -> None:
        self.source, self.shape, self.dtype = source, (*source.shape[:2], count), source.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, columns, channel = index
        if isinstance(channel, slice):
            channel = slice(*channel.indices(self.shape[2]))
        return self.source[rows, columns, channel]


class _Inverted:
    """White is zero: brightness is what is missing from the full value. Opacity stays."""

    def __init__(self, source: Any, full: int, *, alpha: bool) -> None:
        self.source, self.full, self.alpha = source, full, alpha
        self.shape, self.dtype = source.shape, source.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, columns, channel = index
        values = self.source[rows, columns, channel]
        grey = np.arange(self.shape[2])[channel] < self.shape[2] - self.alpha
        return np.where(grey, self.full - values, values).astype(self.dtype)


def _tags(page: Any) -> tuple[tuple[tuple[int, int, int, Any], ...], list[str]]:
    """Tags to carry over, and the names of those that are not."""
    kept, dropped = [], []
    for tag in page.tags.values():
        if tag.code == 270 and (own := _counting(page, tag.value)) is not None:
            dropped += [own] if own else []
        elif tag.code in KEPT:
            kept.append((tag.code, int(tag.dtype), tag.count, tag.value))
        elif tag.code not in _STRUCTURE:
            dropped.append(tag.name if not tag.name.isdigit() else str(tag.code))
    return tuple(kept), dropped


def _counting(page: Any, text: Any) -> str | None:
    """The name of a description that counts the old pixels; empty for tifffile's own, None for any other."""
    if str(text).startswith('{"shape"'):
        return ""
    kind = "OME" if page.is_ome else "ImageJ" if page.is_imagej else None
    return None if kind is None else f"ImageDescription ({kind})"


def _text(page: Any, code: int) -> str:
    tag = page.tags.get(code)
    return tag.value if tag is not None and isinstance(tag.value, str) else ""


def _bytes(page: Any, code: int) -> bytes:
    tag = page.tags.get(code)
    return bytes(tag.value) if tag is not None and isinstance(tag.value, bytes) else b""


def _attachments(page: Any) -> Attachments:
    per_unit = {2: 1 / 0.0254, 3: 100.0}.get(int(getattr(page.tags.get(296), "value", 2) or 2))
    density = None
    x, y = (page.tags.get(code) for code in (282, 283))
    if x is not None and y is not None and per_unit is not None:
        try:
            found = tuple(tag.value[0] / tag.value[1] * per_unit for tag in (x, y))
            density = (found[0], found[1]) if min(found) > 0 else None
        except (TypeError, ZeroDivisionError, IndexError):
            density = None
    names = {269: "Title", 270: "Description", 305: "Software", 315: "Author", 33432: "Copyright"}
    texts = tuple((keyword, text) for code, keyword in names.items() if (text := _text(page, code)))
    return Attachments(_bytes(page, 34675), b"", _bytes(page, 700), density, texts)


def _notes(page: Any) -> list[str]:
    notes = []
    if page.photometric == _PALETTE:
        notes.append("its palette is resolved: finer pixels have colours between those of the palette")
    if page.photometric == _GREY_WHITE:
        notes.append("its white is zero; it is read, and written, with black as zero")
    return notes
