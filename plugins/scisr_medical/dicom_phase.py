"""One turn of an MR phase image in its own unit, from how it is stored."""

from __future__ import annotations

import numpy as np


def phase_range(slices: np.ndarray) -> tuple[float, float] | None:
    """The values that mean the same angle at both ends of a phase's turn.

    Parameters
    ----------
    slices : ndarray of Instance

    Returns
    -------
    (low, high) or None
        Known where all that BitsStored can hold is a turn: Siemens -4096 to 4096 or 0 to 4096, Philips -pi to pi. None
        where the stored type says nothing (16 bits on GE), so that the values have to.
    """
    from sciSR.inference.kinds_ranges import turn_with_ends

    stored = {(i.slope, i.intercept, i.bits_stored, i.signed) for i in slices.flat}
    if len(stored) != 1:
        return None
    slope, intercept, bits, signed = next(iter(stored))
    lowest = -(1 << (bits - 1)) if signed else 0
    ends = sorted((intercept + slope * lowest, intercept + slope * (lowest + (1 << bits))))
    turn = turn_with_ends(*ends)
    return None if turn is None else (turn.low, turn.high)
