"""Byte order and alignment of 16-bit pixels in SER files, judged by the pixels.

The specification says that LittleEndian is 1 where the low byte comes first. Nearly all programs (FireCapture,
SharpCap, Siril, SER Player, PIPP) write and expect the reverse: 0 for the low byte first. Others follow the text. So
the flag alone can't be believed, and the pixels are asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CLEAR = 2.0
"""Neighbours must differ this many times less in one order than in the other for a verdict."""


@dataclass(frozen=True)
class Storage:
    """How pixels are stored.

    Attributes
    ----------
    order : {"<", ">"}
        Low or high byte first.
    full : int
        The largest value that a pixel can have: where it is saturated.
    right : bool
        Fewer than 16 bits stand in the low bits, so that `full` is ``2**depth - 1``.
    notes : tuple of str
    doubts : tuple of str
        What the user should know even without asking: the flag was not believed, or could not be checked.
    """

    order: str
    full: int
    right: bool
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def judge_storage(raw: np.ndarray, flag: int, depth: int, step: int = 1) -> Storage:
    """Byte order and alignment from a sample of the pixels.

    Parameters
    ----------
    raw : ndarray, (frames, rows, columns) or (frames, rows, columns, planes)
        uint8, or uint16 as if the low byte came first (in native order).
    flag : int
        LittleEndian of the header.
    depth : int
        Bits of a pixel, 1 to 16.
    step : int
        Distance of neighbours of one colour along a row: 2 in a Bayer mosaic.
    """
    if raw.dtype == np.uint8:
        return Storage("<", *_full_scale(raw, depth, 8))
    seen, usual = _seen_order(raw, depth, step), ">" if flag else "<"
    order = seen or usual
    full, right = _full_scale(raw if order == "<" else raw.byteswap(), depth, 16)
    notes, doubts = _told(seen, usual, flag)
    return Storage(order, full, right, notes, doubts)


def _told(seen: str | None, usual: str, flag: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes and doubts about the byte order."""
    name = {"<": "low byte first", ">": "high byte first"}
    if seen is None:
        text = f"the pixels do not tell their byte order: {name[usual]}, as most programs mean LittleEndian {flag}"
        return ((), (text,)) if usual == ">" else ((text,), ())
    text = f"LittleEndian is {flag}, the pixels are {name[seen]}: "
    if seen == usual:
        return (text + "as most programs write it",), ()
    return (), (text + "as specified, but the reverse of most programs",)


def _seen_order(raw: np.ndarray, depth: int, step: int) -> str | None:
    """The order in which the pixels make sense, None if both do."""
    swapped = raw.byteswap()
    if depth < 16:
        possible = [_fits(each, depth) for each in (raw, swapped)]
        if possible[0] != possible[1]:
            return "<" if possible[0] else ">"
    low, high = raw & 0xFF, raw >> 8
    if not low.any() or not high.any():
        return None  # eight bits in either half of a pixel: one order is the other times 256
    little, big = (_roughness(each, step) for each in (raw, swapped))
    # In the wrong order the noise of the low bits is that of the high ones: neighbours differ wildly.
    if big > _CLEAR * little:
        return "<"
    return ">" if little > _CLEAR * big else None


def _fits(values: np.ndarray, depth: int) -> bool:
    """Whether pixels of `depth` bits can have these values, in the low bits or in the high ones."""
    spare = (1 << (16 - depth)) - 1
    return int(values.max()) < 1 << depth or not (values & spare).any()


def _roughness(values: np.ndarray, step: int) -> float:
    """Mean difference of neighbours along rows."""
    if values.shape[2] <= step:
        return 0.0
    values = values.astype(np.float32)
    return float(np.abs(values[:, :, step:] - values[:, :, :-step]).mean())


def _full_scale(values: np.ndarray, depth: int, bits: int) -> tuple[int, bool]:
    """The largest possible value, and whether it is that of `depth` bits in the low bits."""
    used = int(np.bitwise_or.reduce(values, axis=None))
    zeros = bits if used == 0 else (used & -used).bit_length() - 1
    spare = bits - depth
    if depth < bits and used < 1 << depth and not (used and zeros >= spare):
        return (1 << depth) - 1, True
    # Cameras of 12 or 14 bits fill the high bits: the low ones are zero in every pixel.
    zeros = spare if used == 0 else min(zeros, bits // 2)
    return ((1 << bits) - 1) >> zeros << zeros, False
