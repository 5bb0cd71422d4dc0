"""Writes a fused image as a multi-extension FITS file: SCI, ERR, WHT, COV, CTX, the frames, and the record."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sciSR.errors import ResourceError, UsageError
from sciSR.files import atomic_output, translate_os_errors
from sciSR.fusion.product import Fused
from scisr_astronomy import checksum
from scisr_astronomy.carry import StoredForm
from scisr_astronomy.frame_table import frame_table
from scisr_astronomy.fused_header import combined_headers
from scisr_astronomy.fused_wcs import wcs_grid_of
from scisr_astronomy.header_bytes import block_padding, header_blocks, header_bytes
from scisr_astronomy.preflight import BLOCK
from scisr_astronomy.provenance_table import provenance_hdu
from scisr_astronomy.wcs_keywords import is_wcs_keyword

_CHUNK = 1 << 22


@dataclass(eq=False)
class _Hdu:
    """A header with all but its sums, and data: an array, or bytes that are stored as they are."""

    header: Any
    data: np.ndarray | bytes | None = None

    @property
    def size(self) -> int:
        if self.data is None:
            return 0
        return len(self.data) if isinstance(self.data, bytes) else self.data.nbytes


def write_fused(path: Path, fused: Fused, *, overwrite: bool = False) -> Path:
    """Write the product, atomically.

    Parameters
    ----------
    path : Path
        Compressed where it ends in ``.gz``.
    fused : Fused
    overwrite : bool

    Raises
    ------
    SciSRError
        The target exists, or the disk is full. Nothing is written then.
    """
    path = Path(path)
    hdus = plan_hdus(fused)
    table = provenance_hdu([(1, "SCI", fused.image.provenance)])
    size = sum(header_blocks(hdu.header) * BLOCK + -(-hdu.size // BLOCK) * BLOCK for hdu in hdus) + len(table)
    with ExitStack() as stack:
        target = stack.enter_context(atomic_output(path, overwrite=overwrite))
        free = shutil.disk_usage(target.parent).free
        if size > free:
            raise ResourceError(
                f"needs {size / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free",
                where=path,
                remedy="free some space; nothing was written",
            )
        stack.enter_context(translate_os_errors(path))
        plain = target
        if path.name.lower().endswith(".gz"):
            handle, name = tempfile.mkstemp(
                prefix=f".{path.name[:80]}.", suffix=".plain.tmp", dir=path.parent
            )
            os.close(handle)
            plain = Path(name)
            stack.callback(plain.unlink, missing_ok=True)
        with plain.open("r+b") as stream:
            for hdu in hdus:
                _write_hdu(stream, hdu)
            stream.write(table)
        if plain != target:
            _compress(plain, target)
    return path


def plan_hdus(fused: Fused) -> list[_Hdu]:
    """All HDUs but the record, in order."""
    image = fused.image
    shape = tuple(image.shape)
    for name, data in (("weight", fused.weight), ("coverage", fused.coverage)):
        if tuple(data.shape) != shape:
            raise UsageError(f"the {name} has shape {tuple(data.shape)}, the image {shape}")
    headers = combined_headers(fused)
    unit = str(headers.science.get("BUNIT", "")).strip()
    science = np.asarray(image.data[...], dtype=np.float32)
    hdus = [_primary(headers.primary), _image("SCI", science, headers.science)]
    world = _world(headers.science)
    if image.uncertainty is not None:
        error = np.asarray(image.uncertainty[...], dtype=np.float32)
        hdus.append(_image("ERR", error, world, "One standard deviation of SCI.", unit))
    weight = np.asarray(fused.weight)
    if weight.dtype != np.float64:  # which it is where a unit's 1/variance leaves single precision
        weight = weight.astype(np.float32)
    inverse = f"({unit})**-2" if unit else ""
    hdus.append(_image("WHT", weight, world, "Sum of the frames' 1/variance, in the unit of SCI.", inverse))
    hdus.append(_image("COV", _counts(fused.coverage), world, "Frames that contribute to the pixel."))
    if fused.context is not None:
        hdus.append(_context(fused.context, shape, world))
    hdus += _distortion(image.grid)
    header, data = frame_table(fused.records, fused.sequence.left_out)
    hdus.append(_Hdu(header, data))
    return hdus


def _primary(header: Any) -> _Hdu:
    structure = [("SIMPLE", True, "FITS standard"), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)]
    return _Hdu(_joined(structure, header))


def _image(name: str, data: np.ndarray, cards: Any, meaning: str = "", unit: str = "") -> _Hdu:
    """An image extension."""
    form = StoredForm.of(data.dtype)
    structure: list[Any] = [
        ("XTENSION", "IMAGE", "image extension"),
        ("BITPIX", form.bitpix, "bits per value"),
        ("NAXIS", data.ndim),
        *((f"NAXIS{n}", size) for n, size in enumerate(reversed(data.shape), start=1)),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("EXTNAME", name),
        ("EXTVER", 1),
        ("INHERIT", True, "the primary header's cards hold here too"),
    ]
    header = _joined(structure, cards)
    if unit:
        header["BUNIT"] = unit
    if meaning:
        header.add_comment(meaning)
    return _Hdu(header, data)


def _joined(structure: Sequence[Any], cards: Any) -> Any:
    from astropy.io import fits

    header = fits.Header(list(structure))
    header.extend(cards.cards, end=True, strip=False, bottom=True)
    return header


def _world(header: Any) -> Any:
    """The cards of a header that tell where its pixels lie, and when (wcslib wants the date)."""
    from astropy.io import fits

    out = fits.Header()
    for card in header.cards:
        where = is_wcs_keyword(card.keyword) or card.keyword.startswith(("WAT", "LTV", "LTM"))
        if where or card.keyword in ("DATE-OBS", "MJD-OBS", "TIMESYS"):
            out.append(card, end=True)
    return out


def _counts(coverage: np.ndarray) -> np.ndarray:
    """Whole numbers as int16 where they are such; partial coverage stays float32."""
    coverage = np.asarray(coverage)
    whole = np.rint(coverage)
    if coverage.size and np.all(coverage == whole) and whole.min() >= 0 and whole.max() < 1 << 15:
        return whole.astype(np.int16)
    return coverage.astype(np.float32)


def _context(context: np.ndarray, shape: tuple[int, ...], world: Any) -> _Hdu:
    """Bit planes; a single one as an image, which every viewer shows."""
    from astropy.io import fits

    context = np.asarray(context, dtype=np.int32)
    if context.shape[-2:] != shape:
        raise UsageError(f"the context has shape {context.shape}, the image {shape}")
    single = context.ndim == 2 or len(context) == 1
    meaning = "Bit k of plane p: the frame with CTXBIT = 32 p + k in FRAMES contributes."
    if single:
        return _image("CTX", context.reshape(shape), world, meaning)
    return _image("CTX", context, fits.Header(), meaning)


def _distortion(grid: Any) -> Iterator[_Hdu]:
    """Look-up tables of the world coordinates, scaled to the fine grid; coordinate tables as they are."""
    from astropy.io import fits

    found = wcs_grid_of(grid)
    if found is None:
        return
    for table in found.tables:
        form = StoredForm.of(table.data.dtype)
        header = table.header.copy()
        form.describe(header)
        yield _Hdu(header, np.asarray(table.data))
    for raw in found.binary_tables:
        header = fits.Header.fromstring(raw[: _header_size(raw)].decode("ascii"))
        yield _Hdu(header, raw[_header_size(raw) :])


def _header_size(raw: bytes) -> int:
    """Bytes of the header blocks at the start of a whole HDU."""
    for at in range(0, len(raw), BLOCK):
        block = raw[at : at + BLOCK]
        if any(block[card : card + 80].rstrip() == b"END" for card in range(0, BLOCK, 80)):
            return at + BLOCK
    return len(raw)


def _write_hdu(stream: BinaryIO, hdu: _Hdu) -> None:
    """Room for the header, the data, then the header with their sums."""
    start = stream.tell()
    blocks = header_blocks(hdu.header)
    stream.write(bytes(blocks * BLOCK))
    total, size = 0, 0
    for chunk in _stored(hdu.data):
        stream.write(chunk)
        total, size = checksum.add_to_sum(chunk, total), size + len(chunk)
    stream.write(block_padding(size))
    end = stream.tell()
    stream.seek(start)
    stream.write(header_bytes(hdu.header, total, blocks=blocks))
    stream.seek(end)


def _stored(data: np.ndarray | bytes | None) -> Iterator[bytes]:
    """Pieces of a few MB as FITS stores them; each but the last a multiple of four bytes."""
    if data is None:
        return
    if isinstance(data, bytes):
        yield from (data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK))
        return
    form = StoredForm.of(data.dtype)
    flat = data.reshape(-1)
    step = _CHUNK // max(1, flat.dtype.itemsize)
    for at in range(0, flat.size, step):
        yield form.store(flat[at : at + step]).tobytes()


def _compress(plain: Path, target: Path) -> None:
    with (
        plain.open("rb") as source,
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as sink,
    ):
        shutil.copyfileobj(source, sink, _CHUNK)
