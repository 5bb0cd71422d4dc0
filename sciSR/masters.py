"""Master bias, dark and flat frames: many exposures combined once, by bands of rows, with ccdproc."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.errors import SciSRError, UsageError
from sciSR.reading import Paths, frames_in
from sciSR.sequence import Frame

_MEMORY = 1 << 27  # bytes of one band of all exposures; ccdproc needs a few times as much
_CLIP = 5.0  # robust standard deviations
_ROUNDING = 0.3  # the standard deviation of rounding to whole numbers, 1/sqrt(12)
_EQUAL = 0.02  # exposures that differ by less are the same


@dataclass(frozen=True, eq=False)
class Master:
    """A combination of calibration exposures of one kind.

    Attributes
    ----------
    values : ndarray, (rows, columns), float32
        In the unit of the exposures; a flat is divided by its mean.
    bad : ndarray of bool
        No good value in any exposure.
    count : int
        Exposures combined.
    exposure : float or None
        Seconds.
    filter : str or None
    part : str
        Which part of its file; masters of several detectors are told apart by it.
    """

    values: np.ndarray
    bad: np.ndarray
    count: int
    exposure: float | None = None
    filter: str | None = None
    part: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.values.shape
        return rows, columns


def read_exposures(kind: str, paths: Paths) -> list[Frame]:
    """The exposures of one kind.

    Raises
    ------
    UsageError
        ccdproc is not installed.
    SciSRError
        A file can't be read: masters are few, and each counts.
    """
    try:
        import ccdproc  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "calibration with dark, flat and bias frames needs ccdproc", remedy="pip install 'sciSR[ccd]'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # units, kinds and noise of calibration frames matter to nobody
        try:
            return frames_in(paths)
        except SciSRError as error:
            raise type(error)(
                f"{error.what} (given as {kind})", where=error.where, remedy=error.remedy
            ) from error


def same_exposure(first: float | None, second: float | None) -> bool:
    """Whether two exposures are equal, as far as they are told."""
    return first is None or second is None or abs(first - second) <= _EQUAL * max(first, second)


def grouped(frames: Sequence[Frame], key: Callable[[Frame], Any]) -> Iterator[list[Frame]]:
    """Frames with an equal key, in order of first appearance."""
    groups: dict[Any, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    yield from groups.values()


def combine(
    frames: Sequence[Frame],
    prepare: Callable[[Frame, np.ndarray, slice], np.ndarray] | None = None,
) -> Master:
    """The average of exposures after clipping at 5 robust standard deviations, as ccdproc's guide advises.

    The deviation at a pixel is its median absolute deviation, but at least the typical one of all pixels: of a few
    whole numbers it is often zero by chance.

    Parameters
    ----------
    frames : sequence of Frame
        All of one shape.
    prepare : callable, optional
        ``prepare(frame, values, rows)`` subtracts or scales what was read.

    Raises
    ------
    UsageError
        Different shapes.
    """
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        named = " and ".join(f"{r}x{c}" for r, c in sorted(shapes))
        raise UsageError(
            f"calibration frames have different shapes (rows x columns): {named}", where=frames[0].name
        )
    rows, columns = frames[0].shape
    values = np.empty((rows, columns), dtype=np.float32)
    bad = np.empty((rows, columns), dtype=bool)
    step = max(1, _MEMORY // (len(frames) * columns * 8))
    for start in range(0, rows, step):
        band = slice(start, min(start + step, rows))
        values[band], bad[band] = _combine_band(frames, prepare, band)
    first = frames[0]
    return Master(values, bad, len(frames), first.exposure, first.filter, first.image.part)


def _combine_band(
    frames: Sequence[Frame], prepare: Callable[[Frame, np.ndarray, slice], np.ndarray] | None, band: slice
) -> tuple[np.ndarray, np.ndarray]:
    from astropy.nddata import CCDData
    from ccdproc import Combiner

    stack = []
    for frame in frames:
        pixels = frame.read(band)
        values = pixels.values if prepare is None else prepare(frame, pixels.values, band)
        stack.append(CCDData(np.where(pixels.bad, np.float32(np.nan), values), mask=pixels.bad, unit="adu"))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # all-NaN pixels: they come out as bad
        combiner = Combiner(stack, dtype=np.float32)
        if len(frames) > 2:
            combiner.sigma_clipping(
                low_thresh=_CLIP, high_thresh=_CLIP, func=np.nanmedian, dev_func=_deviation
            )
        average = combiner.average_combine()
    data = np.asarray(average.data, dtype=np.float32)
    bad = ~np.isfinite(data)
    if average.mask is not None:
        bad |= np.asarray(average.mask, dtype=bool)
    return np.where(bad, np.float32(0), data), bad


def _deviation(values: np.ndarray, axis: int = 0) -> np.ndarray:
    values = np.asarray(values, dtype=np.float32)
    middle = np.nanmedian(values, axis=axis, keepdims=True)
    spread = 1.4826 * np.nanmedian(np.abs(values - middle), axis=axis)
    typical = float(np.nanmedian(spread)) if np.isfinite(spread).any() else 0.0
    scale = float(np.nanmedian(np.abs(middle)))
    # A normalised flat has no whole numbers: rounding is nothing to it.
    least = _ROUNDING if scale > 10 else 1e-6 * scale
    return np.fmax(spread, max(typical, least))
