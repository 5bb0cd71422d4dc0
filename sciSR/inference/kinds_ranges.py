"""The scale of a map's values, a phase's turn or a probability's ends: told by the file, or decided by the values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sciSR.errors import UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.inference.statistics import plane_indices, read_rows
from sciSR.inference.tiles import split

_BAND_BYTES = 32 << 20
_TOLERANCE = 2e-3  # of a turn: what a file's own slope may round its ends to
_FILLED = 0.9  # of a turn, from which on values are taken for one: the phase of noise fills all of it
_OVERSHOOT = 0.05  # of a probability's scale: what an earlier interpolation may have left beyond it


@dataclass(frozen=True)
class Survey:
    """What one reading of a whole image tells.

    Attributes
    ----------
    low, high : float
        Of the good pixels; NaN if there is none, and for complex pixels.
    n_bad : int
        Not finite, or masked.
    """

    low: float
    high: float
    n_bad: int


def survey(image: Image) -> Survey:
    """Read an image once, band by band, for the ends of its values and its bad pixels."""
    low, high, n_bad = math.inf, -math.inf, 0
    first, second = image.spatial_axes
    height = max(1, _BAND_BYTES // max(1, 16 * image.shape[second]))
    for index in plane_indices(image):
        for span in split(image.shape[first], height):
            rows = slice(span.start, span.stop)
            values = read_rows(image, index, rows)
            good = np.isfinite(values)
            if image.mask is not None:
                good &= ~read_rows(image, index, rows, "mask").astype(bool)
            n_bad += good.size - int(np.count_nonzero(good))
            if values.dtype.kind != "c" and good.any():
                low, high = min(low, float(values[good].min())), max(high, float(values[good].max()))
    return Survey(low, high, n_bad) if low <= high else Survey(math.nan, math.nan, n_bad)


@dataclass(frozen=True)
class Turn:
    """One full turn of a phase in the image's own unit.

    Attributes
    ----------
    low, high : float
        Its ends; the same angle.
    unit : str
        ``"rad"``, ``"mrad"``, ``"deg"``, or empty for a scanner's own.
    closed : bool
        Whether both ends are written (pi and -pi); otherwise the high one is written as the low one.
    """

    low: float
    high: float
    unit: str = ""
    closed: bool = True

    @property
    def period(self) -> float:
        return self.high - self.low

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def angle(self, values: np.ndarray) -> np.ndarray:
        """Radians, float64; within [-pi, pi] for values within the turn."""
        return (np.asarray(values, dtype=np.float64) - self.middle) * (2 * np.pi / self.period)

    def values(self, angle: np.ndarray) -> np.ndarray:
        """Values in the image's unit, float32, never beyond the ends."""
        exact = self.middle + np.asarray(angle, dtype=np.float64) * (self.period / (2 * np.pi))
        values = np.clip(exact.astype(np.float32), _inside(self.low, np.inf), _inside(self.high, -np.inf))
        return values if self.closed else np.where(values >= self.high, _inside(self.low, np.inf), values)

    def wrapped(self, difference: np.ndarray) -> np.ndarray:
        """Differences of two phases, at most half a turn."""
        return difference - self.period * np.round(difference / self.period)

    def __str__(self) -> str:
        ends = f"{self.low:.6g} to {self.high:.6g}"
        return f"{ends} {self.unit}".rstrip()


def _inside(end: float, towards: float) -> np.float32:
    """The float32 at an end or just inside: that of pi is larger than pi."""
    value = np.float32(end)
    outside = float(value) > end if towards < 0 else float(value) < end
    return np.nextafter(value, np.float32(towards)) if outside else value


_RADIANS = (Turn(-np.pi, np.pi, "rad"), Turn(0.0, 2 * np.pi, "rad", closed=False))
_DEGREES = (Turn(-180.0, 180.0, "deg"), Turn(0.0, 360.0, "deg", closed=False))
_OTHERS = (
    Turn(-2048.0, 2048.0, closed=False),
    Turn(0.0, 4096.0, closed=False),
    Turn(-1000 * np.pi, 1000 * np.pi, "mrad"),
    Turn(-4096.0, 4096.0, closed=False),
)


def turn_of(image: Image, low: float, high: float) -> Turn:
    """The turn of a phase image.

    Parameters
    ----------
    image : Image
        Its `value_range` is believed, then its `unit`; otherwise its values decide.
    low, high : float
        Ends of its good values.

    Raises
    ------
    UsageError
        A `value_range` that is none.
    UnsupportedError
        The values fit no turn: a phase that was unwrapped, or of an unknown unit.
    """
    if image.value_range is not None:
        start, stop = (float(v) for v in image.value_range)
        if not (math.isfinite(start) and math.isfinite(stop) and start < stop):
            raise UsageError(f"a phase can't run from {start:g} to {stop:g}", where=image.where)
        return turn_with_ends(start, stop) or Turn(start, stop, closed=False)
    found = known_turn(low, high, whole=image.dtype.kind in "iub", unit=image.unit)
    if found is None:
        raise UnsupportedError(
            f"a phase from {low:.6g} to {high:.6g} fills no turn that is known (radians, degrees, 4096 or 8192 steps)",
            where=image.where,
            remedy="give --phase-range LOW,HIGH, the ends of one turn; or --intensity for an unwrapped phase",
        )
    return found


def turn_with_ends(low: float, high: float) -> Turn | None:
    """The known turn from `low` to `high`, which a file's own slope may have rounded; or None."""
    every = (*_RADIANS, *_DEGREES, *_OTHERS)
    return next(
        (
            turn
            for turn in every
            if max(abs(turn.low - low), abs(turn.high - high)) <= _TOLERANCE * turn.period
        ),
        None,
    )


def known_turn(low: float, high: float, *, whole: bool = False, unit: str | None = None) -> Turn | None:
    """The smallest known turn that holds these values, filled by them unless it is of radians; or None.

    Parameters
    ----------
    low, high : float
        NaN for an image without good values.
    whole : bool
        Only whole numbers can be among the values, so that they are no radians.
    unit : str, optional
        ``"rad"`` or ``"deg"`` leaves only these.
    """
    if math.isnan(low):
        return _RADIANS[0]
    sure = {"rad": _RADIANS, "radian": _RADIANS, "radians": _RADIANS, "deg": _DEGREES, "degree": _DEGREES}
    told = sure.get((unit or "").lower())
    if told is not None:
        return next((turn for turn in told if _holds(turn, low, high)), None)
    if not whole:
        for turn in _RADIANS:
            if _holds(turn, low, high):
                return turn
    scanner = sorted((*_DEGREES, *_OTHERS), key=lambda turn: turn.period)
    return next((t for t in scanner if _holds(t, low, high) and high - low >= _FILLED * t.period), None)


def _holds(turn: Turn, low: float, high: float) -> bool:
    slack = _TOLERANCE * turn.period
    return turn.low - slack <= low and high <= turn.high + slack


def scale_of(image: Image, low: float, high: float) -> tuple[float, float]:
    """The ends of a probability map's scale: [0, 1], [0, 100] or [0, 255].

    Parameters
    ----------
    image : Image
        Its `value_range` is believed.
    low, high : float
        Ends of its good values.

    Raises
    ------
    UnsupportedError
        The values are no probabilities.
    """
    if image.value_range is not None:
        start, stop = (float(v) for v in image.value_range)
        if not (math.isfinite(start) and math.isfinite(stop) and start < stop):
            raise UsageError(f"a probability can't run from {start:g} to {stop:g}", where=image.where)
        return start, stop
    slack = 0.0 if image.dtype.kind in "iub" else _OVERSHOOT
    for end in (1.0, 100.0, 255.0):
        below = slack * min(end, max(high, 1.0))  # small maps of both signs are no percentages
        if math.isnan(low) or (low >= -below and high <= (1 + slack) * end):
            return 0.0, end
    raise UnsupportedError(
        f"values from {low:.6g} to {high:.6g} are no probabilities (0 to 1, 100 or 255)",
        where=image.where,
        remedy="leave --probability away, or give --intensity",
    )
