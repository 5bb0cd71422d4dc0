"""Pictures: what a PNG, TIFF, JPEG or BMP file holds, whatever its format.

A picture has rows, columns and one channel or three, at 8 or 16 bits or as floating point. Its values are taken as they
are stored: a gamma is not undone, an ICC profile is carried along and not applied.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import SciSRError, UnreadableError
from sciSR.views import full_index

DEFAULT_LIMIT = 2_000_000_000
"""Bytes of decoded pixels of a compressed picture."""

SIGNATURES = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "tiff": (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"),
    "jpeg": (b"\xff\xd8\xff",),
}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # sizes of the header that follows, by version


@dataclass(frozen=True)
class Attachments:
    """What a picture carries besides its pixels, in a form that both PNG and TIFF can hold.

    Attributes
    ----------
    icc : bytes
        Colour profile; empty if there is none.
    exif : bytes
        As a TIFF structure, without JPEG's prefix.
    xmp : bytes
    density : (float, float) or None
        Pixels per metre along x and y.
    texts : tuple of (str, str)
        PNG's keywords and texts.
    """

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    density: tuple[float, float] | None = None
    texts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Page:
    """One picture of a file.

    Attributes
    ----------
    rows, columns : int
    colour : bool
        Three channels R, G, B; otherwise one.
    alpha : {"", "straight", "premultiplied"}
        How a further channel says how opaque a pixel is.
    dtype : dtype
        Of the channels as they are handed on, in native byte order.
    pixels : LazyArray
        ``[rows, columns, channels]``, alpha last.
    full : int or None
        The value of full intensity and opacity; None for floating point.
    name : str
        Which one of the file's; empty where it holds one.
    attachments : Attachments
    record : str
        sciSR's own record, JSON; empty if there is none.
    native : Any
        What the writer of the same format carries over.
    notes, warnings : tuple of str
        What should be known: told by ``scisr info``; told whenever it is read.
    """

    rows: int
    columns: int
    colour: bool
    alpha: str
    dtype: np.dtype
    pixels: Any
    full: int | None
    name: str = ""
    attachments: Attachments = field(default_factory=Attachments)
    record: str = ""
    native: Any = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Without alpha."""
        return 3 if self.colour else 1


@dataclass(frozen=True, eq=False)
class Picture:
    """A checked file.

    Attributes
    ----------
    path : Path
    format : {"png", "tiff", "jpeg", "bmp"}
    pages : tuple of Page
    """

    path: Path
    format: str
    pages: tuple[Page, ...]


def format_of(path: Path) -> str | None:
    """``"png"``, ``"tiff"``, ``"jpeg"``, ``"bmp"`` or None, by the first bytes. Never raises."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(32)
    except (OSError, ValueError):
        return None
    for name, signatures in SIGNATURES.items():
        if head.startswith(signatures):
            return name
    size = int.from_bytes(head[14:18], "little")
    if head[:2] == b"BM" and head[6:10] == bytes(4) and len(head) == 32 and size in _BMP_HEADERS:
        return "bmp"
    return None


class DecodedPixels:
    """The pixels of a file that can only be decoded as a whole: that is done when they are first asked for, and kept.

    Parameters
    ----------
    decode : callable
        Gives all pixels, ``[rows, columns, channels]``.
    shape, dtype
        Of what it gives.
    path : Path
        For messages.
    """

    def __init__(
        self, decode: Callable[[], np.ndarray], shape: tuple[int, int, int], dtype: Any, path: Path
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._decode, self._path = decode, path
        self._kept: np.ndarray | None = None
        self._lock = threading.Lock()

    def __getitem__(self, index: Any) -> np.ndarray:
        with self._lock:
            if self._kept is None:
                found = self._decode()
                if found.shape != self.shape or found.dtype != self.dtype:
                    raise UnreadableError(
                        f"decodes to {found.shape} {found.dtype}, not to {self.shape} {self.dtype}",
                        where=self._path,
                    )
                self._kept = found
        return self._kept[full_index(index, 3)].copy()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_kept", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._kept, self._lock = None, threading.Lock()


class Channels:
    """The first channels of a page as a lazy array: ``[rows, columns, 3]``, or ``[rows, columns]`` of a grey one."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.shape = (page.rows, page.columns, 3) if page.colour else (page.rows, page.columns)
        self.dtype = page.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        whole = full_index(index, len(self.shape))
        if not self._page.colour:
            return np.asarray(self._page.pixels[(*whole, 0)])
        rows, columns, channels = whole
        # Alpha comes after the channels: an open end or a negative number must not reach it.
        channels = slice(*channels.indices(3)) if isinstance(channels, slice) else range(3)[int(channels)]
        return np.asarray(self._page.pixels[rows, columns, channels])


class Alpha:
    """The opacity of a page, ``[rows, columns]``, lazily."""

    def __init__(self, page: Page) -> None:
        self._page, self.shape, self.dtype = page, (page.rows, page.columns), page.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._page.pixels[(*full_index(index, 2), self._page.channels)])


class Transparent:
    """Where a page is wholly transparent, repeated over its channels: what stands there is no measurement."""

    def __init__(self, page: Page) -> None:
        self._alpha = Alpha(page)
        self.shape = Channels(page).shape
        self.dtype = np.dtype(bool)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, columns, *channel = full_index(index, len(self.shape))
        clear = self._alpha[rows, columns] == 0
        if not channel:
            return np.asarray(clear)
        if isinstance(channel[0], slice):
            return np.repeat(np.expand_dims(clear, -1), len(range(3)[channel[0]]), axis=-1)
        return np.asarray(clear)


def check_size(path: Path, rows: int, columns: int, channels: int, itemsize: int, limit: int) -> None:
    """Refuse a picture that would decode to more than `limit` bytes.

    Raises
    ------
    UnreadableError
    """
    size = rows * columns * channels * itemsize
    if size > limit:
        raise UnreadableError(
            f"its {columns}x{rows} pixels would decode to {size / 1e9:.3g} GB, more than {limit / 1e9:.3g} GB",
            where=path,
            remedy="give --max-inflated a larger size if you trust it",
        )


_PILLOW = threading.RLock()  # its limit is one number for the whole process


@contextlib.contextmanager
def pillow_unbound() -> Iterator[None]:
    """Pillow's limit of pixels lifted and its warnings silenced: sizes are checked by ours, :func:`check_size`."""
    from PIL import Image

    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@contextlib.contextmanager
def decoding(path: Path) -> Iterator[None]:
    """The same, and whatever Pillow raises as one line that names the file."""
    try:
        with pillow_unbound():
            yield
    except (SciSRError, MemoryError):
        raise
    except Exception as error:
        raise UnreadableError(f"can't be decoded: {error}"[:300], where=path) from error
