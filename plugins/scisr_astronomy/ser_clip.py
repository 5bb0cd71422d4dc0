"""The frames of a SER file, read one at a time; Bayer mosaics by super-pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sciSR.errors import UnreadableError
from scisr_astronomy.ser import BAYER, BGR, HEADER_SIZE, SerFile, SerHeader
from scisr_astronomy.ser_order import Storage, judge_storage

_SAMPLED_FRAMES = 5
_SAMPLED_ROWS = 256


@dataclass(frozen=True, eq=False)
class SerMetadata:
    """What travels with the images to the writer.

    Attributes
    ----------
    file : SerFile
    storage : Storage
    """

    file: SerFile
    storage: Storage

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.file.notes, *self.storage.notes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know even without asking."""
        return (*self.file.lost, *self.storage.doubts)


class SerClip:
    """A :class:`scisr_astronomy.clip.Clip`. No file stays open; one frame is kept in memory.

    A Bayer mosaic becomes super-pixels: each cell of 2x2 detector pixels gives one pixel with its R, the mean of
    its two G, and its B. Nothing is interpolated; a last odd row or column is dropped. All channels are placed at the
    centre of the cell, a quarter of a super-pixel from its red or blue detector pixel, alike in all frames.
    """

    def __init__(self, file: SerFile, storage: Storage) -> None:
        header = file.header
        self.path, self.header, self.storage = file.path, header, storage
        self.frames, self.full = header.frames, float(storage.full)
        self.pattern = BAYER.get(header.color_id)
        self.kind: Literal["mono", "rgb"] = "rgb" if self.pattern or header.planes == 3 else "mono"
        cell = 2 if self.pattern else 1
        self.shape = self.chroma_shape = (header.height // cell, header.width // cell)
        # The mean of two greens may end in one half.
        self.dtype = np.dtype(np.float32 if self.pattern else f"u{header.sample_bytes}")
        self._kept: tuple[int, np.ndarray] | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_kept": None}

    def raw(self, t: int) -> np.ndarray:
        """Frame `t` as it lies in the file, in native byte order.

        Raises
        ------
        UnreadableError
            The file has become shorter.
        """
        kept = self._kept
        if kept is not None and kept[0] == t:
            return kept[1]
        order = self.storage.order
        frame = read_frame(self.path, self.header, t, order).astype(
            f"=u{self.header.sample_bytes}", copy=False
        )
        self._kept = (t, frame)
        return frame

    def planes(self, t: int) -> Sequence[np.ndarray]:
        """One plane, or R, G, B, (rows, columns) each."""
        frame = self.raw(t)
        if self.pattern:
            return self._superpixels(frame)
        if self.kind == "mono":
            return [frame]
        colours = [frame[..., k] for k in range(3)]
        return colours[::-1] if self.header.color_id == BGR else colours

    def saturated(self, t: int) -> np.ndarray:
        """Where a detector pixel behind a pixel is saturated, (rows, columns), bool."""
        high = self.raw(t) >= self.full
        if self.pattern:
            cells = self._cells(high)
            return cells[0] | cells[1] | cells[2] | cells[3]
        return high if self.kind == "mono" else high.any(axis=-1)

    def _cells(self, frame: np.ndarray) -> list[np.ndarray]:
        rows, columns = self.shape
        return [frame[i : 2 * rows : 2, j : 2 * columns : 2] for i in (0, 1) for j in (0, 1)]

    def _superpixels(self, frame: np.ndarray) -> list[np.ndarray]:
        found: dict[str, list[np.ndarray]] = {}
        for colour, plane in zip(self.pattern or "", self._cells(frame), strict=True):
            found.setdefault(colour, []).append(plane.astype(np.float32))
        first, second = found["G"]
        return [found["R"][0], (first + second) / 2, found["B"][0]]


def read_frame(path: Path, header: SerHeader, t: int, order: str, rows: slice = slice(None)) -> np.ndarray:
    """Rows of one frame in a given byte order, (rows, columns) or (rows, columns, 3).

    Raises
    ------
    UnreadableError
    """
    start, stop, _ = rows.indices(header.height)
    row_bytes = header.frame_bytes // header.height
    wanted = (stop - start) * row_bytes
    with open(path, "rb") as stream:
        stream.seek(HEADER_SIZE + t * header.frame_bytes + start * row_bytes)
        content = stream.read(wanted)
    if len(content) < wanted:
        raise UnreadableError(f"frame {t} is not whole any more: the file was cut", where=path)
    return np.frombuffer(content, f"{order}u{header.sample_bytes}").reshape(-1, *header.frame_shape[1:])


def open_clip(file: SerFile) -> tuple[SerClip, SerMetadata]:
    """The clip of a checked file; its byte order is judged by some rows of a few frames spread over it."""
    header = file.header
    spread = np.linspace(0, header.frames - 1, min(_SAMPLED_FRAMES, header.frames)).astype(int)
    top = max(0, (header.height - _SAMPLED_ROWS) // 2)
    rows = slice(top, top + _SAMPLED_ROWS)
    sample = np.stack([read_frame(file.path, header, int(t), "<", rows) for t in spread])
    storage = judge_storage(
        sample.astype(sample.dtype.newbyteorder("="), copy=False),
        header.little_endian,
        header.depth,
        2 if header.color_id in BAYER else 1,
    )
    return SerClip(file, storage), SerMetadata(file, storage)
