"""Clips: many frames of one camera in one file. What SER and AVI, MP4, MKV share: frames as lazy images.

Colour goes through luma and two chroma differences, so that a network sees one plane of all the light:

    Y = 0.299 R + 0.587 G + 0.114 B,    Cb = (B - Y) / 1.772,    Cr = (R - Y) / 1.402

(ITU-R BT.601-7, 2.5.1 and 2.5.2, on the stored values; Cb and Cr around zero). The inverse is exact, so that a frame
that is not changed comes back to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.sequence import Frame
from sciSR.views import full_index
from scisr_astronomy.clip_record import Record

CHANNELS = ("Y", "R", "G", "B")
LUMA, CHROMA = "Y", "CbCr"

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
_CB, _CR = 2 * (1 - _BLUE), 2 * (1 - _RED)


class Clip(Protocol):
    """A clip that yields one frame at a time.

    Attributes
    ----------
    path : Path
    frames : int
    shape : (rows, columns)
        Of a frame; of a Bayer clip's super-pixels.
    chroma_shape : (rows, columns)
        Of the chroma planes; those of a video may be coarser.
    kind : {"mono", "rgb", "yuv"}
        One plane; R, G, B; or Y, Cb, Cr as a video stores them.
    dtype : dtype
        Of the planes, in native byte order.
    full : float
        Where a pixel is saturated.
    """

    path: Path
    frames: int
    shape: tuple[int, int]
    chroma_shape: tuple[int, int]
    kind: Literal["mono", "rgb", "yuv"]
    dtype: np.dtype
    full: float

    def planes(self, t: int) -> Sequence[np.ndarray]:
        """The one or three planes of frame `t`, (rows, columns) each."""
        ...

    def saturated(self, t: int) -> np.ndarray:
        """Where any detector pixel behind a pixel of frame `t` is saturated, (rows, columns), bool."""
        ...


class FrameStack:
    """A lazy array ``(t, ...)`` over a function that gives one frame.

    Parameters
    ----------
    pick : callable
        ``pick(t)`` gives the array of frame `t`.
    frames : int
    shape, dtype
        Of each frame's array.
    """

    def __init__(
        self, pick: Callable[[int], np.ndarray], frames: int, shape: tuple[int, ...], dtype: Any
    ) -> None:
        self._pick, self._frame_shape = pick, shape
        self.shape, self.dtype = (frames, *shape), np.dtype(dtype)

    def __getitem__(self, index: Any) -> np.ndarray:
        first, *rest = full_index(index, len(self.shape))
        if not isinstance(first, slice):
            return self._one(range(self.shape[0])[int(first)], tuple(rest))
        blocks = [self._one(t, tuple(rest)) for t in range(self.shape[0])[first]]
        if blocks:
            return np.stack(blocks)
        return np.empty((0, *np.empty(self._frame_shape, np.bool_)[tuple(rest)].shape), self.dtype)

    def _one(self, t: int, index: tuple[Any, ...]) -> np.ndarray:
        # A copy: what a frame's reader keeps must not change under it.
        return np.array(self._pick(t)[index], dtype=self.dtype)


class OneFrame:
    """A lazy array over one frame of a stack, (rows, columns)."""

    def __init__(self, stack: FrameStack, t: int) -> None:
        self._stack, self._t = stack, t
        self.shape, self.dtype = stack.shape[1:], stack.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._stack[(self._t, *full_index(index, len(self.shape)))]


def to_luma(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Y of three planes, float32."""
    mixed = _RED * red.astype(np.float64) + _GREEN * green + _BLUE * blue
    return mixed.astype(np.float32)


def to_chroma(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Cb and Cr of three planes, float32, (2, rows, columns), around zero."""
    luma = _RED * red.astype(np.float64) + _GREEN * green + _BLUE * blue
    return np.stack([(blue - luma) / _CB, (red - luma) / _CR]).astype(np.float32)


def to_rgb(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """R, G, B, float64, (3, rows, columns), of Y and (Cb, Cr)."""
    luma = luma.astype(np.float64)
    red, blue = luma + _CR * chroma[1], luma + _CB * chroma[0]
    return np.stack([red, (luma - _RED * red - _BLUE * blue) / _GREEN, blue])


def _channel(clip: Clip, name: str, t: int) -> np.ndarray:
    planes = clip.planes(t)
    if clip.kind != "rgb":
        return planes[0]
    return to_luma(*planes) if name == LUMA else planes["RGB".index(name)]


def _chroma(clip: Clip, t: int) -> np.ndarray:
    planes = clip.planes(t)
    return to_chroma(*planes) if clip.kind == "rgb" else np.stack(planes[1:])


def channel_stack(clip: Clip, name: str) -> FrameStack:
    """One channel of all frames, ``(t, y, x)``.

    Raises
    ------
    UsageError
        No such channel, or not in this clip.
    """
    if name not in CHANNELS:
        raise UsageError(
            f"channel {name!r} is none of {', '.join(CHANNELS)}", where=clip.path, remedy="name one of them"
        )
    if name != LUMA and clip.kind != "rgb":
        what = "holds no colour" if clip.kind == "mono" else "stores luma and chroma, not R, G, B"
        raise UsageError(f"{what}: there is no channel {name}", where=clip.path, remedy="leave --channel out")
    mixed = clip.kind == "rgb" and name == LUMA
    return FrameStack(
        partial(_channel, clip, name), clip.frames, clip.shape, np.float32 if mixed else clip.dtype
    )


def chroma_stack(clip: Clip) -> FrameStack:
    """Both chroma planes of all frames, ``(t, c, y, x)``."""
    dtype = np.float32 if clip.kind == "rgb" else clip.dtype
    return FrameStack(partial(_chroma, clip), clip.frames, (2, *clip.chroma_shape), dtype)


def clip_images(clip: Clip, *, channel: str | None, metadata: Any, record: Record) -> list[Image]:
    """A clip as images: one of a monochrome clip or of one channel, luma and chroma of a colour clip.

    The chroma's domain is ``"generic"``: it has no trained network, so that it is upscaled by the best classical
    method, while luma goes through the network.
    """
    fields: dict[str, Any] = {"spatial": ("y", "x"), "quantity": "density", "metadata": metadata}
    fields |= {"source": clip.path, "provenance": record.provenance}
    coloured = channel is None and clip.kind != "mono"
    part = LUMA if coloured else (channel or "")
    values = channel_stack(clip, channel or LUMA)
    place = record.grid("" if clip.kind == "mono" else LUMA, values.shape)
    luma = Image(data=values, axes=("t", "y", "x"), grid=place, domain="astronomy", part=part, **fields)
    if not coloured:
        return [luma]
    values = chroma_stack(clip)
    place = record.grid(CHROMA, values.shape)
    chroma = Image(
        data=values, axes=("t", "c", "y", "x"), grid=place, domain="generic", part=CHROMA, **fields
    )
    return [luma, chroma]


def clip_frames(
    clip: Clip, *, channel: str | None, metadata: Any, starts: Sequence[str | None]
) -> list[Frame]:
    """A clip as frames for fusion, named ``jupiter.ser[17]`` (counted from 0), all of one channel (default Y)."""
    values = channel_stack(clip, channel or LUMA)
    # A mean over channels hides one that is saturated, so that a threshold on it would not do.
    mask = FrameStack(clip.saturated, clip.frames, clip.shape, bool) if clip.kind == "rgb" else None
    name = Path(clip.path).name
    return [
        Frame(
            image=Image(
                data=OneFrame(values, t),
                axes=("y", "x"),
                spatial=("y", "x"),
                domain="astronomy",
                mask=None if mask is None else OneFrame(mask, t),
                metadata=metadata,
                source=clip.path,
                part=str(t),
            ),
            name=f"{name}[{t}]",
            start=starts[t],
            saturation=None if mask is not None else clip.full,
        )
        for t in range(clip.frames)
    ]
