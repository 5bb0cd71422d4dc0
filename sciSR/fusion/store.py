"""Frames on their way into a fusion: raw pixels in memory or on disk, matched when they are asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sciSR.fusion.matching import Match
from sciSR.fusion.prepared import PreparedFrame
from sciSR.fusion.registration import Registered
from sciSR.inference.planes import full_folder_named
from sciSR.sequence import Frame

IN_MEMORY = 256 << 20
"""Bytes of pixels that stay in memory; beyond, all frames go to one temporary folder."""


@dataclass(eq=False)
class Entry:
    """One frame in the store.

    Attributes
    ----------
    frame : Frame
    index : int
        In the sequence given to :func:`sciSR.fuse`.
    registered : Registered
    match : Match
        To the reference's level.
    rejected, known_bad : int
        Pixels found to be outliers, and bad from the beginning.
    softness : float
        How much its sharpness differs from the prediction's: residual on steep places, in units of the gradient.
    multiplier : float or ndarray
        Of the variance: locally blurred frames count less (lucky imaging).
    """

    frame: Frame
    index: int
    registered: Registered
    match: Match
    rejected: int = 0
    known_bad: int = 0
    softness: float = 0.0
    multiplier: float = 1.0
    planes: dict[str, np.ndarray] = field(default_factory=dict)


class FrameStore:
    """Raw pixels, variances and masks of the frames that are being fused.

    Going through it yields :class:`PreparedFrame`, one at a time; it is a
    :class:`sciSR.fusion.prepared.PreparedFrames`. A context manager: temporary files go when it is left.

    Parameters
    ----------
    expected : int
        Frames to come, and
    pixels : int
        pixels of each: decides between memory and disk.
    """

    def __init__(self, expected: int, pixels: int) -> None:
        self.entries: list[Entry] = []
        # Values and variances as float32, two masks.
        self._folder = (
            tempfile.TemporaryDirectory(prefix="scisr-") if expected * pixels * 10 > IN_MEMORY else None
        )

    def __enter__(self) -> FrameStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget all pixels."""
        for entry in self.entries:
            entry.planes.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def add(self, entry: Entry, values: np.ndarray, variance: np.ndarray, bad: np.ndarray) -> None:
        """One more frame: raw values and variance in the frame's own unit, and its known bad pixels."""
        self.entries.append(entry)
        entry.known_bad = int(bad.sum())
        self.put(entry, "values", values.astype(np.float32, copy=False))
        self.put(entry, "variance", variance.astype(np.float32, copy=False))
        self.put(entry, "bad", bad)
        self.put(entry, "outlier", np.zeros_like(bad))

    def put(self, entry: Entry, name: str, plane: np.ndarray) -> None:
        """Replace one plane of a frame: ``values``, ``variance``, ``given`` (the file's), ``bad`` or ``outlier``."""
        if self._folder is None:
            entry.planes[name] = plane
            return
        with full_folder_named():
            np.ascontiguousarray(plane).tofile(self._path(entry, name))

    def get(self, entry: Entry, name: str) -> np.ndarray:
        """One plane of a frame, ``(rows, columns)``."""
        if self._folder is None:
            return entry.planes[name]
        dtype = np.float32 if name in ("values", "variance", "given") else np.bool_
        # Read, not mapped: mapped pages would count as this program's memory.
        return np.fromfile(self._path(entry, name), dtype=dtype).reshape(entry.frame.shape)

    def _path(self, entry: Entry, name: str) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / f"{entry.index}.{name}"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[PreparedFrame]:
        for entry in self.entries:
            yield self.prepared(entry)

    def prepared(self, entry: Entry) -> PreparedFrame:
        """A frame at the level of the reference."""
        bad = self.get(entry, "bad") | self.get(entry, "outlier")
        values, variance = entry.match.to_reference(self.get(entry, "values"), self.get(entry, "variance"))
        assert variance is not None
        if not isinstance(entry.multiplier, float) or entry.multiplier != 1.0:
            variance = variance * entry.multiplier
        exposure = entry.frame.exposure
        return PreparedFrame(
            entry.frame.name,
            np.where(bad, np.float32(0), values),
            variance,
            bad,
            entry.registered.transform,
            exposure if exposure and exposure > 0 else 1.0,
        )

    def some(self, chosen: list[int]) -> Subset:
        """A part of the frames, without copies."""
        return Subset(self, chosen)


@dataclass(frozen=True, eq=False)
class Subset:
    """Some frames of a store."""

    store: FrameStore
    chosen: list[int]

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[PreparedFrame]:
        for k in self.chosen:
            yield self.store.prepared(self.store.entries[k])
