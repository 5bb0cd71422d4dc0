"""The SER adapter. Importing it is cheap: NumPy and the rest are imported when a file is opened."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.adapter import Option
from sciSR.errors import SciSRError, SciSRWarning, UnreadableError
from sciSR.files import translate_os_errors

if TYPE_CHECKING:
    from sciSR.adapter import Writer
    from sciSR.image import Image
    from sciSR.sequence import Frame
    from scisr_astronomy.ser_clip import SerClip, SerMetadata

CHANNEL = Option(
    "channel",
    "one channel of a colour clip: Y, R, G or B (default: all to upscale, Y to fuse)",
    type="choice",
    choices=("Y", "R", "G", "B"),
)


class SerAdapter:
    """SER clips: monochrome, RGB, BGR and Bayer RGGB, GRBG, GBRG, BGGR; 1 to 16 bits in either byte order.

    What is read, how the byte order is found and what is written: docs/video.md.
    """

    name = "ser"
    suffixes = (".ser",)
    options = (
        CHANNEL,
        Option(
            "depth",
            "bits of the result: keep (default), or 16 to keep fractions of the input's steps",
            type="choice",
            choices=("keep", "16"),
            writes=True,
        ),
    )

    def sniff(self, path: Path) -> bool:
        """Whether the content begins with LUCAM-RECORDER. Never raises."""
        from scisr_astronomy.ser import is_ser

        return is_ser(Path(path))

    def read(self, path: Path, *, channel: str | None = None) -> list[Image]:
        """A clip as images, lazily: ``(t, y, x)``, or luma and chroma ``(t, c, y, x)`` of a colour clip.

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
        """One frame per exposure, lazily, with its time stamp as start; Y of a colour clip by default.

        Parameters
        ----------
        path : Path
        strict : bool
            Refuse a clip that was cut short.
        channel : {"Y", "R", "G", "B"}, optional

        Raises
        ------
        SciSRError
        """
        from scisr_astronomy.clip import clip_frames
        from scisr_astronomy.ser import iso_times

        path = Path(path)
        with only_our_errors(path):
            clip, metadata = _open(path)
            if strict:
                refuse_lost(path, metadata.file.lost)
            starts = iso_times(metadata.file.ticks, clip.frames)
            return clip_frames(clip, channel=channel, metadata=metadata, starts=starts)

    def open_writer(
        self, path: Path, images: Sequence[Image], *, overwrite: bool = False, depth: str | None = None
    ) -> Writer:
        """A :class:`~scisr_astronomy.ser_writer.SerWriter`; see there."""
        path = Path(path)
        with only_our_errors(path):
            from scisr_astronomy.ser_writer import SerWriter

            return SerWriter(path, images, overwrite=overwrite, depth=depth or "keep")

    def facts(self, path: Path) -> Mapping[str, str]:
        """The header under FITS keywords; see :mod:`scisr_astronomy.header_facts`."""
        path = Path(path)
        with only_our_errors(path):
            from scisr_astronomy.header_facts import ser_facts

            return ser_facts(path)

    def describe(self, path: Path) -> Mapping[str, Any]:
        """Parts, header, times, byte order and its reasons; of the pixels only a sample is read."""
        from scisr_astronomy.clip import clip_images
        from scisr_astronomy.clip_record import read_record
        from scisr_astronomy.ser import COLOURS, iso_times, text_of

        path = Path(path)
        with only_our_errors(path):
            clip, metadata = _open(path, warn=False)
            file, header = metadata.file, metadata.file.header
            images = clip_images(clip, channel=None, metadata=metadata, record=read_record(path))
            starts = [start for start in iso_times(file.ticks, header.frames) if start is not None]
            return {
                "format": "SER",
                "parts": [image.describe() for image in images],
                "frames": header.frames,
                "size": [header.height, header.width],
                "colour": COLOURS[header.color_id],
                "bits": header.depth,
                "byte_order": "low byte first" if metadata.storage.order == "<" else "high byte first",
                "saturation": metadata.storage.full,
                "observer": text_of(header.observer),
                "instrument": text_of(header.instrument),
                "telescope": text_of(header.telescope),
                "start": min(starts, default=None),
                "end": max(starts, default=None),
                "provenance": list(images[0].provenance.steps),
                "notes": [*metadata.warnings, *metadata.notes],
            }

    def default_output(self, path: Path, scale: str) -> Path:
        """``jupiter.ser`` -> ``jupiter_x2.ser``."""
        path = Path(path)
        stem = re.sub(r"\.ser$", "", path.name, flags=re.I)
        return path.with_name(f"{stem}_x{scale}.ser")


def _open(path: Path, *, warn: bool = True) -> tuple[SerClip, SerMetadata]:
    from scisr_astronomy.ser import open_ser
    from scisr_astronomy.ser_clip import open_clip

    clip, metadata = open_clip(open_ser(path))
    if warn:
        for what in metadata.warnings:
            warnings.warn(f"{path}: {what}", SciSRWarning, stacklevel=4)
    return clip, metadata


def refuse_lost(path: Path, lost: Sequence[str]) -> None:
    """For strict reading: what is only a warning otherwise.

    Raises
    ------
    UnreadableError
    """
    if lost:
        raise UnreadableError(
            "; ".join(lost), where=path, remedy="leave --strict out to use the frames that are whole"
        )


@contextlib.contextmanager
def only_our_errors(path: Path) -> Iterator[None]:
    """At the door: whatever a library raises becomes an UnreadableError that names the file."""
    try:
        with translate_os_errors(path):
            yield
    except SciSRError:
        raise
    except Exception as error:
        what = f"can't be used: {type(error).__name__}: {error}"
        raise UnreadableError(what[:300], where=path) from error


adapter = SerAdapter()
