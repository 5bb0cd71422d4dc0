"""CHECKSUM and DATASUM (FITS standard 4.0, section 4.4.2.7 and appendix J), streamed, never holding a data unit."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

_CHUNK = 1 << 22  # a multiple of 4
_EXCLUDED = frozenset(range(0x3A, 0x41)) | frozenset(
    range(0x5B, 0x61)
)  # punctuation between digits and letters


def add_to_sum(buffer: bytes | memoryview, total: int = 0) -> int:
    """32-bit ones' complement sum of big-endian words, going on from `total`; short ends count as padded by 0."""
    whole = len(buffer) // 4 * 4
    total += int(np.frombuffer(buffer[:whole], dtype=">u4").sum(dtype=np.uint64))
    if rest := bytes(buffer[whole:]):
        total += int.from_bytes(rest.ljust(4, b"\0"), "big")
    return join(total, 0)


def join(total: int, other: int) -> int:
    """The sum of the words of both."""
    total += other
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def sum_range(stream: BinaryIO, start: int, size: int, total: int = 0) -> int:
    """The sum over `size` bytes of an open file from offset `start`."""
    stream.seek(start)
    while size > 0:
        chunk = stream.read(min(_CHUNK, size))
        if not chunk:
            break
        total = add_to_sum(chunk, total)
        size -= len(chunk)
    return total


def encode(total: int) -> str:
    """The 16 characters whose presence in CHECKSUM makes the HDU's sum -0: appendix J of the standard."""
    value = 0xFFFFFFFF & ~total
    columns = []
    for shift in (24, 16, 8, 0):
        byte = (value >> shift) & 0xFF
        quotient, remainder = divmod(byte, 4)
        chars = [quotient + remainder + 0x30, *([quotient + 0x30] * 3)]
        while any(c in _EXCLUDED for c in chars):
            for first in (0, 2):
                if chars[first] in _EXCLUDED or chars[first + 1] in _EXCLUDED:
                    chars[first] += 1
                    chars[first + 1] -= 1
        columns.append(chars)
    text = "".join(chr(columns[c][r]) for r in range(4) for c in range(4))
    return text[-1] + text[:-1]  # the value stands at an offset of one byte from a word
