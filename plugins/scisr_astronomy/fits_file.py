"""An opened FITS file: decompressed if it must be, its structure and checksums checked, its headers parsed."""

from __future__ import annotations

import functools
import gzip
import os
import re
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sciSR.errors import ResourceError, SciSRError, SciSRWarning, UnreadableError
from sciSR.files import check_regular_file, inflate, translate_os_errors
from scisr_astronomy import checksum
from scisr_astronomy.one_hdu import open_one
from scisr_astronomy.preflight import CARD, HduRecord, walk
from scisr_astronomy.wcs_keywords import UNPARSABLE, unparsable

DEFAULT_LIMIT = 16_000_000_000  # bytes of a decompressed file
_SIZES = re.compile(r"BITPIX|NAXIS\d*|PCOUNT|GCOUNT")
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2"}


@dataclass(frozen=True, eq=False)
class FitsFile:
    """A checked FITS file.

    Attributes
    ----------
    source : Path
        What the user named.
    plain : Path
        The uncompressed file: `source` itself, or a temporary copy that lives as long as this object.
    records : tuple of HduRecord
    ignore_checksum : bool
    """

    source: Path
    plain: Path
    records: tuple[HduRecord, ...]
    ignore_checksum: bool = False
    _owner: Any = field(default=None, repr=False)

    def where(self, index: int) -> str:
        """How messages name one HDU: ``m51.fits[SCI,2]``."""
        return f"{self.source.name}[{self.part(index)}]"

    def part(self, index: int) -> str:
        """A short name that also selects the HDU: ``SCI``, ``SCI,2``, or its number."""
        record = self.records[index]
        if not record.name:
            return str(index)
        same = [r for r in self.records if r.name == record.name]
        if len(same) == 1:
            return record.name
        if len({r.version for r in same}) == len(same):
            return f"{record.name},{record.version}"
        return str(index)

    def raw_header(self, index: int) -> bytes:
        """The header's blocks as they stand in the file."""
        record = self.records[index]
        return self.read(record.start, record.data_start - record.start)

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from offset `start` of the plain file."""
        with open(self.plain, "rb") as stream:
            stream.seek(start)
            return stream.read(size)

    def header(self, index: int) -> Any:
        """A fresh astropy Header; of a compressed image, the header of the image inside.

        Raises
        ------
        UnreadableError
            It can't be parsed.
        """
        return self._parsed(index).copy()

    def peek(self, index: int) -> Any:
        """The header itself, for reading only: copies of long headers take longer than anything else here."""
        return self._parsed(index)

    def forget(self) -> None:
        """Drop the parsed headers, which are parsed again when needed: those of hundreds of files add up."""
        self._cache.clear()

    @functools.cached_property
    def _cache(self) -> dict[int, Any]:
        return {}

    def _parsed(self, index: int) -> Any:
        if index not in self._cache:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._cache[index] = self._parse(index)
            except SciSRError:
                raise
            except Exception as error:
                raise UnreadableError(
                    f"the header can't be parsed: {error}", where=self.where(index)
                ) from error
        return self._cache[index]

    def _parse(self, index: int) -> Any:
        from astropy.io import fits

        if self.records[index].kind == "compressed":
            with open_one(self.plain, self.records[index]) as hdu:
                return _as_extension(_usable(hdu.header.copy()))
        text = sanitise(self.raw_header(index)).decode("ascii")
        end = re.search(r"^(?:.{80})*?(?=END {77})", text, re.DOTALL)
        return _usable(fits.Header.fromstring(text[: end.end()] if end else text))


def _as_extension(header: Any) -> Any:
    """The header of a compressed image as that of an IMAGE extension, which the output will hold.

    Compressed from a primary array, it begins with SIMPLE instead.
    """
    from astropy.io import fits

    structure = [
        ("XTENSION", "IMAGE", "image extension"),
        ("BITPIX", header["BITPIX"]),
        ("NAXIS", header["NAXIS"]),
    ]
    structure += [(f"NAXIS{n + 1}", header[f"NAXIS{n + 1}"]) for n in range(int(header["NAXIS"]))]
    structure += [("PCOUNT", 0), ("GCOUNT", 1)]
    out = fits.Header(structure)
    replaced = {"SIMPLE", "EXTEND", "GROUPS", "BLOCKED", *(key for key, *_ in structure)}
    for card in header.cards:
        if card.keyword not in replaced:
            out.append(card, end=True)
    return out


_FORBIDDEN = re.compile(rb"[^\x20-\x7e]")


def is_printable(raw: bytes) -> bool:
    """Whether header bytes hold nothing that FITS forbids in headers."""
    return _FORBIDDEN.search(raw) is None


def sanitise(raw: bytes) -> bytes:
    """Header bytes with everything that FITS forbids in headers (control and 8-bit characters) as ``?``."""
    return _FORBIDDEN.sub(b"?", raw)


def _usable(header: Any) -> Any:
    """The header without cards whose value can't be parsed: nothing downstream may trip over them.

    Such cards are kept as COMMENT, so that nothing a user wrote is lost. A size that stands twice (with one value, or
    :func:`scisr_astronomy.preflight.walk` had refused it) stands once: the output's size would replace only the first.
    """
    from astropy.io import fits

    out = fits.Header()
    for card in header.cards:
        try:
            if _SIZES.fullmatch(card.keyword) and card.keyword in out:
                continue
            _ = card.keyword, card.value, card.comment
            text = str(card)
            if len(text) % CARD:
                raise ValueError("not a whole card")
        except Exception:
            image = getattr(card, "_image", None) or repr(getattr(card, "keyword", "?"))
            out.append(fits.Card("COMMENT", f"{UNPARSABLE}{image[:58]}"), end=True)
        else:
            out.append(card, end=True)
    return out


def warn_of_damage(file: FitsFile, indices: Iterable[int]) -> None:
    """Say that headers hold what FITS forbids: other readers refuse such files, or see other values."""
    for index in indices:
        lost = unparsable(file.peek(index))
        if lost:
            warnings.warn(
                f"{file.where(index)}: {', '.join(lost[:5])} can't be parsed and become comments",
                SciSRWarning,
                stacklevel=3,
            )
        if file.records[index].kind != "compressed" and not is_printable(file.raw_header(index)):
            warnings.warn(
                f"{file.where(index)}: the header holds characters that FITS forbids, read as '?'; it may be damaged",
                SciSRWarning,
                stacklevel=3,
            )


def open_fits(path: Path, *, limit: int = DEFAULT_LIMIT, ignore_checksum: bool = False) -> FitsFile:
    """Open, decompress if needed, and check a FITS file.

    Parameters
    ----------
    path : Path
    limit : int
        Largest size in bytes that a compressed file may decompress to.
    ignore_checksum : bool
        Go on with a warning where CHECKSUM or DATASUM is wrong.

    Raises
    ------
    UnreadableError
        Not FITS, truncated, structurally broken, failing a CRC or checksum.
    ResourceError
        No space for the decompressed copy.
    """
    path = Path(path)
    check_regular_file(path)
    with open(path, "rb") as stream:
        head = stream.read(10)
    compression = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    plain, owner = (path, None) if compression is None else _inflated(path, compression, limit)
    records, note = walk(plain, path)
    file = FitsFile(path, plain, records, ignore_checksum, owner)
    if note:
        warnings.warn(f"{path.name}: {note}", SciSRWarning, stacklevel=2)
    for record in records:
        if not ignore_checksum and (what := wrong_sum(file, record)):
            raise UnreadableError(
                what, where=file.where(record.index), remedy="fetch the file again, or give --ignore-checksum"
            )
    return file


class _Folder:
    """A temporary folder, removed when the last user of it is gone."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="scisr-fits-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _inflated(path: Path, compression: str, limit: int) -> tuple[Path, _Folder]:
    folder = _Folder()
    free = shutil.disk_usage(folder.path).free
    target = folder.path / "inflated.fits"
    with translate_os_errors(folder.path):
        try:
            inflate(path, target, compression=compression, limit=min(limit, max(free - (1 << 28), 0)))
        except UnreadableError as error:
            if free - (1 << 28) < limit and "grows beyond" in error.what:
                raise ResourceError(
                    "no space to decompress it",
                    where=path,
                    remedy=f"free some in {folder.path.parent} or set TMPDIR",
                ) from error
            raise UnreadableError(error.what, where=path, remedy=error.remedy) from error
        except (gzip.BadGzipFile, ValueError) as error:
            raise UnreadableError(f"damaged {compression} data: {error}", where=path) from error
    return target, folder


def wrong_sum(file: FitsFile, record: HduRecord) -> str | None:
    """What is wrong with an HDU's DATASUM or CHECKSUM, where they stand; None if nothing.

    A wrong DATASUM is damaged data. A wrong CHECKSUM with a right DATASUM is a header changed since: by an
    editor that didn't know about checksums, or by damage; only the user can tell which.
    """
    raw = file.raw_header(record.index)
    stored = {key: string_card(raw, key) for key in ("CHECKSUM", "DATASUM")}
    if not any(stored.values()):
        return None
    with open(file.plain, "rb") as stream:
        data = checksum.sum_range(stream, record.data_start, record.end - record.data_start)
    declared = stored["DATASUM"]
    if declared and declared.isdigit() and int(declared) % 0xFFFFFFFF != data % 0xFFFFFFFF:
        return f"DATASUM is {declared}, the data sum to {data}: damaged, or changed since it was computed"
    # Anything but 16 characters (an empty string, '0') says "not computed".
    whole = checksum.add_to_sum(raw, data)
    if stored["CHECKSUM"] and len(stored["CHECKSUM"]) == 16 and whole % 0xFFFFFFFF != 0:
        return "CHECKSUM is wrong, DATASUM is right: the header was changed or damaged since"
    return None


def string_card(raw: bytes, key: str) -> str | None:
    start = f"{key:<8}=".encode()
    for at in range(0, len(raw), CARD):
        card = raw[at : at + CARD]
        if card.startswith(start):
            text = card[9:].decode("latin-1").strip()
            return text[1:].split("'")[0].strip() if text.startswith("'") else text.split("/")[0].strip()
    return None


def is_fits(path: Path) -> bool:
    """Whether the content begins like a FITS file, plain or compressed. Reads at most one bzip2 block."""
    import bz2
    import zlib

    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as stream:
            head = stream.read(4096)
            if head.startswith(b"\x1f\x8b"):
                head = zlib.decompressobj(31).decompress(head, 64)
            elif head.startswith(b"BZh"):
                head = bz2.BZ2Decompressor().decompress(head + stream.read(1 << 20), 64)
    except (OSError, zlib.error, EOFError, ValueError):
        return False
    return head.startswith(b"SIMPLE  =")
