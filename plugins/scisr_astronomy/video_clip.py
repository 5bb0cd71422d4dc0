"""The frames of a video, decoded one after another; any frame by decoding from the keyframe before it."""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from sciSR.errors import UnreadableError, UnsupportedError
from scisr_astronomy.video import VideoFile, decoding, open_container


class Pixels:
    """How planes are taken from frames of one pixel format.

    Attributes
    ----------
    kind : {"mono", "rgb", "yuv"}
    bits : int
    repacked : str
        The format to which frames are brought first, without changing a value; empty if that is not needed.
    subsampling : (int, int)
        Luma pixels per chroma pixel, rows and columns.
    tables : tuple of ndarray
        What paletted pixels stand for in each plane, (256,) each.
    """

    def __init__(self, file: VideoFile) -> None:
        from av.video.format import VideoFormat

        layout = VideoFormat(file.pixel_format, 1024, 1024)
        parts = [part for part in layout.components if not part.is_alpha]
        self.bits = max(8, *(part.bits for part in parts))
        self.subsampling, self.repacked = (1, 1), ""
        self.tables: tuple[np.ndarray, ...] = ()
        self.kind: Literal["mono", "rgb", "yuv"]
        if layout.name.startswith(("bayer_", "xyz", "mono")):
            raise UnsupportedError(
                f"pixels of format {layout.name} are not read", where=file.path, remedy="convert it to SER"
            )
        if layout.has_palette:
            # Indices are looked up here: after a seek FFmpeg's decoder no longer knows the palette.
            colours = np.frombuffer(file.palette, np.uint8).reshape(256, 4)[:, 1:]
            self.kind = "mono" if (colours == colours[:, :1]).all() else "rgb"
            self.tables = tuple(colours.T.copy())[: 1 if self.kind == "mono" else 3]
        elif len(parts) == 1:
            self.kind = "mono"
            self._float(layout.name, file)
            if len(layout.components) > 1 or layout.is_big_endian:
                self.repacked = self.mono_format
        elif layout.is_rgb:
            self.kind = "rgb"
            self._float(layout.name, file)
            self.repacked = "rgb24" if self.bits == 8 else f"gbrp{self.bits}le"
        else:
            self.kind = "yuv"
            self.subsampling = (1024 // layout.chroma_height(), 1024 // layout.chroma_width())
            if self.subsampling not in _SUBSAMPLED:
                raise UnsupportedError(f"chroma of format {layout.name} is not read", where=file.path)
            self.repacked = self.yuv_format

    @staticmethod
    def _float(name: str, file: VideoFile) -> None:
        if "f16" in name or "f32" in name:
            raise UnsupportedError(f"floating-point pixels ({name}) are not read", where=file.path)

    @property
    def _deep(self) -> str:
        return "" if self.bits == 8 else f"{self.bits}le"

    @property
    def mono_format(self) -> str:
        return f"gray{self._deep}"

    @property
    def yuv_format(self) -> str:
        return f"yuv{_SUBSAMPLED[self.subsampling]}p{self._deep}"


_SUBSAMPLED = {(1, 1): "444", (1, 2): "422", (2, 2): "420", (2, 1): "440", (1, 4): "411", (4, 4): "410"}


class VideoClip:
    """A :class:`scisr_astronomy.clip.Clip`.

    One after another, each frame is decoded once; going back, or far ahead, decoding starts at the keyframe before. One
    file is open while frames are read, and the last frame is kept.
    """

    def __init__(self, file: VideoFile) -> None:
        self.file, self.path, self.frames = file, file.path, file.frames
        self.pixels = Pixels(file)
        self.kind = self.pixels.kind
        self.shape = (file.height, file.width)
        rows, columns = self.pixels.subsampling
        self.chroma_shape = (-(-file.height // rows), -(-file.width // columns))
        self.dtype = np.dtype("u1" if self.pixels.bits == 8 else "u2")
        top = (1 << self.pixels.bits) - 1
        limited = self.kind == "yuv" and not file.full_range
        self.full = float(235 << (self.pixels.bits - 8) if limited else top)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._kept: tuple[int, Sequence[np.ndarray]] | None = None
        self._container: Any = None
        self._stream: Any = None
        self._decoder: Iterator[Any] | None = None
        self._next = 0

    def __getstate__(self) -> dict[str, Any]:
        left_here = ("_lock", "_kept", "_container", "_stream", "_decoder", "_next")
        return {key: value for key, value in self.__dict__.items() if key not in left_here}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def close(self) -> None:
        """Close the file; it is opened again when the next frame is asked for."""
        self._decoder = self._stream = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def planes(self, t: int) -> Sequence[np.ndarray]:
        """Y (or grey) alone; R, G, B; or Y, Cb, Cr as stored."""
        with self._lock:
            if self._kept is None or self._kept[0] != t:
                self._kept = (t, self._taken(self._decoded(t), t))
            return self._kept[1]

    def saturated(self, t: int) -> np.ndarray:
        """Where any plane is saturated, (rows, columns), bool."""
        high = [plane >= self.full for plane in self.planes(t)]
        return high[0] | high[1] | high[2] if self.kind == "rgb" else high[0]

    def _decoded(self, t: int) -> Any:
        timed = self.file.times is not None
        key = self.file.keys[bisect_right(self.file.keys, t, key=lambda each: each[0]) - 1]
        try:
            if self._decoder is None or t < self._next or (timed and key[0] > self._next):
                self._start_at(*key)
            frame = self._go_on_to(t)
            if frame is None and key[0] > 0:  # an index that leads astray: from the beginning
                self._start_at(0, 0)
                frame = self._go_on_to(t)
            if frame is None:
                raise UnreadableError(f"frame {t} is missing or damaged", where=self.path)
            return frame
        except BaseException:
            self.close()  # where a failed decoder stands is not known
            raise

    def _start_at(self, key: int, time: int) -> None:
        """Begin decoding at a keyframe; at the first one with a file opened anew."""
        if self._container is None or key == 0:
            self.close()
            self._container, self._stream = open_container(self.path, self.file.container)
        with decoding(self.path):
            if key > 0:
                self._container.seek(time, stream=self._stream, backward=True)
            self._decoder = self._container.decode(self._stream)
            self._next = key

    def _go_on_to(self, t: int) -> Any:
        """Decode up to frame `t`; None if it does not come."""
        times = self.file.times
        with decoding(self.path, f"frame {t} can't be decoded"):
            while (frame := self._next_frame(t)) is not None:
                if times is None:
                    reached, self._next = self._next, self._next + 1
                elif frame.pts is None or frame.pts < times[t]:
                    continue
                else:
                    reached, self._next = (t if frame.pts == times[t] else self.frames), t + 1
                if reached >= t:
                    return frame if reached == t else None
        return None

    def _next_frame(self, t: int) -> Any:
        """The decoder's next frame, None at the end.

        FFmpeg fills damaged parts of FFV1 frames from the frame before and says so in its log alone: there the log is
        listened to.
        """
        if self._decoder is None:
            return None
        if self.file.codec != "ffv1":
            return next(self._decoder, None)
        from av import logging

        level = logging.get_level()
        logging.set_level(logging.ERROR)
        try:
            with logging.Capture(local=False) as said:
                frame = next(self._decoder, None)
        finally:
            logging.set_level(level)
        if any(name == "ffv1" for _, name, _ in said):
            raise UnreadableError(f"frame {t} is damaged: {said[0][2]}", where=self.path)
        return frame

    def _taken(self, frame: Any, t: int) -> Sequence[np.ndarray]:
        file, pixels = self.file, self.pixels
        if (frame.width, frame.height, frame.format.name) != (file.width, file.height, file.pixel_format):
            raise UnreadableError(f"frame {t} has another size or format than the first", where=self.path)
        if frame.is_corrupt:
            raise UnreadableError(f"frame {t} is damaged", where=self.path)
        with decoding(self.path, f"frame {t} can't be decoded"):
            if pixels.repacked not in ("", frame.format.name):
                frame = frame.reformat(format=pixels.repacked)
            if pixels.tables:
                stored = _plane(frame.planes[0], self.dtype, *self.shape)
                return [table[stored] for table in pixels.tables]
            if frame.format.name == "rgb24":
                packed = _plane(frame.planes[0], self.dtype, self.shape[0], 3 * self.shape[1])
                return [packed[:, k::3] for k in range(3)]
            shapes = [self.shape] if self.kind == "mono" else [self.shape] * 3
            if self.kind == "yuv":
                shapes[1:] = [self.chroma_shape] * 2
            found = [_plane(p, self.dtype, *shape) for p, shape in zip(frame.planes, shapes, strict=False)]
        return [found[2], found[0], found[1]] if self.kind == "rgb" else found  # G, B, R in gbrp


def _plane(plane: Any, dtype: np.dtype, rows: int, columns: int) -> np.ndarray:
    """A plane as an array of its own; a negative line size means rows from the bottom up."""
    stride = abs(plane.line_size)
    values = np.frombuffer(plane, np.uint8)[: rows * stride].reshape(rows, stride)
    values = (
        values[:, : columns * dtype.itemsize].copy().view(dtype.newbyteorder("<")).astype(dtype, copy=False)
    )
    return values[::-1] if plane.line_size < 0 else values
