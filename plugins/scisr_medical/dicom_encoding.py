"""How float results become 16-bit stored values: one pair of slope and intercept for the whole series.

A derived image keeps the unit of its source. Where the source stored plain integers (slope 1) so does the result:
rounding costs at most half a unit, as the scanner's own rounding did. Ringing beyond the range that can be
stored is clipped and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scisr_medical.dicom_instance import CT_IMAGE, Instance


@dataclass(frozen=True)
class Encoding:
    """``value = stored * slope + intercept``, stored in 16 bits.

    Attributes
    ----------
    padding : (int, int) or None
        Lowest and highest stored value that means "outside the image"; never given to a good pixel.
    """

    slope: float
    intercept: float
    signed: bool
    padding: tuple[int, int] | None = None

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("<i2" if self.signed else "<u2")

    @property
    def limits(self) -> tuple[int, int]:
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def stored(self, value: float) -> float:
        """The stored value, neither rounded nor clipped."""
        return (value - self.intercept) / self.slope

    def encode(self, values: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, int]:
        """Stored values and how many good pixels were clipped.

        Parameters
        ----------
        values : ndarray of float
            Physical values. NaN counts as masked.
        mask : ndarray of bool or None
            True where the pixel is padding: it gets a padding value, good pixels never do.
        """
        exact = (np.asarray(values, dtype=np.float64) - self.intercept) / self.slope
        bad = np.isnan(exact) if mask is None else np.isnan(exact) | mask
        low, high = self.limits
        rounded = np.rint(np.where(np.isnan(exact), low, exact))
        clipped = int(np.count_nonzero(((rounded < low) | (rounded > high)) & ~bad))
        out = np.clip(rounded, low, high)
        if self.padding is not None:
            first, last = self.padding
            away = last + 1 if last < high else first - 1
            out = np.where(~bad & (out >= first) & (out <= last), away, out)
            out = np.where(bad, np.clip(out, first, last), out)
        return out.astype(self.dtype), clipped


def ds_string(value: float) -> str:
    """A decimal string of at most 16 characters, the nearest there is (PS3.5 section 6.2)."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def choose_encoding(sources: Sequence[Instance], low: float, high: float, *, needs_padding: bool) -> Encoding:
    """The encoding of a whole derived series.

    Parameters
    ----------
    sources : sequence of Instance
    low, high : float
        Smallest and largest good value of the result, in physical units.
    needs_padding : bool
        The result has NaN pixels, which only a padding value can express.
    """
    pairs = {(i.slope, i.intercept) for i in sources}
    signed = any(i.signed for i in sources)
    slope = min((abs(s), s) for s, _ in pairs)[1]
    intercept = next(iter(pairs))[1] if len(pairs) == 1 else 0.0
    candidates = []  # each with the ends beyond which nothing but ringing can lie
    if len(pairs) > 1:
        negative = signed or min(i.intercept for i in sources) < 0
        candidates.append((Encoding(abs(slope), 0.0, negative), (not negative, False)))
    elif slope == 1 and float(intercept).is_integer() and sources[0].sop_class == CT_IMAGE:
        # The pair (1, 0), which any reader understands: HU as they are.
        candidates.append((Encoding(1.0, 0.0, True), (False, False)))
    if len(pairs) == 1:
        candidates.append((Encoding(slope, intercept, signed), (True, True)))
    fitting = (encoding for encoding, ringing in candidates if _fits(encoding, low, high, ringing))
    encoding = next(fitting, None) or _stretched(low, high, signed)
    return _with_padding(encoding, sources, needs_padding)


def _fits(encoding: Encoding, low: float, high: float, ringing: tuple[bool, bool]) -> bool:
    """Whether the values can be stored, but for ringing of at most a fifth of the range (which is clipped).

    Parameters
    ----------
    ringing : (bool, bool)
        Whether what lies below the lowest (above the highest) stored value can only be ringing, since the source
        was stored in the same way.
    """
    least, most = encoding.limits
    ends = sorted((encoding.stored(low), encoding.stored(high)))
    slack = 0.2 * (most - least)
    return least - slack * ringing[0] <= ends[0] and ends[1] <= most + slack * ringing[1]


def _stretched(low: float, high: float, signed: bool) -> Encoding:
    """The whole range on 65,000 steps: for values that no plain pair can hold."""
    # Never finer than the intercept can be written: a decimal string of 16 characters holds 10 digits or more.
    slope = float(ds_string(max((high - low) / 65_000, 1e-9 * max(abs(low), abs(high)), 1e-30)))
    bottom = -32_500 if signed else 250
    return Encoding(slope, float(ds_string(low - bottom * slope)), signed)


def _with_padding(encoding: Encoding, sources: Sequence[Instance], needs_padding: bool) -> Encoding:
    padded = next((i for i in sources if i.padding is not None), None)
    least, most = encoding.limits
    if padded is None:
        padding = (least, least) if needs_padding else None
    else:
        assert padded.padding is not None
        ends = [encoding.stored(p * padded.slope + padded.intercept) for p in padded.padding]
        low, high = (min(max(round(e), least), most) for e in sorted(ends))
        padding = (low, high)
    return Encoding(encoding.slope, encoding.intercept, encoding.signed, padding)
