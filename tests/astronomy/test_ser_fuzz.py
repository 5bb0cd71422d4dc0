"""Damaged SER files: every mutant is read, or refused with an error of ours; nothing hangs, nothing else is raised."""

from __future__ import annotations

import random
import signal
import struct
from pathlib import Path

import numpy as np
import pytest
from ser_samples import TICKS_2014, mosaic, planet, write_ser

from sciSR.errors import SciSRError
from sciSR.testing.tools import quiet
from scisr_astronomy.ser_adapter import adapter

MUTANTS = 300
_NUMBERS = (0, 1, -1, 2, 7, 16, 17, 100, 101, 255, 65_536, 2**24, 2**31 - 1, -(2**31))


def samples(folder: Path) -> list[bytes]:
    levels, ticks = planet(3, 12, 16), [TICKS_2014 + k for k in range(3)]
    colours = np.stack([levels, levels // 2, levels // 3], axis=-1)
    paths = [
        write_ser(folder / "mono.ser", levels, ticks=ticks),
        write_ser(folder / "rgb.ser", colours, color=100, ticks=ticks),
        write_ser(folder / "bayer.ser", mosaic(colours, "RGGB"), color=8, depth=12),
        write_ser(folder / "bytes.ser", (levels >> 4).astype(np.uint8)),
    ]
    return [path.read_bytes() for path in paths]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A field of the header with a wild value, flipped bytes of the header, or a cut; up to two of these."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.randrange(3)
        if kind == 0:
            struct.pack_into("<i", changed, 14 + 4 * rng.randrange(7), rng.choice(_NUMBERS))
        elif kind == 1:
            for _ in range(rng.randrange(1, 6)):
                changed[rng.randrange(14, 178)] = rng.randrange(256)
        elif len(changed) > 200:
            del changed[rng.randrange(178, len(changed)) :]
    return bytes(changed)


def test_no_mutant_raises_anything_else_or_hangs(tmp_path: Path) -> None:
    rng, originals = random.Random(20_140_206), samples(tmp_path)
    path, refusals = tmp_path / "mutant.ser", []
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    for number in range(MUTANTS):
        path.write_bytes(mutated(originals[number % len(originals)], rng))
        signal.alarm(20)
        try:
            with quiet():
                adapter.describe(path)
                for image in adapter.read(path):
                    assert np.asarray(image).shape == image.shape
                for frame in adapter.read_frames(path):
                    frame.read()
        except SciSRError as error:
            refusals.append(str(error))
        finally:
            signal.alarm(0)
    assert 0.2 * MUTANTS < len(refusals) < 0.8 * MUTANTS  # both ways were taken
    assert all("mutant.ser" in text and "\n" not in text for text in refusals)
