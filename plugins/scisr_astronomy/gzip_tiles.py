"""Gzip-compressed tiles, checked before they are unpacked whole: a tile of 1 MB may grow to 1 GB.

astropy unpacks each tile with one call that knows no limit. Tiles that could not grow to anything harmful (deflate
grows by 1032 at most) are left to it; larger ones are first unpacked here piece by piece up to what their pixels need.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from sciSR.errors import UnreadableError
from scisr_astronomy.one_hdu import open_one
from scisr_astronomy.preflight import HduRecord

HARMLESS = 1 << 28  # bytes
_DEFLATE_RATIO = 1032
_PIECE = 1 << 20


class GzipTiles:
    """The gzip tiles of one compressed image.

    Parameters
    ----------
    path : Path
        The plain file.
    record : HduRecord
        Of the compressed image.
    where : str
        How messages name it.
    """

    def __init__(self, path: Path, record: HduRecord, *, where: str) -> None:
        self.path, self.record, self.where = path, record, where
        keys, axes = record.keys, len(record.shape)
        default = [record.shape[-1], *([1] * (axes - 1))]
        self._tile = [int(keys.get(f"ZTILE{n}", default[n - 1])) for n in range(axes, 0, -1)]
        self._grid = [-(-size // tile) for size, tile in zip(record.shape, self._tile, strict=True)]
        self._limit = math.prod(self._tile) * 8 + 1024
        self._checked: set[int] = set()
        with open_one(path, record, disable_image_compression=True) as table:
            gzip = str(table.header.get("ZCMPTYPE", "")).upper().startswith("GZIP")
            wanted = ["GZIP_COMPRESSED_DATA", *(["COMPRESSED_DATA"] if gzip else [])]
            self._columns = [
                (table.columns.dtype.fields[name][1], "q" if "Q" in table.columns[name].format else "i")
                for name in wanted
                if name in table.columns.names
            ]
            self._heap = record.data_start + int(table.header.get("THEAP", keys["NAXIS1"] * keys["NAXIS2"]))

    def check(self, bounds: Sequence[slice]) -> None:
        """Look at the tiles under a block that were not looked at yet.

        Raises
        ------
        UnreadableError
            A tile grows beyond its pixels, or is no gzip data, or does not lie in the file.
        """
        if not self._columns:
            return
        spans = [range(b.start // t, (b.stop - 1) // t + 1) for b, t in zip(bounds, self._tile, strict=True)]
        with open(self.path, "rb") as stream:
            for place in itertools.product(*spans):
                row = 0
                for position, count in zip(place, self._grid, strict=True):
                    row = row * count + position
                if row not in self._checked:
                    for offset, code in self._columns:
                        self._check(stream, row, offset, code)
                    self._checked.add(row)

    def _check(self, stream: BinaryIO, row: int, offset: int, code: str) -> None:
        descriptor = struct.Struct(f">2{code}")
        stream.seek(self.record.data_start + row * int(self.record.keys["NAXIS1"]) + offset)
        length, start = descriptor.unpack(stream.read(descriptor.size))
        if length == 0:
            return
        if length < 0 or start < 0 or self._heap + start + length > self.record.end:
            raise UnreadableError(f"tile {row} does not lie in the file", where=self.where)
        if length * _DEFLATE_RATIO <= HARMLESS:
            return
        stream.seek(self._heap + start)
        inflater, grown = zlib.decompressobj(47), 0
        try:
            pending = stream.read(length)
            while pending and not inflater.eof:
                grown += len(inflater.decompress(pending, _PIECE))
                pending = inflater.unconsumed_tail
                if grown > self._limit:
                    raise UnreadableError(
                        f"tile {row} grows beyond the pixels it should hold", where=self.where
                    )
        except zlib.error as error:
            raise UnreadableError(f"tile {row} is damaged: {error}", where=self.where) from error
