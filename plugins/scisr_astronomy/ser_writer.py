"""Writes SER version 3: frames where they belong, time stamps as a trailer, the header last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import UsageError
from sciSR.image import Image
from scisr_astronomy.clip import to_rgb
from scisr_astronomy.clip_store import BlockStore
from scisr_astronomy.clip_writer import ClipWriter, clip_shape
from scisr_astronomy.ser import BGR, HEADER_SIZE, MONO, RGB, SerHeader
from scisr_astronomy.ser_clip import SerMetadata

_LARGEST = (1 << 31) - 1


class SerWriter(ClipWriter):
    """One SER file and its record; see :class:`sciSR.adapter.Writer`.

    Pixels are whole numbers, rounded to the nearest and clipped to the range. They are written low byte first with
    LittleEndian 0, which is how programs read it (see :mod:`scisr_astronomy.ser_order`).

    Parameters
    ----------
    path : Path
    images : sequence of Image
        One with axes (t, y, x), or Y and CbCr as read from a colour clip.
    overwrite : bool
    depth : {"keep", "16"}
        ``"16"``: values are multiplied by ``2**(16 - depth)``, so that fractions of the input's steps are kept.
    """

    def __init__(self, path: Path, images: Sequence[Image], *, overwrite: bool, depth: str) -> None:
        if depth not in ("keep", "16"):
            raise UsageError(f"depth must be keep or 16, not {depth!r}", where=path)
        self._plan(path, images, wide=depth == "16")
        super().__init__(path, images, overwrite=overwrite)

    def _plan(self, path: Path, images: Sequence[Image], *, wide: bool) -> None:
        metadata = images[0].metadata if images else None
        known = metadata if isinstance(metadata, SerMetadata) else None
        header = known.file.header if known else SerHeader(0, MONO, 0, 0, 0, 16, 0)
        self._ticks = known.file.ticks if known else None
        depth = header.depth
        if known is not None and not known.storage.right:
            depth = 8 * header.sample_bytes  # pixels that filled the high bits fill all of them now
        self._factor = 1 << (16 - depth) if wide else 1
        depth = 16 if wide else depth
        self._top = (1 << depth) - 1
        self._header = replace(header, depth=depth, little_endian=0)

    def _begin(self, images: Sequence[Image]) -> None:
        frames, rows, columns = clip_shape(images[0])
        if max(frames, rows, columns) > _LARGEST:
            raise UsageError(f"SER can't count to {max(frames, rows, columns)}", where=self.path)
        colour = MONO if not self.coloured else BGR if self._header.color_id == BGR else RGB
        self._header = replace(self._header, color_id=colour, width=columns, height=rows, frames=frames)
        if self._ticks is not None and len(self._ticks) != frames:
            self._ticks = None
        self._stream = self._stack.enter_context(self._temporary.open("r+b", buffering=0))
        self._sample = np.dtype(f"<u{self._header.sample_bytes}")
        whole = (frames, *self._header.frame_shape)
        # Monochrome pixels go straight to their place; colour needs all of its parts first.
        place = {"offset": HEADER_SIZE, "top": self._top}
        self._pixels = BlockStore(self._stream, whole, self._sample, self.path, **place)
        if self.coloured:
            for image in images:
                self.stores.append(BlockStore(self._scratch(), image.shape, np.float32, self.path))
        else:
            self.stores.append(self._pixels)

    def _scaled(self, block: np.ndarray) -> np.ndarray:
        return block if self._factor == 1 else np.asarray(block, dtype=np.float64) * self._factor

    def _finish(self) -> Mapping[str, Any]:
        header = self._header
        if self.coloured:
            luma, chroma = self.stores
            for t in range(header.frames):
                planes = to_rgb(luma.frame(t), chroma.frame(t))
                planes = planes[::-1] if header.color_id == BGR else planes
                self._pixels.put((t,), np.moveaxis(planes, 0, -1))
        self._stream.seek(0)
        self._stream.write(header.pack())
        if self._ticks is not None:
            self._stream.seek(HEADER_SIZE + header.frames * header.frame_bytes)
            self._stream.write(self._ticks.astype("<i8").tobytes())
        self._stream.close()
        return {
            "format": "SER 3",
            "bits": header.depth,
            "multiplied_by": self._factor,
            "rounded": True,
            "clipped_values": self._pixels.clipped,
        }
