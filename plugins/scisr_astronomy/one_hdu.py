"""One extension of a FITS file as a file of its own, so that a library need not walk over all that come before it.

astropy converts the header of each compressed image on its way; for a camera of 60 detectors, read one after the other,
that adds up to minutes.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scisr_astronomy.preflight import BLOCK, CARD, HduRecord

_CARDS = (
    "SIMPLE  =                    T",
    "BITPIX  =                    8",
    "NAXIS   =                    0",
    "END",
)
_PRIMARY = "".join(card.ljust(CARD) for card in _CARDS).ljust(BLOCK).encode("ascii")


class _Alone(io.RawIOBase):
    """An empty primary array, and behind it the bytes of one extension where they lie in the file."""

    def __init__(self, path: Path, record: HduRecord) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed with this stream
        self._start, self._size, self._at = record.start, record.end - record.start, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: BLOCK + self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer)
        if self._at < BLOCK:
            piece = _PRIMARY[self._at : self._at + wanted]
        else:
            inside = self._at - BLOCK
            self._file.seek(self._start + inside)
            piece = self._file.read(max(0, min(wanted, self._size - inside)))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def open_one(path: Path, record: HduRecord, **options: Any) -> Iterator[Any]:
    """The extension as astropy sees it; closed at the end.

    Parameters
    ----------
    path : Path
        The plain file.
    record : HduRecord
        Of an extension, not of the primary.
    **options
        Of `astropy.io.fits.open`.

    Yields
    ------
    astropy HDU
    """
    from astropy.io import fits

    with io.BufferedReader(_Alone(path, record)) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(stream, memmap=False, **options) as hdus:
            yield hdus[1]
