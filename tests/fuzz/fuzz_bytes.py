"""Mutations that know nothing of a format: bits, cuts, splices, runs, and numbers that are too large."""

from __future__ import annotations

import random

_WORDS = (
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x7f\xff\xff\xff", b"\x80\0\0\0",
    b"\xfe\xff\x00\xe0", b"\0\0\xc0\x7f", b"\xff\xff", b"\xff\x7f", b"\x7f\xff", b"\0\0\x80\x7f",
    b"\xff" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"\0" * 8,
)  # fmt: skip
KINDS = ("bits", "bytes", "cut", "splice", "word", "zeros", "ones", "delete", "duplicate", "insert", "grow")


def mutate_bytes(raw: bytes, rng: random.Random, other: bytes) -> tuple[bytes, str]:
    """One mutation, and what it was.

    Parameters
    ----------
    raw : bytes
    rng : random.Random
    other : bytes
        Another honest file, to splice from.
    """
    out = bytearray(raw or b"\0")
    kind = rng.choice(KINDS)
    # Headers come first, and most of what can go wrong is in them.
    end = len(out) if rng.random() < 0.5 else min(len(out), 4096)
    at = rng.randrange(end)
    run = rng.choice((1, 2, 4, 16, 80, 512, 2880))
    if kind == "bits":
        for _ in range(rng.choice((1, 1, 3, 30))):
            out[rng.randrange(end)] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        for _ in range(rng.choice((1, 2, 8))):
            out[rng.randrange(end)] = rng.randrange(256)
    elif kind == "cut":
        del out[at:]
    elif kind == "splice":
        start = rng.randrange(max(1, len(other)))
        piece = other[start : start + run]
        out[at : at + (len(piece) if rng.random() < 0.5 else 0)] = piece
    elif kind == "word":
        word = rng.choice(_WORDS)
        out[at : at + len(word)] = word
    elif kind in ("zeros", "ones"):
        fill = b"\0" if kind == "zeros" else b"\xff"
        out[at : at + run] = fill * len(out[at : at + run])
    elif kind == "delete":
        del out[at : at + run]
    elif kind == "duplicate":
        out[at:at] = out[at : at + run] * rng.choice((1, 1, 2, 50))
    elif kind == "insert":
        out[at:at] = rng.randbytes(run)
    else:
        out += bytes(run) if rng.random() < 0.5 else rng.randbytes(run)
    return bytes(out), f"{kind} at {at}"
