"""SER files written by hand from the specification, independent of the code under test."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

TICKS_2014 = 635272848000000000  # 2014-02-06T12:00:00


def write_ser(
    path: Path,
    frames: np.ndarray,
    *,
    color: int = 0,
    depth: int | None = None,
    flag: int = 0,
    order: str = "<",
    ticks: list[int] | None = None,
    **fields: Any,
) -> Path:
    """`frames` is (t, y, x) or (t, y, x, 3), uint8 or uint16; `fields` override what the header says."""
    header = {
        "magic": b"LUCAM-RECORDER",
        "lu_id": 0,
        "color": color,
        "flag": flag,
        "width": frames.shape[2],
        "height": frames.shape[1],
        "depth": 8 * frames.itemsize if depth is None else depth,
        "count": len(frames),
        "observer": b"Galileo",
        "instrument": b"Cannocchiale",
        "telescope": b"Perspicillum",
        "local": 0 if ticks is None else ticks[0] + 36_000_000_000,
        "utc": 0 if ticks is None else ticks[0],
    } | fields
    body = frames.astype(frames.dtype.newbyteorder(order)).tobytes()
    trailer = b"" if ticks is None else struct.pack(f"<{len(ticks)}q", *ticks)
    path.write_bytes(struct.pack("<14s7i40s40s40s2q", *header.values()) + body + trailer)
    return path


def parse_ser(path: Path) -> dict[str, Any]:
    """Header fields, frames (as if low byte first) and ticks."""
    content = path.read_bytes()
    names = ("magic", "lu_id", "color", "flag", "width", "height", "depth", "count")
    names += ("observer", "instrument", "telescope", "local", "utc")
    found: dict[str, Any] = dict(zip(names, struct.unpack("<14s7i40s40s40s2q", content[:178]), strict=True))
    planes = (3,) if found["color"] >= 100 else ()
    shape = (found["count"], found["height"], found["width"], *planes)
    kind = "u1" if found["depth"] <= 8 else "<u2"
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    found["frames"] = np.frombuffer(content[178 : 178 + size], kind).reshape(shape)
    rest = content[178 + size :]
    found["ticks"] = list(struct.unpack(f"<{len(rest) // 8}q", rest[: len(rest) // 8 * 8]))
    return found


def planet(
    frames: int = 4, rows: int = 24, columns: int = 32, *, peak: int = 3000, seed: int = 5
) -> np.ndarray:
    """A disc with bands on a dark sky, with noise, drifting by fractions of a pixel; uint16."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns].astype(float)
    found = []
    for t in range(frames):
        dy, dx = y - rows / 2 - 0.3 * t, x - columns / 2 + 0.2 * t
        light = np.clip(1 - (dy**2 + dx**2) / (0.4 * min(rows, columns)) ** 2, 0, 1) ** 0.4
        scene = peak * (0.03 + 0.9 * light * (1 + 0.2 * np.cos(dy)))
        found.append(rng.normal(scene, np.sqrt(scene) + 2))
    return np.clip(np.rint(found), 0, 65535).astype(np.uint16)


def mosaic(colours: np.ndarray, pattern: str) -> np.ndarray:
    """(t, y, x, 3) seen through a colour filter array, row by row from the upper left."""
    out = np.empty(colours.shape[:3], colours.dtype)
    for k, colour in enumerate(pattern):
        i, j = divmod(k, 2)
        out[:, i::2, j::2] = colours[:, i::2, j::2, "RGB".index(colour)]
    return out
