"""Videos as cameras and editors write them: raw AVI by hand from the RIFF layout, the rest through PyAV."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _list(name: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", name + content)


def write_raw_avi(
    path: Path,
    frames: np.ndarray,
    *,
    fourcc: bytes = b"Y800",
    palette: list[bytes] | None = None,
    rate: int = 25,
    dropped: tuple[int, ...] = (),
) -> Path:
    """Uncompressed AVI; frames of the numbers `dropped` are empty.

    `frames` uint8, (t, y, x) for Y800 (from the top down) or with a `palette` of 256 B, G, R, 0 (a Windows bitmap, from
    the bottom up, rows padded to four bytes), or (t, y, x, 3) in B, G, R order as a Windows bitmap.
    """
    count, rows, columns = frames.shape[:3]
    bits = 24 if frames.ndim == 4 else 8
    bitmap = palette is not None or bits == 24
    pictures = []
    for frame in frames:
        lines = frame.reshape(rows, -1)
        if bitmap:
            padding = -lines.shape[1] % 4
            lines = np.pad(lines[::-1], ((0, 0), (0, padding)))
        pictures.append(lines.tobytes())
    pictures = [b"" if t in dropped else picture for t, picture in enumerate(pictures)]
    size, code = len(pictures[0]), bytes(4) if bitmap else fourcc
    head = struct.pack("<14I", 1_000_000 // rate, 0, 0, 0x10, count, 0, 1, size, columns, rows, 0, 0, 0, 0)
    times = struct.pack("<8I", 0, 1, rate, 0, count, size, 0xFFFFFFFF, 0)
    stream = b"vids" + (b"DIB " if bitmap else fourcc) + struct.pack("<2I", 0, 0) + times
    stream += struct.pack("<4H", 0, 0, columns, rows)
    colours = b"".join(palette or [])
    layout = struct.pack("<IiiHH4sIiiII", 40, columns, rows, 1, bits, code, size, 0, 0, len(palette or []), 0)
    headers = _list(
        b"hdrl",
        _chunk(b"avih", head) + _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", layout + colours)),
    )
    body, index = b"movi", b""
    for picture in pictures:
        index += struct.pack("<4sIII", b"00db", 0x10, len(body), len(picture))
        body += _chunk(b"00db", picture)
    content = b"AVI " + headers + _chunk(b"LIST", body) + _chunk(b"idx1", index)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    return path


def grey_palette() -> list[bytes]:
    return [bytes((k, k, k, 0)) for k in range(256)]


def encode(
    path: Path,
    planes: list[list[np.ndarray]],
    pixel_format: str,
    codec: str = "ffv1",
    *,
    rate: int = 25,
    times: list[int] | None = None,
    base: Fraction | None = None,
    **options: str,
) -> Path:
    """A video through PyAV; `planes` holds, for each frame, the planes in FFmpeg's order."""
    import av

    rows, columns = planes[0][0].shape[:2]
    columns = columns // 3 if pixel_format in ("rgb24", "bgr24") else columns
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = columns, rows, pixel_format
        base = base or Fraction(1, rate)
        stream.time_base = stream.codec_context.time_base = base
        for t, parts in enumerate(planes):
            frame = av.VideoFrame(columns, rows, pixel_format)
            for target, part in zip(frame.planes, parts, strict=True):
                raw = np.ascontiguousarray(part).view(np.uint8).reshape(len(part), -1)
                padded = np.zeros((len(part), target.line_size), np.uint8)
                padded[:, : raw.shape[1]] = raw
                target.update(padded.tobytes())
            frame.pts, frame.time_base = (times[t] if times else t), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def decode(path: Path, pixel_format: str | None = None) -> tuple[list[Any], list[float]]:
    """Frames as PyAV's own arrays, and their times in seconds."""
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        arrays = [f.to_ndarray(format=pixel_format) if pixel_format else f.to_ndarray() for f in frames]
        return arrays, [float(f.time) for f in frames]
