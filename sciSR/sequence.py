"""Frames: exposures of one field, and what fusion has to know of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np

from sciSR.errors import SciSRError, UsageError
from sciSR.image import Image


@dataclass(frozen=True)
class NoiseModel:
    """A detector's noise: the variance of a pixel is ``max(v - pedestal, 0) / gain + (read_noise / gain)**2``.

    Attributes
    ----------
    gain : float
        Electrons per unit of the data.
    read_noise : float
        Electrons, one standard deviation.
    pedestal : float
        Level without light (bias), in units of the data. The sky must still be in the data: a frame whose sky
        was subtracted has no such model.
    """

    gain: float
    read_noise: float
    pedestal: float = 0.0

    def variance(self, values: np.ndarray | float) -> np.ndarray:
        """Variance of pixels with these *expected* values, in units of the data squared; float32."""
        shot = np.maximum(np.asarray(values, dtype=np.float32) - np.float32(self.pedestal), 0) / np.float32(
            self.gain
        )
        return shot + np.float32((self.read_noise / self.gain) ** 2)


@dataclass(frozen=True, eq=False)
class FramePixels:
    """One frame in memory.

    Attributes
    ----------
    values : ndarray, (rows, columns), float32
        In the frame's own unit. Bad pixels hold anything finite.
    bad : ndarray, (rows, columns), bool
        NaN, infinite, flagged, saturated, known bad.
    variance : ndarray, (rows, columns), float32, or None
        Of `values`, where the file tells it (ERR, VAR, WHT); None where only a noise model or nothing is known.
    """

    values: np.ndarray
    bad: np.ndarray
    variance: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """One exposure, lazily: pixels stay on disk until :meth:`read`.

    Attributes
    ----------
    image : Image
        Exactly two axes, both spatial.
    name : str
        How messages and tables call it: ``night1_03.fits[SCI]``, ``jupiter.ser[17]``.
    exposure : float or None
        Seconds.
    start, end : str or None
        ISO 8601, UTC.
    filter : str or None
        As written in the file.
    noise : NoiseModel or None
        Used where the image has no uncertainty.
    saturation : float or None
        Pixels at or above this value hold less than the truth; they are bad.
    bad : ndarray of bool, optional
        Known bad pixels of the detector (``--bad-pixels``), beside the image's own mask.
    """

    image: Image
    name: str
    exposure: float | None = None
    start: str | None = None
    end: str | None = None
    filter: str | None = None
    noise: NoiseModel | None = None
    saturation: float | None = None
    bad: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.image.axes) != 2:
            raise UsageError(f"a frame has two axes, not {self.image.axes}", where=self.name)

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.image.shape
        return rows, columns

    def read(self, rows: slice = slice(None)) -> FramePixels:
        """Pixels of some rows (all by default)."""
        index = (rows, slice(None))
        values = np.asarray(self.image.data[index]).astype(np.float32)
        bad = ~np.isfinite(values)
        if self.image.mask is not None:
            bad |= np.asarray(self.image.mask[index], dtype=bool)
        if self.saturation is not None:
            bad |= values >= self.saturation
        if self.bad is not None:
            bad |= self.bad[index]
        variance = None
        if self.image.uncertainty is not None:
            sigma = np.asarray(self.image.uncertainty[index]).astype(np.float32)
            variance = np.square(sigma)
            # Some write -1 or -999 where it is unknown; and tiny errors have no square.
            bad |= ~(sigma > 0) | ~(variance > 0) | ~np.isfinite(variance)
            variance = np.where(bad, np.float32(np.inf), variance)
        return FramePixels(np.where(np.isfinite(values), values, np.float32(0)), bad, variance)

    def replace(self, **changes: Any) -> Frame:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class LeftOut:
    """A frame that is not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class FrameSequence(Sequence[Frame]):
    """Frames in the order given, and those that could not be read.

    Attributes
    ----------
    frames : tuple of Frame
    left_out : tuple of LeftOut
    notes : tuple of str
        What was assumed while reading, for the user and HISTORY.
    """

    frames: tuple[Frame, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)

    @classmethod
    def from_arrays(cls, arrays: Sequence[np.ndarray], **fields: Any) -> FrameSequence:
        """Frames from bare arrays ``(rows, columns)``; `fields` as for :class:`Frame` (exposure, noise, ...)."""
        return cls(
            tuple(Frame(Image.from_array(a), name=f"frame {k}", **fields) for k, a in enumerate(arrays))
        )

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> FrameSequence: ...
    def __getitem__(self, index: int | slice) -> Frame | FrameSequence:
        if isinstance(index, slice):
            return replace(self, frames=self.frames[index])
        return self.frames[index]

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def without(self, dropped: Sequence[tuple[Frame, str | SciSRError]]) -> FrameSequence:
        """The same without some frames, which are named in `left_out` with the reason."""
        gone = {id(frame) for frame, _ in dropped}
        return replace(
            self,
            frames=tuple(f for f in self.frames if id(f) not in gone),
            left_out=(*self.left_out, *(LeftOut(f.name, str(why)) for f, why in dropped)),
        )
