"""Writes videos without loss: FFV1 in MKV and AVI, H.264 with quantiser 0 in MP4 and MOV."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import SciSRWarning, UnsupportedError, UsageError
from sciSR.image import Image
from scisr_astronomy.clip import to_rgb
from scisr_astronomy.clip_store import BlockStore
from scisr_astronomy.clip_writer import ClipWriter, clip_shape
from scisr_astronomy.video import VideoFile, decoding, import_av
from scisr_astronomy.video_clip import Pixels

MUXERS = {".avi": "avi", ".mkv": "matroska", ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}
# Tags that describe the old file, not what is on it.
_OWN_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "software", "duration")


@dataclass(frozen=True, eq=False)
class VideoMetadata:
    """What travels with the images to the writer."""

    file: VideoFile
    pixels: Pixels

    @property
    def notes(self) -> tuple[str, ...]:
        return self.file.notes


class VideoWriter(ClipWriter):
    """One video and its record; see :class:`sciSR.adapter.Writer`.

    Pixels are whole numbers of the input's depth, rounded to the nearest and clipped, in the input's pixel layout (RGB,
    or luma with chroma as coarse as it was); sound is not kept. Times are those of the input; MKV rounds them to
    milliseconds, AVI has but a rate.

    Raises
    ------
    UsageError, UnsupportedError
        The name's suffix is of no container, or its container can't hold such pixels without loss.
    """

    def __init__(self, path: Path, images: Sequence[Image], *, overwrite: bool) -> None:
        self._av = import_av(path)
        self._muxer = MUXERS.get(path.suffix.lower(), "")
        if not self._muxer:
            known = " ".join(MUXERS)
            raise UsageError(
                "is no name of a video that can be written", where=path, remedy=f"use one of {known}"
            )
        metadata = images[0].metadata if images else None
        self._known = metadata if isinstance(metadata, VideoMetadata) else None
        super().__init__(path, images, overwrite=overwrite)

    def _begin(self, images: Sequence[Image]) -> None:
        frames, rows, columns = clip_shape(images[0])
        self._frames, self._shape = frames, (rows, columns)
        pixels = self._known.pixels if self._known else None
        self._bits = pixels.bits if pixels else 16
        if self.coloured and pixels is None:
            raise UsageError("luma and chroma were not read from a video", where=self.path)
        self._kind = pixels.kind if self.coloured and pixels else "mono"
        self._codec, self._format = self._choose_codec(pixels)
        if self._muxer == "avi" and self._kind == "yuv" and self._known and self._known.file.full_range:
            warnings.warn(
                f"{self.path}: AVI does not tell that luma uses its whole range; name the output "
                f"{self.path.stem}.mkv to keep that",
                SciSRWarning,
                stacklevel=6,
            )
        self._cell = pixels.subsampling if pixels and self._kind == "yuv" else (1, 1)
        top = (1 << self._bits) - 1
        dtype = np.dtype(np.float32 if self._kind == "rgb" else "u1" if self._bits == 8 else "u2")
        self._clipped = 0
        for image in images:
            shape = image.shape if len(image.shape) > 2 else (1, *image.shape)
            limit = {} if dtype.kind == "f" else {"top": top}
            self.stores.append(BlockStore(self._scratch(), shape, dtype, self.path, **limit))

    def _choose_codec(self, pixels: Pixels | None) -> tuple[str, str]:
        """Encoder and its pixel format."""
        deep = "" if self._bits == 8 else f"{self._bits}le"
        if self._kind == "mono":
            layout = f"gray{deep}"
        elif self._kind == "yuv":
            assert pixels is not None
            layout = pixels.yuv_format
        else:
            layout = "bgr0" if self._bits == 8 else f"gbrp{deep}"
        codec = "ffv1"
        if self._muxer in ("mp4", "mov"):
            codec = "libx264"
            if layout == "bgr0":
                codec, layout = "libx264rgb", "rgb24"
            self._check_h264(layout)
        try:
            formats = {each.name for each in self._av.codec.Codec(codec, "w").video_formats or ()}
        except Exception:
            formats = set()
        if layout not in formats:
            container = self.path.suffix.lower()
            raise UnsupportedError(
                f"a {container} can't hold {layout} pixels without loss",
                where=self.path,
                remedy=f"name the output {self.path.stem}.mkv",
            )
        return codec, layout

    def _check_h264(self, layout: str) -> None:
        rows, columns = self._shape
        odd = (columns % 2 and ("420" in layout or "422" in layout)) or (rows % 2 and "420" in layout)
        if odd:
            raise UnsupportedError(
                f"{columns}x{rows} pixels with halved chroma do not fit H.264",
                where=self.path,
                remedy=f"name the output {self.path.stem}.mkv",
            )

    def _finish(self) -> Mapping[str, Any]:
        with decoding(self.path, "can't be encoded"):
            # Bit-exact: no random numbers, dates or versions in the file.
            options = {"fflags": "+bitexact"}
            output = self._av.open(f"file:{self._temporary}", "w", format=self._muxer, options=options)
            with contextlib.closing(output):
                self._encode(output)
        return {
            "format": self._muxer,
            "codec": self._codec,
            "pixel_format": self._format,
            "bits": self._bits,
            "rounded": True,
            "clipped_values": self._clipped + sum(store.clipped for store in self.stores),
        }

    def _encode(self, output: Any) -> None:
        file = self._known.file if self._known else None
        rate = file.rate if file else Fraction(25)
        settings = (
            {"qp": "0", "preset": "veryfast"}
            if self._codec.startswith("libx264")
            else {"level": "3", "g": "1"}
        )
        stream = output.add_stream(self._codec, rate=rate.limit_denominator(1 << 20), options=settings)
        stream.width, stream.height, stream.pix_fmt = self._shape[1], self._shape[0], self._format
        stream.codec_context.flags |= (
            0x00800000  # AV_CODEC_FLAG_BITEXACT: no version of the encoder in the stream
        )
        if file is not None:
            _describe(output, stream, file)
        base, times = self._clock(file, rate)
        stream.time_base = stream.codec_context.time_base = base
        for t, frame in enumerate(self._encodable()):
            frame.pts, frame.time_base = times[t], base
            for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
                if file is not None and file.colour.get(name) is not None:
                    setattr(frame, name, file.colour[name])
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))

    def _clock(self, file: VideoFile | None, rate: Fraction) -> tuple[Fraction, Sequence[int]]:
        """Time base and the frames' times in it."""
        uniform = self._muxer == "avi"  # it knows a rate alone
        if uniform or file is None or file.times is None or len(file.times) != self._frames:
            return 1 / rate, range(self._frames)
        return file.time_base, [time - file.times[0] for time in file.times]

    def _encodable(self) -> Iterator[Any]:
        for t in range(self._frames):
            planes = [store.frame(t) for store in self.stores]
            if self._kind == "mono":
                yield self._frame(planes)
            elif self._kind == "yuv":
                luma, chroma = planes
                wanted = tuple(-(-n // c) for n, c in zip(self._shape, self._cell, strict=True))
                yield self._frame([luma, *(_fitted(plane, wanted) for plane in chroma)])
            else:
                yield self._frame(self._colours(*planes))

    def _colours(self, luma: np.ndarray, chroma: np.ndarray) -> list[np.ndarray]:
        """Planes of the encoder's RGB format."""
        top = (1 << self._bits) - 1
        colours = np.rint(to_rgb(luma, chroma))
        self._clipped += int(np.count_nonzero((colours < 0) | (colours > top)))
        red, green, blue = np.clip(colours, 0, top).astype("u1" if self._bits == 8 else "<u2")
        if self._format == "bgr0":
            packed = np.stack([blue, green, red, np.zeros_like(red)], axis=-1)
            return [packed.reshape(len(red), -1)]
        if self._format == "rgb24":
            return [np.stack([red, green, blue], axis=-1).reshape(len(red), -1)]
        return [green, blue, red]

    def _frame(self, planes: Sequence[np.ndarray]) -> Any:
        frame = self._av.VideoFrame(self._shape[1], self._shape[0], self._format)
        for target, plane in zip(frame.planes, planes, strict=True):
            little = plane.astype(plane.dtype.newbyteorder("<"), copy=False)
            raw = np.ascontiguousarray(little).view(np.uint8).reshape(len(plane), -1)
            padded = np.zeros((len(plane), target.line_size), np.uint8)
            padded[:, : raw.shape[1]] = raw
            target.update(padded.tobytes())
        return frame


def _describe(output: Any, stream: Any, file: VideoFile) -> None:
    """Tags and colour description of the input."""
    output.metadata.update({k: v for k, v in file.tags.items() if k.lower() not in _OWN_TAGS})
    context = stream.codec_context
    for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
        if file.colour.get(name) is not None:
            setattr(context, name, file.colour[name])
    if file.colour.get("sample_aspect_ratio"):
        context.sample_aspect_ratio = file.colour["sample_aspect_ratio"]


def _fitted(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Chroma of exactly the size that luma needs: odd sizes round differently, by one pixel at the far edge."""
    plane = plane[: shape[0], : shape[1]]
    return np.pad(
        plane, [(0, want - have) for want, have in zip(shape, plane.shape, strict=True)], mode="edge"
    )
