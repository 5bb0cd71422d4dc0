"""Damaged files: every mutation is read, or refused with an error of ours; nothing hangs, nothing else is raised.

Where checksums stand in the file, a mutation that is read gives the very same pixels.
"""

from __future__ import annotations

import gzip
import random
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import TAN, header_of, refined, save, write

from sciSR.errors import SciSRError
from scisr_astronomy.fits_adapter import adapter

MUTATIONS_PER_FILE = 40
_NUMBERS = [
    "-1",
    "0",
    "1",
    "99999999",
    "1E300",
    "-1E-300",
    "'text'",
    "T",
    "NaN",
    "9999999999999999999",
    "",
    "2.5",
]


def plain(folder: Path, *, checksum: bool = False) -> Path:
    rng = np.random.default_rng(1)
    cards = TAN | {"BUNIT": "electron", "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    cards |= {"A_ORDER": 2, "A_2_0": 1e-5, "B_ORDER": 2, "B_1_1": 1e-5, "LTV1": 0.0, "DATASEC": "[1:20,1:20]"}
    sci = fits.ImageHDU(rng.integers(0, 1000, (20, 24)).astype("i2"), header_of(cards), name="SCI")
    dq = fits.ImageHDU(rng.integers(0, 3, (20, 24)).astype("i2"), name="DQ")
    err = fits.ImageHDU(rng.random((20, 24)).astype("f4"), name="ERR")
    table = fits.BinTableHDU.from_columns([fits.Column("T", "D", array=np.arange(5.0))], name="EVENTS")
    return write(folder / "plain.fits", fits.PrimaryHDU(), sci, dq, err, table, checksum=checksum)


def checked(folder: Path) -> Path:
    return plain(folder, checksum=True)


def packed(folder: Path) -> Path:
    path = folder / "plain.fits.gz"
    path.write_bytes(gzip.compress(plain(folder).read_bytes(), mtime=0))
    return path


def tiled(codec: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        data = np.random.default_rng(2).integers(0, 1000, (20, 24)).astype("i2")
        sci = fits.CompImageHDU(data, header_of(TAN), compression_type=codec, name="SCI", tile_shape=(5, 24))
        return write(folder / f"{codec}.fits.fz", fits.PrimaryHDU(), sci)

    return make


def cube(folder: Path) -> Path:
    cards = TAN | {"CTYPE3": "FREQ", "CRVAL3": 1e9, "CD3_3": 1e6, "CRPIX3": 1.0, "BSCALE": 2.0, "BLANK": 3}
    return write(
        folder / "cube.fits",
        fits.PrimaryHDU(np.arange(2 * 8 * 9, dtype="i4").reshape(2, 8, 9), header_of(cards)),
    )


FILES = {
    "plain": plain,
    "checked": checked,
    "gzip": packed,
    "rice": tiled("RICE_1"),
    "gzip tiles": tiled("GZIP_1"),
    "cube": cube,
}


def mutate(raw: bytes, rng: random.Random) -> bytes:
    out = bytearray(raw)
    kind = rng.choice(["bits", "cut", "zeros", "number", "shuffle", "insert", "delete"])
    if kind == "bits":
        for _ in range(rng.choice([1, 3, 30])):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del out[rng.randrange(len(out)) :]
    elif kind == "zeros":
        at = rng.randrange(len(out))
        out[at : at + 300] = bytes(len(out[at : at + 300]))
    elif kind == "number":
        # The value of one card of a header becomes another.
        cards = [m.start() for m in re.finditer(rb"[A-Z0-9_-]{3,8} *= ", raw)]
        if cards:
            at = rng.choice(cards)
            out[at + 10 : at + 30] = rng.choice(_NUMBERS).rjust(20).encode()
    elif kind == "shuffle":
        block = 80 if rng.random() < 0.5 else 2880
        a, b = (rng.randrange(max(1, len(out) // block)) * block for _ in range(2))
        out[a : a + block], out[b : b + block] = out[b : b + block], out[a : a + block]
    elif kind == "insert":
        at = rng.randrange(len(out))
        out[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 80, 2880])))
    else:
        at = rng.randrange(len(out))
        del out[at : at + rng.choice([1, 80, 2880])]
    return bytes(out)


@pytest.fixture
def no_hang() -> Iterator[None]:
    """A hang becomes a failure instead of a stuck run; no limit on how long good work may take."""

    def stop(*_: object) -> None:
        raise AssertionError("hangs")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_are_read_or_refused_by_us(tmp_path: Path, name: str, no_hang: None) -> None:
    source = FILES[name](tmp_path)
    raw = source.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = [np.asarray(image.data[...]) for image in adapter.read(source)]
    rng = random.Random(name)
    refused = 0
    for number in range(MUTATIONS_PER_FILE):
        path = tmp_path / f"m{source.suffix}"
        path.write_bytes(mutate(raw, rng))
        target = tmp_path / f"out{number}.fits"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapter.sniff(path)
            refusal = None
            try:
                adapter.describe(path)
                images = adapter.read(path)
                found = [np.asarray(image.data[...]) for image in images]
                save([refined(image, 2) for image in images], target)
            except SciSRError as error:
                refusal = str(error)
            if refusal is not None:
                assert "\n" not in refusal
                assert path.name in refusal.split(": ")[0] or target.name in refusal.split(": ")[0]
                assert not target.exists()
                refused += 1
            else:
                if name in ("checked", "gzip"):
                    assert len(found) == len(truth)
                    assert all(np.array_equal(a, b) for a, b in zip(found, truth, strict=True))
                assert adapter.read(target)
    assert refused > MUTATIONS_PER_FILE // 8  # the mutations do damage
