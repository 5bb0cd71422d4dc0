"""AVI, MP4, MOV and MKV files through PyAV: what a file holds, and which frames are there.

Files are recognised by content and opened with that one demuxer, on the local file alone: a playlist that calls itself
a video opens nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from sciSR.errors import SciSRError, UnreadableError, UnsupportedError
from sciSR.files import check_regular_file

_OLDEST = 18  # PyAV
DEMUXERS = {"avi": "avi", "mov": "mov", "mkv": "matroska"}
_MOVIE_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_STILL_BRANDS = (
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"mif1",
    b"avif",
    b"crx ",
    b"jp2 ",
    b"jpx ",
    b"jxl ",
    b"M4A ",
)


def container_of(path: Path) -> str | None:
    """``"avi"``, ``"mov"`` (MP4 too), ``"mkv"`` (WebM too), or None, by the first bytes. Never raises."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(4096)
    except (OSError, ValueError):
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _STILL_BRANDS else "mov"
    size = int.from_bytes(head[:4], "big")
    if head[4:8] in _MOVIE_ATOMS and (size == 1 or 8 <= size < 1 << 31):
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3" and (b"matroska" in head[:64] or b"webm" in head[:64]):
        return "mkv"
    return None


def import_av(path: Path) -> Any:
    """PyAV.

    Raises
    ------
    UnsupportedError
        It is not installed, or so old that it reads beyond the frame where rows lie upside down.
    """
    try:
        import av
    except ImportError as error:
        raise UnsupportedError(
            "videos are read with PyAV, which is not here", where=path, remedy="pip install 'sciSR[video]'"
        ) from error
    if int(av.__version__.split(".")[0]) < _OLDEST:
        raise UnsupportedError(
            f"videos are read with PyAV {_OLDEST} or newer, not {av.__version__}",
            where=path,
            remedy="pip install --upgrade 'sciSR[video]'",
        )
    return av


@contextlib.contextmanager
def decoding(path: Path, what: str = "can't be decoded") -> Iterator[None]:
    """Whatever FFmpeg raises becomes one line that names the file."""
    try:
        yield
    except (SciSRError, StopIteration, GeneratorExit):
        raise
    except MemoryError:
        raise
    except Exception as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableError(f"{what}: {text}"[:300], where=path) from error


def open_container(path: Path, container: str) -> tuple[Any, Any]:
    """PyAV's container and its first video stream.

    Raises
    ------
    UnreadableError, UnsupportedError
        Damaged; no video in it; no decoder.
    """
    av = import_av(path)
    with decoding(path, f"is no readable {container} file"):
        # The prefix: a name like "concat:a|b" is a file's name and no command.
        opened = av.open(
            f"file:{path}",
            format=DEMUXERS[container],
            options={"protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    try:
        with decoding(path):
            streams = [s for s in opened.streams.video if not _is_cover(s)]
            if not streams:
                raise UnreadableError("holds no video", where=path)
            stream = streams[0]
            if stream.codec_context is None:
                raise UnsupportedError(
                    "FFmpeg has no decoder for its pixels", where=path, remedy="convert it to SER"
                )
            stream.thread_type = "SLICE"  # threads over frames would hold frames back after each seek
    except BaseException:
        opened.close()
        raise
    return opened, stream


def _is_cover(stream: Any) -> bool:
    """Whether a stream is a still picture that comes with sound or video."""
    disposition = stream.disposition
    return bool(getattr(disposition, "value", disposition) & 0x0400)  # AV_DISPOSITION_ATTACHED_PIC


@dataclass(frozen=True)
class VideoFile:
    """What a video holds.

    Attributes
    ----------
    path : Path
    container : {"avi", "mov", "mkv"}
    codec : str
    pixel_format : str
        FFmpeg's name.
    width, height : int
    times : tuple of int or None
        Presentation time of each frame, ascending, in units of `time_base`; None where the file has no usable ones.
    keys : tuple of (int, int)
        Frames at which decoding can begin, and the time to seek to for each.
    frames : int
    time_base : Fraction
        Seconds.
    rate : Fraction
        Frames per second, on average.
    full_range : bool
        Luma uses the whole range, not 16 to 235 (of 8 bits).
    palette : bytes
        256 times alpha, red, green, blue of paletted pixels.
    colour : mapping
        Colour description to carry over: primaries, transfer, matrix, range, pixel aspect.
    tags : mapping of str to str
    notes, lost : tuple of str
    """

    path: Path
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    times: tuple[int, ...] | None
    keys: tuple[tuple[int, int], ...]
    frames: int
    time_base: Fraction
    rate: Fraction
    full_range: bool = False
    palette: bytes = b""
    colour: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def starts(self) -> list[str | None]:
        """ISO 8601 in UTC of each frame, where the file tells when it was made."""
        begin = self.tags.get("creation_time", "")
        try:
            moment = datetime.fromisoformat(begin.replace("Z", "+00:00")).astimezone(UTC).replace(tzinfo=None)
        except ValueError:
            return [None] * self.frames
        seconds = [self.seconds(t) for t in range(self.frames)]
        try:
            return [
                (moment + timedelta(seconds=float(s))).isoformat(timespec="microseconds") for s in seconds
            ]
        except (OverflowError, ValueError):
            return [None] * self.frames

    def seconds(self, t: int) -> Fraction:
        """Time of frame `t` since the first."""
        if self.times is None:
            return t / self.rate
        return (self.times[t] - self.times[0]) * self.time_base


def open_video(path: Path) -> VideoFile:
    """Look through all packets and decode one frame.

    Raises
    ------
    SciSRError
        No video, damaged, no decoder, PyAV is not installed.
    """
    check_regular_file(path)
    container = container_of(path)
    if container is None:
        raise UnreadableError("is no AVI, MP4, MOV or MKV file", where=path)
    opened, stream = open_container(path, container)
    with contextlib.closing(opened):
        with decoding(path):
            packets = _packets(opened, stream)
        cut = _ends_early(path, container) or not all(packet.whole for packet in packets)
        times, keys = _timetable(packets, cut=cut)
        frame = _first_frame(path, container)
        count = len(times) if times is not None else _count_by_decoding(path, container)
        if count == 0:
            raise UnreadableError("holds no whole frame", where=path)
        with decoding(path):
            rate = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
            return VideoFile(
                path=path,
                container=container,
                codec=stream.codec_context.name,
                pixel_format=frame.format.name,
                width=frame.width,
                height=frame.height,
                times=times,
                keys=keys,
                frames=count,
                time_base=Fraction(stream.time_base or 1 / rate),
                rate=Fraction(rate) if rate > 0 else Fraction(25),
                full_range=frame.format.name.startswith("yuvj") or int(frame.color_range) == 2,
                palette=_palette(frame),
                colour=_colour(frame, stream),
                tags={str(k): str(v) for k, v in opened.metadata.items()},
                notes=_notes(opened, frame),
                lost=_lost(stream, packets, count, cut=cut),
            )


class Packet(NamedTuple):
    """A packet of the stream: its times, whether decoding can begin there, whether all of it is there."""

    shown: Any  # an int, or None where the file does not tell
    decoded: Any
    key: bool
    whole: bool


def _packets(opened: Any, stream: Any) -> list[Packet]:
    return [
        Packet(packet.pts, packet.dts, packet.is_keyframe, not packet.is_corrupt)
        for packet in opened.demux(stream)
        if packet.size and not packet.is_discard
    ]


def _timetable(
    packets: list[Packet], *, cut: bool
) -> tuple[tuple[int, ...] | None, tuple[tuple[int, int], ...]]:
    """Times of the whole packets in order, and the keyframes; None where times are of no use."""
    first = next((packet.shown for packet in packets if packet.key), None)
    good = [packet for packet in packets if packet.whole]
    times = {packet.shown for packet in good}
    if first is None or None in times or len(times) < len(good):
        return None, ((0, 0),)
    # What comes before the first keyframe can't be decoded. Where the file was cut, a frame that is shown after the
    # last one was decoded may follow others that are lost: the numbers of frames would be wrong from there on.
    end = good[-1].decoded if cut else None
    shown = sorted(p for p in good if p.shown >= first and (end is None or p.shown <= end))
    # AVI finds keyframes by the time of decoding, which is the earlier one.
    keys = (
        (n, p.shown if p.decoded is None else min(p.shown, p.decoded)) for n, p in enumerate(shown) if p.key
    )
    return tuple(p.shown for p in shown), tuple(keys)


def _first_frame(path: Path, container: str) -> Any:
    opened, stream = open_container(path, container)
    with contextlib.closing(opened), decoding(path):
        for frame in opened.decode(stream):
            return frame
    raise UnreadableError("no frame can be decoded", where=path)


def _count_by_decoding(path: Path, container: str) -> int:
    """For files without usable times: the frames that the decoder gives, up to the first error."""
    opened, stream = open_container(path, container)
    count = 0
    with contextlib.closing(opened), contextlib.suppress(UnreadableError), decoding(path):
        for _ in opened.decode(stream):
            count += 1
    return count


def _palette(frame: Any) -> bytes:
    return bytes(frame.to_ndarray()[1].tobytes()) if frame.format.name == "pal8" else b""


def _colour(frame: Any, stream: Any) -> dict[str, Any]:
    aspect = stream.sample_aspect_ratio
    names = ("color_range", "colorspace", "color_primaries", "color_trc")
    described: dict[str, Any] = {name: int(getattr(frame, name)) for name in names}
    return described | {"sample_aspect_ratio": Fraction(aspect) if aspect else None}


def _notes(opened: Any, frame: Any) -> tuple[str, ...]:
    notes = []
    others = [s.type for s in opened.streams if s.type != "video"]
    if others:
        notes.append(f"{', '.join(sorted(set(others)))} beside the video is not read")
    if len(opened.streams.video) > 1:
        notes.append("the first of several videos is read")
    if frame.interlaced_frame:
        notes.append("frames are interlaced: both fields are taken for one moment")
    return tuple(notes)


def _lost(stream: Any, packets: list[Packet], count: int, *, cut: bool) -> tuple[str, ...]:
    """What the file promises and does not hold. AVI's count includes frames that the camera left out: no promise."""
    counted = cut or stream.container.format.name != "avi"
    expected = max(stream.frames if counted else 0, len(packets) if cut else 0)
    if expected > count:
        return (f"truncated: {count} of {expected} frames are whole and read",)
    return (f"truncated: {count} frames are whole and read",) if cut else ()


def _ends_early(path: Path, container: str) -> bool:
    """Whether the file ends before the structure that it declares."""
    return {"avi": _riff_is_cut, "mkv": _segment_is_cut}.get(container, lambda _: False)(path)


def _riff_is_cut(path: Path) -> bool:
    """Whether a RIFF list of an AVI file (it has several beyond 1 GB) was never closed, or reaches beyond the end."""
    size, at = path.stat().st_size, 0
    with open(path, "rb") as stream:
        while at + 12 <= size:
            stream.seek(at)
            head = stream.read(12)
            if head[:4] != b"RIFF":
                return False
            length = int.from_bytes(head[4:8], "little")
            if length < 4:
                return True
            at += 8 + length
    return at > size


def _segment_is_cut(path: Path) -> bool:
    """Whether an MKV file ends before its segment does (RFC 8794, 4 and 6: identifiers and sizes of EBML elements)."""
    with open(path, "rb") as stream:
        head = stream.read(4096)
    if head[:4] != b"\x1a\x45\xdf\xa3":
        return False
    size, start = _ebml_size(head, 4)
    start += size or 0
    if head[start : start + 4] != b"\x18\x53\x80\x67":
        return False
    size, start = _ebml_size(head, start + 4)
    return size is not None and start + size > path.stat().st_size


def _ebml_size(content: bytes, at: int) -> tuple[int | None, int]:
    """A size of variable length at a place, and what comes after it; None where it is unknown, as in live streams."""
    first = content[at] if at < len(content) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(content[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), at + length
