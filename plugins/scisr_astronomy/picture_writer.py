"""Writes pictures: blocks are collected on disk, rounded and counted, and encoded at the end."""

from __future__ import annotations

import contextlib
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from sciSR import __version__
from sciSR.colour import RGB
from sciSR.errors import SciSRWarning, UsageError
from sciSR.files import atomic_output, check_output, translate_os_errors
from sciSR.image import Image
from sciSR.views import full_index, nearest_index
from scisr_astronomy.clip_record import places_of
from scisr_astronomy.clip_store import BlockStore
from scisr_astronomy.picture import Alpha, Attachments, Page
from scisr_astronomy.picture_reader import PictureMetadata
from scisr_astronomy.png_writer import carried_chunks, new_chunks, text_chunk, write_png
from scisr_astronomy.tiff_writer import TiffPage, write_tiff

_BAND_BYTES = 8 << 20
_WHOLE = ("u1", "u2", "i1", "i2")  # what float32, in which results come, holds exactly
DEPTHS = ("keep", "8", "16", "float")


@dataclass(eq=False)
class _Target:
    """One picture of the output."""

    image: Image
    page: Page | None
    dtype: np.dtype
    factor: float
    order: tuple[int, ...]
    store: BlockStore
    clipped: int = 0
    missing: int = 0

    @property
    def colour(self) -> bool:
        return len(self.order) == 3

    @property
    def alpha(self) -> str:
        return "" if self.page is None else self.page.alpha

    @property
    def factors(self) -> tuple[Fraction, Fraction]:
        """Along x and y."""
        rows, columns = self.image.spatial_axes
        return Fraction(self.image.grid.factors[columns]), Fraction(self.image.grid.factors[rows])


class PictureWriter:
    """A :class:`sciSR.adapter.Writer` of PNG and TIFF.

    Whole numbers are rounded to the nearest and clipped to the ends of their range, never wrapped around; how many were
    clipped stands in the record. Opacity is repeated over the finer pixels.

    Parameters
    ----------
    path : Path
        Its suffix chooses the format.
    images : sequence of Image
        Axes y and x, and ``"rgb"`` for colour, in any order; several make pages of a TIFF.
    overwrite : bool
    depth : {"keep", "8", "16", "float"}
        ``"8"``, ``"16"``: full intensity stays full intensity (255 becomes 65535). ``"float"``: the numbers as they
        are, as 32-bit floating point (TIFF).
    """

    def __init__(self, path: Path, images: Sequence[Image], *, overwrite: bool, depth: str) -> None:
        self.path, self.overwrite = Path(path), overwrite
        self._png = self.path.suffix.lower() == ".png"
        if depth not in DEPTHS:
            raise UsageError(f"depth must be one of {', '.join(DEPTHS)}, not {depth!r}", where=path)
        if self._png and len(images) != 1:
            raise UsageError(
                f"a PNG holds one picture, not {len(images)}", where=path, remedy="give a name in .tif"
            )
        if not images:
            raise UsageError("there is no image to write", where=path)
        check_output(self.path, overwrite=overwrite)
        self._targets: list[_Target] = []
        self._stack = contextlib.ExitStack()
        try:
            self._temporary = self._stack.enter_context(atomic_output(self.path, overwrite=overwrite))
            with translate_os_errors(self.path):
                self._targets = [self._target(image, depth) for image in images]
        except BaseException:
            self._abort(None)
            raise

    def _target(self, image: Image, depth: str) -> _Target:
        order = _order(image, self.path)
        metadata = image.metadata
        page = metadata.page if isinstance(metadata, PictureMetadata) else None
        dtype, factor = stored_form(image, page, depth, png=self._png, where=self.path)
        rows, columns = (image.shape[axis] for axis in order[:2])
        channels = (3 if len(order) == 3 else 1) + bool(page is not None and page.alpha)
        nameless = tempfile.TemporaryFile(prefix=".scisr-", suffix=".tmp", dir=self.path.parent)  # noqa: SIM115
        scratch = self._stack.enter_context(nameless)
        store = BlockStore(scratch, (rows, columns, channels), dtype, self.path)
        target = _Target(image, page, dtype, factor, order, store, missing=int(np.prod(image.shape)))
        if target.alpha:
            self._put_alpha(target)
        return target

    def _put_alpha(self, target: _Target) -> None:
        page = target.page
        assert page is not None
        x, y = target.factors
        columns = np.minimum(nearest_index(np.arange(target.store.shape[1]), x), page.columns - 1)
        for band in _bands(target.store.shape, target.dtype.itemsize):
            rows = np.minimum(nearest_index(np.arange(band.start, band.stop), y), page.rows - 1)
            block = Alpha(page)[int(rows[0]) : int(rows[-1]) + 1, :]
            values, _ = _converted(block[rows - rows[0]][:, columns], target)
            target.store.put((band, slice(None), target.store.shape[2] - 1), values)

    def put(self, part: int, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Store a block; see :class:`sciSR.adapter.Writer`."""
        if not self._targets:
            raise UsageError("this output is finished already", where=self.path)
        if not 0 <= part < len(self._targets):
            raise UsageError(f"there is no image {part} in this picture", where=self.path)
        target = self._targets[part]
        whole = full_index(tuple(index) if isinstance(index, tuple) else (index,), len(target.image.shape))
        # Every axis as a slice, so that the block can be turned to rows, columns, channels.
        spans = [entry if isinstance(entry, slice) else slice(entry, entry + 1) for entry in whole]
        sizes = [len(range(n)[s]) for s, n in zip(spans, target.image.shape, strict=True)]
        values = np.asarray(block).reshape(sizes).transpose(target.order)
        values, clipped = _converted(values, target)
        target.clipped += clipped
        target.missing -= values.size
        place = [spans[axis] for axis in target.order]
        if not target.colour:
            target.store.put((*place, 0), values)
            return
        channels = range(3)[place[2]]
        target.store.put((*place[:2], slice(channels.start, channels.stop)), values)

    def commit(self, images: Sequence[Image]) -> Path:
        """Encode, fsync and rename; returns the target."""
        if not self._targets:
            raise UsageError("this output is finished already", where=self.path)
        if any(target.missing > 0 for target in self._targets):
            raise UsageError("only part of the image was written", where=self.path)
        record = self._record(images)
        with translate_os_errors(self.path):
            if self._png:
                self._write_png(self._targets[0], record)
            else:
                write_tiff(self._temporary, [_tiff_page(target) for target in self._targets], record)
        clipped = sum(target.clipped for target in self._targets)
        self._targets = []
        self._stack.close()
        if clipped:
            warnings.warn(
                f"{self.path.name}: {clipped} values lay outside the range of the pixels and were clipped to its ends",
                SciSRWarning,
                stacklevel=3,
            )
        return self.path

    def _record(self, images: Sequence[Image]) -> str:
        """One JSON document: sizes that it is about, where pixels lie, the steps, and how values were stored."""
        pages = []
        for target, image in zip(self._targets, images, strict=True):
            stored = {
                "software": f"sciSR {__version__}",
                "step": "write",
                "dtype": str(target.dtype),
                "multiplied_by": target.factor,
                "rounded": target.dtype.kind in "ui",
                "clipped_values": target.clipped,
            }
            steps = image.provenance.add(**stored).steps
            shape = list(target.store.shape[:2])
            pages.append({"shape": shape, "places": places_of(image), "steps": list(steps)})
        return json.dumps({"pages": pages}, allow_nan=False)

    def _write_png(self, target: _Target, record: str) -> None:
        rows, columns, _ = target.store.shape
        size, factors = (columns, rows), target.factors
        metadata = target.image.metadata
        if isinstance(metadata, PictureMetadata) and metadata.format == "png":
            before, dropped = carried_chunks(target.page.native, size, factors)
            if dropped:
                warnings.warn(
                    f"{self.path.name}: chunks {', '.join(dict.fromkeys(dropped))} are not carried over",
                    SciSRWarning,
                    stacklevel=4,
                )
        else:
            before = new_chunks(_attachments(target), size, factors)
        before += text_chunk("sciSR", record)
        bands = (target.store.rows(band) for band in _bands(target.store.shape, target.dtype.itemsize))
        write_png(self._temporary, bands, target.store.shape, target.dtype, before)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abort(error)

    def _abort(self, error: BaseException | None) -> None:
        """Throw the temporary files away; nothing to do after commit."""
        self._targets = []
        error = _Aborted() if error is None else error
        with contextlib.suppress(_Aborted):
            self._stack.__exit__(type(error), error, error.__traceback__)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._abort(None)


class _Aborted(Exception):
    """Leaves the temporary files' context managers without a rename."""


def _order(image: Image, path: Path) -> tuple[int, ...]:
    """The image's axes as rows, columns and, for colour, channels."""
    rows, columns = image.spatial_axes
    others = [axis for axis in range(len(image.shape)) if axis not in (rows, columns)]
    if not others:
        return rows, columns
    if len(others) == 1 and image.axes[others[0]] == RGB and image.shape[others[0]] == 3:
        return rows, columns, others[0]
    raise UsageError(
        f"a picture has rows and columns, and three colours along an axis 'rgb', not {image.axes} {image.shape}",
        where=path,
        remedy="write single planes",
    )


def stored_form(
    image: Image, page: Page | None, depth: str, *, png: bool, where: Path
) -> tuple[np.dtype, float]:
    """The dtype of stored values, and what values are multiplied by.

    Raises
    ------
    UsageError
        A PNG of anything but 8 or 16 bits.
    """
    origin = np.dtype(image.dtype if page is None else page.dtype)
    wanted = {"8": np.uint8, "16": np.uint16, "float": np.float32}.get(depth)
    dtype = origin if wanted is None else np.dtype(wanted)
    if dtype.str[1:] not in _WHOLE:
        dtype = np.dtype(np.float32)  # results come in float32: whole numbers of 32 bits would be made up
    if png and dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"PNG holds whole numbers of 8 or 16 bits, not {dtype}",
            where=where,
            remedy="give a name in .tif, or --depth 16",
        )
    if dtype.kind == "f" or origin.kind == "f" or origin.kind != dtype.kind:
        return dtype, 1.0
    return dtype, np.iinfo(dtype).max / np.iinfo(origin).max


def _converted(values: np.ndarray, target: _Target) -> tuple[np.ndarray, int]:
    """Values as they are stored, and how many were clipped."""
    if target.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(target.dtype), 0
    wide = np.asarray(values, dtype=np.float64)
    wide = np.rint(wide * target.factor if target.factor != 1 else wide)
    ends = np.iinfo(target.dtype)
    bad = ~np.isfinite(wide)
    clipped = int(np.count_nonzero(bad | (wide < ends.min) | (wide > ends.max)))
    wide = np.where(np.isnan(wide), 0, wide)
    return np.clip(wide, ends.min, ends.max).astype(target.dtype), clipped


def _bands(shape: tuple[int, ...], itemsize: int) -> Iterator[slice]:
    step = max(1, _BAND_BYTES // max(1, shape[1] * shape[2] * itemsize))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def _attachments(target: _Target) -> Attachments:
    return Attachments() if target.page is None else target.page.attachments


def _tiff_page(target: _Target) -> TiffPage:
    metadata = target.image.metadata
    native = (
        target.page.native if isinstance(metadata, PictureMetadata) and metadata.format == "tiff" else None
    )
    return TiffPage(
        target.store.whole(), target.colour, target.alpha, native, _attachments(target), target.factors
    )
