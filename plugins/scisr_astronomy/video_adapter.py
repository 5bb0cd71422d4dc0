"""The adapter of AVI, MP4, MOV and MKV. Importing it is cheap; PyAV is only needed when a video is opened."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.errors import SciSRWarning
from scisr_astronomy.ser_adapter import CHANNEL, only_our_errors, refuse_lost

if TYPE_CHECKING:
    from sciSR.adapter import Writer
    from sciSR.image import Image
    from sciSR.sequence import Frame
    from scisr_astronomy.video_clip import VideoClip
    from scisr_astronomy.video_writer import VideoMetadata


class VideoAdapter:
    """Videos, grey or colour, 8 to 16 bits, through the optional PyAV (``pip install 'sciSR[video]'``).

    What is read and what is written: docs/video.md.
    """

    name = "video"
    suffixes = (".avi", ".mkv", ".mp4", ".m4v", ".mov")
    options = (CHANNEL,)

    def sniff(self, path: Path) -> bool:
        """Whether the content begins as AVI, MP4, MOV, MKV or WebM do. Never raises, needs no PyAV."""
        from scisr_astronomy.video import container_of

        return container_of(Path(path)) is not None

    def read(self, path: Path, *, channel: str | None = None) -> list[Image]:
        """A video as images, lazily: ``(t, y, x)``, or luma and chroma ``(t, c, y, x)`` of one in colour.

        Parameters
        ----------
        path : Path
        channel : {"Y", "R", "G", "B"}, optional
            This channel alone, as one image.

        Raises
        ------
        SciSRError
        """
        from scisr_astronomy.clip import clip_images
        from scisr_astronomy.clip_record import read_record

        path = Path(path)
        with only_our_errors(path):
            clip, metadata = _open(path)
            return clip_images(clip, channel=channel, metadata=metadata, record=read_record(path))

    def read_frames(self, path: Path, *, strict: bool = False, channel: str | None = None) -> list[Frame]:
        """One frame per picture, lazily; Y of a video in colour by default.

        Parameters
        ----------
        path : Path
        strict : bool
            Refuse a video that was cut short.
        channel : {"Y", "R", "G", "B"}, optional

        Raises
        ------
        SciSRError
        """
        from scisr_astronomy.clip import clip_frames

        path = Path(path)
        with only_our_errors(path):
            clip, metadata = _open(path)
            if strict:
                refuse_lost(path, metadata.file.lost)
            return clip_frames(clip, channel=channel, metadata=metadata, starts=clip.file.starts())

    def open_writer(
        self, path: Path, images: Sequence[Image], *, overwrite: bool = False, **options: Any
    ) -> Writer:
        """A :class:`~scisr_astronomy.video_writer.VideoWriter`; see there."""
        path = Path(path)
        with only_our_errors(path):
            from scisr_astronomy.video_writer import VideoWriter

            return VideoWriter(path, images, overwrite=overwrite)

    def describe(self, path: Path) -> Mapping[str, Any]:
        """Parts, codec, times and notes."""
        from scisr_astronomy.clip import clip_images
        from scisr_astronomy.clip_record import read_record

        path = Path(path)
        with only_our_errors(path):
            clip, metadata = _open(path, warn=False)
            file = metadata.file
            images = clip_images(clip, channel=None, metadata=metadata, record=read_record(path))
            return {
                "format": file.container,
                "parts": [image.describe() for image in images],
                "frames": file.frames,
                "size": [file.height, file.width],
                "codec": file.codec,
                "pixel_format": file.pixel_format,
                "bits": metadata.pixels.bits,
                "saturation": clip.full,
                "frames_per_second": float(file.rate),
                "seconds": float(file.seconds(file.frames - 1)),
                "tags": dict(file.tags),
                "provenance": list(images[0].provenance.steps),
                "notes": [*file.lost, *file.notes],
            }

    def default_output(self, path: Path, scale: str) -> Path:
        """``moon.avi`` -> ``moon_x2.avi``; ``.mkv`` for WebM and names without a suffix of ours."""
        path = Path(path)
        stem, suffix = path.stem, path.suffix.lower()
        if suffix not in self.suffixes:
            suffix = ".mkv"
            stem = re.sub(r"\.webm$", "", path.name, flags=re.I)
        return path.with_name(f"{stem}_x{scale}{suffix}")


def _open(path: Path, *, warn: bool = True) -> tuple[VideoClip, VideoMetadata]:
    from scisr_astronomy.video import open_video
    from scisr_astronomy.video_clip import VideoClip
    from scisr_astronomy.video_writer import VideoMetadata

    file = open_video(path)
    clip = VideoClip(file)
    if warn:
        for what in file.lost:
            warnings.warn(f"{path}: {what}", SciSRWarning, stacklevel=4)
    return clip, VideoMetadata(file, clip.pixels)


adapter = VideoAdapter()
